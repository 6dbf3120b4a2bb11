"""What `vireid search` prints and writes, for people and for scripts."""

from __future__ import annotations

import csv
import json
import re
import shutil
from pathlib import Path

import pytest
import server_kit
from command_kit import refused, run, said
from PIL import Image

from vireid import figures
from vireid.index import open_index
from vireid.index.entries import Hit
from vireid.index.output import MAX_DRAWN, Query, hits_table, save_figure
from vireid.types import Modality

CPU = ("--device", "cpu")
Q = Query((Path("q"),))


@pytest.fixture
def words(world: server_kit.World) -> tuple:
    return ("search", "--index", world.index, "--weights", world.weights,
            "--modality", "infrared", "--top", 3, *CPU)  # fmt: skip


def test_several_images_are_queries_of_their_own(
    words, world: server_kit.World, tmp_path: Path, capsys
) -> None:
    some = [world.root / f"cam3/000{n}/0000.jpg" for n in (1, 2, 3)]
    assert run(*words, "--image", *some, "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["query"] for answer in answers] == [str(path) for path in some]
    # Each is in the index, and so its own nearest.
    nearest = [answer["hits"][0] for answer in answers]
    assert all(str(q).endswith(hit["path"]) for q, hit in zip(some, nearest))
    assert "There is no image 'gone.jpg'" in refused(capsys, *words, "--image", some[0], "gone.jpg")
    both = ("--image", some[0], "--images", world.root)
    assert "Give either --image" in refused(capsys, *words, *both)


def test_a_table_without_hits_is_written_all_the_same(
    words, world: server_kit.World, tmp_path: Path, capsys
) -> None:
    out = tmp_path / "hits.csv"
    query = ("--image", world.root / "cam3/0001/0000.jpg", "--csv", out)
    assert run(*words, *query) == 0
    assert len(list(csv.DictReader(out.open()))) == 3
    assert run(*words, *query, "--cameras", 77) == 0
    assert "Nothing found" in said(capsys)
    assert out.read_text().splitlines() == [
        "query,rank,path,similarity,one_in,camid,pid,modality,time,camera,time_utc"
    ]


def test_the_table_says_how_many_strangers_look_as_alike() -> None:
    shown = hits_table(Q, [hit("a", one_in=1), hit("b", one_in=12_000)], {})
    assert [cell.plain for cell in shown.columns[2].cells] == ["most", "1 in 12,000"]


def hit(path: str, **known: object) -> Hit:
    unknown = {"row_id": 1, "camid": -1, "pid": -1, "modality": Modality.VISIBLE, "time": None}
    return Hit(path=path, similarity=0.5, **{**unknown, **known})


def test_columns_of_which_nothing_is_known_are_left_out() -> None:
    names = [column.header for column in hits_table(Q, [hit("a"), hit("b")], {}).columns]
    assert names == ["path", "similarity"]
    some = hits_table(Q, [hit("a", camid=0), hit("b", time=0.0)], {})
    assert [column.header for column in some.columns] == [
        "path",
        "similarity",
        "camera",
        "time (UTC)",
    ]
    assert next(iter(some.columns[2].cells)).plain == "0"


def test_paths_below_this_folder_are_short(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    hits = [hit(str(tmp_path / "a" / "1.jpg")), hit("/elsewhere/2.jpg"), hit("b/3.jpg")]
    cells = hits_table(Q, hits, {}).columns[0].cells
    assert [cell.plain for cell in cells] == [str(Path("a/1.jpg")), "/elsewhere/2.jpg", "b/3.jpg"]


def test_a_figure_of_many_queries_stays_of_a_size_that_opens(
    world: server_kit.World, tmp_path: Path
) -> None:
    query = world.root / "cam3/0001/0000.jpg"
    found = [hit(str(world.root / "cam1/0001/0000.jpg")), hit("gone.jpg")]
    heights = []
    for count in (1, MAX_DRAWN, 3 * MAX_DRAWN):
        missing = save_figure(tmp_path / "p.jpg", [Query((query,))] * count, [found] * count)
        assert missing == ["gone.jpg"] * min(count, MAX_DRAWN)
        with Image.open(tmp_path / "p.jpg") as image:
            heights.append(image.height)
    assert heights[0] < heights[1] == heights[2] < 65_535  # JPEG's limit


def test_a_figure_marks_who_is_known(
    world: server_kit.World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list = []
    draw = figures.draw_ranked

    def kept(lists: list, heading: str) -> Image.Image:
        drawn.extend(lists)
        return draw(lists, heading)

    monkeypatch.setattr(figures, "draw_ranked", kept)
    image = str(world.root / "cam1/0001/0000.jpg")
    found = [hit(image, pid=1), hit(image, pid=2)]
    for who, marks, note in (
        ({}, [None, None], "0001"),  # the folder's name is all that is known
        ({"pid": 2, "camid": 6}, [False, True], "pid 2 · cam 6"),
    ):
        drawn.clear()
        query = Query((Path(image),), **who)
        save_figure(tmp_path / "p.jpg", [query], [found])
        assert [entry.matches for entry in drawn[0].entries] == marks
        assert (drawn[0].label, drawn[0].note) == ("0000.jpg", note)
        assert hits_table(query, found, {}).title.plain == (
            f"Most similar to {image}" + (" (person 2, camera 6)" if who else "")
        )


def test_a_box_and_one_person(words, world: server_kit.World, tmp_path: Path, capsys) -> None:
    frame, own = tmp_path / "frame.png", world.root / "cam3/0002/0000.jpg"
    image = Image.new("RGB", (300, 200), "gray")
    image.paste(Image.open(own), (40, 50))
    image.save(frame)
    assert run(*words, "--image", frame, "--box", "40,50,48,96", "--json") == 0
    (answer,) = json.loads(capsys.readouterr().out)
    assert answer["images"] == [{"path": str(frame), "box": [40, 50, 48, 96]}]
    assert answer["notes"] == [] and answer["hits"][0]["similarity"] > 0.999
    assert str(own).endswith(answer["hits"][0]["path"])
    both = ("--image", frame, own, "--box", "40,50,48,96", "whole", "--one-person")
    out = ("--csv", tmp_path / "hits.csv", "--save", tmp_path / "ranks.png")
    assert run(*words, *both, *out) == 0
    rows = list(csv.DictReader((tmp_path / "hits.csv").open()))
    assert {row["query"] for row in rows} == {f"{frame} and 1 more"} and len(rows) == 3
    assert str(own).endswith(rows[0]["path"]) and float(rows[0]["similarity"]) > 0.999
    for box, sentence in (
        ("1,2,3", "The --box is '1,2,3'; four whole numbers"),
        ("290,0,48,96", "reaches beyond the image, which has 300 x 200 pixels"),
        ("0,0,0,0", "holds no pixel"),
    ):
        assert sentence in refused(capsys, *words, "--image", frame, "--box", box)
    assert "1 boxes for 2 images" in refused(
        capsys, *words, "--image", frame, own, "--box", "0,0,9,9"
    )


def test_cameras_have_names(words, world: server_kit.World, tmp_path: Path, capsys) -> None:
    index, names = tmp_path / "ix", tmp_path / "names.csv"
    shutil.copytree(world.index, index)
    words = tuple(index if word == world.index else word for word in words)
    names.write_text("camid;name\n3;=North gate\n6;Yard\n4;\n")
    assert run("index", "update", "--index", index, "--camera-names", names) == 0
    assert "2 cameras" in said(capsys)
    query = ("--image", world.root / "cam3/0001/0000.jpg")
    assert run(*words, *query, "--json") == 0
    (hit, *_) = json.loads(capsys.readouterr().out)[0]["hits"]
    assert (hit["camid"], hit["camera"]) == (3, "=North gate")
    assert run(*words, *query, "--csv", tmp_path / "hits.csv") == 0
    (row, *_) = csv.DictReader((tmp_path / "hits.csv").open())
    assert (row["camid"], row["camera"]) == ("3", "'=North gate")  # no formula
    assert row["time_utc"] == "2026-01-05 08:21:00"
    assert run(*words, *query) == 0
    assert "=North" in capsys.readouterr().out
    assert run("index", "info", "--index", index) == 0
    assert "3 =North gate, 6 Yard" in capsys.readouterr().out
    for table, sentence in (
        ("camid,name\n3,a\n3,b\n", "Line 3 of .* names camera 3 again"),
        ("camid,name\n,a\n", "Line 2 of .* has no camera number"),
        ("camid,name\nx,a\n", "the camid is 'x'"),
        ("camid,name\n3," + "n" * 61, "has 61 characters; at most 60"),
        ("camera,name\n3,a\n", "lacks the column camid"),
    ):
        names.write_text(table)
        message = refused(capsys, "index", "update", "--index", index, "--camera-names", names)
        assert re.search(sentence, message), message
    with open_index(index) as opened:
        assert opened.camera_names == {3: "=North gate", 6: "Yard"}

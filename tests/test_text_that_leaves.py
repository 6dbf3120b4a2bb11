"""Text that leaves: nothing that is printed moves a terminal, no CSV cell is a formula, no sentence
is endless. File names are other people's text."""

from __future__ import annotations

import ast
import csv
import json
import logging
import shutil
from pathlib import Path

import pytest
import server_kit as kit
from command_kit import refused, run, said
from hypothesis import given
from hypothesis import strategies as st

from vireid.cli import main
from vireid.console import console, harmless, results, say, shortened, table
from vireid.embed import embed_files
from vireid.evaluation.tables import latex, markdown
from vireid.files import csv_cell, csv_text
from vireid.server.refusal import LONGEST, Refusal
from vireid.types import Modality

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
CPU = ("--device", "cpu")
# Clears the screen, sets the title, an 8-bit escape, reverses text, goes back over the line.
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\u202egnp\r\x08"


def harmful(text: str) -> set[str]:
    """Signs in it that a terminal would obey."""
    bad = {chr(n) for n in (*range(32), *range(127, 160))} - {"\n", "\t"}
    return set(text) & (bad | set("\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e"
                                  "\u2066\u2067\u2068\u2069"))  # fmt: skip


@given(st.text(st.characters(codec=None)))
def test_nothing_is_left_that_a_terminal_obeys(text: str) -> None:
    clean = harmless(text)
    assert not harmful(clean) and harmless(clean) == clean
    clean.encode("utf-8")
    assert json.loads(harmless(json.dumps(text, ensure_ascii=False))) == text


def test_one_way_to_the_terminal() -> None:
    """What writes to a terminal is the console's, or is listed here with its reason."""
    allowed = {
        ("cli.py", "sys.stdout.write"): "help and version, our own text",
        ("commands/common.py", "sys.stdout.write"): "JSON, made harmless",
        ("commands/flags.py", "sys.stdout.write"): "help, our own text",
        ("data/decode_worker.py", "sys.stdout.write"): "a pipe between processes",
        ("runtime/process.py", "sys.stderr.write"): "our own text, perhaps before the console",
        ("console.py", "_Harmless"): "the console itself",
    }
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                ways = ("print", "Console", "_Harmless", "sys.stdout.write", "sys.stderr.write")
                if name in ways or name.endswith(".Console"):
                    found.add((path.relative_to(SOURCE).as_posix(), name))
    assert found == set(allowed)


def test_everything_printed_is_harmless(capsys) -> None:
    say(f"a{EVIL}b\ntwo lines")
    console.print(f"[bold]{EVIL}[/]")
    results.print(table(f"t{EVIL}", [f"c{EVIL}"], [[f"x{EVIL}\ny"], ["\ud800"]]))
    shown = capsys.readouterr()
    assert not harmful(shown.out + shown.err)
    assert r"\u001b[2J" in shown.err and "\ntwo lines" in shown.err
    assert r"\ny" in shown.out and "\ny" not in shown.out  # a name can't forge a line of a table


@pytest.fixture
def evil(world: kit.World, tmp_path: Path):
    """A folder whose images are called by what a terminal and a spreadsheet would obey."""
    names = [f"{EVIL}.jpg".replace("\x07", ""), "=cmd|calc!A0.jpg", "line\nvireid: done.jpg"]
    folder = tmp_path / f"day{EVIL}"
    try:
        folder.mkdir()
        for n, name in enumerate(names, 1):
            shutil.copy(world.root / f"cam1/000{n}/0000.jpg", folder / name)
    except OSError as error:
        pytest.skip(f"this file system has no such names: {error.strerror}")
    return folder


def test_file_names_from_embed_to_search(evil: Path, world, tmp_path: Path, capsys) -> None:
    file, index = tmp_path / "e.safetensors", ("--index", tmp_path / "ix")
    embed_files(world.embedder, evil, file, modality=Modality.VISIBLE, workers=1)
    assert run("index", "create", *index, "--embeddings", file) == 0
    assert run("index", "info", *index) == 0 and run("index", "info", *index, "--json") == 0
    query = ("--image", evil / "=cmd|calc!A0.jpg", "--modality", "visible")
    words = ("search", *index, "--weights", world.weights, *query, *CPU)
    assert run(*words) == 0
    shown = capsys.readouterr()
    assert not harmful(shown.out + shown.err)
    assert run(*words, "--json") == 0
    out = capsys.readouterr().out
    assert not harmful(out)
    assert {Path(hit["path"]).name for hit in json.loads(out)[0]["hits"]} == {
        path.name for path in evil.iterdir()
    }
    assert run(*words[:-2], *CPU, "--csv", tmp_path / "hits.csv") == 0
    with (tmp_path / "hits.csv").open(newline="") as text:
        cells = [cell for row in csv.reader(text) for cell in row]
    assert not [cell for cell in cells if cell.startswith(("=", "+", "@", "\t", "\r"))]
    broken = evil / f"{EVIL}broken.jpg"
    broken.write_bytes(b"no image")
    sentence = ["search", *map(str, index), "--image", str(broken), "--modality", "visible"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main([*sentence, "--weights", str(world.weights), *CPU])
    assert not harmful(capsys.readouterr().err)


def test_log_lines_are_harmless(capsys, monkeypatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    assert run("--version") == 0
    logging.getLogger("vireid").warning("the file %s", EVIL)
    shown = capsys.readouterr().err
    assert "the file" in shown and not harmful(shown)


def test_cells_of_a_spreadsheet() -> None:
    rows = [["=1+1", "+a", "-a", "@a", "\ta", "  =x"], ["-0.5", "-", "a=b", -3, 0.5, None]]
    text = csv_text(["=head", "b", "c", "d", "e", "f"], rows)
    head, first, second = csv.reader(text.splitlines())
    assert head[0] == "=head"  # ours
    assert first == ["'=1+1", "'+a", "'-a", "'@a", "'\ta", "'  =x"]
    assert second == ["-0.5", "'-", "a=b", "-3", "0.5", ""]
    assert csv_cell("plain") == "plain" and csv_cell("-1\n") == "-1\n"
    for hidden in (
        "\n=1",
        "\xa0=1",
        "\u3000@x",
        "\u200b=1",
        "\ufeff+1",
        "\v-x",
        "＝1",
        "＋x",
        "＠x",
    ):
        assert csv_cell(hidden) == f"'{hidden}"


def test_lines_and_cells_of_tables_in_files() -> None:
    """A method may be called anything; a report of others may say anything of it."""
    name = f"{EVIL}\n# a | b\x85<script>"
    text = markdown([name, "Rank-1"], [[name, "<u>50.0</u>"]])
    assert text.count("\n") == 3 and not harmful(text)
    assert "<script" not in text and "<u>50.0</u>" in text and "a \\| b &lt;script>" in text
    text = latex([name], [[name]], words=1, caption=name)
    assert not harmful(text) and "\n# a" not in text and "\n\\# a" not in text


def test_no_sentence_is_endless(world: kit.World, capsys, tmp_path: Path) -> None:
    long = "a" * 70_000
    words = ("search", "--index", world.index, "--weights", world.weights, *CPU)
    image = ("--image", world.root / "cam1/0001/0000.jpg", "--modality")
    for flags in ((*image, "visible", "--time-from", long), (*image, long),
                  ("--image", long, "--modality", "visible")):  # fmt: skip
        sentence = refused(capsys, *words, *flags)
        assert len(sentence) < 2500 and ("characters …]" in sentence or "…" in sentence)
    assert "was expected" in refused(capsys, *words, *image, "visible", "--time-from", long)
    body = Refusal(422, "input", long).body()["error"]["sentence"]
    assert len(body) < LONGEST + 60
    assert shortened("short", 10) == "short"
    with kit.running(world) as server, server.client() as client:
        for fields in ({"time_from": long}, {"modality": long}, {"cameras": long}):
            answer = kit.post(client, kit.image_bytes(), **fields)
            assert answer.status_code == 422 and len(answer.text) < LONGEST + 200


# ---- removing says how much, and asks


@pytest.fixture
def gallery(world: kit.World, tmp_path: Path) -> Path:
    """A copy of the index that a test may take from."""
    return Path(shutil.copytree(world.index, tmp_path / "ix"))


@pytest.mark.parametrize("condition", [("--older-than", "1s"), ("--cameras", 1, 2)])
def test_removing_asks_first(gallery: Path, condition: tuple, capsys, monkeypatch) -> None:
    import io

    words = ("index", "remove", "--index", gallery, *condition)
    count = 20 if condition[0] == "--cameras" else 60
    assert run(*words, "--dry-run") == 0
    assert f"{count} of 60 images would be removed" in said(capsys)
    for answer in ("", "n\n", "what?\n"):
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        assert run(*words) == 2
        shown = said(capsys)
        assert f"Remove {count} of 60 images from" in shown and "Nothing was removed" in shown
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    assert run(*words) == 0
    assert f"{count} images removed" in said(capsys)
    assert run(*words) == 0  # nothing to ask for
    assert "0 images removed" in said(capsys)


def test_removing_with_yes_and_by_name(gallery: Path, world, capsys, monkeypatch) -> None:
    words = ("index", "remove", "--index", gallery)
    assert run(*words, "--older-than", "1s", "--cameras", 1, "--yes") == 0
    assert "10 images removed" in said(capsys)
    assert run(*words, "--pids", 3) == 0
    assert "10 images removed" in said(capsys)
    # An image by its entry's path, or by where it is.
    monkeypatch.chdir(world.root / "cam3")
    assert run(*words, "--paths", "cam2/0001/0000.jpg", "0001/0000.jpg", "gone.jpg") == 0
    assert "2 images removed" in said(capsys)

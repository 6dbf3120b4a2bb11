"""What people's disks are like: every command copes with it, counts it, and says true things."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import command_kit
import fakes
import numpy as np
import pytest
from command_kit import refused, run, said
from PIL import Image

from vireid.console import console, results
from vireid.data.decoding import ImageError, read_image
from vireid.data.listing import walk

SOURCE = Path(__file__).parents[2] / "src" / "vireid"


@pytest.fixture(scope="module")
def mess(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of one's own with one of everything that goes wrong with them."""
    root = fakes.make_folder(tmp_path_factory.mktemp("mess") / "own", identities=8, images=2)
    day, night = root / "visible", root / "infrared"
    good = (day / "person01" / "c1_0.png").read_bytes()

    def put(name: str, data: bytes = good) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    put("visible/person01/cam2/9.jpg")  # nested
    put("Infra-Red/person01/1.jpg")  # misspelled
    put("visible/stray.jpg")
    put("visible/person01/@eaDir/c1_0.png/thumb.jpg")
    put(".ipynb_checkpoints/a.jpg")
    put("visible/.DS_Store")
    put("visible/person03/phone.HEIC")
    put("visible/person03/c1_cut.png", good[:100])
    put("visible/person03/c1_page.jpg", b"<html>404 Not Found</html>")
    put("visible/person06/c1_copy.png")
    put("visible/-1/c1_junk.png")
    fakes.save(day / "alone" / "c1_0.png", 98, False, 0, (32, 16))
    os.symlink("gone.jpg", day / "person03" / "dangling.jpg")
    os.symlink("..", day / "person04" / "up")
    raw = 28000 + np.arange(512, dtype=np.uint16).reshape(32, 16)
    Image.fromarray(raw).save(night / "person03" / "c3_raw.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    fakes.image(4, False, 77, (16, 32)).save(day / "person04" / "c1_phone.jpg", exif=exif)
    Image.new("RGB", (20, 40)).save(day / "person05" / "c1_black.png")
    fakes.image(5, False, 3, (8, 4)).save(day / "person05" / "c1_tiny.png")
    frames = [fakes.image(6, False, seed, (32, 16)) for seed in range(2)]
    frames[0].save(day / "person06" / "c1_moving.gif", save_all=True, append_images=frames[1:])
    Image.new("1", (20_000, 10_000)).save(day / "person06" / "c1_panorama.png")
    return root


def test_info_on_a_mess_is_one_screen(mess: Path, monkeypatch, capsys) -> None:
    for stream in (console, results):
        monkeypatch.setattr(stream, "width", 120)
    assert run("info", mess) == 0
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err and "Warning" not in shown.err
    assert (shown.out + shown.err).count("\n") <= 60
    lines = " ".join(re.sub(r"[│\s]+", " ", shown.out + shown.err).split())
    for expected in (
        "identities in one modality only 1 alone (visible)",
        "the same image more than once 1 visible/person01/c1_0.png = visible/person06/c1_copy.png",
        "smaller than 16 pixels 1 visible/person05/c1_tiny.png (8x4)",
        "broken 4 visible/person03/c1_cut.png",
        "more than 8 bits (set an intensity range) 1 infrared/person03/c3_raw.png",
        "with an orientation tag 1 visible/person04/c1_phone.jpg (turned upright)",
        "nearly black 1 visible/person05/c1_black.png",
        "1 image of nobody (identity -1) left out, such as 'visible/-1/c1_junk.png'",
        "images outside visible/PID/* and infrared/PID/* (3), such as 'Infra-Red/person01/1.jpg'",
        "hidden or system folders (2), such as '.ipynb_checkpoints'",
        "links that lead nowhere (1), such as 'visible/person03/dangling.jpg'",
        "images of a kind that isn't read (1), such as 'visible/person03/phone.HEIC'",
        "Next: vireid train --dataset folder",
    ):
        assert expected in lines, expected


def test_the_same_mess_is_said_by_every_command_that_walks(
    mess: Path, trained: Path, tmp_path: Path, capsys
) -> None:
    notes = ("links that lead nowhere", "images of a kind that isn't read", "hidden or system")
    deep = ("--intensity-range", "28000:28512", "--skip-broken")
    cache = ("--cache", tmp_path / "cache")
    assert run("prepare", "--dataset", "folder", "--data-root", mess, *deep, *cache) == 0
    message = said(capsys)
    assert all(note in message for note in notes) and "images outside visible/PID" in message
    assert message.count("skipped (cannot be decoded)") == 4
    words = ("embed", "--images", mess, "--modality", "visible", "--weights", trained)
    out = ("--out", tmp_path / "v.safetensors", "--device", "cpu", "--workers", 1)
    assert run(*words, *deep, *out) == 0
    message = said(capsys)
    assert (
        all(note in message for note in notes)
        and f"{len(walk(mess).images) - 4} embeddings" in message
    )
    assert "folders that a link leads to again, and are read once (1)" in message


def test_sentences_point_where_there_is_a_way(mess: Path, trained: Path, tmp_path, capsys) -> None:
    """No flag is named that the command hasn't."""
    broken, moving = mess / "visible/person03/c1_cut.png", mess / "visible/person06/c1_moving.gif"
    raw = mess / "infrared/person03/c3_raw.png"
    (tmp_path / "day").mkdir()
    fakes.save(tmp_path / "day" / "1.png", 1, False, 0)
    words = ("--weights", trained, "--device", "cpu")
    flags = ("--images", tmp_path / "day", "--modality", "visible", "--out", tmp_path / "v")
    assert run("embed", *words, *flags, "--workers", 1) == 0
    assert run("index", "create", "--index", tmp_path / "ix", "--embeddings", tmp_path / "v") == 0
    search = ("search", *words, "--index", tmp_path / "ix", "--modality", "infrared", "--image")
    message = refused(capsys, *search, broken)
    assert "can't be read" in message and "skip" not in message
    assert "is an animation" in refused(capsys, *search, moving)
    assert "Set --intensity-range to LOW:HIGH" in refused(capsys, *search, raw)
    assert run(*search, raw, "--intensity-range", "28000:28512", "--json") == 0
    assert "--intensity-range is '9:1'" in refused(capsys, *search, raw, "--intensity-range", "9:1")
    one = ("embed", *words, "--modality", "infrared", "--out", tmp_path / "x", "--images")
    for file, flag in ((broken, "--skip-broken"), (raw, "--intensity-range")):
        (tmp_path / "list.txt").write_text(str(file))
        assert flag in refused(capsys, *one, tmp_path / "list.txt")


def test_a_run_keeps_the_range_that_it_was_trained_with(tmp_path: Path, capsys) -> None:
    root = fakes.make_folder(tmp_path / "own", identities=6, images=1)
    for file in sorted(root.glob("infrared/*/*.png")):
        grey = np.asarray(Image.open(file).convert("L")).astype(np.uint16)
        Image.fromarray(28000 + 12 * grey).save(file.with_suffix(".tif"))
        file.unlink()
    words = ("--dataset", "folder", "--method", "agw")
    message = refused(capsys, "train", *words, "--data-root", root, "--config",
                      command_kit.tiny_config(tmp_path), "--device", "cpu")  # fmt: skip
    assert "more than 8 bits per channel" in message and "Set --intensity-range to" in message
    message = refused(capsys, "prepare", *words[:2], "--data-root", root)
    assert "Set --intensity-range to" in message
    ranged = ("--intensity-range", "28000:31060")
    assert command_kit.train(tmp_path / "run", root, *words, *ranged) == 0
    assert "--intensity-range was '28000:31060' and is 'minmax'" in refused(
        capsys, "train", "--resume", tmp_path / "run", "--intensity-range", "minmax"
    )
    test = ("test", "--resume", tmp_path / "run", "--device", "cpu", "--figure-queries", 0)
    assert run(*test) == 0
    (report,) = (tmp_path / "run" / "test").glob("*/report.json")
    prepared = json.loads(report.read_text())["protocol"]["preprocessing"]
    assert prepared["intensity_range"] == "28000:31060" and prepared["orientation"] == "upright"


def test_an_absent_camera_is_named_to_the_last(trained: Path, tmp_path: Path, capsys) -> None:
    """By info, by training and in the report: numbers without it are no published ones."""
    root = fakes.make_sysu(tmp_path / "sysu", images=1)
    shutil.rmtree(root / "cam5")
    note = "SYSU-MM01 has 6 cameras; this copy has no image of 5"
    assert run("info", root) == 0
    assert note in capsys.readouterr().out
    assert command_kit.train(tmp_path / "run", root) == 0
    assert note in said(capsys)
    words = ("--data-root", root, "--device", "cpu", "--figure-queries", 0, "--trials", 1)
    assert run("test", "--resume", tmp_path / "run", *words) == 0
    (report,) = (tmp_path / "run" / "test").glob("*/report.md")
    assert note in report.read_text()


def test_rooms_name_fields_and_commands_name_flags() -> None:
    """`--flag` in a sentence of a room would be wrong for Python, and for commands without it."""
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0]
        if room in ("commands", "cli.py", "bench"):
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (isinstance(node, ast.Call) and ast.unparse(node.func) == "InputError"):
                continue
            for text in (n.value for n in ast.walk(node) if isinstance(n, ast.Constant)):
                flags = re.search(r"(?<!\S)--[a-z]", str(text))
                assert not flags or "vireid " in str(text), f"{path}: {text}"


@pytest.mark.parametrize("ending", ["png", "gif", "tif"])
def test_python_warnings_stay_inside(tmp_path: Path, ending: str) -> None:
    """Pillow warns of large images and odd ones; what we read, we read in silence."""
    path = tmp_path / f"a.{ending}"
    if ending == "png":
        image = Image.new("P", (10_000, 9_000))  # a panorama, over Pillow's first limit
        image.info["transparency"] = b"\0\1\2"  # another warning
        image.save(path, transparency=b"\0\1\2")
    else:
        fakes.image(1, False, 0).save(path)
    code = f"from vireid.data.decoding import decode; print(decode({str(path)!r}, (8, 4)).shape)"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code], capture_output=True, text=True
    )
    assert (done.stdout.strip(), done.stderr) == ("(8, 4, 3)", "")


def test_far_too_large_images_are_named(mess: Path) -> None:
    with pytest.raises(ImageError, match=r"c1_panorama.png' has too many pixels") as caught:
        read_image(mess / "visible" / "person06" / "c1_panorama.png")
    assert caught.value.kind == "large"

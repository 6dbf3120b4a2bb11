"""Every door the same rule: images, tables and times are each read in one place."""

from __future__ import annotations

import ast
import math
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vireid.data.decoding import (
    ImageError,
    boxes_of,
    crop,
    decode,
    open_image,
    parse_box,
    read_image,
    resize,
    to_rgb,
)
from vireid.data.facts import AS_PUBLISHED
from vireid.data.table import read_modality, read_number, read_rows, read_time
from vireid.types import LAST_MOMENT, InputError, parse_time

SOURCE = Path(__file__).parent.parent / "src" / "vireid"
READERS: dict[str, set[str]] = {  # a call's name → the one module that may make it
    "fromisoformat": {"types.py"},
    "mktime": set(),
    "timegm": set(),
    "strptime": {"types.py"},
    "Image.open": {"data/decoding.py", "training/tensorboard.py"},  # the latter its own figures
    "scandir": {"data/listing.py"},
    "os.walk": set(),
    "rglob": {
        "index/milvus/index.py",
        "runtime/provenance.py",
        "synthetic/jit.py",
    },  # their own files
    "imread": {"data/decoding.py"},
    "imdecode": {
        "data/decoding.py",
        "synthetic/pictures/sensor.py",  # a camera's own JPEG
        "synthetic/other_cameras.py",  # the writer's own images
    },
    "csv.reader": {"data/table.py"},
    "DictReader": {"data/table.py"},
    "read_csv": {"data/table.py"},
    "genfromtxt": {"data/table.py"},
    "loadtxt": {"data/table.py"},
    "torch.load": {"models/foreign.py", "training/checkpoint.py"},  # others' files, and our own
}


@cache
def names_in_the_source() -> set[tuple[str, str]]:
    """(module, name or attribute as it is written)."""
    return {
        (path.relative_to(SOURCE).as_posix(), ast.unparse(node))
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute | ast.Name)
    }


@pytest.mark.parametrize("name", READERS)
def test_one_reader(name: str) -> None:
    found = {m for m, text in names_in_the_source() if f".{text}".endswith(f".{name}")}
    assert found <= READERS[name]


@pytest.fixture
def shanghai() -> Iterator[None]:
    """A machine eight hours from UTC."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "Asia/Shanghai")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("2026-03-01 18:00", 1772388000),
        (" 2026-03-01T18:00:00+08:00 ", 1772359200),
        ("2026-03-01T18:00Z", 1772388000),
        ("2026-03-01", 1772323200),
        ("0", 0),
        ("12.5", 12.5),
        (1e9, 1e9),
    ],
)
def test_times(text: str | float, seconds: float, shanghai: None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "soon", "-1", "nan", "inf", "1772388000000", "2200-01-01", "1969-12-31", "9" * 40]
)
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(InputError, match="The time"):
        parse_time(text)
    assert parse_time(math.nextafter(LAST_MOMENT, 0)) < LAST_MOMENT


def test_rows_of_a_table(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(
        "\ufeff Path ,PID,Modality,time\r\n a.png , 7 ,ir,2026-03-01 18:00\r\n"
        '\r\n"b\r,c.png",,RGB,\r\n'.encode()
    )
    first, second = read_rows(path, optional=("pid", "modality", "time"))
    assert first.where == f"Line 2 of '{path}'" and first.cells["path"] == "a.png"
    assert (read_number(first, "pid"), read_number(second, "pid")) == (7, -1)
    assert (read_modality(first), read_modality(second)) == (1, 0)
    assert (read_time(first), read_time(second)) == (1772388000, None)
    assert second.cells["path"] == "b\r,c.png"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("pid\n1\n", "lacks the column path"),
        ("path,pid,pid\na,1,1\n", "column pid twice"),
        ("path,pid\na\n", "Line 2 of .* has 1 values"),
        ("path,pid\na,1,2\n", "Line 2 of .* has 3 values"),
        ("path,pid\na,1\n./a,2\n", "Line 3 of .* lists 'a' again"),
        ("path,pid\n ,1\n", "Line 2 of .* has no path"),
        ("path,pid\n", "has no row"),
        ("path,pid\na,\0\n", "zero byte"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_rows(path, optional=("pid",))


@pytest.mark.parametrize("text", ["one", "-2", "7.5", "1_000", "٣", "9" * 10])
def test_what_is_not_a_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(f"path,camid\na,{text}\n", encoding="utf-8")
    (row,) = read_rows(path)
    with pytest.raises(InputError, match=f"Line 2 .*: the camid is '{text}'"):
        read_number(row, "camid")


def test_one_decoder(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    pixels = np.random.default_rng(0).integers(0, 255, (9, 5, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(path, exif=exif)
    assert np.array_equal(np.asarray(read_image(path, AS_PUBLISHED)), pixels)
    assert np.array_equal(decode(path, (8, 4)), resize(read_image(path), (8, 4)))
    with path.open("rb") as file:
        assert to_rgb(open_image(file)).size == (9, 5)
    Image.fromarray(pixels[..., 0].astype(np.uint16)).save(path)
    with pytest.raises(ImageError, match=r"a\.png' has more than 8 bits") as caught:
        read_image(path)
    assert caught.value.reason == "more than 8 bits per channel"


def test_one_box(tmp_path: Path) -> None:
    """A box is cut from the upright image, before anything else is done."""
    path = tmp_path / "a.png"
    upright = np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(upright)).save(path, exif=exif)
    box = parse_box(" 5, 7,10,20 ")
    assert box == (5, 7, 10, 20)
    part = upright[7:27, 5:15]
    assert np.array_equal(np.asarray(read_image(path, box=box)), part)
    assert np.array_equal(decode(path, (8, 4), box=box), resize(Image.fromarray(part), (8, 4)))
    assert parse_box("whole") is parse_box("") is None
    assert read_image(path, box=None).size == read_image(path, box=(0, 0, 30, 40)).size == (30, 40)
    assert boxes_of((), 2) == [None, None]
    with pytest.raises(InputError, match="2 boxes for 3 images"):
        boxes_of([box, None], 3)


@pytest.mark.parametrize("text", ["1,2,3", "1,2,3,4,5", "1.5,2,3,4", "a", "1 2 3 4", "1,2,3,٣"])
def test_what_is_not_a_box(text: str) -> None:
    with pytest.raises(InputError, match=r"The `box` is .* four whole numbers were expected"):
        parse_box(text)


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((0, 0, 0, 5), "is 0,0,0,5 and so holds no pixel"),
        ((0, 0, 5, -1), "holds no pixel"),
        ((-1, 0, 5, 5), "is -1,0,5,5 and reaches beyond the image, which has 30 x 40 pixels"),
        ((26, 0, 5, 5), "reaches beyond"),
        ((0, 36, 5, 5), "reaches beyond"),
        ((0, 0, 5), "four integers were expected"),
        ((0, 0, 5.5, 5), "four integers were expected"),
    ],
)
def test_boxes_that_do_not_fit(box: tuple, words: str) -> None:
    with pytest.raises(InputError, match=f"The box of the image 'a.png' .*{words}"):
        crop(Image.new("RGB", (30, 40)), box, name="a.png")

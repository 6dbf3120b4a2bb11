"""Every folder is walked in one way, and nothing in it is left out without a word."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import fakes
import pytest

from vireid.commands.search import _queries
from vireid.data import load_dataset
from vireid.data.inspect import inspect
from vireid.data.listing import IMAGE_ENDINGS, walk
from vireid.embed.sources import read_source
from vireid.types import InputError, Modality


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def by_embed(root: Path) -> tuple[list[str], str]:
    found = read_source(root, modality=Modality.VISIBLE)
    return found.paths, "\n".join(found.notes)


def by_search(root: Path) -> tuple[list[str], str]:
    return [str(path) for path in _queries((), root)], "\n".join(walk(root).notes())


DOORS = (by_embed, by_search)


def relative(root: Path, paths: list[str]) -> list[str]:
    return [Path(path).relative_to(root).as_posix() for path in paths]


@pytest.mark.parametrize("door", DOORS)
def test_linked_folders_are_read_once(door: Callable, tmp_path: Path) -> None:
    root = tmp_path / "farm"
    touch(tmp_path, "disk2/0002/a.jpg", "farm/0001/a.jpg", "other/deep/c.jpg")
    os.symlink("../disk2/0002", root / "0002")
    os.symlink("../disk2/0002", root / "0003")  # the same again
    os.symlink("0001", root / "0000")  # of a folder that is there anyway
    os.symlink("..", root / "0001" / "up")  # a loop
    os.symlink("self", root / "self")
    os.symlink(tmp_path / "other", root / "x")
    paths, notes = door(root)
    assert relative(root, paths) == ["0001/a.jpg", "0002/a.jpg", "x/deep/c.jpg"]
    assert "folders that a link leads to again, and are read once (3), such as '0000'" in notes
    os.symlink(root, tmp_path / "link")  # the top folder itself
    assert relative(tmp_path / "link", door(tmp_path / "link")[0]) == relative(root, paths)


@pytest.mark.parametrize("door", DOORS)
def test_what_is_passed_over_is_named(door: Callable, tmp_path: Path) -> None:
    touch(
        tmp_path, "a/1.JPG", "a/@eaDir/1.JPG/thumb.jpg", ".ipynb_checkpoints/1.jpg", "a/._1.jpg",
        "a/Thumbs.db", "__MACOSX/1.jpg", "#recycle/2.jpg", "b/phone.HEIC", "b/raw.dng",
        ".vireid/x.png", "note.txt", "b/.2.jpg.icloud", "b/3.PNG.crdownload", "b/3.txt.part",
        "b/4.jpg~", "b/4.JPG_original", "b/4.txt~", "b/5.heic.gz", "b/day.zip", "b/WALK.MP4",
    )  # fmt: skip
    os.symlink("gone.jpg", tmp_path / "b" / "dangling.jpg")
    os.symlink("/gone/0001", tmp_path / "c")
    paths, notes = door(tmp_path)
    assert relative(tmp_path, paths) == ["a/1.JPG"]
    for note in (
        "hidden or system folders (4), such as '#recycle'",
        "images of a kind that isn't read (2), such as 'b/phone.HEIC'",
        "links that lead nowhere (2), such as 'b/dangling.jpg'",
        "placeholders and unfinished downloads of images (2), such as 'b/.2.jpg.icloud'",
        "copies and compressed files of images (3), such as 'b/4.JPG_original'",
        "videos and archives, which aren't opened (2), such as 'b/WALK.MP4'",
    ):
        assert note in notes
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(InputError, match=r"no image.*such as 'b/phone.HEIC'"):
        door(tmp_path)
    with pytest.raises(InputError, match="There is no"):
        door(tmp_path / "gone")


def test_every_ending_that_is_read_is_decoded(tmp_path: Path) -> None:
    from vireid.data.decoding import read_image

    image, read = fakes.image(1, False, 0), 0
    for ending in IMAGE_ENDINGS:
        path = tmp_path / f"a{ending.upper()}"
        try:
            (image.convert("L") if ending in (".pgm", ".pbm") else image).save(path)
        except (ValueError, OSError, KeyError):  # this Pillow can't write it
            continue
        assert read_image(path).size == image.size
        read += 1
    assert read >= 16
    assert relative(tmp_path, [str(tmp_path / p) for p in walk(tmp_path).images])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the rights of others")
def test_a_folder_that_may_not_be_read(tmp_path: Path) -> None:
    touch(tmp_path, "a/1.jpg", "closed/2.jpg")
    (tmp_path / "closed").chmod(0)
    for door in DOORS:
        with pytest.raises(InputError, match="cannot be read"):
            door(tmp_path)


# ---- data sets


def notes_of(name: str, root: Path) -> str:
    notes = "\n".join(load_dataset(name, root).notes)
    assert all(note in inspect(name, root, pixels=False)["notes"] for note in notes.splitlines())
    return notes


def test_images_that_a_data_set_does_not_take(tmp_path: Path) -> None:
    sysu = fakes.make_sysu(tmp_path / "sysu", train=2, val=0, test=2, images=1)
    assert "Left out" not in notes_of("sysu", sysu)
    touch(sysu, "cam1/0001/more/9.jpg", "cam7/0001/1.jpg", "cam1/stray.jpg", "cam1/0001/x.heic")
    notes = notes_of("sysu", sysu)
    assert "images outside cam1 to cam6/PID/* (3)" in notes
    assert "(3), such as 'cam1/0001/more/9.jpg'" in notes and "'cam1/0001/x.heic'" in notes
    fakes.write_ids(sysu / "exp" / "test_id.txt", [3])  # the others have a note of their own
    assert "cam1 to cam6/PID/* (3)" in notes_of("sysu", sysu)
    regdb = fakes.make_regdb(tmp_path / "regdb", identities=4, images=1)
    touch(regdb, "Visible/1/new.bmp")
    assert "images outside the lists in idx/ (1)" in notes_of("regdb", regdb)
    llcm = fakes.make_llcm(tmp_path / "llcm", train=4, test=4, images=1)
    touch(llcm, "vis/0001/new.jpg")
    assert "such as 'vis/0001/new.jpg'" in notes_of("llcm", llcm)


def test_nested_and_misspelled_folders_of_ones_own(tmp_path: Path) -> None:
    own = fakes.make_folder(tmp_path / "own", identities=3, images=1)
    touch(own, "visible/person01/cam2/1.jpg", "Infra-Red/person01/1.jpg")
    notes = notes_of("folder", own)
    assert "images outside visible/PID/* and infrared/PID/* (2)" in notes
    nested = tmp_path / "nested"
    for pid in ("0001", "0002"):
        touch(nested, f"visible/{pid}/cam1/1.jpg", f"infrared/{pid}/cam3/1.jpg")
    with pytest.raises(
        InputError, match=r"images elsewhere .4., such as 'infrared/0001/cam3/1.jpg'"
    ):
        load_dataset("folder", nested)
    rows = ["path,pid,modality"]
    rows += [f"{v}/person0{n}/c{c}_0.png,{n},{v}" for n in (1, 2) for v, c in (("visible", 1),
             ("infrared", 3))]  # fmt: skip
    (own / "samples.csv").write_text("\n".join(rows))
    assert "images outside samples.csv (10)" in notes_of("folder", own)
    assert "Left out" not in notes_of("folder", own / "samples.csv")  # nobody named the folder


def test_linked_folders_of_a_data_set_are_not_counted_twice(tmp_path: Path) -> None:
    own = fakes.make_folder(tmp_path / "own", identities=3, images=1)
    (own / "visible" / "person02").rename(own / "disk2")
    os.symlink("../disk2", own / "visible" / "person02")
    (own / "infrared").rename(tmp_path / "elsewhere")
    os.symlink("../elsewhere", own / "infrared")
    assert len(load_dataset("folder", own)) == 12
    assert "Left out" not in notes_of("folder", own)
    touch(own, "disk2/more.png")  # which the link shows too
    assert len(load_dataset("folder", own)) == 13 and "Left out" not in notes_of("folder", own)


@pytest.mark.parametrize(("name", "camera", "count"), [("sysu", "cam2", 6), ("llcm", "cam9", 9)])
def test_absent_cameras_are_named(tmp_path: Path, name: str, camera: str, count: int) -> None:
    root = tmp_path / name
    (fakes.make_sysu if name == "sysu" else fakes.make_llcm)(root)
    assert "has no image of" not in notes_of(name, root)
    held = root / camera if name == "sysu" else root / "test_vis" / camera
    shutil.rmtree(held)
    shutil.rmtree(root / "test_nir" / camera, ignore_errors=True)
    where = "this copy" if name == "sysu" else "the test"
    expected = f"has {count} cameras; {where} has no image of {camera[3:]}, so numbers"
    assert expected in notes_of(name, root)
    dataset = load_dataset(name, root)
    assert replace(dataset).notes == dataset.notes


def test_a_camera_pattern_that_finds_nothing(tmp_path: Path) -> None:
    touch(tmp_path, "a_c1.jpg", "b_c2.jpg", "c_cam.jpg")
    found = read_source(tmp_path, modality=Modality.VISIBLE, camera_pattern=r"_c(\d)")
    assert found.camids.tolist() == [1, 2, -1]
    assert f"finds nothing in 1 of 3 paths, such as '{tmp_path}/c_cam.jpg'" in found.notes[0]

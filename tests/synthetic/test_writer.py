"""Folders: formats, determinism, interruption, refusals."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from vireid.data import load_dataset
from vireid.synthetic import write_dataset
from vireid.synthetic.parameters import MARKER
from vireid.types import InputError, Modality

SMALL = {"identities": 3, "images": 1, "seed": 3, "progress": False}


def contents(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def sysu(tmp_path_factory):
    out = tmp_path_factory.mktemp("sets") / "sysu"
    summary = write_dataset(out, workers=1, masks=True, **SMALL)
    assert (summary.num_images, summary.num_identities, summary.resumed) == (18, 3, False)
    return out


def test_two_workers_change_no_byte(sysu, tmp_path):
    write_dataset(tmp_path / "two", workers=2, masks=True, **SMALL)
    assert contents(tmp_path / "two") == contents(sysu)


def test_sixteen_workers_change_no_byte(tmp_path):
    """More people than workers, so that all of them have work."""
    parameters = {**SMALL, "identities": 18, "layout": "regdb", "masks": True}
    write_dataset(tmp_path / "one", workers=1, **parameters)
    write_dataset(tmp_path / "many", workers=16, **parameters)
    assert contents(tmp_path / "many") == contents(tmp_path / "one")


def test_damaged_and_missing_files_are_made_again(sysu, tmp_path):
    out = tmp_path / "again"
    write_dataset(out, workers=1, masks=True, **SMALL)
    (out / "cam1/0001/0001.jpg").unlink()
    broken = out / "cam6/0003/0001.jpg"
    broken.write_bytes(broken.read_bytes()[:200])
    (out / "exp/train_id.txt").unlink()
    kept = out / "cam2/0001/0001.jpg"
    before = kept.stat().st_mtime_ns
    again = write_dataset(out, workers=1, masks=True, **SMALL)
    assert again.resumed and again.num_drawn == 2
    assert contents(out) == contents(sysu)
    assert kept.stat().st_mtime_ns == before


def test_killed_and_continued_gives_the_same_bytes(tmp_path):
    parameters = {**SMALL, "identities": 6}
    out = tmp_path / "killed"
    code = (
        "from vireid.synthetic import write_dataset\n"
        f"write_dataset({str(out)!r}, workers=2, **{parameters})"
    )
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 120
    while not list(out.glob("cam*/*/*.jpg")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not json.loads((out / MARKER).read_text())["complete"]
    assert write_dataset(out, workers=2, **parameters).resumed
    write_dataset(tmp_path / "whole", workers=1, **parameters)
    assert contents(out) == contents(tmp_path / "whole")


STRIKE = """
import multiprocessing, os, signal, sys, threading, time
from vireid.synthetic import write_dataset
from vireid.types import InputError

def strike():
    while not multiprocessing.active_children():
        time.sleep(0.01)
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)

threading.Thread(target=strike, daemon=True).start()
try:
    write_dataset(sys.argv[1], identities=8, images=2, workers=2, progress=False)
except InputError as error:
    print(error)
"""


def test_a_killed_worker_is_a_sentence(tmp_path):
    command = [sys.executable, "-c", STRIKE, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert "A worker process was killed" in done.stdout, done.stderr
    assert "it continues where it stopped" in done.stdout


def test_sysu_layout_is_exact(sysu):
    ids = {name: (sysu / f"exp/{name}_id.txt").read_text() for name in ("train", "val", "test")}
    assert ids == {"train": "1\n", "val": "\n", "test": "2,3\n"}
    images = sorted(str(p.relative_to(sysu)) for p in sysu.glob("cam*/*/*"))
    assert images == sorted(f"cam{c}/{p:04d}/0001.jpg" for c in range(1, 7) for p in (1, 2, 3))
    assert {p.suffix for p in sysu.rglob("masks/*/*/*")} == {".png"}
    dataset = load_dataset("sysu", sysu)
    assert (len(dataset.parts["train"]), len(dataset.parts["test"])) == (6, 12)
    modality = {s.camid: s.modality for s in dataset.samples}
    assert [c for c in modality if modality[c] is Modality.INFRARED] == [3, 6]


def test_side_tables(sysu):
    with open(sysu / "attributes.csv", newline="") as file:
        people = list(csv.DictReader(file))
    with open(sysu / "images.csv", newline="") as file:
        images = list(csv.DictReader(file))
    assert [row["pid"] for row in people] == ["1", "2", "3"]
    assert all(1.45 <= float(row["stature"]) <= 2.05 for row in people)
    assert len(images) == 18
    for row in images:
        image = cv2.imread(str(sysu / row["path"]))
        assert image.shape[:2] == (int(row["height"]), int(row["height"]) // 2)
        assert {"camera_height", "camera_distance", "camera_pan", "yaw", "scene"} <= set(row)


def test_regdb_layout(tmp_path):
    out = tmp_path / "regdb"
    write_dataset(out, layout="RegDB", workers=1, **{**SMALL, "identities": 4, "images": 2})
    for trial in range(1, 11):
        halves = []
        for part in ("train", "test"):
            lists = [(out / f"idx/{part}_{kind}_{trial}.txt").read_text().splitlines()
                     for kind in ("visible", "thermal")]  # fmt: skip
            for lines, kind in zip(lists, ("Visible", "Thermal")):
                assert all(re.fullmatch(rf"{kind}/\d+/\w+\.bmp \d+", line) for line in lines)
                assert sorted({int(line.split()[1]) for line in lines}) == [0, 1]
            halves.append({line.split("/")[1] for line in lists[0]})
        assert not halves[0] & halves[1]
        assert len(halves[0]) == len(halves[1]) == 2
        load_dataset("regdb", out, trial=trial)
    image = cv2.imread(str(next(out.glob("Thermal/1/*.bmp"))))
    assert image.shape == (128, 64, 3)
    assert (image == image[..., :1]).all()


def test_llcm_layout(tmp_path):
    out = tmp_path / "llcm"
    write_dataset(out, layout="llcm", workers=1, **SMALL)
    train = (out / "idx/train_vis.txt").read_text().splitlines()
    assert train[0].startswith("vis/0001/0001_c01_")
    assert len(train) == 9
    assert len((out / "idx/train_nir.txt").read_text().splitlines()) == 8
    assert (out / "idx/test_id.txt").read_text() == "2,3\n"
    assert {p.name for p in (out / "test_vis").iterdir()} == {f"cam{c}" for c in range(1, 10)}
    assert not (out / "test_nir/cam3").exists()
    dataset = load_dataset("llcm", out)
    assert len(dataset.parts["train"]) == 17
    assert len(dataset.parts["test"]) == 34


def test_without_person_has_the_same_files(sysu, tmp_path):
    write_dataset(tmp_path / "empty", workers=1, without_person=True, **SMALL)
    images = {p for p in contents(tmp_path / "empty") if p.endswith(".jpg")}
    assert images == {p for p in contents(sysu) if p.endswith(".jpg")}
    a = cv2.imread(str(sysu / "cam4/0001/0001.jpg"))
    b = cv2.imread(str(tmp_path / "empty/cam4/0001/0001.jpg"))
    assert a.shape == b.shape
    assert np.abs(a.astype(int) - b).mean() > 3


def test_foreign_folders_are_left_alone(sysu, tmp_path):
    foreign = tmp_path / "photos"
    foreign.mkdir()
    (foreign / "holiday.jpg").write_bytes(b"x")
    with pytest.raises(InputError, match="is not empty and was not made by this command"):
        write_dataset(foreign, **SMALL)
    assert [p.name for p in foreign.iterdir()] == ["holiday.jpg"]
    with pytest.raises(InputError, match="is a file; a folder"):
        write_dataset(foreign / "holiday.jpg", **SMALL)
    with pytest.raises(InputError, match=r"other parameters .*seed 3 instead of 4"):
        write_dataset(sysu, masks=True, **{**SMALL, "seed": 4})


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"identities": 2}, "`identities` is 2; at least 3"),
        ({"identities": 10_000}, "at most 9999"),
        ({"test_identities": 3}, "`test_identities` is 3 of 3"),
        ({"test_identities": 0}, "`test_identities` is 0"),
        ({"images": 0}, "`images` is 0"),
        ({"seed": -1}, "`seed` is -1"),
        ({"seed": 10**9 + 1}, "reserved for the VIReID-Synth releases"),
        ({"seed": 999_999_937}, "`seed` is 999999937; its people are the passers-by"),
        ({"workers": 0}, "`workers` is 0"),
        ({"layout": "market"}, "layout 'market'. Valid: sysu, regdb, llcm"),
        ({"preset": "hrad"}, "Did you mean 'hard'"),
        ({"version": 2}, "`version` is 2; this generator draws 1."),
    ],
)
def test_bad_parameters_are_sentences_and_write_nothing(change, sentence, tmp_path):
    with pytest.raises(InputError, match=re.escape(sentence)):
        write_dataset(tmp_path / "out", **{**SMALL, **change})
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("identities", "test", "sizes"),
    [
        (3, None, (1, 0, 2)),
        (10, None, (7, 1, 2)),
        (600, 80, (434, 86, 80)),
        (491, 96, (330, 65, 96)),
    ],
)
def test_split_sizes(identities, test, sizes):
    from vireid.synthetic.parameters import checked_parameters

    split = checked_parameters("sysu", identities, test, 1, 0, "standard", False, False).split
    assert (len(split.train), len(split.val), len(split.test)) == sizes
    assert split.all == tuple(range(1, identities + 1))

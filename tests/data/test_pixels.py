"""Decoded pixels equal Pillow's, are kept under the folder's content, and are whole or absent."""

from __future__ import annotations

import csv
import errno
import io
import os
import subprocess
import sys
import zlib
from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from vireid.data import decode, load_dataset, prepare, training_rows, trials, without
from vireid.data.decode_pool import decode_into
from vireid.data.protocol import ProtocolOptions
from vireid.types import InputError


def pillow(path: Path, size=(288, 144)) -> np.ndarray:
    """The published preprocessing, with Pillow's present names."""
    image = Image.open(path).convert("RGB")
    return np.array(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp", "webp"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P"])
def test_decoding_equals_pillow(tmp_path, ending, mode):
    path = tmp_path / f"a.{ending}"
    image = fakes.image(1, False, 0, (301, 97)).convert(mode)
    (image if (mode, ending) not in {("P", "jpg"), ("P", "webp")} else image.convert("RGB")).save(
        path
    )
    assert np.array_equal(decode(path, (288, 144)), pillow(path))


def test_every_row_is_its_image(sysu_root):
    dataset = load_dataset("sysu", sysu_root)
    store = prepare(dataset, size=(40, 20))
    assert store.images.shape == (144, 40, 20, 3) and store.images.dtype == np.uint8
    assert not store.images.flags.writeable
    assert store.valid.all() and store.broken == [] and store.size == (40, 20)
    for row in range(0, 144, 7):
        expected = pillow(sysu_root / dataset.samples[row].path, (40, 20))
        assert np.array_equal(store.images[row], expected)
    assert store.path.parent == sysu_root / ".vireid"
    with store.path.with_suffix(".csv").open() as file:
        table = list(csv.DictReader(file))
    assert table[5] == {
        "path": dataset.samples[5].path,
        "pid": str(dataset.samples[5].pid),
        "camid": str(dataset.samples[5].camid),
        "modality": "visible",
        "crc32": f"{zlib.crc32(store.images[5].tobytes()):08x}",
        "valid": "1",
    }


def test_a_flipped_bit_is_noticed_when_its_image_is_read(sysu_root, tmp_path):
    dataset = load_dataset("sysu", sysu_root)
    path = prepare(dataset, size=(8, 4), cache=tmp_path).path
    content = bytearray(path.read_bytes())
    content[-1 - 2 * 96] ^= 1  # of the third image from the end
    path.write_bytes(content)
    store, rows = prepare(dataset, size=(8, 4), cache=tmp_path), np.arange(144)
    store.check(np.delete(rows, 141))
    assert [*store.unchecked] == [141]
    with pytest.raises(InputError, match=r"are damaged: 1 image has changed, the first in row 141"):
        store.check(rows)
    table = path.with_suffix(".csv")
    with table.open() as file:  # as earlier versions wrote it
        text = "".join(f"{row['path']},{row['valid']}\n" for row in csv.DictReader(file))
    table.write_text("path,valid\n" + text)
    prepare(dataset, size=(8, 4), cache=tmp_path).check(rows)


def test_any_number_of_processes_makes_the_same_file(sysu_root, tmp_path):
    dataset = load_dataset("sysu", sysu_root)
    stores = [prepare(dataset, size=(24, 12), cache=tmp_path / str(n), workers=n) for n in (1, 3)]
    assert np.array_equal(stores[0].images, stores[1].images)
    assert stores[0].path.read_bytes() == stores[1].path.read_bytes()
    assert sorted(p.suffix for p in (tmp_path / "3").glob("[!.]*")) == [".csv", ".npy"]


def test_a_changed_folder_is_noticed(tmp_path):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2, images=1)
    first = prepare(load_dataset("sysu", root), size=(8, 4))
    stamp = first.path.stat().st_mtime_ns
    again = prepare(load_dataset("sysu", root), size=(8, 4))
    assert again.key == first.key and again.path.stat().st_mtime_ns == stamp
    fakes.save(root / "cam1" / "0001" / "0001.jpg", 77, False, 0)
    changed = prepare(load_dataset("sysu", root), size=(8, 4))
    assert changed.key != first.key
    row = [s.path for s in load_dataset("sysu", root).samples].index("cam1/0001/0001.jpg")
    assert not np.array_equal(changed.images[row], first.images[row])
    assert prepare(load_dataset("sysu", root), size=(10, 4)).key != changed.key
    fakes.save(root / "cam1" / "0001" / "0002.jpg", 1, False, 0)
    assert prepare(load_dataset("sysu", root), size=(8, 4)).key != changed.key


def break_image(root: Path, name: str = "cam3/0001/0001.jpg") -> str:
    path = root / name
    path.write_bytes(path.read_bytes()[:300])
    return name


@pytest.mark.parametrize("workers", [1, 2])
def test_a_truncated_image_is_named_or_skipped(tmp_path, workers):
    root = fakes.make_sysu(tmp_path)
    name = break_image(root)
    dataset = load_dataset("sysu", root)
    with pytest.raises(InputError, match=rf"{name}.*`skip_broken`"):
        prepare(dataset, size=(8, 4), workers=workers)
    assert [p.name for p in (root / ".vireid").iterdir()] == [".lock"]  # nothing half-made stays
    store = prepare(dataset, size=(8, 4), workers=workers, skip_broken=True)
    assert store.broken == [name] and store.valid.sum() == len(dataset) - 1
    with pytest.raises(InputError, match=name):
        prepare(dataset, size=(8, 4))
    assert prepare(dataset, size=(8, 4), skip_broken=True).broken == [name]


def test_skipped_images_are_in_no_part(tmp_path):
    root = fakes.make_sysu(tmp_path, train=3, val=0, test=2, images=1)
    names = [
        break_image(root, n)
        for n in (
            "cam3/0001/0001.jpg",
            "cam6/0001/0001.jpg",
            "cam1/0004/0001.jpg",
            "cam3/0005/0001.jpg",
        )
    ]
    dataset = load_dataset("sysu", root)
    store = prepare(dataset, size=(8, 4), skip_broken=True)
    assert store.broken == sorted(names)
    cleaned = without(dataset, store.valid)
    assert len(training_rows(cleaned).pids) == 2  # identity 1 has no infrared image any more
    trial = trials(cleaned, ProtocolOptions())[0]
    assert len(trial.query) == 3 and len(trial.gallery) == 7
    assert store.valid[trial.query].all() and store.valid[trial.gallery].all()
    assert "4 broken images" in cleaned.notes[-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"no image", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"BM" + b"\1" * 60],
)
def test_files_that_are_no_images(tmp_path, content):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.jpg' can't be read"):
        decode(path, (8, 4))


def test_sixteen_bits_and_missing_files(tmp_path):
    Image.fromarray(np.full((9, 9), 4000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(InputError, match="more than 8 bits"):
        decode(tmp_path / "deep.png", (8, 4))
    with pytest.raises(InputError, match="There is no image"):
        decode(tmp_path / "gone.png", (8, 4))
    with pytest.raises(InputError, match=r"is a folder\. Name an image in it"):
        decode(tmp_path, (8, 4))


def test_a_root_that_cannot_be_written_uses_the_cache_folder(tmp_path, monkeypatch):
    root = fakes.make_sysu(tmp_path / "data", train=2, val=0, test=2, images=1)
    (root / ".vireid").write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    store = prepare(load_dataset("sysu", root), size=(8, 4))
    assert store.path.is_relative_to(tmp_path / "cache" / "vireid")
    (tmp_path / "blocked").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "blocked"))
    with pytest.raises(InputError, match="no folder to write decoded images to"):
        prepare(load_dataset("sysu", root), size=(8, 4))


def test_no_room_on_the_disk(sysu_root, tmp_path):
    dataset = load_dataset("sysu", sysu_root)
    with pytest.raises(InputError, match=r"need .* GiB .* are free"):
        prepare(dataset, size=(200_000, 200_000), cache=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_several_processes_prepare_once(tmp_path):
    root = fakes.make_sysu(tmp_path / "sysu")
    (root / ".vireid").mkdir()
    script = (
        "from vireid.data import load_dataset, prepare\n"
        f"store = prepare(load_dataset('sysu', {str(root)!r}), size=(64, 32), workers=1)\n"
        "print(store.path.stat().st_ino)\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    assert len({process.communicate()[0] for process in started}) == 1  # one file, made once


def test_what_a_killed_process_left_is_removed_and_old_states_are_named(tmp_path, caplog):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2, images=1)
    first = prepare(load_dataset("sysu", root), size=(8, 4))
    left = first.path.with_name(f".{first.path.name}.abc")
    left.write_bytes(b"half")
    first.path.unlink()
    prepare(load_dataset("sysu", root), size=(8, 4))
    assert not left.exists()
    fakes.save(root / "cam1" / "0001" / "0009.jpg", 1, False, 0)
    prepare(load_dataset("sysu", root), size=(8, 4))
    assert first.path.name in caplog.text and "may be deleted" in caplog.text


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked so")
def test_what_another_process_may_be_writing_stays(tmp_path, monkeypatch):
    """On a file system without locks nobody knows whose it is."""
    import fcntl

    def no_locks(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2, images=1)
    first = prepare(load_dataset("sysu", root), size=(8, 4))
    half = first.path.with_name(f".{first.path.name}.abc")
    half.write_bytes(b"half")
    first.path.unlink()
    monkeypatch.setattr(fcntl, "flock", no_locks)
    assert prepare(load_dataset("sysu", root), size=(8, 4)).path.is_file()
    assert half.read_bytes() == b"half"


def test_a_damaged_store_is_named(tmp_path):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2, images=1)
    dataset = load_dataset("sysu", root)
    store = prepare(dataset, size=(8, 4))
    os.truncate(store.path, 200)
    with pytest.raises(InputError, match=r"can't be used \(.* it is cut short \(200 of "):
        prepare(dataset, size=(8, 4))
    store.path.unlink()
    assert np.array_equal(
        prepare(dataset, size=(8, 4)).images[0], decode(root / dataset.samples[0].path, (8, 4))
    )


def test_decoding_in_processes_needs_no_guarded_main_module(tmp_path, sysu_root):
    """Unlike multiprocessing, which would import this script again in every worker."""
    script = tmp_path / "script.py"
    script.write_text(
        "from vireid.data import load_dataset, prepare\n"
        f"store = prepare(load_dataset('sysu', {str(sysu_root)!r}), size=(8, 4),"
        f" cache={str(tmp_path)!r}, workers=2)\n"
        "print(store.images.shape)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True)
    assert done.stdout == "(144, 8, 4, 3)\n"


@pytest.mark.parametrize(("script", "code"), [("exit 1", "1"), ("echo hello; sleep 60", "-9")])
def test_a_worker_that_dies_or_babbles_is_an_error(sysu_root, tmp_path, monkeypatch, script, code):
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(InputError, match=f"that decodes images ended with code {code} "):
        prepare(load_dataset("sysu", sysu_root), size=(8, 4), cache=tmp_path / "c", workers=2)
    assert [p.name for p in (tmp_path / "c").iterdir()] == [".lock"]


def test_decoding_into_plain_memory(sysu_root):
    dataset = load_dataset("sysu", sysu_root)
    out = np.zeros((4, 8, 4, 3), np.uint8)
    paths = [sysu_root / sample.path for sample in dataset.samples[:2]] + [sysu_root / "no.jpg"]
    answers = dict(decode_into(out, paths, [3, 0, 1], workers=2))
    assert answers[0] is None and "no.jpg" in answers[2]
    assert np.array_equal(out[3], decode(paths[0], (8, 4)))


def test_jpeg_of_every_subsampling_equals_pillow(tmp_path):
    for subsampling in range(3):
        buffer = io.BytesIO()
        fakes.image(3, False, 1, (257, 131)).save(
            buffer, "JPEG", subsampling=subsampling, progressive=subsampling == 1
        )
        path = tmp_path / f"{subsampling}.jpg"
        path.write_bytes(buffer.getvalue())
        assert np.array_equal(decode(path, (288, 144)), pillow(path))

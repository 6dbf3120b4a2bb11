"""The published .npy files: written as the published preprocessing does, read back, refused."""

from __future__ import annotations

from pathlib import Path

import fakes
import numpy as np
import pytest
from PIL import Image

from vireid.data import load_dataset, prepare, training_rows, write_published_npy
from vireid.types import InputError, Modality

WORDS = {Modality.VISIBLE: "rgb", Modality.INFRARED: "ir"}


def reference(root: Path) -> dict[str, np.ndarray]:
    """What the published script makes, as SYSTEM-level facts say: identities sorted, cameras in
    order, files sorted; labels from 0; camera number minus 1; Pillow's Lanczos at 288x144."""
    ids = []
    for name in ("train", "val"):
        ids += [int(x) for x in (root / "exp" / f"{name}_id.txt").read_text().split(",")]
    out = {}
    for word, cameras in (("rgb", (1, 2, 4, 5)), ("ir", (3, 6))):
        images, labels, camids = [], [], []
        for label, pid in enumerate(sorted(ids)):
            for camid in cameras:
                for file in sorted((root / f"cam{camid}" / f"{pid:04d}").iterdir()):
                    image = Image.open(file).resize((144, 288), Image.Resampling.LANCZOS)
                    images.append(np.array(image))
                    labels.append(label)
                    camids.append(camid - 1)
        out[f"{word}_resized_img"] = np.array(images)
        out[f"{word}_resized_label"] = np.array(labels)
        out[f"{word}_resized_camid"] = np.array(camids)
    return out


def write(root: Path, target: Path, **options) -> list[Path]:
    target.mkdir(exist_ok=True)
    dataset = load_dataset("sysu", root)
    return write_published_npy(dataset, prepare(dataset, workers=1), target, **options)


@pytest.fixture(scope="module")
def arrays(sysu_root, tmp_path_factory) -> Path:
    """A folder with the six arrays and nothing else."""
    target = tmp_path_factory.mktemp("arrays")
    assert len(write(sysu_root, target)) == 6
    return target


def copy(arrays: Path, target: Path) -> Path:
    for file in arrays.glob("*.npy"):
        (target / file.name).write_bytes(file.read_bytes())
    return target


def test_written_as_published(sysu_root, arrays):
    expected = reference(sysu_root)
    assert {p.stem for p in arrays.iterdir()} == {f"train_{name}" for name in expected}
    for name, array in expected.items():
        written = np.load(arrays / f"train_{name}.npy")
        assert written.dtype == array.dtype and np.array_equal(written, array)


def test_the_arrays_alone_do_for_training(sysu_root, arrays, tmp_path):
    root = copy(arrays, tmp_path)
    dataset = load_dataset("sysu", root)
    assert len(dataset) == 96 and len(dataset.parts["test"]) == 0
    assert any("alone" in note for note in dataset.notes)
    rows = training_rows(dataset)
    assert len(rows.pids) == 8 and set(dataset.camids) == {1, 2, 3, 4, 5, 6}
    store, published = prepare(dataset), reference(sysu_root)
    for modality, word in WORDS.items():
        of = np.flatnonzero(dataset.modality == modality)
        assert np.array_equal(store.images[of], published[f"{word}_resized_img"])
        assert np.array_equal(dataset.pids[of], published[f"{word}_resized_label"])
        assert np.array_equal(dataset.camids[of], published[f"{word}_resized_camid"] + 1)
    with pytest.raises(InputError, match="288x144"):
        prepare(dataset, size=(64, 32))


def test_arrays_beside_the_images_are_the_training_pixels(arrays, tmp_path):
    root = copy(arrays, fakes.make_sysu(tmp_path))
    path = root / "train_rgb_resized_img.npy"
    marked = np.load(path)
    marked[0] = 17  # identity 1, camera 1, the first file
    np.save(path, marked)
    dataset = load_dataset("sysu", root)
    store = prepare(dataset)
    assert dataset.samples[0].path == "cam1/0001/0001.jpg"
    assert np.all(store.images[0] == 17)
    assert prepare(dataset, size=(16, 8)).images.shape == (144, 16, 8, 3)  # from the images
    plain = prepare(load_dataset("sysu", fakes.make_sysu(tmp_path / "plain")))
    assert np.array_equal(store.images[1:], plain.images[1:])


def test_arrays_that_do_not_fit_the_images_are_not_used(arrays, tmp_path):
    root = copy(arrays, fakes.make_sysu(tmp_path, images=1))
    dataset = load_dataset("sysu", root)
    assert not dataset.pixel_files and any("not used" in note for note in dataset.notes)


def test_an_identity_in_one_array_only_is_left_out(arrays, tmp_path):
    root = copy(arrays, tmp_path)
    labels = np.load(root / "train_ir_resized_label.npy")
    np.save(root / "train_ir_resized_label.npy", np.where(labels == 3, 2, labels))
    dataset = load_dataset("sysu", root)
    assert 3 not in dataset.pids[dataset.parts["train"]]
    assert any("one modality only" in note for note in dataset.notes)


def test_without_camera_numbers(sysu_root, tmp_path):
    assert len(write(sysu_root, tmp_path, camids=False)) == 4
    dataset = load_dataset("sysu", tmp_path)
    assert set(dataset.camids) == {-1}
    assert any("no camera numbers" in note for note in dataset.notes)
    assert len(training_rows(dataset).camids) == 2


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("rgb_resized_label", np.zeros(3, np.int64), "48|64 whole numbers"),
        ("ir_resized_label", np.zeros(32, np.float32), "whole numbers"),
        ("ir_resized_camid", -np.ones(32, np.int64), "whole numbers"),
        ("rgb_resized_img", np.zeros((64, 8, 8), np.uint8), "images"),
        ("rgb_resized_img", np.zeros((64, 8, 8, 3), np.float32), "images"),
    ],
)
def test_damaged_arrays(arrays, tmp_path, name, array, message):
    root = copy(arrays, tmp_path)
    np.save(root / f"train_{name}.npy", array)
    with pytest.raises(InputError, match=message):
        load_dataset("sysu", root)
    (root / f"train_{name}.npy").write_bytes(b"\x93NUMPY junk")
    with pytest.raises(InputError, match="not a readable NumPy array"):
        load_dataset("sysu", root)


def test_what_cannot_be_written(folder_root, tmp_path):
    dataset = load_dataset("folder", folder_root)
    store = prepare(dataset, size=(8, 4))
    with pytest.raises(InputError, match="turn `camids` off"):
        write_published_npy(dataset, store, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(write_published_npy(dataset, store, tmp_path, camids=False)) == 4

"""The arrays that the published preprocessing writes: `train_{rgb,ir}_resized_*.npy`.

Images are in the order identity, camera, file; labels number the identities from 0, camids are
the camera number minus 1.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vireid.data.arrays import map_array
from vireid.data.facts import DatasetFacts
from vireid.data.protocol import Dataset, PixelFile, make_parts, training_rows
from vireid.files import atomic_write
from vireid.types import InputError, Modality, Sample

if TYPE_CHECKING:
    from vireid.data.pixels import PixelStore

_PREFIX = {Modality.VISIBLE: "train_rgb_resized", Modality.INFRARED: "train_ir_resized"}


def _file(root: Path, modality: Modality, what: str) -> Path:
    return root / f"{_PREFIX[modality]}_{what}.npy"


def exist(root: Path) -> bool:
    """Whether images and labels of both modalities are there."""
    return all(_file(root, m, what).is_file() for m in Modality for what in ("img", "label"))


def load(root: Path, facts: DatasetFacts) -> Dataset:
    """A data set for training from the arrays alone; it has no identities to test on.

    Identities are the arrays' labels, since the arrays don't say which folders they came from.

    Raises:
        InputError: the arrays disagree or are damaged.
    """
    samples: list[Sample] = []
    rows, files = [], []
    with_cameras = all(_file(root, modality, "camid").is_file() for modality in Modality)
    for modality in Modality:
        labels, camids, _ = _read(root, modality)
        start = len(samples)
        name = _file(root, modality, "img").name
        samples += [
            Sample(
                path=f"{name}#{row:06d}",
                pid=int(label),
                camid=int(camids[row]) + 1 if with_cameras and camids is not None else -1,
                modality=modality,
            )
            for row, label in enumerate(labels)
        ]
        rows.append(np.arange(start, len(samples)))
        files.append(name)
    order = sorted(range(len(samples)), key=lambda row: samples[row].path)
    position = np.empty(len(samples), dtype=np.int64)
    position[order] = np.arange(len(samples))
    notes = ["Read from the published .npy files alone: there are no identities to test on."]
    if not with_cameras:
        notes.append("The .npy files have no camera numbers (…_camid.npy).")
    ordered = tuple(samples[row] for row in order)
    pids = {sample.pid for sample in samples}
    parts, left_out = make_parts(ordered, {"train": pids, "fit": pids, "val": set(), "test": set()})
    return Dataset(
        facts=dataclasses.replace(facts, published_numbers=False),
        root=root,
        samples=ordered,
        parts=parts,
        notes=(*notes, *left_out),
        pixel_files=tuple(PixelFile(path=f, rows=position[r]) for f, r in zip(files, rows)),
    )


def attach(dataset: Dataset) -> Dataset:
    """Use the arrays beside a data set's images as its training pixels where they fit.

    They fit if they hold as many images of each modality, with the labels and cameras of the
    folders; otherwise a note says that they are not used.
    """
    expected = published_order(dataset)
    labels_of = _labels(dataset)
    files = []
    for modality in Modality:
        labels, camids, _ = _read(dataset.root, modality)
        rows = expected[modality]
        if not np.array_equal(labels, labels_of[rows]) or not (
            camids is None or np.array_equal(camids + 1, dataset.camids[rows])
        ):
            note = (
                f"'{_PREFIX[modality]}_*.npy' does not match the training "
                "images in the folders; the .npy files are not used."
            )
            return dataclasses.replace(dataset, notes=(*dataset.notes, note))
        files.append(PixelFile(path=_file(dataset.root, modality, "img").name, rows=rows))
    note = "Training pixels come from the published .npy files in the folder."
    return dataclasses.replace(dataset, pixel_files=tuple(files), notes=(*dataset.notes, note))


def published_order(dataset: Dataset) -> dict[Modality, np.ndarray]:
    """Training rows of each modality in the arrays' order: identity, camera, path."""
    rows = dataset.parts["train"]
    rows = rows[np.lexsort((rows, dataset.camids[rows], dataset.pids[rows]))]
    return {modality: rows[dataset.modality[rows] == modality] for modality in Modality}


def write_published_npy(
    dataset: Dataset, store: PixelStore, root: str | Path, *, camids: bool = True
) -> list[Path]:
    """Write the arrays as the published preprocessing does.

    Args:
        dataset: SYSU-MM01, or any data set with training identities.
        store: its decoded images.
        root: the folder to write to.
        camids: also write camera numbers (minus 1).

    Returns:
        The files written.

    Raises:
        InputError: no training identities, a broken or changed image among them, camera numbers
            wanted but unknown, or a folder that can't be written.
    """
    root = Path(root)
    training_rows(dataset)  # raises where there are none
    order, labels = published_order(dataset), _labels(dataset)
    for rows in order.values():
        store.check(rows)
        if not np.all(store.valid[rows]):
            broken = dataset.samples[rows[~store.valid[rows]][0]].path
            raise InputError(
                f"The training image '{broken}' is broken; the .npy files would hold a black "
                "image. Restore it, or remove it and prepare again."
            )
        if camids and np.any(dataset.camids[rows] < 0):
            raise InputError(
                f"The data set '{dataset.name}' has no camera numbers. Write the .npy files "
                "without them: turn `camids` off."
            )
    written = []
    for modality, rows in order.items():
        columns = {"label": labels[rows]}
        if camids:
            columns["camid"] = dataset.camids[rows] - 1
        for what, column in columns.items():
            written.append(_file(root, modality, what))
            with atomic_write(written[-1]) as file:
                np.save(file, column)
        written.append(_file(root, modality, "img"))
        with atomic_write(written[-1]) as file:
            shape = (len(rows), *store.images.shape[1:])
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for start in range(0, len(rows), 256):
                file.write(store.images[rows[start : start + 256]].tobytes())
    return written


def _labels(dataset: Dataset) -> np.ndarray:
    """(N,) dense training labels; -1 for images that are not trained on."""
    labels = np.full(len(dataset), -1, dtype=np.int64)
    rows = dataset.parts["train"]
    if len(rows):
        labels[rows] = np.unique(dataset.pids[rows], return_inverse=True)[1]
    return labels


def _read(root: Path, modality: Modality) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
    """Labels, camids (or None) and mapped images of one modality, checked."""
    images = map_array(_file(root, modality, "img"))
    if images.ndim != 4 or images.shape[3] != 3 or images.dtype != np.uint8:
        raise InputError(
            f"'{_file(root, modality, 'img')}' is {images.dtype} of shape {images.shape}; "
            "images (n, height, width, 3) of type uint8 were expected."
        )
    columns: list[np.ndarray | None] = []
    for what in ("label", "camid"):
        path = _file(root, modality, what)
        if what == "camid" and not path.is_file():
            columns.append(None)
            continue
        column = map_array(path)
        fits = column.shape == (len(images),) and column.dtype.kind in "iu"
        if not (fits and np.all((column >= 0) & (column < 10**9))):
            raise InputError(
                f"'{path}' is {column.dtype} of shape {column.shape}; {len(images)} whole numbers "
                "from 0, one per image, were expected. Write the .npy files again with "
                "`vireid prepare`."
            )
        columns.append(column.astype(np.int64))
    labels = columns[0]
    if labels is None or not len(labels):
        raise InputError(
            f"'{_file(root, modality, 'img')}' holds no image. Write the .npy files again with "
            "`vireid prepare`."
        )
    return labels, columns[1], images

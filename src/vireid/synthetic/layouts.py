"""The folders that are written: SYSU-MM01, RegDB and LLCM, in their true formats.

A layout says which shots a person has and what index files the set has; it draws nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from vireid.synthetic.pictures.camera import (
    LLCM_CAMERAS,
    LLCM_NIR_CAMERAS,
    REGDB_CAMERA,
    SYSU_CAMERAS,
    Camera,
)

REGDB_TRIALS = 10


@dataclass(frozen=True, kw_only=True)
class Split:
    """Which identities are for training, validation and testing; pids count from 1, sorted."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    test: tuple[int, ...]

    @property
    def all(self) -> tuple[int, ...]:
        return self.train + self.val + self.test


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One view and the files it becomes.

    Attributes:
        camera: the camera that takes it; number: of the view, from 0.
        files: kind of image ("visible", "nir", "thermal") → path relative to the root.
    """

    camera: Camera
    number: int
    files: dict[str, str]


def split_identities(identities: int, test: int) -> Split:
    """The first identities are for training, then come those for validation (a sixth of what is
    not for testing) and for testing."""
    rest = identities - test
    val = max(1, rest // 6) if rest > 1 else 0
    numbers = tuple(range(1, identities + 1))
    return Split(train=numbers[: rest - val], val=numbers[rest - val : rest], test=numbers[rest:])


def _sysu_shots(pid: int, images: int, split: Split) -> Iterator[Shot]:
    for camera in SYSU_CAMERAS:
        kind = camera.sensor
        for number in range(images):
            yield Shot(
                camera=camera,
                number=number,
                files={kind: f"cam{camera.camid}/{pid:04d}/{number + 1:04d}.jpg"},
            )


def _sysu_index(images: int, split: Split, seed: int) -> dict[str, str]:
    def line(pids: tuple[int, ...]) -> str:
        return ",".join(map(str, pids)) + "\n"

    return {
        "exp/train_id.txt": line(split.train),
        "exp/val_id.txt": line(split.val),
        "exp/test_id.txt": line(split.test),
    }


def _regdb_files(pid: int, number: int) -> dict[str, str]:
    serial = f"{number + 1:05d}_{pid}.bmp"
    return {
        "visible": f"Visible/{pid}/person_v_{serial}",
        "thermal": f"Thermal/{pid}/person_t_{serial}",
    }


def _regdb_shots(pid: int, images: int, split: Split) -> Iterator[Shot]:
    for number in range(images):
        yield Shot(camera=REGDB_CAMERA, number=number, files=_regdb_files(pid, number))


def _regdb_index(images: int, split: Split, seed: int) -> dict[str, str]:
    """Each trial halves the identities at random; labels are dense from 0 within a half."""
    texts: dict[str, str] = {}
    pids = np.array(split.all)
    for trial in range(1, REGDB_TRIALS + 1):
        order = np.random.default_rng([19, seed, trial]).permutation(pids)
        half = len(pids) // 2
        for part, half_pids in (("train", order[:half]), ("test", order[half : 2 * half])):
            for kind in ("visible", "thermal"):
                texts[f"idx/{part}_{kind}_{trial}.txt"] = "".join(
                    f"{_regdb_files(int(pid), number)[kind]} {label}\n"
                    for label, pid in enumerate(sorted(half_pids))
                    for number in range(images)
                )
    return texts


def _llcm_path(pid: int, camid: int, number: int, kind: str, is_test: bool) -> str:
    name = f"{pid:04d}_c{camid:02d}_s{pid:04d}{camid:02d}_f{number + 1:05d}_{kind}.jpg"
    return f"test_{kind}/cam{camid}/{pid:04d}/{name}" if is_test else f"{kind}/{pid:04d}/{name}"


def _llcm_shots(pid: int, images: int, split: Split) -> Iterator[Shot]:
    is_test = pid in split.test
    for kind, cameras in (("vis", LLCM_CAMERAS), ("nir", LLCM_NIR_CAMERAS)):
        for camera in cameras:
            for number in range(images):
                yield Shot(
                    camera=camera,
                    number=number,
                    files={camera.sensor: _llcm_path(pid, camera.camid, number, kind, is_test)},
                )


def _llcm_index(images: int, split: Split, seed: int) -> dict[str, str]:
    """LLCM has no validation list: training lists hold train and val, labelled densely."""
    texts = {"idx/test_id.txt": ",".join(map(str, split.test)) + "\n"}
    for kind, cameras in (("vis", LLCM_CAMERAS), ("nir", LLCM_NIR_CAMERAS)):
        texts[f"idx/train_{kind}.txt"] = "".join(
            f"{_llcm_path(pid, camera.camid, number, kind, False)} {label}\n"
            for label, pid in enumerate(split.train + split.val)
            for camera in cameras
            for number in range(images)
        )
    return texts


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One folder format.

    Attributes:
        title: the data set that it copies.
        shots: (pid, images, split) → the shots of a person.
        index: (images, split, seed) → relative path → text of the index files.
        size: fixed (height, width) of the files, or None for the camera's own.
    """

    title: str
    shots: Callable[[int, int, Split], Iterator[Shot]]
    index: Callable[[int, Split, int], dict[str, str]]
    size: tuple[int, int] | None = None


LAYOUTS: dict[str, Layout] = {
    "sysu": Layout(title="SYSU-MM01", shots=_sysu_shots, index=_sysu_index),
    "regdb": Layout(title="RegDB", shots=_regdb_shots, index=_regdb_index, size=(128, 64)),
    "llcm": Layout(title="LLCM", shots=_llcm_shots, index=_llcm_index),
}

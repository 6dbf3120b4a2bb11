"""VIReID-Synth v1: a frozen data set that anyone can make again from its definition.

395 identities to train on (330 + 65 for validation), 96 to test on, 6 cameras, 12 images each:
35,352 images. Its population has a seed that `write_dataset` refuses, so no weights trained on
generated people have seen its test identities.

    vireid synthesize --v1 --out DIR              make it
    vireid synthesize --v1 --out DIR --verify     compare it with the checksums
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from vireid.synthetic.parameters import SEEDS, Parameters
from vireid.synthetic.writer import Summary, write_parameters
from vireid.types import InputError

V1 = Parameters(
    layout="sysu",
    identities=491,
    test_identities=96,
    images=12,
    seed=SEEDS + 1,
    preset="standard",
    version=1,
)
"""Definition of VIReID-Synth v1; identities 1-330 train, 331-395 validate, 396-491 test."""

CHECKSUMS = Path(__file__).with_name("v1_checksums.txt")
"""One line per folder `camC/PPPP`: its name and 16 hexadecimal digits of a SHA-256."""


def folder_checksum(folder: Path) -> str:
    """16 hexadecimal digits over the names and bytes of a folder's images, sorted."""
    digest = hashlib.sha256()
    for path in sorted(folder.glob("*.jpg")):
        digest.update(f"{path.name}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def folders(parameters: Parameters = V1) -> list[str]:
    """The folders that hold images, as `camC/PPPP`."""
    return [f"cam{c}/{pid:04d}" for c in range(1, 7) for pid in parameters.split.all]


def regenerate_v1(out: str | Path, workers: int | None = None, *, progress: bool = True) -> Summary:
    """Make VIReID-Synth v1, or continue an interrupted call."""
    return write_parameters(Path(out), V1, workers=workers, progress=progress)


def checksums_of(out: str | Path, names: list[str]) -> dict[str, str]:
    """Checksum of each named folder under `out` that exists."""
    root = Path(out)
    return {name: folder_checksum(root / name) for name in names if (root / name).is_dir()}


def read_checksums(path: Path = CHECKSUMS) -> dict[str, str]:
    """Folder → checksum, of the shipped list.

    Raises:
        InputError: this installation has no list.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"There is no checksum list '{path}'. Install a release of vireid, or make the list "
            "with tools/v1_checksums.py on a platform you trust."
        ) from error
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def verify_v1(out: str | Path) -> list[str]:
    """Compare a folder with the checksum list: one line per folder that differs.

    Bytes are equal on the platform that the list was made on. On another processor, or with
    other versions of OpenCV or NumPy, last bits may differ: then at least 99.9 % of the pixels
    are within 2 levels, and results do not depend on it.
    """
    expected = read_checksums()
    actual = checksums_of(out, list(expected))
    return [
        f"{name}: {'bytes differ' if name in actual else 'missing'}"
        for name, value in expected.items()
        if actual.get(name) != value
    ]

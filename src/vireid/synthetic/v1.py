"""VIReID-Synth v1: a frozen data set that anyone can make again from its definition.

395 identities to train on (330 + 65 for validation), 96 to test on, 6 cameras, 12 images each:
35,352 images. Its population has a seed that `write_dataset` refuses, so no weights trained on
generated people have seen its test identities.

    python -m vireid.synthetic.v1 --out DIR              make it and verify it
    python -m vireid.synthetic.v1 --out DIR --verify     only verify
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

from vireid.console import say
from vireid.files import write_text
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
"""One line a folder `camC/PPPP`: its name and 16 hexadecimal digits of a SHA-256."""


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
    """The shipped list.

    Raises:
        InputError: this installation has no list.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        raise InputError(
            f"There is no checksum list '{path}'. Install a release of vireid, or make the list "
            "with --write-checksums on the platform you trust."
        ) from error
    return dict(line.split() for line in lines if line and not line.startswith("#"))


def verify_v1(out: str | Path) -> list[str]:
    """Compare a folder with the checksum list; one line a folder that differs, none if all is
    equal.

    Bytes are equal on the platform that the list was made on. On another processor, or with
    other versions of OpenCV or NumPy, last bits may differ: then at least 99.9 % of the pixels
    are within 2 levels, and results do not depend on it.
    """
    expected = read_checksums()
    found = checksums_of(out, list(expected))
    return [
        f"{name}: {'bytes differ' if name in found else 'missing'}"
        for name, value in expected.items()
        if found.get(name) != value
    ]


def write_checksums(out: str | Path, path: Path = CHECKSUMS) -> None:
    """Write the list from a folder that holds all of v1."""
    import cv2
    import numpy as np

    found = checksums_of(out, folders())
    if len(found) != len(folders()):
        raise InputError(
            f"'{out}' holds {len(found)} of {len(folders())} folders. Make all of v1 first."
        )
    head = (
        "# VIReID-Synth v1, 16 hexadecimal digits of SHA-256 a folder; made with NumPy "
        f"{np.__version__}, OpenCV {cv2.__version__}\n"
    )
    write_text(path, head + "".join(f"{name} {value}\n" for name, value in found.items()))


def main(arguments: list[str] | None = None) -> int:
    """The module's command; 0 if all is well, 1 if a folder differs, 2 on bad input."""
    parser = argparse.ArgumentParser(
        prog="python -m vireid.synthetic.v1", description="Make or verify VIReID-Synth v1."
    )
    parser.add_argument("--out", required=True, help="folder of the data set")
    parser.add_argument("--workers", type=int, default=None, help="processes (one a core)")
    parser.add_argument("--verify", action="store_true", help="verify only")
    parser.add_argument(
        "--write-checksums", action="store_true", help="make it, then write the shipped list"
    )
    options = parser.parse_args(arguments)
    try:
        if not options.verify:
            done = regenerate_v1(options.out, options.workers)
            rate = done.num_images / done.seconds
            say(f"{done.num_images:,} images in {done.seconds:.0f} s ({rate:.0f} img/s)")
        if options.write_checksums:
            write_checksums(options.out)
            say(f"Wrote {CHECKSUMS}")
            return 0
        problems = verify_v1(options.out)
    except InputError as error:
        say(str(error))
        return 2
    for line in problems[:20]:
        say(line)
    say(f"{len(problems)} of {len(folders())} folders differ from the checksum list.")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

"""A set's images as other cameras would have written them: a look that no network trained on the
set's own cameras knows."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from pathlib import Path

import cv2
import numpy as np

from vireid.data.protocol import SYNTHETIC_MARKER
from vireid.files import read_json, write_json
from vireid.types import InputError

INFRARED = (3, 6)  # cameras of SYSU-MM01's layout
OTHERS = "others"  # of a set's note: whose cameras took its images
_QUALITY = 30  # of JPEG


def write_as_other_cameras(source: Path, out: Path) -> None:
    """Write all images of a set in SYSU-MM01's layout anew, and copy its other files. `out` exists
    once it is complete.

    Images are cut up to a twelfth too wide or too narrow on each side. Visible ones get another
    white and a darker middle; infrared ones local contrast, columns of their own brightness and
    dark corners. All are JPEG of quality 30. What is drawn at random follows from a file's name.

    Raises:
        InputError: `out` has been made by somebody else.
    """
    contrast = cv2.createCLAHE(clipLimit=3.0, tileGridSize=(4, 2))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=f".{out.name}-") as folder:
        made = Path(folder) / "made"
        shutil.copytree(source, made, ignore=shutil.ignore_patterns("*.jpg", ".vireid"))
        for path in sorted(source.glob("cam*/*/*.jpg")):
            place = path.relative_to(source)
            rng = np.random.default_rng(zlib.crc32(place.as_posix().encode()))
            image = _cut(_written(path), rng)
            infrared = int(place.parts[0][3:]) in INFRARED
            seen = _infrared(image, contrast, rng) if infrared else _visible(image)
            pixels = np.clip(seen, 0, 255).astype(np.uint8)
            cv2.imwrite(str(made / place), pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        marker = made / SYNTHETIC_MARKER
        write_json(marker, read_json(marker) | {"cameras": OTHERS})
        try:
            os.replace(made, out)
        except OSError as error:  # another program has made it meanwhile
            raise InputError(
                f"'{out}' can't be written: {error.strerror}. Is another program writing there? "
                "Name another folder, or delete it and run the command again."
            ) from error


def _written(path: Path) -> np.ndarray:
    """An image of our own writer."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None, path
    return image


def _cut(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An image with its edges moved by up to a twelfth; beyond them its last pixels go on."""
    height, width = image.shape[:2]
    top, bottom = rng.uniform(-1 / 12, 1 / 12, 2) * height
    left, right = rng.uniform(-1 / 12, 1 / 12, 2) * width
    across, down = (width - left - right) / width, (height - top - bottom) / height
    matrix = np.array([[across, 0, left], [0, down, top]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags,
                          borderMode=cv2.BORDER_REPLICATE)  # fmt: skip


def _infrared(image: np.ndarray, contrast: cv2.CLAHE, rng: np.random.Generator) -> np.ndarray:
    height, width = image.shape[:2]
    grey = contrast.apply(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)).astype(np.float32)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    grey = grey * (1 - 0.35 * (x**2 + y**2) / 2) + rng.normal(0, 6, width)
    return np.repeat(grey[..., None], 3, axis=2)


def _visible(image: np.ndarray) -> np.ndarray:
    white = np.array([0.8, 1.0, 1.15])  # blue, green, red
    return 255 * (image / 255.0) ** 1.4 * white

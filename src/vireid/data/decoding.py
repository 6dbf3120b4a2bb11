"""The one place where image files are opened, and decoding as published."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps

from vireid.types import InputError

# What Pillow's decoders raise on damaged files.
_READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


class ImageError(InputError):
    """An image that can't be used.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, reason: str, sentences: str) -> None:
        super().__init__(sentences)
        self.reason = reason


def decode(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """One image at the size of the network, exactly as the published preprocessing makes it.

    Args:
        path: an image file.
        size: (height, width).

    Returns:
        (H, W, 3) uint8: Pillow's decoding, converted to RGB, resized with the Lanczos filter.

    Raises:
        ImageError: the file is missing, not an image, truncated, or has 16 bits per channel.
    """
    return resize(read_image(path), size)


def read_image(path: str | Path) -> Image.Image:
    """An image file as RGB, at its own size.

    Raises:
        ImageError: see `decode`.
    """
    try:
        with open_image(path) as image:
            return to_rgb(image)
    except FileNotFoundError as error:
        raise ImageError("missing", f"There is no image '{path}'.") from error
    except _READ_ERRORS as error:
        raise ImageError(
            str(error),
            f"The image '{path}' can't be read: {error}. It is broken or not an image; restore "
            "it, or leave broken images out with `skip_broken`.",
        ) from error


def open_image(
    file: str | Path | IO[bytes], *, formats: tuple[str, ...] | None = None
) -> Image.Image:
    """Read an image's header, so that its size can be judged before `to_rgb` decodes it.

    Args:
        file: an image file, or one open for reading.
        formats: names of the Pillow formats that are tried; None for all.

    Raises:
        Whatever Pillow raises on files that aren't images.
    """
    return Image.open(file, formats=formats)


def to_rgb(image: Image.Image, *, upright: bool = False) -> Image.Image:
    """Decode an opened image.

    Args:
        image: from `open_image`.
        upright: turn it as the camera's orientation tag says.

    Returns:
        RGB, 8 bits per channel.

    Raises:
        ImageError: it has more than 8 bits per channel.
        Whatever Pillow raises on damaged pixels.
    """
    if image.mode.startswith(("I", "F")):  # Pillow would cut such values off at 255
        raise ImageError(
            "more than 8 bits per channel",
            f"The image '{getattr(image, 'filename', '')}' has more than 8 bits per channel (mode "
            f"{image.mode}), and there is no one way to convert it. Convert it to 8 bits first.",
        )
    decoded = image.convert("RGB")
    return ImageOps.exif_transpose(decoded) if upright else decoded


def resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of an RGB image, resized to (height, width) with the Lanczos filter."""
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))

"""Decoding images as published."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from vireid.types import InputError

# What Pillow's decoders raise on damaged files.
READ_ERRORS = (
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


def decode(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """One image at the size of the network, exactly as the published preprocessing makes it.

    Args:
        path: an image file.
        size: (height, width).

    Returns:
        (H, W, 3) uint8: Pillow's decoding, converted to RGB, resized with the Lanczos filter.

    Raises:
        InputError: the file is missing, no image, truncated, or has 16 bits a pixel.
    """
    try:
        with Image.open(path) as image:
            if has_deep_pixels(image):
                raise InputError(
                    f"The image '{path}' has more than 8 bits a pixel (mode {image.mode}), which "
                    "has no one true conversion. Convert it to 8 bits first."
                )
            picture = image.convert("RGB")
        resized = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return np.asarray(resized)
    except FileNotFoundError as error:
        raise InputError(f"There is no image '{path}'.") from error
    except READ_ERRORS as error:
        raise InputError(
            f"The image '{path}' cannot be read: {error}. It is broken or not an image; restore "
            "it, or leave broken images out with --skip-broken."
        ) from error


def has_deep_pixels(image: Image.Image) -> bool:
    """More than 8 bits a pixel and channel? Pillow would cut such values off at 255."""
    return image.mode.startswith(("I", "F"))

"""Uploaded images: checked before they are decoded, and identified by decoding."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, UnidentifiedImageError

from vireid.data.decoding import FORMATS, ImageError, crop, open_image, resize, to_rgb
from vireid.data.facts import UPRIGHT, Decoding
from vireid.types import InputError


class UploadError(InputError):
    """An upload that is refused.

    Attributes:
        status: HTTP status: 413 too large, 415 not an image of a known format, 422 broken or too
            small.
        code: a short name for programs.
    """

    def __init__(self, status: int, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code


_REFUSALS = {"animated": (415, "animated"), "deep": (422, "deep_pixels")}


def decode_upload(
    data: bytes, *, max_pixels: int, min_side: int, decoding: Decoding = UPRIGHT
) -> Image.Image:
    """Decode an uploaded image, whatever its name or declared type says.

    The header is read first; size and format are checked before any pixel is decoded, so that
    a small file that unpacks to gigabytes costs nothing. Metadata is dropped.

    Args:
        data: the file's bytes.
        max_pixels: largest width times height.
        min_side: smallest side.
        decoding: what is done with deep values and orientation tags: as with the index's images.

    Returns:
        An RGB image.

    Raises:
        UploadError: not an image, too large, too small, animated or broken.
    """
    if not data:
        raise UploadError(422, "empty", "The uploaded file is empty; choose an image.")
    try:
        image = open_image(io.BytesIO(data))
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(None, max_pixels) from error
    except UnidentifiedImageError as error:
        raise UploadError(
            415,
            "not_an_image",
            f"The file is not an image of a known format ({', '.join(FORMATS)}).",
        ) from error
    except Exception as error:  # a decoder may raise anything on crafted bytes
        raise _broken() from error
    width, height = image.size
    if width * height > max_pixels:
        raise _too_many_pixels((width, height), max_pixels)
    _check_sides("The image", (width, height), min_side)
    try:
        return to_rgb(image, decoding)
    except ImageError as error:
        raise UploadError(*_REFUSALS[error.kind], str(error)) from error
    except Exception as error:  # see above
        raise _broken() from error


def cut_upload(image: Image.Image, box: Sequence[int] | None, *, min_side: int) -> Image.Image:
    """The part of a decoded upload that is searched with; see `vireid.data.decoding.crop`.

    Raises:
        UploadError: the box doesn't fit the image, or is too small.
    """
    try:
        part = crop(image, box)
    except InputError as error:
        raise UploadError(422, "box", str(error)) from error
    _check_sides("The box", part.size, min_side)
    return part


def _check_sides(what: str, size: tuple[int, int], min_side: int) -> None:
    if min(size) < min_side:
        raise UploadError(
            422,
            "too_small",
            f"{what} has {size[0]} x {size[1]} pixels; each side needs at least {min_side}.",
        )


def to_pixels(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 pixels of an RGB image, resized as gallery images are (Pillow's Lanczos)."""
    return resize(image, size)


def _too_many_pixels(size: tuple[int, int] | None, limit: int) -> UploadError:
    pixels = f"{size[0]} x {size[1]} pixels" if size else "far more pixels"
    return UploadError(
        413,
        "too_many_pixels",
        f"The image has {pixels}; at most {limit / 1e6:.0f} million are allowed. Crop it to the "
        "person, or make it smaller.",
    )


def _broken() -> UploadError:
    return UploadError(
        422,
        "broken",
        "The image is damaged and can't be decoded. Save it again.",
    )

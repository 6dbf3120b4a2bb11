"""The one place where image files are opened, and decoding as published."""

from __future__ import annotations

import contextlib
import importlib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Literal, NamedTuple

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from vireid.data.facts import UPRIGHT, Decoding
from vireid.files import NoPermission
from vireid.types import InputError, Modality, shown

# Only these of Pillow's decoders are imported and tried: of the others, one starts Ghostscript.
# JPEG's also reads phones' MPO.
for _name in ("Jpeg", "Png", "Bmp", "Tiff", "WebP", "Gif", "Ppm", "Jpeg2K", "Avif"):
    with contextlib.suppress(ImportError):  # AVIF comes with Pillow 11.3
        importlib.import_module(f"PIL.{_name}ImagePlugin")
_FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
FORMATS = tuple(name for name in _FORMATS if name in Image.OPEN)

# What Pillow remarks on (large images, odd metadata) is either read all the same or refused here.
# Set once: a filter inside a block isn't safe in threads.
warnings.filterwarnings("ignore", module=r"PIL\b")

FULL_RANGE = (0.0, 65535.0)
SHAPES = (1.2, 6.0)
"""How many times higher than wide an image of one person is, within wide limits."""
FLAT = 4.0
"""Grey levels: the standard deviation of an image in which there is hardly anything to see."""
GREY = 5.0
"""Mean spread of the colour channels, in grey levels, below which an image has no colour."""
MONOCHROME = 2.0
"""The same below which a camera took it without colours; compression alone makes less. Grey people
in grey places have more."""
_ROWS = 256
_TURNS = {  # value of the orientation tag → what makes the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class ImageError(InputError):
    """An image that can't be used.

    Attributes:
        kind: what is wrong: no such file, not an image or damaged, too many pixels, more than 8
            bits per channel, or more than one image.
        reason: why, in a few words.
    """

    def __init__(
        self,
        kind: Literal["missing", "broken", "large", "deep", "animated"],
        reason: str,
        sentences: str,
    ) -> None:
        super().__init__(sentences)
        self.kind = kind
        self.reason = reason


def decode(
    path: str | Path,
    size: tuple[int, int],
    decoding: Decoding = UPRIGHT,
    box: Sequence[int] | None = None,
) -> np.ndarray:
    """One image at the size of the network, exactly as the published preprocessing makes it.

    Args:
        path: an image file.
        size: (height, width).
        decoding: what is done with deep values and with orientation tags.
        box: the part of the image to take; see `crop`.

    Returns:
        (H, W, 3) uint8: Pillow's decoding, converted to RGB, resized with the Lanczos filter.

    Raises:
        ImageError: the file is missing, not an image, truncated, an animation, too large, or has
            more than 8 bits per channel and `decoding` doesn't say what they mean.
        InputError: see `crop`.
    """
    return resize(read_image(path, decoding, box), size)


def read_image(
    path: str | Path, decoding: Decoding = UPRIGHT, box: Sequence[int] | None = None
) -> Image.Image:
    """An image file as RGB, at its own size, or the part of it in a box.

    Raises:
        InputError: see `decode`.
    """
    return crop(_read(path, decoding), box, name=path)


def _read(path: str | Path, decoding: Decoding) -> Image.Image:
    try:
        with open_image(path) as image:
            return to_rgb(image, decoding)
    except FileNotFoundError as error:
        raise ImageError("missing", "missing", f"There is no image '{path}'.") from error
    except IsADirectoryError as error:
        sentence = f"'{path}' is a folder. Name an image in it."
        raise ImageError("broken", "a folder", sentence) from error
    except PermissionError as error:
        raise ImageError("broken", "no permission", str(NoPermission(path, error))) from error
    except Image.DecompressionBombError as error:
        raise ImageError(
            "large",
            "too many pixels",
            f"The image '{path}' has too many pixels to be one person's ({error}). Crop it.",
        ) from error
    except ImageError:
        raise
    except UnidentifiedImageError as error:  # Pillow's sentence would name the file again
        raise ImageError(
            "broken",
            "not an image",
            f"The image '{path}' can't be read: it is {_instead(path)}.",
        ) from error
    except Exception as error:  # a decoder may raise anything on damaged bytes
        raise ImageError(
            "broken",
            str(error),
            f"The image '{path}' can't be read: {error}. It is broken or not an image.",
        ) from error


def _instead(path: str | Path) -> str:
    """What a file is that should have been an image."""
    with open(path, "rb") as file:
        head = file.read(64)
    if not head:
        return "empty. A cloud drive may not have fetched it yet, or a copy failed"
    if head.startswith(b"version https://git-lfs"):
        return "a Git-LFS pointer. Run `git lfs pull` where it lies"
    return "broken or not an image"


class Box(NamedTuple):
    """A part of an image, in pixels of the image as `to_rgb` gives it: turned as its tag says.

    Attributes:
        x, y: its upper left pixel; (0, 0) is the image's.
        width, height: at least 1.
    """

    x: int
    y: int
    width: int
    height: int


def parse_box(text: str) -> Box | None:
    """Read X,Y,W,H; None, for the whole image, from "whole" or nothing.

    Raises:
        InputError: it is something else; `crop` checks the numbers.
    """
    word = text.strip().lower()
    if word in ("", "whole"):
        return None
    numbers = re.fullmatch(r"([+-]?\d{1,9})" + r"\s*,\s*([+-]?\d{1,9})" * 3, word, re.ASCII)
    if numbers is None:
        raise InputError(
            f"The `box` is {shown(text)}; four whole numbers were expected, X,Y,W,H: the left and "
            "upper edge, width and height in pixels. Or give 'whole' for all of an image."
        )
    return Box(*map(int, numbers.groups()))


def boxes_of(
    boxes: Sequence[Sequence[int] | None] | None, count: int
) -> Sequence[Sequence[int] | None]:
    """The box of each image; without `boxes`, None for each.

    Raises:
        InputError: there are more or fewer boxes than images.
    """
    if not boxes:
        return [None] * count
    if len(boxes) != count:
        raise InputError(
            f"There are {len(boxes)} boxes for {count} images. Give one `box` for each image, in "
            "their order; 'whole' takes all of an image."
        )
    return boxes


def crop(image: Image.Image, box: Sequence[int] | None, *, name: str | Path = "") -> Image.Image:
    """The part of an image in a box, before anything else is done with it.

    Args:
        image: RGB, as `to_rgb` gives it.
        box: a `Box`, or four integers; None takes all of the image.
        name: the image's file, for messages.

    Raises:
        InputError: the box is empty, reaches beyond the image, or isn't four integers.
    """
    if box is None:
        return image
    called = f"The box of the image '{name}'" if str(name) else "The box"
    numbers = [one for one in box if isinstance(one, int | np.integer)]
    if len(box) != 4 or len(numbers) != 4:
        raise InputError(
            f"{called} is {shown(tuple(box))}; four integers were expected: x, y, width, height."
        )
    x, y, width, height = map(int, box)
    what = f"{called} is {x},{y},{width},{height}"
    if width < 1 or height < 1:
        raise InputError(
            f"{what} and so holds no pixel. X,Y,W,H are the left and upper edge, width and height; "
            "the last two must be at least 1."
        )
    if x < 0 or y < 0 or x + width > image.width or y + height > image.height:
        raise InputError(
            f"{what} and reaches beyond the image, which has {image.width} x {image.height} "
            "pixels. X,Y,W,H are the left and upper edge, width and height, counted from 0 at the "
            "upper left corner of the upright image."
        )
    return image.crop((x, y, x + width, y + height))


def is_person_shaped(width: int, height: int) -> bool:
    """Whether an image may show one person, cut out; others are squeezed to that shape."""
    return SHAPES[0] * width <= height <= SHAPES[1] * width


def colour_spread(images: np.ndarray) -> np.ndarray:
    """(n,) mean spread of the colour channels of images (n, H, W, 3), in grey levels."""
    return np.ptp(images, axis=3).mean((1, 2))


def notes_on(image: Image.Image, modality: Modality) -> list[str]:
    """Why nobody may be found in an RGB image that is taken for one of a sensor, in sentences."""
    notes = []
    if not is_person_shaped(*image.size):
        notes.append(
            f"The image has {image.width} x {image.height} pixels. One person, cut out, is about "
            "twice as high as wide; this image is squeezed to that shape. Draw a box "
            "around the person, or cut it out."
        )
    if np.asarray(image.convert("L").reduce(max(1, image.width // 32))).std() < FLAT:
        notes.append("The image shows hardly anything: its pixels are all alike.")
        return notes
    spread, visible = _spread(image), modality == Modality.VISIBLE
    if spread < MONOCHROME if visible else spread >= GREY:  # between them it may be either
        looks, other = ("no colour", "infrared") if visible else ("colour", "visible")
        notes.append(
            f"The image has {looks}, but is searched with as {modality.word}. If its camera is "
            f"{other}, search with it as {other}: what is found depends on that."
        )
    return notes


def looks_coloured(image: Image.Image) -> bool:
    """Whether an RGB image of any size has colour, as visible ones do and infrared ones don't."""
    return _spread(image) >= GREY


def _spread(image: Image.Image) -> float:
    small = image.reduce(max(1, min(image.size) // 64))
    return float(colour_spread(np.asarray(small)[None])[0])


def open_image(file: str | Path | IO[bytes]) -> ImageFile.ImageFile:
    """Read an image's header, so that its size can be judged before `to_rgb` decodes it.

    Args:
        file: an image file, or one open for reading.

    Raises:
        Whatever Pillow raises on files that aren't images.
    """
    return Image.open(file, formats=FORMATS)


def to_rgb(image: ImageFile.ImageFile, decoding: Decoding = UPRIGHT) -> Image.Image:
    """Decode an opened image.

    Args:
        image: from `open_image`, not to be used afterwards.
        decoding: what is done with deep values and with orientation tags.

    Returns:
        RGB, 8 bits per channel; of the file's metadata only the orientation tag is kept, 1 to 8,
        as `info["orientation"]`. (TIFF files are turned always: Pillow does.)

    Raises:
        ImageError: it is an animation, or has more than 8 bits per channel and `decoding` doesn't
            say what they mean.
        Whatever Pillow raises on damaged pixels.
    """
    if image.format in ("PNG", "WEBP", "GIF", "AVIF") and getattr(image, "is_animated", False):
        raise ImageError(
            "animated",
            "an animation",
            f"{_called(image)} is an animation; a still image was expected. Save one frame of it.",
        )
    depth = _depth(image)  # before the tag, for which Pillow decodes some files
    tag = _orientation(image)
    decoded = image.convert("RGB") if depth is None else _to_8_bits(image, depth, decoding)
    # Asked again: in a PNG file it may follow the pixels, and Pillow turns a TIFF file itself.
    turn = _orientation(image)
    if decoding.orientation == "upright" and turn != 1:
        image.close()  # its pixels would be held three times
        decoded = decoded.transpose(_TURNS[turn])
    decoded.info = {"orientation": max(tag, turn)}
    return decoded


def _orientation(image: Image.Image) -> int:
    """The orientation tag, 2 to 8, or 1 where there is none: it is upright."""
    try:
        tag = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata; the pixels may be fine
        return 1
    return tag if tag in _TURNS else 1


class _Depth(NamedTuple):
    """How an image has more than 8 bits per channel.

    Attributes:
        colour: it has several channels, of which Pillow keeps the upper 8 bits.
        stretched: what Pillow multiplies the values of one channel by.
    """

    colour: bool
    stretched: float = 1.0


def _depth(image: ImageFile.ImageFile) -> _Depth | None:
    """Of an opened image, before its pixels are decoded; None for 8 bits or fewer."""
    grey = image.mode.startswith(("I", "F"))
    for codec, _, _, found in image.tile:
        arguments: Any = found  # of Pillow's decoder: a raw mode, or a tuple that begins with it
        if codec in ("ppm", "ppm_plain") and arguments[1] > 255:  # its files state their maximum
            return _Depth(colour=not grey, stretched=65535 / arguments[1])
        if not grey and ";16" in str(arguments if isinstance(arguments, str) else arguments[0]):
            return _Depth(colour=True)
    return _Depth(colour=False) if grey else None


def _to_8_bits(image: ImageFile.ImageFile, depth: _Depth, decoding: Decoding) -> Image.Image:
    """A deep image as RGB."""
    deep = f"{_called(image)} has more than 8 bits per channel"
    if decoding.intensity_range is None:
        raise ImageError(
            "deep",
            "more than 8 bits per channel",
            f"{deep} (mode {image.mode}), and nothing says which values are black and white. Set "
            "`intensity_range` to LOW:HIGH (0:65535 for all 16 bits) or to minmax, or convert it "
            "to 8 bits.",
        )
    if depth.colour:
        if decoding.limits != FULL_RANGE:
            raise ImageError(
                "deep",
                "colour with 16 bits per channel",
                f"{deep} and several channels, and `intensity_range` is "
                f"{decoding.intensity_range}. Only 0:65535 is possible for such images: of each "
                "value the upper 8 bits can be read. Convert it to one channel, or to 8 bits.",
            )
        return image.convert("RGB")
    values = np.asarray(image)
    if decoding.limits:
        low, high = (limit * depth.stretched for limit in decoding.limits)
    else:
        low, high = _smallest_and_largest(values)
    grey = np.zeros(values.shape, np.uint8)
    for start in range(0, len(values) if low < high else 0, _ROWS):
        part = values[start : start + _ROWS].astype(np.float64)  # wide, so only some rows at a time
        part = np.clip(np.where(np.isnan(part), low, part), low, high)
        grey[start : start + _ROWS] = np.rint((part - low) * (255 / (high - low)))
    return Image.fromarray(grey).convert("RGB")


def _smallest_and_largest(values: np.ndarray) -> tuple[float, float]:
    """Of the finite ones."""
    finite = np.isfinite(values)
    if not finite.any():
        return 0.0, 0.0
    return float(values[finite].min()), float(values[finite].max())


def _called(image: Image.Image) -> str:
    """What a sentence calls an opened image; an upload has no name."""
    name = getattr(image, "filename", "")
    return f"The image '{name}'" if name else "The image"


def resize(image: Image.Image, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 of an RGB image, resized to (height, width) with the Lanczos filter."""
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.LANCZOS))

"""Colours, axes and files that all figures share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vireid.files import atomic_write
from vireid.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

GREEN, RED, GREY, INK, BLUE = "#1a9850", "#d73027", "#9a9a9a", "#222222", "#2b5c8a"
FAINT = "#666666"
_DPI = 130


def new_figure(width: float = 6.4, height: float = 4.2) -> Figure:
    """An empty figure of that many inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=_DPI, layout="constrained")


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a chart whole or not at all; the ending chooses PNG, JPEG or SVG."""
    path = Path(path)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    with atomic_write(path) as file:
        figure.savefig(file, format=path.suffix.lstrip(".").lower())
    return path


def save_image(image: Image.Image, path: str | Path) -> Path:
    """Write an image figure whole or not at all; the ending chooses PNG or JPEG.

    Raises:
        InputError: another ending, or the file can't be written.
    """
    path = Path(path)
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
    chosen = formats.get(path.suffix.lower())
    if chosen is None:
        raise InputError(f"A figure can't be written as '{path.name}'; use .png or .jpg.")
    with atomic_write(path) as file:
        image.save(file, chosen, quality=90)
    return path

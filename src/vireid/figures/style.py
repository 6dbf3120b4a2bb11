"""Colours, widths, axes and files that all figures share."""

from __future__ import annotations

import functools
import io
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar

from vireid.files import atomic_write
from vireid.types import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image

# Told apart with every kind of colour vision (Okabe and Ito's colours).
GREEN, RED, BLUE, YELLOW, SKY, PINK = (
    "#009e73", "#d55e00", "#0072b2", "#e69f00", "#56b4e9", "#cc79a7",
)  # fmt: skip
GREY, INK, FAINT = "#9a9a9a", "#222222", "#666666"
CYCLE = (BLUE, RED, GREEN, YELLOW, PINK, SKY, INK)
Columns = Literal[1, 2]
WIDTHS: dict[int, float] = {1: 3.5, 2: 7.16}  # inches of one and of two columns of a paper
FORMATS = ("png", "jpg", "svg", "pdf")
_DPI = 200
_NIGHT, _LIGHT = "#161c23", "#e8ecf1"  # --panel and --text of a dark page
_DARK: dict[Any, Any] = {
    "figure.facecolor": _NIGHT, "axes.facecolor": _NIGHT, "axes.edgecolor": _LIGHT,
    "axes.labelcolor": _LIGHT, "text.color": _LIGHT, "xtick.color": _LIGHT, "ytick.color": _LIGHT,
}  # fmt: skip
_P = ParamSpec("_P")
_T = TypeVar("_T")
_STYLE: dict[Any, Any] = {
    "font.size": 8.0,
    "axes.titlesize": 8.0,
    "legend.fontsize": 7.0,
    "lines.linewidth": 1.2,
    "pdf.fonttype": 42,  # text stays text
    "svg.fonttype": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
}


def styled(draw: Callable[_P, _T]) -> Callable[_P, _T]:
    """A function that draws, in the house's style: sizes of text are read while it draws."""

    @functools.wraps(draw)
    def in_style(*args: _P.args, **kwargs: _P.kwargs) -> _T:
        import matplotlib
        from matplotlib.rcsetup import cycler

        with matplotlib.rc_context(_STYLE | {"axes.prop_cycle": cycler(color=CYCLE)}):
            return draw(*args, **kwargs)

    return in_style


def dark() -> AbstractContextManager[None]:
    """Charts drawn within are for a dark page."""
    import matplotlib

    return matplotlib.rc_context(_DARK)


def percent(fraction: float, decimals: int = 1) -> str:
    """A fraction as text in per cent, with up to two decimals where fewer would make all or
    nothing of it."""
    for digits in range(decimals, 3):
        text = f"{100 * fraction:.{digits}f}"
        if fraction in (0, 1) or 0 < float(text) < 100:
            return text
    return "under 0.01" if fraction < 0.5 else "over 99.99"


def new_figure(columns: Columns = 1, ratio: float = 0.66, *, inches: float | None = None) -> Figure:
    """An empty figure as wide as one or two columns of a paper, which needs no display.

    Args:
        ratio: height over width.
        inches: of the height, instead of the ratio.
    """
    from matplotlib.figure import Figure

    width = WIDTHS[columns]
    return Figure(figsize=(width, inches or ratio * width), dpi=_DPI, layout="constrained")


def panels(figure: Figure, rows: int = 1, columns: int = 1) -> list:
    """Axes of a figure, row by row."""
    return figure.subplots(rows, columns, squeeze=False).ravel().tolist()


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a chart whole or not at all; the ending chooses PNG, JPEG, SVG or PDF.

    Raises:
        InputError: another ending, or the file can't be written.
    """
    path = Path(path)
    kind = path.suffix.lstrip(".").lower().replace("jpeg", "jpg")
    if kind not in FORMATS:
        raise InputError(f"A figure can't be written as '{path.name}'; use .{', .'.join(FORMATS)}.")
    with atomic_write(path) as file:
        file.write(encoded(figure, kind))
    return path


def encoded(figure: Figure, kind: str) -> bytes:
    """A chart as a file's bytes; its ticks are drawn only now, in the style's sizes too."""
    import matplotlib

    out = io.BytesIO()
    with matplotlib.rc_context(_STYLE):
        figure.savefig(out, format=kind)
    return out.getvalue()


def save_image(image: Image.Image, path: str | Path) -> Path:
    """Write an image figure whole or not at all; the ending chooses PNG, JPEG or PDF.

    Raises:
        InputError: another ending, or the file can't be written.
    """
    path = Path(path)
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".pdf": "PDF"}
    chosen = formats.get(path.suffix.lower())
    if chosen is None:
        raise InputError(f"A figure can't be written as '{path.name}'; use .png, .jpg or .pdf.")
    with atomic_write(path) as file:
        image.save(file, chosen, quality=90, resolution=_DPI)
    return path

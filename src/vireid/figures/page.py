"""A page of figures in one file: no other file, no script, nothing from a network; light and dark
as the reader's system is, from a telephone's width on."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vireid.figures.maps import NO_PLACE, overlay
from vireid.figures.ranked import RankedList, colour_of
from vireid.figures.style import BLUE, dark, encoded
from vireid.files import write_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from vireid.figures.maps import ActivationRow

PHONE = "40rem"  # up to this width a page is a telephone's; the same as in page.css

_OPTION = re.compile(r"(?<!\S)--[\w-]+")


class Section(NamedTuple):
    """One figure with what is to be seen in it.

    Attributes:
        heading: of the section, as text.
        body: HTML, of `chart`, `tiles`, `rankings`, `similar_places`, `numbers` or
            `commands`.
        words: under it, as text; `code` in backticks.
        wide: whether it takes the whole width of a wide window.
    """

    heading: str
    body: str
    words: str
    wide: bool = False


def write_page(path: str | Path, title: str, lead: str, sections: Iterable[Section]) -> Path:
    """Write the page whole or not at all.

    Args:
        lead: what it is about, as text.
    """
    package = Path(str(files("vireid")))
    icon = (package / "server/static/icon.svg").read_bytes()
    style = "".join(
        (package / name).read_text(encoding="utf-8")
        for name in ("server/static/style.css", "figures/page.css")
    )
    body = "\n".join(
        f'<section class="panel{" wide" if one.wide else ""}">\n<h2>{escape(one.heading)}</h2>\n'
        f'{one.body}\n<p class="say">{_words(one.words)}</p>\n</section>'
        for one in sections
    )
    write_text(
        path,
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f'<link rel="icon" href="{_inline("image/svg+xml", icon)}">\n'
        f"<style>\n{style}</style>\n</head>\n<body>\n"
        f'<header class="bar"><div class="brand"><h1>{escape(title)}</h1></div></header>\n'
        f'<main class="figures">\n<p class="wide lead">{escape(lead)}</p>\n{body}\n</main>\n'
        "</body>\n</html>\n",
    )
    return Path(path)


def chart(
    draw: Callable[[], Figure], alt: str, *, narrow: Callable[[], Figure] | None = None
) -> str:
    """A chart, drawn for light and for dark pages.

    Args:
        draw: draws it, in the colours that are in force.
        narrow: draws it for a telephone's width, where that is another drawing.
    """
    small, dark_page = f"(max-width: {PHONE})", "(prefers-color-scheme: dark)"
    drawings = [(draw, "")] if narrow is None else [(narrow, small), (draw, "")]
    sources = []
    for one, width in drawings:
        with dark():
            night = _png(one())
        media = " and ".join(part for part in (dark_page, width) if part)
        sources.append(f'<source media="{media}" srcset="{night}">')
        if width:
            sources.append(f'<source media="{width}" srcset="{_png(one())}">')
    return (
        f'<div class="chart"><picture>{"".join(sources)}'
        f'<img src="{_png(draw())}" alt="{escape(alt)}"></picture></div>'
    )


def tiles(rows: Sequence[Sequence[tuple[np.ndarray, str]]]) -> str:
    """Images (H, W, 3) uint8 in rows, each with its words below."""
    inner = "".join(_tile(image, words) for row in rows for image, words in row)
    return _grid("people", len(rows[0]), inner)


def rankings(lists: Sequence[RankedList], titles: Sequence[str] = ()) -> str:
    """Ranked lists, one below the other, two beside each other where a page is wide: the query,
    then the gallery images nearest to it.

    Args:
        titles: a line of text above each of them.
    """
    parts = []
    for ranked, title in zip(lists, titles or repeat("")):
        shown = [_tile(ranked.query, "query", BLUE)]
        for entry in ranked.entries:
            words = {None: "", True: "same", False: "other"}[entry.matches]
            words = "skipped" if entry.skipped else words
            label = f"{round(entry.similarity, 2) + 0.0:.2f} {words}"
            shown.append(_tile(entry.image, label, colour_of(entry), skipped=entry.skipped))
        above = f'<p class="above">{escape(title)}</p>' if title else ""
        parts.append(_grid("ranked", len(shown), "".join(shown), above))
    return f'<div class="rankings">{"".join(parts)}</div>'


def similar_places(rows: Sequence[ActivationRow]) -> str:
    """Queries, each with the images nearest to it, bright where they are similar to it."""
    parts = []
    for row in rows:
        shown = [_tile(row.query, "query", BLUE)]
        for image, places, label in zip(row.images, row.maps, row.labels):
            words = label if places.any() else f"{label}, {NO_PLACE}"
            shown.append(_tile(overlay(image, places), words))
        parts.append(_grid("places", len(shown), "".join(shown)))
    return f'<div class="rankings">{"".join(parts)}</div>'


def numbers(values: Mapping[str, str]) -> str:
    """A few numbers, each with what it is."""
    items = "".join(
        f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>"
        for name, value in values.items()
    )
    return f'<dl class="measures">{items}</dl>'


def commands(lines: Sequence[str]) -> str:
    """Commands to copy."""
    # A block for each command and no break within an option, on pages too narrow for them.
    marked = (_OPTION.sub(r"<i>\g<0></i>", escape(line)) for line in lines)
    text = "".join(f"<span>{line}\n</span>" for line in marked)
    return f"<pre><code>{text}</code></pre>"


def _words(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _grid(kind: str, columns: int, inner: str, above: str = "") -> str:
    tiles = f'<div class="tiles" style="--columns: {columns}">{inner}</div>'
    return f'<div class="{kind}">{above}{tiles}</div>'


def _tile(image: np.ndarray, words: str, frame: str = "", *, skipped: bool = False) -> str:
    height, width = image.shape[:2]
    classes = " ".join(["tile", *(["framed"] if frame else []), *(["skipped"] if skipped else [])])
    style = f' style="--frame: {frame}"' if frame else ""
    return (
        f'<figure class="{classes}"{style}><img src="{_jpeg(image)}" width="{width}" '
        f'height="{height}" alt=""><figcaption>{escape(words)}</figcaption></figure>'
    )


def _png(figure: Figure) -> str:
    return _inline("image/png", encoded(figure, "png"))


def _jpeg(image: np.ndarray) -> str:
    out = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(out, "JPEG", quality=85)
    return _inline("image/jpeg", out.getvalue())


def _inline(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

"""A training batch as one sheet of images."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from vireid.figures.style import FAINT, INK, save_image

if TYPE_CHECKING:
    from torch import Tensor

_GAP, _BETWEEN, _MARGIN, _HEAD, _FOOT = 6, 24, 20, 66, 40
_NARROWEST = 96  # pixels of an image, below which its words find no room


class BatchRow(NamedTuple):
    """What a row of a batch is, in words.

    Attributes:
        person: whom it shows.
        camera: that took it; "" where it is unknown.
        changes: what the augmentation did to it; "" for nothing that would be taken for the image.
    """

    person: str
    camera: str
    changes: str


def draw_batch(
    image: Tensor,
    path: Path,
    *,
    rows: Sequence[BatchRow],
    num_visible: int,
    visible_views: int = 1,
    statistics: tuple[Sequence[float], Sequence[float]],
) -> Path:
    """One augmented batch as a sheet: a line for each person, the visible images left (in one block
    for each view), the infrared ones right.

    Args:
        image: (B, 3, H, W) normalised.
        path: .png or .jpg.
        rows: B of them.
        num_visible: the first so many are visible.
        visible_views: 2 where the second half of these is the second view.
        statistics: mean and deviation that the images were normalised by.
    """
    mean, std = map(np.array, statistics)
    array = image.float().permute(0, 2, 3, 1).cpu().numpy() * std + mean
    array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    times = max(1, ceil(_NARROWEST / array.shape[2]))
    height, width = times * array.shape[1], times * array.shape[2]
    blocks = _blocks(rows, num_visible, visible_views)
    people = list(dict.fromkeys(row.person for row in rows))
    font, small = ImageFont.load_default(17), ImageFont.load_default(13)
    left = _MARGIN + ceil(max(map(font.getlength, people))) + _GAP
    starts, step = [], width + _GAP
    for _, lines in blocks:
        starts.append(left)
        left += max(map(len, lines.values())) * step + _BETWEEN
    heading = (
        f"A training batch as the network sees it: {len(people)} people, {num_visible} visible and "
        f"{len(rows) - num_visible} infrared images"
    )
    wide = max(left - _BETWEEN - _GAP, _MARGIN + ceil(font.getlength(heading))) + _MARGIN
    tall = _HEAD + len(people) * (height + _FOOT) + _MARGIN
    sheet = Image.new("RGB", (wide, tall), "white")
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, 12), heading, INK, font)
    for number, person in enumerate(people):
        y = _HEAD + number * (height + _FOOT)
        pen.text((_MARGIN, y + height / 2), person, INK, font, anchor="lm")
        for (_, lines), start in zip(blocks, starts):
            for column, at in enumerate(lines.get(person, ())):
                x = start + column * step
                tile = Image.fromarray(array[at])
                sheet.paste(tile.resize((width, height), Image.Resampling.NEAREST), (x, y))
                below = [text for text in rows[at][1:] if text]
                for line, said in enumerate(below):
                    middle = (x + width / 2, y + height + 4 + 15 * line)
                    pen.text(middle, said, FAINT, small, anchor="ma")
    for (words, _), start in zip(blocks, starts):
        pen.text((start, _HEAD - 24), words, INK, font)
    return save_image(sheet, path)


def _blocks(
    rows: Sequence[BatchRow], num_visible: int, views: int
) -> list[tuple[str, dict[str, list[int]]]]:
    """What each block of the sheet is called, and the rows of the batch in it by person."""
    view = num_visible // views
    names = ["visible"] if views == 1 else ["visible, first view", "visible, second view"]
    bounds = [(n * view, (n + 1) * view) for n in range(views)]
    found = []
    for name, (first, end) in zip([*names, "infrared"], [*bounds, (num_visible, len(rows))]):
        lines: dict[str, list[int]] = {}
        for at in range(first, end):
            lines.setdefault(rows[at].person, []).append(at)
        found.append((name, lines))
    return found

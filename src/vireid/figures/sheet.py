"""A training batch as one sheet of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from vireid.figures.style import save_image

if TYPE_CHECKING:
    from torch import Tensor


def draw_batch(
    image: Tensor,
    path: Path,
    *,
    statistics: tuple[Sequence[float], Sequence[float]],
    columns: int = 16,
) -> Path:
    """One augmented batch as a sheet: visible rows on top, infrared below.

    Args:
        image: (B, 3, H, W) normalised.
        path: .png or .jpg.
        statistics: mean and deviation that the images were normalised by.
        columns: images in a row.
    """
    mean, std = map(np.array, statistics)
    array = image.float().permute(0, 2, 3, 1).cpu().numpy() * std + mean
    array = (array.clip(0, 1) * 255).round().astype(np.uint8)
    count, height, width = array.shape[:3]
    columns = min(columns, count)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + 4), columns * (width + 4), 3), 255, np.uint8)
    for i, one in enumerate(array):
        top, left = (i // columns) * (height + 4) + 2, (i % columns) * (width + 4) + 2
        sheet[top : top + height, left : left + width] = one
    return save_image(Image.fromarray(sheet), path)

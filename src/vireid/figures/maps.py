"""Activation maps laid over images."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from vireid.figures.style import WIDTHS, Columns, new_figure, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


NO_PLACE = "no place adds"
BRIGHT = (
    "Bright: the places that add most to an image's similarity to the query; each image has its "
    "own scale.",
    "Dark all over: no place adds to it.",
)


class ActivationRow(NamedTuple):
    """A query, the gallery images nearest to it, and where in them their similarity comes from.

    Attributes:
        query: (H, W, 3) uint8.
        images: n of them, likewise.
        maps: (n, h, w), 0 to 1, as `vireid.embed.similarity_maps` gives them: 1 at an image's
            strongest place, all 0 where no place adds to the similarity.
        labels: a line of text above each of the images.
    """

    query: np.ndarray
    images: Sequence[np.ndarray]
    maps: np.ndarray
    labels: Sequence[str]


def overlay(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """An image, dark but for the places that add to its similarity.

    Args:
        image: (H, W, 3) uint8.
        places: (h, w), 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    import matplotlib

    height, width = image.shape[:2]
    fine = Image.fromarray(places.astype(np.float32)).resize(
        (width, height), Image.Resampling.BILINEAR
    )
    glow = matplotlib.colormaps["inferno"](np.asarray(fine))[..., :3]
    return (image * 0.45 + 255 * 0.55 * glow).round().astype(np.uint8)


@styled
def activation_maps(
    rows: Sequence[ActivationRow],
    heading: str = "",
    *,
    columns: Columns = 2,
) -> Figure:
    """Queries, and gallery images under the map of what makes them similar to the query.

    The figure says what bright places are, and which images have none.

    Args:
        rows: one for each query.
    """
    most = max(len(images) for _, images, _, _ in rows)
    high, across = rows[0].query.shape[:2]
    each = min(1.75, WIDTHS[columns] / (most + 1) * high / across * 0.9 + 0.2)  # inches of a row
    dark = any(not places.any() for row in rows for places in row.maps)
    legend = textwrap.fill(" ".join(BRIGHT if dark else BRIGHT[:1]), 60 * columns)
    lines = legend.count("\n") + 1 + dark
    figure = new_figure(columns, inches=each * len(rows) + 0.3 + 0.1 * lines)
    axes = iter(panels(figure, len(rows), most + 1))
    for query, images, maps, labels in rows:
        first = next(axes)
        first.imshow(query)
        first.set_title("query", fontsize=6)
        for image, places, label in zip(images, maps, labels):
            panel = next(axes)
            panel.imshow(overlay(image, places))
            label = label if places.any() else f"{label}\n{NO_PLACE}"
            panel.set_title(label, fontsize=6)
        for _ in range(most - len(images)):
            next(axes).set_visible(False)
    for panel in figure.axes:
        panel.grid(False)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    figure.supxlabel(legend, fontsize=6)
    if heading:
        figure.suptitle(heading, fontsize=8)
    return figure

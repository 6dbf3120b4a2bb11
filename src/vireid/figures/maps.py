"""Activation maps laid over images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from vireid.figures.style import WIDTHS, Columns, new_figure, panels, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class ActivationRow(NamedTuple):
    """A query, the gallery images nearest to it, and where in them their similarity comes from.

    Attributes:
        query: (H, W, 3) uint8.
        images: n of them, likewise.
        maps: (n, h, w), 0 to 1.
        labels: a line of text above each of the images.
    """

    query: np.ndarray
    images: Sequence[np.ndarray]
    maps: np.ndarray
    labels: Sequence[str]


@styled
def activation_maps(
    rows: Sequence[ActivationRow],
    heading: str = "",
    *,
    columns: Columns = 2,
) -> Figure:
    """Queries, and gallery images under the map of what makes them similar to the query.

    Args:
        rows: one for each query.
    """
    most = max(len(images) for _, images, _, _ in rows)
    high, across = rows[0].query.shape[:2]
    each = min(1.75, WIDTHS[columns] / (most + 1) * high / across + 0.2)  # inches of a row
    figure = new_figure(columns, inches=each * len(rows) + 0.3)
    axes = iter(panels(figure, len(rows), most + 1))
    for query, images, maps, labels in rows:
        first = next(axes)
        first.imshow(query)
        first.set_title("query", fontsize=6)
        for image, places, label in zip(images, maps, labels):
            panel = next(axes)
            panel.imshow(image)
            panel.imshow(
                places, cmap="inferno", alpha=0.55, vmin=0, vmax=1, interpolation="bilinear",
                extent=(-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5),
            )  # fmt: skip
            panel.set_title(label, fontsize=6)
        for _ in range(most - len(images)):
            next(axes).set_visible(False)
    for panel in figure.axes:
        panel.grid(False)
        panel.set(xticks=[], yticks=[])
        panel.spines[:].set_visible(False)
    if heading:
        figure.suptitle(heading, fontsize=8)
    return figure

"""`rle`: random linear enhancement.

    L = CE_g + T_g + mean_k CE_k + mean_k T_k

The last map is averaged as a whole (g) and over three horizontal stripes (k), each with a neck and
a classifier of its own. CE is the cross-entropy after the neck, T the batch-hard triplet loss
(margin 0.3) before it: the losses of `base`, for each of the four. What is new is the augmentation,
random mixtures of the channels, and rectangles that are stretched to their largest value and
dimmed.

Tested on the four features before the necks as one vector (`pooled`), on those after them
(`embedding`), on the sum of both similarities (`sum`), and as published: (1 − a) of the first and a
of the second, a chosen for each data set on its test images (`weighted`). With `last_stage` 3 it is
the network published for RegDB.

Source: Tan et al., "RLE: A Unified Perspective of Data Augmentation for Cross-Spectral
Re-Identification" (NeurIPS 2024), and its code.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from vireid.methods.base import combined
from vireid.methods.baseline import Baseline
from vireid.methods.options import RLEOptions
from vireid.methods.recipes import RECIPES


class RLE(Baseline):
    """Baseline losses on the whole map and on stripes of it."""

    name = "rle"
    Options = RLEOptions
    test_embeddings: ClassVar[tuple[str, ...]] = ("weighted", "sum", "pooled", "embedding")
    recipes = RECIPES["rle"]

    def embed(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        found = self.model.embed(image, num_visible)
        pooled, embedding = found["pooled"], found["embedding"]
        return {
            "weighted": combined(pooled, embedding, self.options.embedding_share),
            "sum": combined(pooled, embedding, 0.5),
            **found,
        }

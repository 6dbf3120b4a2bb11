"""`agw`: attention, generalised mean, weighted triplet.

    L = L_id + L_wrt

L_id is the cross-entropy of the classifier, L_wrt the weighted regularised triplet loss on the
pooled features. Generalised-mean pooling, non-local blocks.

Source: Ye, Shen, Lin, Xiang, Shao, Hoi, "Deep Learning for Person Re-identification: A Survey
and Outlook" (2021), and its code for visible-infrared data.
"""

from __future__ import annotations

from torch import nn

from vireid.losses.triplet import WeightedTripletLoss
from vireid.methods.base import Method, Sizes
from vireid.methods.options import AGWOptions
from vireid.methods.recipes import RECIPES
from vireid.models.options import ModelOptions
from vireid.types import Batch, Output


class AGW(Method):
    """Cross-entropy and weighted triplet on a network with non-local blocks."""

    name = "agw"
    Options = AGWOptions
    recipes = RECIPES["agw"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: AGWOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.triplet: nn.Module = WeightedTripletLoss(self.options.triplet)

    def terms(self, output: Output, batch: Batch) -> dict:
        identity = self.identity_loss(output.logits, batch.pid_label)
        triplet = self.on_all_ranks(self.triplet, output.pooled, batch.pid_label)
        return {
            "identity": self.options.identity_weight * identity,
            "triplet": self.options.triplet_weight * triplet,
        }

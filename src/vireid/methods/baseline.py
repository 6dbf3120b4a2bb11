"""`base`: the two-stream baseline.

    L = L_id + L_tri

L_id is the cross-entropy of the classifier, L_tri the batch-hard triplet loss (margin 0.3) on
the pooled features. Average pooling, no non-local blocks.

Source: the baseline in the AGW and DDAG code. (MCLNet's published `--method base` keeps the
confusion and center losses; this one does not.)
"""

from __future__ import annotations

from vireid.losses.triplet import HardTripletLoss
from vireid.methods.base import Method, Sizes
from vireid.methods.options import BaselineOptions
from vireid.methods.recipes import RECIPES
from vireid.models.options import ModelOptions
from vireid.types import Batch, Output


class Baseline(Method):
    """Cross-entropy and batch-hard triplet."""

    name = "base"
    Options = BaselineOptions
    recipes = RECIPES["base"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: BaselineOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.triplet = HardTripletLoss(self.options.margin)

    def terms(self, output: Output, batch: Batch) -> dict:
        identity = self.identity_loss(output.logits, batch.pid_label)
        triplet = self.on_all_ranks(self.triplet, output.pooled, batch.pid_label)
        return {
            "identity": self.options.identity_weight * identity,
            "triplet": self.options.triplet_weight * triplet,
        }

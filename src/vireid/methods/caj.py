"""`caj`: channel-augmented joint learning.

    L = L_id + L_sq

The network is that of `agw`. A batch holds every visible image twice: as it is, and with one of
its channels in place of all three (`second_view` of the augmentation). L_id is the cross-entropy of
all rows, L_sq the squared weighted triplet loss on their pooled features,

    mean of softplus(± Δ²),    Δ = Σ w⁺d⁺ − Σ w⁻d⁻,

with the weights of `agw` and the sign of Δ. As published, w⁻ fades at large distances and Δ² is cut
off at 88, so that a network whose features lie far apart gets no gradient from it any more.

Source: Ye, Ruan, Du, Shou, "Channel Augmented Joint Learning for Visible-Infrared Recognition"
(ICCV 2021), and its code.
"""

from __future__ import annotations

from vireid.losses.squared_triplet import SquaredTripletLoss
from vireid.methods.agw import AGW
from vireid.methods.base import Sizes
from vireid.methods.options import CAJOptions
from vireid.methods.recipes import RECIPES
from vireid.models.options import ModelOptions

LIMIT = 88.0  # of the published code, where float32's exponential would overflow


class CAJ(AGW):
    """AGW with a squared triplet loss, on three streams of images."""

    name = "caj"
    Options = CAJOptions
    recipes = RECIPES["caj"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: CAJOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        published = self.options.triplet == "published"
        self.triplet = SquaredTripletLoss(
            limit=LIMIT if published else None, arithmetic=self.options.triplet
        )

    def trouble(self, means: dict[str, float]) -> str:
        full = self.options.triplet_weight * LIMIT
        if self.options.triplet == "exact" or full == 0 or means["triplet"] < full * (1 - 1e-6):
            return ""
        return (
            f"The triplet loss stood at its limit of {full:g} for a whole epoch: the features lie "
            "so far apart that the published arithmetic gives it no gradient. Set `triplet` to "
            "exact, or use a smaller `lr`."
        )

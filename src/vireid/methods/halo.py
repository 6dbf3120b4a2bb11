"""`halo`: AGW with a circle loss, on two views of each visible image.

    L = L_id + L_wrt + 0.1 · L_circle

The network is that of `agw`. A batch holds every visible image twice, in other colours: as it is,
grey or one of its channels, and always as one of its channels (`second_view` of the augmentation).
L_circle is the circle loss of the neck's output, a mean over the rows: it is what the embedding
learns from, which the classifier alone leaves far behind the pooled features. The whole network
learns at one rate, which falls in a straight line.

Source: none; it is our own, chosen on validation identities of synthetic people. Its parts are
those of `agw`, `caj` and `dns`.
"""

from __future__ import annotations

from vireid.losses.circle import CircleLoss
from vireid.methods.agw import AGW
from vireid.methods.base import Sizes
from vireid.methods.options import HaloOptions
from vireid.methods.recipes import RECIPES
from vireid.models.options import ModelOptions
from vireid.types import Batch, Output


class Halo(AGW):
    """AGW's losses and a circle loss on the neck's output."""

    name = "halo"
    Options = HaloOptions
    recipes = RECIPES["halo"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: HaloOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.circle = CircleLoss(self.options.circle_margin, self.options.circle_scale)

    def terms(self, output: Output, batch: Batch) -> dict:
        circle = self.on_all_ranks(self.circle, output.embedding, batch.pid_label)
        return super().terms(output, batch) | {"circle": self.options.circle_weight * circle}

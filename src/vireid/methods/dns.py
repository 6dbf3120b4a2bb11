"""`dns`: domain shifting.

    L = L_id + L_circle / B + 0.2 · L_align + L_modality

Stages 1 and 2 are a modality's own, like its stem. After stages 3 and 4 the map is gated along its
rows and columns, from itself plus a shift towards its peaks. z is the pooled feature, f the neck's
output (whose shift is trained), and ẑ, in training only, a projection of the map's mean.

L_id is the cross-entropy of f; L_circle the circle loss of f, a mean over the B rows which the
published code divides by B once more; L_align the maximum mean discrepancy between the modalities
of z and of ẑ (0.45) and between z and ẑ within a modality (0.05). For L_modality, each modality has
a classifier of f and ẑ, which learns the identities and to agree with a moving average of the other
modality's classifier. `vireid.losses` and `vireid.models.ModalityClassifiers` spell them out.

Source: Jiang et al., "Domain Shifting: A Generalized Solution for Heterogeneous Cross-Modality
Person Re-Identification" (ECCV 2024), and its code.
"""

from __future__ import annotations

from torch import Tensor, nn

from vireid.losses.circle import CircleLoss
from vireid.losses.discrepancy import DomainAlignmentLoss
from vireid.losses.full_precision import autocast_like, full
from vireid.losses.triplet import HardTripletLoss
from vireid.methods.base import Method, Sizes
from vireid.methods.options import DNSOptions
from vireid.methods.recipes import RECIPES
from vireid.models.layers import AveragePool
from vireid.models.options import ModelOptions
from vireid.models.shift import HeterogeneousShift, ModalityClassifiers, SemanticProjection
from vireid.models.splitting import Backbone
from vireid.models.two_stream import TwoStream
from vireid.types import Batch, Output


class DNSNetwork(TwoStream):
    """A shift after stages 3 and 4, and the projection of training."""

    extended_from = 3

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__(backbone, options, num_pids)
        self.shifts = nn.ModuleDict(
            {
                str(number): HeterogeneousShift(dim)
                for number, dim in enumerate(self.dims, 1)
                if number >= self.extended_from
            }
        )
        self.mean = AveragePool()
        self.projection = SemanticProjection(self.dim)

    def after_stage(self, number: int, x: Tensor, before: Tensor) -> Tensor:
        return self.shifts[str(number)](x)


class DNS(Method):
    """Circle loss, alignment of the modalities, and classifiers of their own."""

    name = "dns"
    Options = DNSOptions
    Network = DNSNetwork
    recipes = RECIPES["dns"]
    model: DNSNetwork

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: DNSOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        chosen = self.options
        half = chosen.circle_cosines == "half"
        self.circle = CircleLoss(chosen.circle_margin, chosen.circle_scale, half_cosines=half)
        self.alignment = DomainAlignmentLoss()
        self.modality = ModalityClassifiers(self.model.dim, sizes.num_pids)
        if chosen.triplet_weight > 0:
            self.triplet = HardTripletLoss(chosen.margin)

    def terms(self, output: Output, batch: Batch) -> dict:
        options, labels, visible = self.options, batch.pid_label, batch.num_visible
        with autocast_like(output.feature_map):
            projected = full(self.model.projection(self.model.mean(output.feature_map)))
        identity = self.identity_loss(output.logits, labels)
        circle = self.on_all_ranks(self.circle, output.embedding, labels) / len(labels)
        alignment = self.alignment(output.pooled, projected, visible)
        modality = self.modality(output.embedding, projected, labels, visible)
        terms = {
            "identity": options.identity_weight * identity,
            "circle": options.circle_weight * circle,
            "alignment": options.alignment_weight * alignment,
            "modality": options.modality_weight * modality,
        }
        if options.triplet_weight > 0:
            triplet = self.on_all_ranks(self.triplet, output.pooled, labels)
            terms["triplet"] = options.triplet_weight * triplet
        return terms

"""Every part that `best` may be made of, each off until it is asked for: the method of the search.

    vireid train --method benchmarks/sweeps/parts.py:Parts --shift --circle-weight 0.1 …

`mcl` with its own parts off, so `agw`; the triplet of `base` or `caj` in place of `agw`'s; DNS's
heterogeneous shift, MCJA's modality gate; the circle, retrieval and discrepancy losses. What the
network's, the recipe's and the augmentation's options bring combines with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from vireid.config import option
from vireid.losses import (
    CircleLoss,
    CrossModalityRetrievalLoss,
    HardTripletLoss,
    SquaredTripletLoss,
    maximum_mean_discrepancy,
)
from vireid.methods import Sizes
from vireid.methods.mcl import MCL
from vireid.methods.options import MCLOptions
from vireid.methods.recipes import RECIPES
from vireid.models import HeterogeneousShift, ModalityGate, ModelOptions, TwoStream
from vireid.models.splitting import Backbone
from vireid.types import Batch, Output


@dataclass(frozen=True, kw_only=True)
class PartsOptions(MCLOptions):
    """MCLNet's options, off by default, and the other parts."""

    confusion: bool = False
    identity_centers: bool = False
    camera_centers: bool = False
    triplet_kind: Literal["weighted", "squared", "hard"] = "weighted"
    """The triplet loss: of `agw`, `caj` or `base`."""
    shift: bool = False
    """A heterogeneous shift after stages 3 and 4."""
    gate: bool = False
    """A modality gate after stages 2 and 3."""
    circle_weight: float = option(0.0, at_least=0)
    """Weight of the circle loss on the neck's output."""
    retrieval_weight: float = option(0.0, at_least=0)
    """Weight of the cross-modality retrieval loss on the neck's output."""
    discrepancy_weight: float = option(0.0, at_least=0)
    """Weight of the discrepancy between the modalities of the pooled features, of length 1."""


class PartsNetwork(TwoStream):
    """Whatever stands between the stages."""

    def __init__(self, backbone: Backbone, options: ModelOptions, num_pids: int) -> None:
        super().__init__(backbone, options, num_pids)
        self.between = nn.ModuleDict()

    def after_stage(self, number: int, x: Tensor, before: Tensor) -> Tensor:
        return self.between[str(number)](x) if str(number) in self.between else x


class Parts(MCL):
    """AGW, and parts of other methods as its options say."""

    name = "parts"
    Options = PartsOptions
    Network = PartsNetwork
    recipes = RECIPES["agw"]

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: PartsOptions | None = None
    ) -> None:
        chosen = PartsOptions() if options is None else options
        super().__init__(model_options, sizes, chosen)
        if chosen.triplet_kind != "weighted":
            self.triplet = (
                HardTripletLoss() if chosen.triplet_kind == "hard" else SquaredTripletLoss()
            )
        modules: dict[int, list[nn.Module]] = {}
        for number, dim in enumerate(self.model.dims, 1):
            if chosen.gate and number in (2, 3):
                modules.setdefault(number, []).append(ModalityGate(dim))
            if chosen.shift and number in (3, 4):
                modules.setdefault(number, []).append(HeterogeneousShift(dim))
        between = self.model.between
        between.update({str(number): nn.Sequential(*found) for number, found in modules.items()})
        self.circle, self.retrieval = CircleLoss(), CrossModalityRetrievalLoss()

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        terms, options = super().terms(output, batch), self.options
        if options.circle_weight > 0:
            circle = self.on_all_ranks(self.circle, output.embedding, batch.pid_label)
            terms["circle"] = options.circle_weight * circle
        if options.retrieval_weight > 0:
            retrieval = self.retrieval(output.embedding, batch.pid_label, batch.modality)
            terms["retrieval"] = options.retrieval_weight * retrieval
        if options.discrepancy_weight > 0:
            visible, infrared = nn.functional.normalize(output.pooled).tensor_split(
                [batch.num_visible]
            )
            gap = maximum_mean_discrepancy(visible, infrared)
            terms["discrepancy"] = options.discrepancy_weight * gap
        return terms

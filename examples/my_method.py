"""A method of your own, in one file and without a fork.

    vireid train --method examples/my_method.py:MyMethod --dataset sysu --data-root DIR

It adds one term to the baseline: for every identity of a batch, the mean of its visible and the
mean of its infrared features should be close (after the "hetero-center" loss of Zhu et al., 2020):

    L = L_id + L_tri + weight · mean_k ‖ mean visible x of k − mean infrared x of k ‖²

Its options are flags: --hetero-weight 0.5, or keys of a configuration file:
{"method_options": {"hetero_weight": 0.5}}.

Three things make a method: options (a frozen dataclass), `terms` (named losses, 0-d tensors),
and, where it trains more than the network, modules or parameters set in `__init__`, which the
main optimiser then trains. Without `.item()`, branches on values and shapes that depend on values
in `terms`, every engine can run it, the captured graph included.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from vireid.config import option
from vireid.losses import HardTripletLoss
from vireid.methods import Method, MethodOptions, Sizes
from vireid.models import ModelOptions
from vireid.types import Batch, Output


@dataclass(frozen=True, kw_only=True)
class MyOptions(MethodOptions):
    """Options: those of every method, and the weight of the new term."""

    hetero_weight: float = option(0.1, at_least=0)
    """Weight of the pull between the modalities."""


class MyMethod(Method):
    """Baseline and a pull between the modalities of each identity."""

    name = "my-method"
    Options = MyOptions

    def __init__(
        self, model_options: ModelOptions, sizes: Sizes, options: MyOptions | None = None
    ) -> None:
        super().__init__(model_options, sizes, options)
        self.triplet = HardTripletLoss(margin=0.3)
        self.scale = torch.nn.Parameter(torch.ones(self.model.dim))  # trained with the head

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        options, pids = self.options, batch.pid_label
        identity = self.identity_loss(output.logits, pids)
        triplet = self.on_all_ranks(self.triplet, output.pooled, pids)
        gap = self.scale * modality_gap(output.pooled, pids, batch.modality)
        return {
            "identity": options.identity_weight * identity,
            "triplet": options.triplet_weight * triplet,
            "hetero": options.hetero_weight * gap.square().sum(1).mean(),
        }


def modality_gap(features: Tensor, pids: Tensor, modality: Tensor) -> Tensor:
    """For each row of `features` (B, D): mean visible − mean infrared feature of its identity.

    Means are matrix products with (B, B) weights, so that no shape depends on the labels.
    """
    same = pids[:, None] == pids[None, :]

    def mean_of(wanted: int) -> Tensor:
        weight = (same & (modality == wanted)[None, :]).to(features.dtype)
        return weight @ features / weight.sum(1, keepdim=True)

    return mean_of(0) - mean_of(1)

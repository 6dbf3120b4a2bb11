"""A method of your own, in one file and without a fork.

    vireid train --method examples/my_method.py:MyMethod --dataset sysu --data-root DIR

It adds one term to the baseline: the mean visible and the mean infrared feature of an identity in a
batch should be close (after the "hetero-center" loss of Zhu et al., 2020):

    L = L_id + L_tri + weight · mean_k ‖ mean visible x of k − mean infrared x of k ‖²

Its options are flags: --hetero-weight 0.5. Three things make a method: options (a frozen
dataclass), `terms` (named losses, 0-d tensors), and, where it trains more than the network, modules
or parameters set in `__init__`. Without `.item()`, branches on values and shapes that depend on
values in `terms`, every engine can run it, the captured graph included.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vireid.config import option
from vireid.losses import HardTripletLoss
from vireid.methods import Method, MethodOptions
from vireid.types import Batch, Output


@dataclass(frozen=True, kw_only=True)
class MyOptions(MethodOptions):
    hetero_weight: float = option(0.1, at_least=0)
    """Weight of the pull between the modalities."""


class MyMethod(Method):
    name = "my-method"
    Options = MyOptions

    def __init__(self, *parts) -> None:  # network's options, sizes, own options
        super().__init__(*parts)
        self.triplet = HardTripletLoss(margin=0.3)
        self.scale = torch.nn.Parameter(torch.ones(self.model.dim))  # trained with the head

    def terms(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        options, pids = self.options, batch.pid_label
        gap = self.scale * modality_gap(output.pooled, pids, batch.modality)
        triplet = self.on_all_ranks(self.triplet, output.pooled, pids)
        return {
            "identity": options.identity_weight * self.identity_loss(output.logits, pids),
            "triplet": options.triplet_weight * triplet,
            "hetero": options.hetero_weight * gap.square().sum(1).mean(),
        }


def modality_gap(features: Tensor, pids: Tensor, modality: Tensor) -> Tensor:
    """For each row: mean visible − mean infrared feature of its identity, as matrix products with
    (B, B) weights, so that no shape depends on the labels."""
    same = pids[:, None] == pids[None, :]
    weights = [(same & (modality == wanted)[None, :]).to(features.dtype) for wanted in (0, 1)]
    visible, infrared = (w @ features / w.sum(1, keepdim=True) for w in weights)
    return visible - infrared

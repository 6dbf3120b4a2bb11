"""The squared weighted triplet loss of CAJ."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.losses.triplet import LINEAR, pairwise_distance, softmax_weights
from vireid.types import InputError


class SquaredTripletLoss(nn.Module):
    """Weighted regularised triplet loss with a squared difference: mean of softplus(± γ Δ²).

    Δ = Σ w⁺d⁺ − Σ w⁻d⁻ for each anchor, with w⁺ the softmax of α d⁺ over rows of its identity
    (itself included) and w⁻ the softmax of −α d⁻ over all other rows; the sign is that of Δ.
    Gradients flow through the weights.

    Args:
        alpha: α, above 0.
        gamma: γ, above 0.
        limit: γ Δ² is cut off here, and has no gradient beyond; None cuts nothing. The published
            code has 88, where float32's exponential would overflow.
        arithmetic: of the weights, see `WeightedTripletLoss`. With "published", Δ grows with the
            distances once these pass about 18, so that with a limit every anchor loses its
            gradient and the loss stands at the limit.

    Source: Ye, Ruan, Du, Shou, "Channel Augmented Joint Learning for Visible-Infrared
    Recognition" (ICCV 2021), and its code.
    """

    def __init__(
        self,
        alpha: float = 1.0,
        gamma: float = 1.0,
        limit: float | None = None,
        arithmetic: Literal["exact", "published"] = "exact",
    ) -> None:
        super().__init__()
        for name, value in (("alpha", alpha), ("gamma", gamma), ("limit", limit)):
            if value is not None and value <= 0:
                raise InputError(f"{name} of the squared triplet is {value}; it must be above 0.")
        self.alpha, self.gamma, self.limit = alpha, gamma, limit
        self.weights = softmax_weights(arithmetic)

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """The loss of `features` (B, D) with identities `pids` (B,), as a 0-d tensor."""
        with no_autocast(features):
            distance = pairwise_distance(full(features))
            same = pids[:, None] == pids[None, :]
            positive = (self.weights(self.alpha * distance, same) * distance).sum(1)
            negative = (self.weights(-self.alpha * distance, ~same) * distance).sum(1)
            gap = positive - negative
            square = self.gamma * gap.square()
            if self.limit is not None:
                square = square.clamp_max(self.limit)
            signed = torch.where(gap > 0, square, -square)
            return F.softplus(signed, threshold=LINEAR[signed.dtype]).mean()

"""Triplet losses over all pairs of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.types import InputError

_FLOOR = 1e-6
_FAR = 1e30
# From here on softplus(x) is x to the last digit; PyTorch's default of 20 loses some in float64.
LINEAR = {torch.float32: 20.0, torch.float64: 40.0}


def squared_distance(features: Tensor) -> Tensor:
    """Squared Euclidean distances (B, B) between the rows of `features` (B, D); where these are
    nearly equal, rounding may make one negative.

    The rows are centred first: distances do not change, and the difference of squared norms
    loses fewer digits.
    """
    centred = features - features.mean(0).detach()
    squared_norm = centred.square().sum(1)
    squared = squared_norm[:, None] + squared_norm[None, :] - 2 * centred @ centred.T
    itself = torch.eye(len(features), dtype=torch.bool, device=features.device)
    return squared.masked_fill(itself, 0.0)


def pairwise_distance(features: Tensor) -> Tensor:
    """Euclidean distances (B, B) between the rows of `features` (B, D), at least 1e-6."""
    return squared_distance(features).clamp_min(_FLOOR**2).sqrt()


class HardTripletLoss(nn.Module):
    """Batch-hard triplet loss: mean of max(farthest positive − nearest negative + margin, 0).

    Args:
        margin: in units of the Euclidean distance, not negative.

    Source: Hermans, Beyer, Leibe, "In Defense of the Triplet Loss" (2017); margin 0.3 in the
    published baseline and DDAG code. Anchors without a negative add nothing.
    """

    def __init__(self, margin: float = 0.3) -> None:
        super().__init__()
        if margin < 0:
            raise InputError(f"The triplet margin is {margin}; it must not be negative.")
        self.margin = margin

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """The loss of `features` (B, D) with identities `pids` (B,), as a 0-d tensor."""
        with no_autocast(features):
            distance = pairwise_distance(full(features))
            same = pids[:, None] == pids[None, :]
            positive = distance.masked_fill(~same, 0.0).max(1).values
            negative = distance.masked_fill(same, _FAR).min(1).values
            return F.relu(positive - negative + self.margin).mean()


class WeightedTripletLoss(nn.Module):
    """Weighted regularised triplet loss of AGW: mean of softplus(Σ w⁺d⁺ − Σ w⁻d⁻).

    For each anchor, w⁺ is the softmax of its distances d⁺ to rows of its identity (itself
    included) and w⁻ the softmax of −d⁻ over all other rows. Gradients flow through weights.

    Args:
        arithmetic: "exact" is the softmax. "published" repeats the published code, which adds
            1e-6 to the denominators and does not shift the negative exponent: beyond distances
            of about 14 the negative term fades to 0 and only the pull is left.

    Source: Ye et al., "Deep Learning for Person Re-identification" (2021), eq. 8 and its code.
    """

    def __init__(self, arithmetic: Literal["exact", "published"] = "exact") -> None:
        super().__init__()
        self.arithmetic = arithmetic
        self.weights = softmax_weights(arithmetic)

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """The loss of `features` (B, D) with identities `pids` (B,), as a 0-d tensor."""
        with no_autocast(features):
            distance = pairwise_distance(full(features))
            same = pids[:, None] == pids[None, :]
            positive = (self.weights(distance, same) * distance).sum(1)
            negative = (self.weights(-distance, ~same) * distance).sum(1)
            gap = positive - negative
            return F.softplus(gap, threshold=LINEAR[gap.dtype]).mean()


def softmax_weights(arithmetic: str) -> Callable[[Tensor, Tensor], Tensor]:
    """The function of (scores, mask) that gives a triplet's weights in that arithmetic.

    Raises:
        InputError: there is no such arithmetic.
    """
    if arithmetic not in ("exact", "published"):
        raise InputError(
            f"The arithmetic of the weighted triplet is '{arithmetic}'; "
            "it must be 'exact' or 'published'."
        )
    return _exact_weights if arithmetic == "exact" else _published_weights


def _exact_weights(score: Tensor, mask: Tensor) -> Tensor:
    # A finite fill keeps rows without any valid entry at weight 0 instead of NaN.
    return score.masked_fill(~mask, -_FAR).softmax(1) * mask


def _published_weights(score: Tensor, mask: Tensor) -> Tensor:
    # Entries outside the mask count as 0 in the maximum: for negatives it is always 0.
    masked = score * mask
    exponential = (masked - masked.max(1, keepdim=True).values).exp() * mask
    return exponential / (exponential.sum(1, keepdim=True) + 1e-6)

"""Circle loss over the pairs of a batch."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.losses.triplet import LINEAR
from vireid.types import InputError


class CircleLoss(nn.Module):
    """Circle loss: mean over anchors of softplus(logsumexp⁻ + logsumexp⁺).

    With cosine similarities s, m the margin and γ the scale, for each anchor

        logsumexp⁻ over other identities:          γ a⁻ (s − m),          a⁻ = max(s + m, 0)
        logsumexp⁺ over its identity, not itself:  −γ a⁺ (s − 1 + m),     a⁺ = max(1 + m − s, 0)

    with a⁻ and a⁺ held fixed (no gradient). Anchors without a partner add softplus(−∞) = 0.

    Args:
        margin: m, in (0, 1).
        scale: γ, above 0.
        half_cosines: round the cosines to float16, as DNS's code computes them.

    Source: Sun et al., "Circle Loss" (CVPR 2020); margin and scale of DNS's code.
    """

    def __init__(
        self, margin: float = 0.45, scale: float = 64.0, half_cosines: bool = False
    ) -> None:
        super().__init__()
        if not 0 < margin < 1:
            raise InputError(f"The circle margin is {margin}; it must be between 0 and 1.")
        if scale <= 0:
            raise InputError(f"The circle scale is {scale}; it must be above 0.")
        self.margin, self.scale, self.half_cosines = margin, scale, half_cosines

    def forward(self, features: Tensor, pids: Tensor) -> Tensor:
        """The loss of `features` (B, D), of any length, with identities `pids` (B,); 0-d."""
        with no_autocast(features):
            unit = F.normalize(full(features), dim=1)
            similarity = unit @ unit.T
            if self.half_cosines:
                similarity = similarity.half().to(unit.dtype)
            same = pids[:, None] == pids[None, :]
            itself = similarity.new_ones(len(unit)).diag().bool()
            fixed = similarity.detach()
            m = self.margin
            negative = self.scale * (fixed + m).clamp_min(0) * (similarity - m)
            positive = -self.scale * (1 + m - fixed).clamp_min(0) * (similarity - 1 + m)
            lowest = -1e4 * self.scale  # stays finite where an anchor has no pair of a kind
            pair = negative.masked_fill(same, lowest).logsumexp(1)
            pair = pair + positive.masked_fill(~same | itself, lowest).logsumexp(1)
            return F.softplus(pair, threshold=LINEAR[pair.dtype]).mean()

"""Losses on features that branches of a network generated, of DEEN."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.types import InputError

_FLOOR = 1e-12  # of squared distances


class CenterPairLoss(nn.Module):
    """Cross-modality pairs of class centers, with features that one branch generated.

    With v, t the visible and infrared centers of an identity in a batch, a, b those of the
    generated features, h(x) = max(x + margin, 0), nn(c) the distance of a center to the nearest
    of another identity, and [·] held fixed:

        L₁ = mean h(d(t, a) − [d(v, a)]) + ½ mean h(d(t, a) − nn(a)) + ½ mean h(d(t, a) − nn(v))
        L₂ = mean h(d(v, b) − [d(t, b)]) + ½ mean h(d(v, b) − nn(b)) + ½ mean h(d(v, b) − nn(t))

    and the loss is (L₁ + L₂) / 2. Means are over identities, each with equally many images.

    Args:
        margin: not negative.

    Source: Zhang, Wang, "Diverse Embedding Expansion Network and Low-Light Cross-Modality
    Benchmark for Visible-Infrared Person Re-Identification" (CVPR 2023), and its code.
    """

    def __init__(self, margin: float = 0.2) -> None:
        super().__init__()
        if margin < 0:
            raise InputError(f"The margin of center pairs is {margin}; it must not be negative.")
        self.margin = margin

    def forward(
        self, features: Tensor, generated: Tensor, pids: Tensor, num_visible: int
    ) -> Tensor:
        """The loss of `features` and `generated` (B, D), visible rows first, as a 0-d tensor.

        Args:
            pids: (B,) identities; each has rows of both modalities.
        """
        with no_autocast(features):
            # A center for each visible row: its identity's, once for each of its images.
            own = pids[:num_visible]
            same = (own[:, None] == pids[None, :]).to(full(features).dtype)
            means = [
                part / part.sum(1, keepdim=True)
                for part in (same[:, :num_visible], same[:, num_visible:])
            ]

            def centers(rows: Tensor) -> tuple[Tensor, Tensor]:
                rows = full(rows)
                return means[0] @ rows[:num_visible], means[1] @ rows[num_visible:]

            visible, infrared = centers(features)
            from_visible, from_infrared = centers(generated)
            others = own[:, None] != own[None, :]
            first = self._pull(infrared, from_visible, visible, others)
            second = self._pull(visible, from_infrared, infrared, others)
            return (first + second) / 2

    def _pull(self, target: Tensor, generated: Tensor, source: Tensor, others: Tensor) -> Tensor:
        """Generated centers come nearer to `target` than to their `source`, and than others."""
        far = _distance(target, generated)
        to_source = _distance(source, generated).detach()
        loss = F.relu(far - to_source + self.margin).mean()
        for centers in (generated, source):
            loss = loss + F.relu(far - _nearest(centers, others) + self.margin).mean() / 2
        return loss


def _distance(a: Tensor, b: Tensor) -> Tensor:
    """(N,) Euclidean distances of the rows of `a` from those of `b`."""
    return (a - b).square().sum(1).clamp_min(_FLOOR).sqrt()


def _nearest(centers: Tensor, others: Tensor) -> Tensor:
    """(N,) distance of each center to the nearest of another identity."""
    squared = (centers[:, None] - centers[None, :]).square().sum(2)
    return squared.masked_fill(~others, float("inf")).min(1).values.clamp_min(_FLOOR).sqrt()


def branch_overlap(first: Tensor, second: Tensor, branches: int = 3) -> Tensor:
    """Mean dot product of the features (B, D) of two generated branches, as a 0-d tensor.

    Divided by the rows of all `branches`, as in DEEN's code: Σ first · second / (branches · B).

    Source: Zhang, Wang (CVPR 2023), and its code.
    """
    with no_autocast(first):
        return (full(first) * full(second)).sum() / (branches * len(first))

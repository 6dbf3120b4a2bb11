"""Center aggregation: classes gather around centers that keep away from each other."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.types import InputError


class CenterAggregationLoss(nn.Module):
    """Center aggregation loss of MCLNet, pull + push, without its weight.

    With d_i = ‖z_i − C_{y_i}‖² and n_k rows of class k in a batch of B:

        pull = max(mean_i d_i − (1/B) Σ_k n_k · min_{i in k} d_i − σ, 0)
        push = max(ρ − mean_i min_{k ≠ y_i} ‖C_{y_i} − C_k‖², 0)

    Args:
        num_classes: number of centers, at least 2.
        dim: length of the features.
        rho: ρ, how far (squared) centers should be apart.
        sigma: σ, how much spread (squared) within a class is left alone.
        centers: "learned" makes the centers a parameter; "frozen" a buffer, random anchors
            N(0, 1) for ever, as in the published code, where no optimiser owns them (the push
            then has no gradient).
        fixed_count: used for every n_k in place of the true count. The published
            identity loss fixes 8, which its batches of 4 + 4 images an identity make true;
            None counts.

    Attributes:
        centers: (num_classes, dim).

    Source: Hao et al., ICCV 2021, and the published code.
    """

    centers: Tensor

    def __init__(
        self,
        num_classes: int,
        dim: int,
        rho: float = 4500.0,
        sigma: float = 8.0,
        centers: Literal["learned", "frozen"] = "learned",
        fixed_count: int | None = None,
    ) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(
                f"Center aggregation was asked for {num_classes} class(es); it keeps classes "
                "apart and needs at least 2."
            )
        for name, value in (("rho", rho), ("sigma", sigma)):
            if value < 0:
                raise InputError(
                    f"{name} of the center aggregation is {value}; it must not be negative."
                )
        if centers not in ("learned", "frozen"):
            raise InputError(f"centers is '{centers}'; it must be 'learned' or 'frozen'.")
        if fixed_count is not None and fixed_count < 1:
            raise InputError(f"fixed_count is {fixed_count}; it must be at least 1, or None.")
        self.rho, self.sigma, self.fixed_count = rho, sigma, fixed_count
        start = torch.randn(num_classes, dim)
        if centers == "learned":
            self.centers = nn.Parameter(start)
        else:
            self.register_buffer("centers", start)

    def forward(self, features: Tensor, labels: Tensor) -> Tensor:
        """The loss of `features` (B, D) with dense class labels (B,), as a 0-d tensor."""
        with no_autocast(features):
            features, centers = full(features), full(self.centers)
            own = F.embedding(labels, centers)
            return self._pull(features, own, labels) + self._push(own, centers, labels)

    def _pull(self, features: Tensor, own: Tensor, labels: Tensor) -> Tensor:
        distance = (features - own).square().sum(1)
        same = labels[:, None] == labels[None, :]
        # Each row takes its class's minimum, so that summing rows counts it n_k times.
        nearest = distance[None, :].masked_fill(~same, float("inf")).min(1).values
        if self.fixed_count is not None:
            nearest = nearest * (self.fixed_count / same.sum(1))
        return F.relu(distance.mean() - nearest.mean() - self.sigma)

    def _push(self, own: Tensor, centers: Tensor, labels: Tensor) -> Tensor:
        # The matrix product only finds the nearest other center; its distance is then computed
        # from the difference, which keeps all digits when centers come close.
        with torch.no_grad():
            squared = centers.square().sum(1)[None, :] - 2 * own @ centers.T
            nearest = squared.scatter(1, labels[:, None], float("inf")).argmin(1)
        gap = (own - F.embedding(nearest, centers)).square().sum(1)
        return F.relu(self.rho - gap.mean())

"""Distances between the distributions of two sets of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.losses.triplet import squared_distance
from vireid.types import InputError


def maximum_mean_discrepancy(a: Tensor, b: Tensor, kernels: int = 5, factor: float = 2.0) -> Tensor:
    """Maximum mean discrepancy of the rows of `a` (N, D) and `b` (M, D), as a 0-d tensor.

    The kernel is a sum of Gaussians exp(−‖x − y‖² / (w fʲ)), j = −⌊k/2⌋ … k − 1 − ⌊k/2⌋, with w
    the mean squared distance of all different rows, held fixed. Pairs of a row with itself count.

    Args:
        kernels: k, how many Gaussians.
        factor: f, between one's width and the next one's.

    Source: Gretton et al., "A Kernel Two-Sample Test" (2012); the form is that of DNS's code.
    """
    if kernels < 1 or factor <= 0:
        raise InputError(
            f"The discrepancy has {kernels} kernels with the factor {factor}; at least 1 and a "
            "factor above 0 were expected."
        )
    rows = torch.cat([full(a), full(b)])
    in_a = torch.arange(len(rows), device=rows.device) < len(a)
    return _discrepancies(squared_distance(rows), [(in_a, ~in_a)], kernels, factor)[0]


def _discrepancies(
    squared: Tensor, pairs: list[tuple[Tensor, Tensor]], kernels: int = 5, factor: float = 2.0
) -> Tensor:
    """Maximum mean discrepancies (S,) of S pairs of sets.

    Args:
        squared: (N, N) squared distances of all rows.
        pairs: two masks (N,) bool each, of which rows are in the one set and in the other.
    """
    masks = [torch.stack(sets).to(squared.dtype) for sets in zip(*pairs)]  # (S, N) twice
    # mean k_aa + mean k_bb − 2 mean k_ab is Σ wᵢ wⱼ kᵢⱼ with these weights.
    first, second = (mask / mask.sum(1, keepdim=True) for mask in masks)
    weights, either = first - second, masks[0] + masks[1]
    count = either.sum(1)
    used = either[:, :, None] * either[:, None, :]  # (S, N, N)
    width = (used * squared.detach()).sum((1, 2)) / (count * count - count)
    scaled = -squared / width[:, None, None]
    kernel = torch.exp(scaled / factor ** (-(kernels // 2)))
    for j in range(1, kernels):
        kernel = kernel + torch.exp(scaled / factor ** (j - kernels // 2))
    return (weights[:, :, None] * weights[:, None, :] * kernel).sum((1, 2))


class DomainAlignmentLoss(nn.Module):
    """Alignment of modalities, and of features with their semantic projection, of DNS.

        inter · [MMD(z_v, z_i) + MMD(ẑ_v, ẑ_i)] + intra · [MMD(z_v, ẑ_v) + MMD(z_i, ẑ_i)]

    with z the pooled features and ẑ their projection, rows made unit length first.

    Args:
        inter: weight of the terms across modalities, not negative.
        intra: weight of the terms within a modality, not negative.

    Source: Jiang et al., "Domain Shifting: A Generalized Solution for Heterogeneous
    Cross-Modality Person Re-Identification" (ECCV 2024), and its code.
    """

    def __init__(self, inter: float = 0.45, intra: float = 0.05) -> None:
        super().__init__()
        for name, value in (("inter", inter), ("intra", intra)):
            if value < 0:
                raise InputError(
                    f"{name} of the domain alignment is {value}; it must not be negative."
                )
        self.inter, self.intra = inter, intra

    def forward(self, pooled: Tensor, projected: Tensor, num_visible: int) -> Tensor:
        """The loss of `pooled` and `projected` (B, D), the first `num_visible` rows visible."""
        with no_autocast(pooled):
            # All four from one matrix of distances.
            rows = F.normalize(torch.cat([full(pooled), full(projected)]), dim=1)
            number = torch.arange(len(rows), device=rows.device)
            visible, plain = number % len(pooled) < num_visible, number < len(pooled)
            z_v, z_i = plain & visible, plain & ~visible
            projected_v, projected_i = ~plain & visible, ~plain & ~visible
            pairs = [(z_v, z_i), (projected_v, projected_i), (z_v, projected_v), (z_i, projected_i)]
            found = _discrepancies(squared_distance(rows), pairs)
            return self.inter * found[:2].sum() + self.intra * found[2:].sum()

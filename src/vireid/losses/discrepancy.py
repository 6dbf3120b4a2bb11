"""Distances between the distributions of two sets of features."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
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
    count, first = len(rows), len(a)
    squared = (rows[:, None] - rows[None, :]).square().sum(2)
    width = squared.detach().sum() / (count * count - count)
    kernel = torch.stack(
        [torch.exp(-squared / (width * factor ** (j - kernels // 2))) for j in range(kernels)]
    ).sum(0)
    within = kernel[:first, :first].mean() + kernel[first:, first:].mean()
    return within - kernel[:first, first:].mean() - kernel[first:, :first].mean()


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
            visible, infrared = _halves(pooled, num_visible)
            to_visible, to_infrared = _halves(projected, num_visible)
            mmd = maximum_mean_discrepancy
            across = mmd(visible, infrared) + mmd(to_visible, to_infrared)
            within = mmd(visible, to_visible) + mmd(infrared, to_infrared)
            return self.inter * across + self.intra * within


def _halves(features: Tensor, num_visible: int) -> tuple[Tensor, Tensor]:
    unit = F.normalize(full(features), dim=1)
    return unit[:num_visible], unit[num_visible:]

"""Batch norm over the batches of all ranks, the same lines on GPUs and on the CPU.

(PyTorch's own exists for GPUs only and isn't compiled; this one becomes part of the one compiled
and captured step.)
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from vireid.models.layers import keep_statistics
from vireid.runtime.ranks import gather_rows
from vireid.types import InputError


class SyncBatchNorm(_BatchNorm):
    """A batch norm whose statistics in training are those of all ranks' rows together.

    Every rank has to bring as many rows as the others.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected at least (B, C), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, …) → the same shape and number format."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        x = input.float()
        over = [d for d in range(x.dim()) if d != 1]
        variance, mean = torch.var_mean(x, over, correction=0)
        # Rows are as many everywhere, so the whole's variance is the mean of the ranks' variances
        # and of their means' distances.
        variances, means = gather_rows(torch.stack([variance, mean])[None]).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        keep_statistics(self, mean, variance, len(means) * x.numel() // x.shape[1])
        columns = [-1 if d == 1 else 1 for d in range(x.dim())]
        normal = (x - mean.view(columns)) * torch.rsqrt(variance + self.eps).view(columns)
        # By the weight itself, not by a product with it: where a group steps before the backward
        # pass, the gradient goes through the new weight, as in PyTorch's own batch norm.
        y = normal * self.weight.view(columns) + self.bias.view(columns)
        return y.to(input.dtype)


def synchronise(network: nn.Module) -> None:
    """Replace every batch norm by a `SyncBatchNorm`; parameters and buffers stay.

    Raises:
        InputError: a batch norm of another kind, which can't be replaced.
    """
    for name, module in [*network.named_modules()]:
        for short, child in [*module.named_children()]:
            if not isinstance(child, _BatchNorm) or isinstance(child, SyncBatchNorm):
                continue
            standard = type(child) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
            if not (standard and child.affine and child.track_running_stats and child.momentum):
                path = f"{name}.{short}".lstrip(".")
                raise InputError(
                    f"'{path}' is a {type(child).__name__} that `sync_bn` can't replace; "
                    "it replaces batch norms with weights, running statistics and a momentum. "
                    "Train without `sync_bn`."
                )
            new = SyncBatchNorm(child.num_features, child.eps, child.momentum)
            new.train(child.training)
            for key in ("weight", "bias"):
                setattr(new, key, getattr(child, key))
            for key in ("running_mean", "running_var", "num_batches_tracked"):
                setattr(new, key, getattr(child, key))
            setattr(module, short, new)

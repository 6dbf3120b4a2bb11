"""Modality confusion: a discriminator tells the modality, the encoder makes it unsure.

Both terms can share one backward pass: the discriminator's loss sees detached features, the
encoder's loss sees the discriminator through detached weights.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full


def discriminator_loss(logits: Tensor, modality: Tensor) -> Tensor:
    """Cross-entropy of the discriminator's `logits` (B, 2) with the true `modality` (B,)."""
    return F.cross_entropy(full(logits), modality)


def confusion_loss(logits: Tensor) -> Tensor:
    """Cross-entropy of `logits` (B, 2) with the uniform target (½, ½); at least log 2.

    Source: Hao et al., ICCV 2021, modality confusion.
    """
    return -full(logits).log_softmax(1).mean()


def frozen_logits(
    discriminator: nn.Module, features: Tensor, *, by_reference: bool = False
) -> Tensor:
    """Logits (B, 2) of `discriminator` for `features` (B, D), without gradient to its weights.

    Running statistics are worked on as copies: one step counts once.

    Args:
        by_reference: where the discriminator takes its step before the backward pass, send the
            gradient back through its new weights, as PyTorch up to 1.4 did without a word; the
            logits and batch statistics stay those of before. Otherwise such a step is an error.
    """
    # Autograd keeps both kinds by reference, but checks only the first for changes in place.
    state = {
        name: value.data if by_reference else value.detach()
        for name, value in discriminator.named_parameters()
    }
    state |= {name: value.clone() for name, value in discriminator.named_buffers()}
    return torch.func.functional_call(discriminator, state, (features,))

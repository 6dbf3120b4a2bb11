"""Cross-modality retrieval loss: the soft rank of matches, of MCJA."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.types import InputError

LEAST_GALLERY = 4  # below, the soft rank is not linear


class CrossModalityRetrievalLoss(nn.Module):
    """Mean distance of soft ranks from 1 for matches and from last for all others.

    Each row is a query, the rows of the other modality its gallery of G. With d = (1 − cos) / 2,
    the soft rank (L2 regularised, strength ½) is linear for G ≥ 4, so that the loss of a query
    with n matches is

        (G − 1) / 2 + 4 (n / G) (mean d over its matches − mean d over its gallery).

    Queries without a match, or with nothing but matches, are left out; the loss is the mean over
    the queries of a modality, then over modalities that have some, and 0 if none has.

    Source: Liang et al., "Bridging the Gap: Multi-Level Cross-Modality Joint Alignment for
    Visible-Infrared Person Re-Identification" (2023), and the code of MCJA.
    """

    def __init__(self) -> None:
        super().__init__()

    def forward(self, embedding: Tensor, pids: Tensor, modality: Tensor) -> Tensor:
        """The loss of `embedding` (B, D), of any length; `pids`, `modality` (B,); 0-d.

        Raises:
            InputError: a modality has fewer than 4 rows. (Compiled code checks B ≥ 8 only, as it
                can't read values.)
        """
        _check(modality)
        with no_autocast(embedding):
            unit = F.normalize(full(embedding), dim=1)
            distance = (1 - unit @ unit.T) / 2
            gallery = (modality[:, None] != modality[None, :]).to(distance.dtype)
            match = gallery * (pids[:, None] == pids[None, :])
            matches, size = match.sum(1), gallery.sum(1)
            near = (distance * match).sum(1) / matches.clamp_min(1)
            loss = (size - 1) / 2 + 4 * (matches / size) * (
                near - (distance * gallery).sum(1) / size
            )
            used = ((matches > 0) & (matches < size)).to(distance.dtype)
            total, modalities = loss.new_zeros(()), loss.new_zeros(())
            for one in (0, 1):
                of_one = used * (modality == one)
                total = total + (loss * of_one).sum() / of_one.sum().clamp_min(1)
                modalities = modalities + (of_one.sum() > 0)
            return total / modalities.clamp_min(1)


def _check(modality: Tensor) -> None:
    smallest = len(modality) // 2
    if modality.device.type == "cpu" and not torch.compiler.is_compiling():
        smallest = int(torch.bincount(modality.long(), minlength=2).min())
    if smallest < LEAST_GALLERY:
        raise InputError(
            f"The retrieval loss has a gallery of {smallest} images; with fewer than "
            f"{LEAST_GALLERY} its soft ranks are not what they stand for. Use larger batches."
        )

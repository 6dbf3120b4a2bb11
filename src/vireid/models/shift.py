"""Parts of DNS: the heterogeneous shift, the semantic projection and the modality classifiers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast


class HeterogeneousShift(nn.Module):
    """Gates a map along its rows and columns, from the map plus a shift towards its peaks.

    The shift is the outer product of two softmaxes, over rows of the largest value of each and
    over columns likewise. The shifted map's means over rows and columns go through one bottleneck
    and make two gates; the map itself, not the shifted one, is multiplied by them.

    Args:
        dim: channels of the map.
        reduction: the bottleneck has dim // reduction channels, at least 8.

    Layers are named as in the published code.

    Source: Jiang et al., "Domain Shifting" (ECCV 2024), and its code.
    """

    def __init__(self, dim: int, reduction: int = 32) -> None:
        super().__init__()
        inner = max(8, dim // reduction)
        self.channel_attention = nn.Sequential(
            nn.Conv2d(dim, inner, 1, bias=False), nn.BatchNorm2d(inner), nn.Hardswish()
        )
        self.conv_h = nn.Conv2d(inner, dim, 1, bias=False)
        self.conv_w = nn.Conv2d(inner, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, dim, h, w) → the same shape."""
        height, width = x.shape[2:]
        # A softmax sums to 1, so the shift's sum along an axis is the shift of the peaks along it:
        # neither the shift nor the shifted map is made.
        values = full(x)
        rows, columns = (
            values.mean(axis, keepdim=True) + self.shift(values.amax(axis, keepdim=True)) / places
            for axis, places in ((3, width), (2, height))
        )
        bottleneck = self.channel_attention(torch.cat([rows, columns.transpose(2, 3)], dim=2))
        rows, columns = bottleneck.split(x.shape[2:], dim=2)
        gate = self.conv_h(rows).sigmoid() * self.conv_w(columns.transpose(2, 3)).sigmoid()
        return x * gate

    @staticmethod
    def shift(x: Tensor) -> Tensor:
        """What is added for the gates: (B, C, h, w), summing to 1 over each map."""
        rows = x.amax(3, keepdim=True).softmax(2)
        columns = x.amax(2, keepdim=True).softmax(3)
        return rows * columns


class SemanticProjection(nn.Module):
    """Projects pooled features into a space that modalities share; in training only.

        ẑ = A₂ GELU(A₁ LN(u + softmax(u)))

    Args:
        dim: length of the features.
        ratio: A₁ widens by it.
        dropout: after the activation and after A₂.

    Layers are named as in the published code.

    Source: Jiang et al., "Domain Shifting" (ECCV 2024), and its code.
    """

    def __init__(self, dim: int, ratio: int = 4, dropout: float = 0.01) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim),
            nn.Linear(dim, ratio * dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(ratio * dim, dim),
            nn.Dropout(dropout),
        )

    def forward(self, pooled: Tensor) -> Tensor:
        """(B, dim) pooled features → (B, dim), of any length."""
        return self.mlp(pooled + pooled.softmax(1))


class ModalityClassifiers(nn.Module):
    """A classifier for each modality, which learns from the other one's moving average.

    For rows y of a modality, with p = softmax of its own classifier's logits and q that of the
    other one's average (fixed): (1 / B) Σ KL(p ‖ q) + ¼ Σ over modalities of the cross-entropy of
    its own classifier. The loss sums this over the features given.

    Args:
        dim: length of the features.
        num_pids: identities.
        momentum: share of the classifier that its average takes in, at each training step.

    Source: Jiang et al., "Domain Shifting" (ECCV 2024), and its code, which takes the logarithm
    of a softmax and becomes infinite where logits are far apart.
    """

    def __init__(self, dim: int, num_pids: int, momentum: float = 0.2) -> None:
        super().__init__()
        self.momentum = momentum
        self.visible_classifier = nn.Linear(dim, num_pids, bias=False)
        self.infrared_classifier = nn.Linear(dim, num_pids, bias=False)
        for name in ("visible", "infrared"):
            start = getattr(self, f"{name}_classifier").weight.detach().clone()
            self.register_buffer(f"{name}_average", start)
        self.visible_average: Tensor
        self.infrared_average: Tensor

    def forward(
        self, embedding: Tensor, projected: Tensor, pid_label: Tensor, num_visible: int
    ) -> Tensor:
        """The loss of `embedding` and `projected` (B, dim), as a 0-d tensor.

        Args:
            pid_label: (B,) dense labels; the first `num_visible` rows are visible.
        """
        if self.training:
            self._follow()
        with no_autocast(embedding):
            return self._of(torch.stack([full(embedding), full(projected)]), pid_label, num_visible)

    @torch.no_grad()
    def _follow(self) -> None:
        self.visible_average.lerp_(self.visible_classifier.weight, self.momentum)
        self.infrared_average.lerp_(self.infrared_classifier.weight, self.momentum)

    def _of(self, both: Tensor, pid_label: Tensor, num_visible: int) -> Tensor:
        """The loss of both kinds of features (2, B, dim): one product for each classifier."""
        loss = both.new_zeros(())
        for rows, own, other in (
            (slice(None, num_visible), self.visible_classifier, self.infrared_average),
            (slice(num_visible, None), self.infrared_classifier, self.visible_average),
        ):
            features, labels = both[:, rows].flatten(0, 1), pid_label[rows].repeat(2)
            logits = own(features)
            with torch.no_grad():
                crossed = F.linear(features, other.clone()).log_softmax(1)
            divergence = F.kl_div(crossed, logits.log_softmax(1), reduction="sum", log_target=True)
            loss = loss + divergence / len(pid_label)
            loss = loss + F.cross_entropy(logits, labels) / 2  # a mean over both kinds
        return loss

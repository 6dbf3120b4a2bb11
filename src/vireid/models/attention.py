"""DDAG's two attentions: over the parts of one image, and over the images of a batch.

Shapes: B rows, D channels, P parts, H heads, K width of a head.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import full
from vireid.models.layers import make_neck, untrained


def horizontal_parts(feature_map: Tensor, parts: int) -> Tensor:
    """Means (B, D, parts) of horizontal bands of a map (B, D, h, w).

    Bands are those of adaptive average pooling: they overlap by a row where h is not divisible.
    Written out because the pooling layer has no deterministic gradient on CUDA.
    """
    h = feature_map.shape[2]
    bands = [(i * h // parts, -(-(i + 1) * h // parts)) for i in range(parts)]
    return torch.stack([feature_map[:, :, a:b].mean((2, 3)) for a, b in bands], dim=2)


class PartAttention(nn.Module):
    """Intra-modality weighted-part attention.

    Three 1x1 convolutions of full width turn each of the horizontal parts into query, key and
    value; the values refined by softmax(query · keyᵀ) over parts are summed with the weights
    softmax(gate), the neck's output is added, and a batch norm of its own follows.

    Args:
        dim: channels of the map.
        parts: number of horizontal parts.

    Biases of key and value are not trained: the softmax and the batch norm cancel them. Nor is
    the batch norm's shift, as published.

    Source: Ye, Shen, Crandall, Shao, Luo, "Dynamic Dual-Attentive Aggregation Learning" (ECCV
    2020), section 3.2, and its code.
    """

    def __init__(self, dim: int, parts: int = 3) -> None:
        super().__init__()
        self.parts = parts
        self.query = nn.Conv1d(dim, dim, 1)
        self.key = untrained(nn.Conv1d(dim, dim, 1), "bias")
        self.value = untrained(nn.Conv1d(dim, dim, 1), "bias")
        self.gate = nn.Parameter(torch.full((parts,), 1 / parts))
        self.bn = make_neck(dim)

    def forward(self, feature_map: Tensor, embedding: Tensor) -> Tensor:
        """Map (B, D, h, w) and the neck's output (B, D) → part feature (B, D)."""
        bands = horizontal_parts(full(feature_map), self.parts).transpose(1, 2)  # (B, P, D)
        score = _matrix(self.query, bands) @ _matrix(self.key, bands).transpose(1, 2)  # (B, P, P)
        # Weights sum to 1 over parts, so the value of the weighted sum is that of the values.
        weights = self.gate.softmax(0) @ score.softmax(2)  # (B, P)
        mixed = (weights[:, :, None] * bands).sum(1)
        return self.bn(_matrix(self.value, mixed) + embedding)


def _matrix(convolution: nn.Conv1d, rows: Tensor) -> Tensor:
    """A 1x1 convolution of (…, D) rows as a matrix product: of the algorithms that cuDNN tries on
    three places, some want gigabytes to work in."""
    return F.linear(rows, convolution.weight.squeeze(2), convolution.bias)


class GraphAttention(nn.Module):
    """Heads of graph attention over the rows of a batch.

    Row i attends to row j where `mask` allows, with weight softmax_j of
    LeakyReLU₀.₂(a · [W hᵢ, W hⱼ]); the result is ELU(Σ weight · W hⱼ) in each head.

    Args:
        dim: width of the input.
        width: width K of a head.
        heads: number H of heads; they are concatenated.
        dropout: on the attention weights.

    Source: Veličković et al., "Graph Attention Networks" (2018); the published DDAG code.
    """

    def __init__(self, dim: int, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.dropout = dropout
        self.weight = nn.Parameter(torch.empty(heads, dim, width))
        self.a = nn.Parameter(torch.empty(heads, 2 * width, 1))
        for head in range(heads):
            nn.init.xavier_uniform_(self.weight.data[head], gain=1.414)
            nn.init.xavier_uniform_(self.a.data[head], gain=1.414)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """Features (B, dim), mask (B, B) bool → (B, H · K)."""
        projected = features @ self.weight  # (H, B, K)
        width = projected.shape[2]
        sender, receiver = projected @ self.a[:, :width], projected @ self.a[:, width:]
        score = F.leaky_relu(sender + receiver.transpose(1, 2), 0.2)  # (H, B, B)
        weight = score.masked_fill(~mask, float("-inf")).softmax(2)
        weight = F.dropout(weight, self.dropout, self.training)
        return F.elu(weight @ projected).transpose(0, 1).flatten(1)


class BatchGraph(nn.Module):
    """Cross-modality graph attention: classifies each row from rows of the same identity.

    Args:
        dim: width of the pooled features.
        num_pids: number of classes.
        heads, head_dim: of the first layer; the second has one head as wide as the classes.
        dropout: on input, attention and hidden features.

    Source: Ye et al. (ECCV 2020), section 3.3, and its code, in which the normalised adjacency
    acts as a mask only.
    """

    def __init__(
        self, dim: int, num_pids: int, heads: int = 4, head_dim: int = 512, dropout: float = 0.2
    ) -> None:
        super().__init__()
        self.dropout = dropout
        self.hidden = GraphAttention(dim, head_dim, heads, dropout)
        self.out = GraphAttention(heads * head_dim, num_pids, 1, dropout)

    def forward(self, pooled: Tensor, pid_label: Tensor) -> Tensor:
        """Pooled features (B, dim) and labels (B,) → log-probabilities (B, num_pids)."""
        mask = pid_label[:, None] == pid_label[None, :]
        x = F.dropout(full(pooled), self.dropout, self.training)
        x = F.dropout(self.hidden(x, mask), self.dropout, self.training)
        return self.out(x, mask).log_softmax(1)

"""The network that tells visible from infrared features."""

from __future__ import annotations

from torch import Tensor, nn

from vireid.losses.full_precision import full, no_autocast
from vireid.models.layers import untrained


class ModalityDiscriminator(nn.Module):
    """Two linear layers without an activation between, then batch norm over the two outputs.

    Args:
        dim: length of the features.
        hidden: width between the layers.

    The biases are not trained: the batch norm cancels any constant shift, so that their
    gradient is 0. Layers are named as in the published code (whose `map2` is dead).

    Source: the published MCLNet code.
    """

    def __init__(self, dim: int, hidden: int = 128) -> None:
        super().__init__()
        self.map1 = untrained(nn.Linear(dim, hidden), "bias")
        self.map3 = untrained(nn.Linear(hidden, 2), "bias")
        self.bn = nn.BatchNorm1d(2)

    def forward(self, features: Tensor) -> Tensor:
        """Logits (B, 2), column = `Modality`, of `features` (B, dim)."""
        with no_autocast(features):
            return self.bn(self.map3(self.map1(full(features))))

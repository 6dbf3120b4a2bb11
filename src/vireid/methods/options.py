"""Options of the methods, and what each method's network is by default.

Nothing here imports PyTorch, so that `--help` stays quick; each method's file re-exports its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vireid.config import Options, option


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Options):
    """What every method has.

    Class attributes:
        network: where the method's network differs from the defaults of
            `vireid.models.ModelOptions`.
    """

    title: ClassVar[str] = "method"
    network: ClassVar[dict[str, Any]] = {}

    identity_weight: float = option(1.0, at_least=0)
    """Weight of the classifier's cross-entropy."""
    triplet_weight: float = option(1.0, at_least=0)
    """Weight of the triplet loss on the pooled features."""
    label_smoothing: float = option(0.0, at_least=0, below=1)
    """Of the cross-entropy."""


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(MethodOptions):
    """Options of `base`."""

    margin: float = option(0.3, at_least=0)
    """Of the batch-hard triplet loss."""


@dataclass(frozen=True, kw_only=True)
class AGWOptions(MethodOptions):
    """Options of `agw`."""

    network: ClassVar[dict[str, Any]] = {"pooling": "gem", "nonlocal_channels": 1}

    triplet: Literal["exact", "published"] = "exact"
    """Softmax weights of the weighted triplet: exact, or the published arithmetic."""


@dataclass(frozen=True, kw_only=True)
class MCLOptions(AGWOptions):
    """Options of `mcl`."""

    confusion: bool = True
    """Train a modality discriminator and confuse it."""
    identity_centers: bool = True
    """Center aggregation by identity."""
    camera_centers: bool = True
    """Center aggregation by camera; needs camera ids."""
    centers: Literal["learned", "frozen"] = "learned"
    """Learned with the network, or frozen at random as published."""
    confusion_weight: float = option(1.0, at_least=0)
    """Weight of the encoder's confusion term."""
    identity_center_weight: float = option(0.0005, at_least=0)
    """Weight of center aggregation by identity."""
    camera_center_weight: float = option(0.0005, at_least=0)
    """Weight of center aggregation by camera."""
    rho: float = option(4500.0, at_least=0)
    """Squared distance that centers should keep from each other."""
    sigma: float = option(8.0, at_least=0)
    """Squared spread within a class that is left alone."""
    hidden: int = option(128, at_least=1)
    """Width of the discriminator."""
    discriminator_lr: float | None = option(None, above=0)
    """Learning rate of the discriminator, which the schedule leaves alone (default: the recipe's
    rate, as published)."""
    discriminator_step: Literal["after", "before"] = "after"
    """When the discriminator takes its step: after the encoder's backward pass, or before it, as
    published, so that the confusion gradient goes through weights that never made its logits."""


@dataclass(frozen=True, kw_only=True)
class DDAGOptions(BaselineOptions):
    """Options of `ddag`."""

    part: bool = True
    """Part attention, its feature and its cross-entropy."""
    graph: bool = True
    """Cross-modality graph attention, in training only."""
    parts: int = option(3, at_least=1)
    """Horizontal parts."""
    heads: int = option(4, at_least=1)
    """Heads of the graph attention."""
    head_dim: int = option(512, at_least=1)
    """Their width."""
    dropout: float = option(0.2, at_least=0, below=1)
    """On the graph's input, attention and hidden features."""
    part_weight: float = option(1.0, at_least=0)
    """Weight of the part feature's cross-entropy."""
    graph_weight: float = option(1.0, at_least=0)
    """Weight of the graph loss, on top of its dynamic weight."""


OPTIONS: dict[str, type[MethodOptions]] = {
    "base": BaselineOptions,
    "agw": AGWOptions,
    "ddag": DDAGOptions,
    "mcl": MCLOptions,
}

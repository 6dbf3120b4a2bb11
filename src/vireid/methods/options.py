"""Options of the methods, and what each method's network is by default.

Nothing here imports PyTorch, so that `--help` stays quick; each method's file re-exports its own.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from vireid.config import Options, option


@dataclass(frozen=True, kw_only=True)
class MethodOptions(Options):
    """What every method has.

    Class attributes:
        network: where the method's network differs from the defaults of
            `vireid.models.ModelOptions`.
        input_size: (height, width) of the images that it was published with.
    """

    title: ClassVar[str] = "method"
    network: ClassVar[dict[str, Any]] = {}
    input_size: ClassVar[tuple[int, int]] = (288, 144)

    identity_weight: float = option(1.0, at_least=0)
    """Weight of the classifier's cross-entropy."""
    triplet_weight: float = option(1.0, at_least=0)
    """Weight of the triplet loss on the pooled features."""
    label_smoothing: float = option(0.0, at_least=0, below=1)
    """Label smoothing of the cross-entropy."""


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(MethodOptions):
    """Options of `base`."""

    margin: float = option(0.3, at_least=0)
    """Margin of the batch-hard triplet loss."""


@dataclass(frozen=True, kw_only=True)
class AGWOptions(MethodOptions):
    """Options of `agw`."""

    network: ClassVar[dict[str, Any]] = {"pooling": "gem", "nonlocal_channels": 1}

    triplet: Literal["exact", "published"] = "exact"
    """How the weighted triplet loss computes its softmax weights: exactly, or by the published
    arithmetic."""


@dataclass(frozen=True, kw_only=True)
class MCLOptions(AGWOptions):
    """Options of `mcl`."""

    confusion: bool = True
    """Train a modality discriminator, and the encoder to confuse it."""
    identity_centers: bool = True
    """Add center aggregation by identity."""
    camera_centers: bool = True
    """Add center aggregation by camera; the data set must say which camera took each image."""
    centers: Literal["learned", "frozen"] = "learned"
    """Whether the centers are learned with the network, or frozen where they start, at random, as
    published."""
    confusion_weight: float = option(1.0, at_least=0)
    """Weight of the encoder's confusion term."""
    identity_center_weight: float = option(0.0005, at_least=0)
    """Weight of center aggregation by identity."""
    camera_center_weight: float = option(0.0005, at_least=0)
    """Weight of center aggregation by camera."""
    rho: float = option(4500.0, at_least=0)
    """Squared distance that the centers should keep from each other."""
    sigma: float = option(8.0, at_least=0)
    """Spread within a class, as a squared distance, that costs nothing."""
    hidden: int = option(128, at_least=1)
    """Width of the discriminator's hidden layer."""
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
    """Add part attention, with its own feature and cross-entropy."""
    graph: bool = True
    """Add cross-modality graph attention, in training only."""
    parts: int = option(3, at_least=1)
    """Horizontal bands into which part attention divides an image."""
    heads: int = option(4, at_least=1)
    """Number of heads of the graph attention."""
    head_dim: int = option(512, at_least=1)
    """Width of each head of the graph attention."""
    dropout: float = option(0.2, at_least=0, below=1)
    """Dropout probability of the graph attention's input, attention weights and hidden features."""
    part_weight: float = option(1.0, at_least=0)
    """Weight of the part feature's cross-entropy."""
    graph_weight: float = option(1.0, at_least=0)
    """Weight of the graph loss, multiplied with its dynamic weight."""


@dataclass(frozen=True, kw_only=True)
class CAJOptions(AGWOptions):
    """Options of `caj`."""

    triplet: Literal["exact", "published"] = "exact"
    """How the squared weighted triplet loss is computed: exactly, or as published, where its
    weights fade at large distances, and it stands at 88 without a gradient beyond them."""


@dataclass(frozen=True, kw_only=True)
class HaloOptions(AGWOptions):
    """Options of `halo`."""

    circle_weight: float = option(0.1, at_least=0)
    """Weight of the circle loss, a mean over the rows of the batch."""
    circle_margin: float = option(0.45, above=0, below=1)
    """Margin of the circle loss."""
    circle_scale: float = option(64.0, above=0)
    """Scale of the circle loss."""


@dataclass(frozen=True, kw_only=True)
class DNSOptions(BaselineOptions):
    """Options of `dns`."""

    network: ClassVar[dict[str, Any]] = {
        "pooling": "gem",
        "private_stages": 2,
        "neck_shift_trained": True,
    }

    triplet_weight: float = option(0.0, at_least=0)
    """Weight of a batch-hard triplet loss on the pooled features, which the published method
    lacks."""
    circle_weight: float = option(1.0, at_least=0)
    """Weight of the circle loss, which is divided by the rows of the batch, as published."""
    circle_margin: float = option(0.45, above=0, below=1)
    """Margin of the circle loss."""
    circle_scale: float = option(64.0, above=0)
    """Scale of the circle loss."""
    circle_cosines: Literal["exact", "half"] = "exact"
    """Precision of the circle loss's cosines: that of the losses, or float16, as published."""
    alignment_weight: float = option(0.2, at_least=0)
    """Weight of the domain alignment loss."""
    modality_weight: float = option(1.0, at_least=0)
    """Weight of the loss of the modalities' own classifiers."""


@dataclass(frozen=True, kw_only=True)
class DEENOptions(BaselineOptions):
    """Options of `deen`."""

    input_size: ClassVar[tuple[int, int]] = (384, 144)

    pair_weight: float = option(0.8, at_least=0)
    """Weight of the center pair loss, of each generated branch."""
    overlap_weight: float = option(0.01, at_least=0)
    """Weight of the loss that keeps the two generated branches apart."""


@dataclass(frozen=True, kw_only=True)
class RLEOptions(BaselineOptions):
    """Options of `rle`."""

    network: ClassVar[dict[str, Any]] = {"stripes": 3}
    input_size: ClassVar[tuple[int, int]] = (384, 192)

    embedding_share: float = option(0.2, at_least=0, at_most=1)
    """Share of the similarity after the necks in the weighted test embedding. The published code
    takes 0.2 on SYSU-MM01, 0.1 on LLCM and on RegDB from visible to infrared, and 0 from infrared
    to visible, which is `pooled` alone."""


OPTIONS: dict[str, type[MethodOptions]] = {
    "base": BaselineOptions,
    "agw": AGWOptions,
    "ddag": DDAGOptions,
    "mcl": MCLOptions,
    "caj": CAJOptions,
    "dns": DNSOptions,
    "deen": DEENOptions,
    "rle": RLEOptions,
    "halo": HaloOptions,
}


def owners_of_options() -> dict[str, list[str]]:
    """Option → the methods that have it."""
    found: dict[str, list[str]] = {}
    for method, cls in OPTIONS.items():
        for one in fields(cls):
            found.setdefault(one.name, []).append(method)
    return found

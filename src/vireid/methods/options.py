"""Options of the four methods. Nothing here imports PyTorch, so that `--help` stays quick."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Literal

from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class MethodOptions:
    """What every method has.

    Attributes:
        identity_weight: of the cross-entropy of the classifier.
        triplet_weight: of the triplet loss on the pooled features.
        label_smoothing: of the cross-entropy, from 0 to below 1.
    """

    identity_weight: float = 1.0
    triplet_weight: float = 1.0
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        for option in dataclasses.fields(self):
            value = getattr(self, option.name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if number and not 0 <= value < math.inf:
                raise InputError(_unfit(option.name, value, "a number from 0 up"))
        if not self.label_smoothing < 1:
            raise InputError(
                _unfit("label_smoothing", self.label_smoothing, "a number from 0 to below 1")
            )


@dataclass(frozen=True, kw_only=True)
class BaselineOptions(MethodOptions):
    """Options of `base`.

    Attributes:
        margin: of the batch-hard triplet loss.
    """

    margin: float = 0.3


@dataclass(frozen=True, kw_only=True)
class AGWOptions(MethodOptions):
    """Options of `agw`.

    Attributes:
        triplet: "exact" softmax weights, or the "published" arithmetic of the weighted triplet.
    """

    triplet: Literal["exact", "published"] = "exact"


@dataclass(frozen=True, kw_only=True)
class MCLOptions(AGWOptions):
    """Options of `mcl`.

    Attributes:
        confusion: train a modality discriminator and confuse it.
        identity_centers: center aggregation by identity.
        camera_centers: center aggregation by camera; needs camera ids.
        centers: "learned" in the main optimiser, or "frozen" at random as published.
        confusion_weight: of the encoder's confusion term.
        identity_center_weight, camera_center_weight: of the two center losses.
        rho: squared distance that centers should keep from each other.
        sigma: squared spread within a class that is left alone.
        hidden: width of the discriminator.
    """

    confusion: bool = True
    identity_centers: bool = True
    camera_centers: bool = True
    centers: Literal["learned", "frozen"] = "learned"
    confusion_weight: float = 1.0
    identity_center_weight: float = 0.0005
    camera_center_weight: float = 0.0005
    rho: float = 4500.0
    sigma: float = 8.0
    hidden: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden < 1:
            raise InputError(_unfit("hidden", self.hidden, "at least 1"))


@dataclass(frozen=True, kw_only=True)
class DDAGOptions(BaselineOptions):
    """Options of `ddag`.

    Attributes:
        part: part attention, its feature and its cross-entropy.
        graph: cross-modality graph attention, in training only.
        parts: number of horizontal parts.
        heads, head_dim: graph attention heads and their width.
        dropout: on the graph's input, attention and hidden features.
        part_weight: of the part feature's cross-entropy.
        graph_weight: of the graph loss, on top of its dynamic weight.
    """

    part: bool = True
    graph: bool = True
    parts: int = 3
    heads: int = 4
    head_dim: int = 512
    dropout: float = 0.2
    part_weight: float = 1.0
    graph_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("parts", "heads", "head_dim"):
            if getattr(self, name) < 1:
                raise InputError(_unfit(name, getattr(self, name), "at least 1"))
        if not self.dropout < 1:
            raise InputError(_unfit("dropout", self.dropout, "a number from 0 to below 1"))


def _unfit(name: str, value: float, expected: str) -> str:
    """The sentence on a value; the option may come from a flag or from a file."""
    return f"The method's option {name.replace('_', '-')} is {value}; {expected} was expected."


OPTIONS: dict[str, type[MethodOptions]] = {
    "base": BaselineOptions,
    "agw": AGWOptions,
    "ddag": DDAGOptions,
    "mcl": MCLOptions,
}

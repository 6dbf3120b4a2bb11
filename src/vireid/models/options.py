"""Options of the network. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a network is built.

    Attributes:
        arch: a ResNet of timm that splits into stem, layer1, …, layer4; any case.
        pretrained: "imagenet" (torchvision's first weights, timm tag tv_in1k), another timm
            tag, a FILE (safetensors or PyTorch; of the backbone, or weights of a run of
            ours), "synth" (trained on synthetic people; ships with the package), or "none".
        nonlocal_channels: width of θ, φ, g in the non-local blocks, 1 as published; None
            leaves the blocks out.
        pooling: "gem" (generalised mean, p = 3) or "average".
        backbone_scale: learning rate of stems, stages and non-local blocks, as a factor of
            that of neck and classifier. Published: 0.1, which suits pretrained weights.
    """

    arch: str = "resnet50"
    pretrained: str = "imagenet"
    nonlocal_channels: int | None = None
    pooling: Literal["gem", "average"] = "average"
    backbone_scale: float = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "arch", self.arch.strip().lower())
        if self.pretrained.strip().lower() in ("imagenet", "synth", "none"):
            object.__setattr__(self, "pretrained", self.pretrained.strip().lower())
        if not self.pretrained.strip():
            raise InputError(
                "pretrained is empty; expected imagenet, a timm tag, a file, synth or none."
            )
        if self.nonlocal_channels is not None and self.nonlocal_channels < 1:
            raise InputError(
                f"--nonlocal-channels is {self.nonlocal_channels}; at least 1 was expected "
                "(1 is the published width). For a network without non-local blocks choose the "
                "method base or ddag."
            )
        if self.pooling not in ("gem", "average"):
            raise InputError(f"pooling is '{self.pooling}'; it must be 'gem' or 'average'.")
        if not self.backbone_scale > 0:
            raise InputError(f"backbone_scale is {self.backbone_scale}; it must be above 0.")

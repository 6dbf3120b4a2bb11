"""Options of the network. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vireid.config import Options, option
from vireid.models.families import arch_choices
from vireid.own_code import is_code
from vireid.types import InputError

ENDINGS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".t", ".tar")  # of files of weights
STARTS = ("imagenet", "synth", "none")  # words of `pretrained`; others are timm tags or files


def start_meant(pretrained: str) -> str:
    """`pretrained` as options keep it: its words in lower case."""
    start = pretrained.strip()
    return start.lower() if start.lower() in STARTS else start


@dataclass(frozen=True, kw_only=True)
class ModelOptions(Options):
    """How the network is built."""

    title: ClassVar[str] = "network"

    arch: str = option("resnet50", choices=arch_choices)
    """Backbone: a network of timm that splits into a stem and four stages. {arch}."""
    pretrained: str = "imagenet"
    """Weights to start from: imagenet (torchvision's first ones, timm tag tv_in1k, or timm's
    default where torchvision hasn't the network), synth (trained on synthetic people; part of the
    package), none (random weights), another timm tag, a file (safetensors or PyTorch: a backbone's
    weights, or those of a run), or hf://USER/NAME, a repository of the Hugging Face Hub with the
    weights of a run (hf://USER/NAME@REVISION for a branch, tag or commit). With synth or a file
    of a run, network and number of stages are theirs unless you name others."""
    nonlocal_channels: int | None = option(None, at_least=1, rare=True)
    """Channels inside the non-local blocks, 1 as published; unset, there are no such blocks."""
    pooling: Literal["gem", "average", "token"] = option("average", rare=True)
    """How the last feature map is pooled: gem, the generalised mean with p = 3 (values below 0
    count as 0), average, or token, a vision transformer's class token instead of the map."""
    last_stride: int = option(1, at_least=1, at_most=2, rare=True)
    """Stride of the last stage: 1 keeps the map at a sixteenth of the image, as published; 2 lets
    it shrink as the network was made to."""
    patch_stride: int | None = option(None, at_least=1, rare=True)
    """Pixels from one patch of a vision transformer to the next; fewer than the side of a patch let
    patches overlap, such as 12 of 16 (default: the side of a patch)."""
    input_mean: tuple[float, float, float] | None = option(None, at_least=0, at_most=1, rare=True)
    """Mean of the input's channels, of values from 0 to 1 (default: as the weights' timm
    configuration says)."""
    input_std: tuple[float, float, float] | None = option(None, above=0, rare=True)
    """Deviation of the input's channels, likewise."""
    private_stages: int = option(0, at_least=0, at_most=3, rare=True)
    """Stages after the stem that each modality has for itself; the others are shared."""
    last_stage: int = option(4, at_least=1, at_most=4, rare=True)
    """Stage whose map is pooled; those after it are left out."""
    stripes: int | None = option(None, at_least=1, rare=True)
    """Horizontal stripes of the last map, each pooled and classified for itself beside the whole
    map; unset, there are none."""
    neck_shift_trained: bool = option(False, rare=True)
    """Train the shift of the necks' batch norm too."""
    stage_factors: tuple[float, float, float, float] = option(
        (1.0, 1.0, 1.0, 1.0), above=0, rare=True
    )
    """Learning rates of stages 1 to 4, as factors of that of the rest of the backbone."""
    backbone_scale: float | None = option(None, above=0, rare=True)
    """Learning rate of stems, stages and non-local blocks, as a factor of that of neck and
    classifier; unset, 0.1 with pretrained weights, as published, and 1 without."""

    def __post_init__(self) -> None:
        super().__post_init__()
        arch = self.arch.strip()
        object.__setattr__(self, "arch", arch if is_code(arch) else arch.lower())
        start = start_meant(self.pretrained)
        if not start:
            raise InputError(
                "`pretrained` is empty; imagenet, synth, none, a timm tag, a file or "
                "hf://USER/NAME was expected."
            )
        object.__setattr__(self, "pretrained", start)
        if (self.input_mean is None) != (self.input_std is None):
            raise InputError("`input_mean` and `input_std` belong together; give both or neither.")
        if self.private_stages > self.last_stage:
            raise InputError(
                f"`private_stages` is {self.private_stages}, but the network ends after stage "
                f"{self.last_stage}; lower `private_stages` or raise `last_stage`."
            )
        if self.backbone_scale is None:
            object.__setattr__(self, "backbone_scale", 1.0 if start == "none" else 0.1)

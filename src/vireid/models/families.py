"""The families of backbones, for help texts and messages. Nothing here imports PyTorch or timm."""

from __future__ import annotations

from typing import NamedTuple

from vireid.own_code import is_code


class Family(NamedTuple):
    """Networks of timm that are built alike.

    Attributes:
        title: what the field calls them.
        archs: examples, the smallest first.
    """

    title: str
    archs: tuple[str, ...]


FAMILIES = (
    Family("ResNet", ("resnet18", "resnet50", "resnet101", "resnext50_32x4d", "seresnet50")),
    Family("EfficientNet", ("efficientnet_lite0", "tf_efficientnet_lite2", "efficientnet_b0")),
    Family("MobileNet", ("mobilenetv3_small_050", "mobilenetv2_100", "mobilenetv4_conv_small")),
    Family("ConvNeXt", ("convnext_atto", "convnext_tiny", "convnextv2_tiny")),
    Family("RegNet", ("regnetx_002", "regnety_032")),
    Family("Swin", ("swin_tiny_patch4_window7_224", "swin_small_patch4_window7_224")),
    Family("ViT", ("vit_tiny_patch16_224", "vit_small_patch16_224")),
    Family("DeiT", ("deit_tiny_patch16_224", "deit_small_patch16_224")),
    Family("DINOv2", ("vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2")),
    Family("CLIP", ("vit_xsmall_patch16_clip_224", "vit_base_patch32_clip_224")),
)


def is_usual(arch: str) -> bool:
    """Whether a network is one of these, which needn't be looked for in timm."""
    return any(arch.strip().lower() in family.archs for family in FAMILIES)


def arch_choices() -> str:
    """The families with examples, for a help text."""
    families = "; ".join(f"{family.title}: {', '.join(family.archs)}" for family in FAMILIES)
    return f"{families}; or path/to/my.py:my_network"


def arch_examples() -> str:
    """A network of each family, for a message."""
    return ", ".join(f"{family.archs[0]} ({family.title})" for family in FAMILIES)


def arch_name(arch: str) -> str:
    """What a network is called in names of runs and in reports."""
    return arch.rsplit(":", 1)[1] if is_code(arch) else arch

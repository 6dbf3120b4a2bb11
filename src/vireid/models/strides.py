"""The last stage of a network of maps without its stride, as two streams want it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.swin_transformer import PatchMerging, SwinTransformerBlock
from torch import Tensor, nn

from vireid.models.layouts import Layout

TRIAL = 64  # side of the image of a trial run


def side_of(x: Tensor, layout: Layout) -> int:
    return layout.map_of(x, (TRIAL, TRIAL)).shape[2]


class Changes(NamedTuple):
    """Blocks of the last stage, by position, that were changed to undo its stride."""

    strides: list[int]
    windows: list[int]

    def repeat(self, stage: list[nn.Module]) -> None:
        """Make them in the last stage of another network of the same name."""
        for position in self.strides:
            stage[position] = _without_stride(stage[position])
        for position in self.windows:
            _enlarge_window(stage[position])


def undo_strides(stage: list[nn.Module], x: Tensor, layout: Layout) -> Changes:
    """Keep the blocks of a stage from shrinking the map `x`, as timm would build them without
    stride."""
    changes = Changes([], [])
    for position, block in enumerate(stage):
        y = block(x)
        if side_of(y, layout) < side_of(x, layout):
            stage[position] = _without_stride(block)
            y = stage[position](x)
            changes.strides.append(position)
        elif changes.strides:
            _enlarge_window(block)
            changes.windows.append(position)
        x = y
    return changes


def _without_stride(block: nn.Module) -> nn.Module:
    if isinstance(block, PatchMerging):
        return DenseMerging(block)
    for parent in list(block.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Conv2d):
                if layer.stride != (1, 1) and layer.kernel_size[0] % 2 == 0:
                    setattr(parent, name, _padded(layer))
                layer.stride = (1, 1)
            elif isinstance(layer, nn.AvgPool2d | nn.MaxPool2d):
                if layer.kernel_size in (2, (2, 2)):
                    setattr(parent, name, nn.Identity())  # the shortcut of the "d" variants
                else:
                    layer.stride = 1
    if hasattr(block, "aa"):
        block.aa = nn.Identity()  # blurs only where it also strides
    if hasattr(block, "stride"):
        block.stride = 1  # type: ignore[assignment]
    return block


def _padded(layer: nn.Conv2d) -> nn.Module:
    """A convolution with an even kernel that keeps a map's size at stride 1: each place sees
    itself and those right of and below it, as it did where the stride let it stand."""
    h, w = layer.kernel_size
    y, x = layer.padding if isinstance(layer.padding, tuple) else (0, 0)
    layer.padding = (0, 0)
    return nn.Sequential(nn.ZeroPad2d((x, w - 1 - x, y, h - 1 - y)), layer)


def _enlarge_window(block: nn.Module) -> None:
    """Let a Swin block after an undone stride shift its windows: its map has several now."""
    if isinstance(block, SwinTransformerBlock):
        h, w = block.input_resolution  # type: ignore[misc]
        block.set_input_size((2 * h, 2 * w), block.window_size)


class DenseMerging(nn.Module):
    """Swin's merging of 2 x 2 places without its stride: (B, h, w, C) → (B, h, w, C′).

    Every place is merged with those right of and below it (zeros beyond the edge); at even places
    the result is that of the merging with stride.

    Args:
        merging: whose layers are taken over.
    """

    def __init__(self, merging: PatchMerging) -> None:
        super().__init__()
        self.norm, self.reduction = merging.norm, merging.reduction

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.pad(x, (0, 0, 0, 1, 0, 1))
        parts = [x[:, :-1, :-1], x[:, 1:, :-1], x[:, :-1, 1:], x[:, 1:, 1:]]
        return self.reduction(self.norm(torch.cat(parts, dim=3)))

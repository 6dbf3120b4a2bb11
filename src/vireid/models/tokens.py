"""The first part of a vision transformer: from an image to its tokens."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.losses.full_precision import no_autocast
from vireid.models.layouts import Tokens
from vireid.types import InputError

_PREFIX = ("cls_token", "dist_token", "reg_token")  # in the order in which timm puts them


class TokenStem(nn.Module):
    """Patches, class and register tokens, position embeddings: (B, 3, H, W) → (B, N, C).

    The position embeddings keep the grid that they were trained on and are resized for whatever
    size comes, so that weights fit images of every size.

    Args:
        network: a `VisionTransformer` of timm, whose parameters are taken over.
        stride: pixels from one patch to the next; None for the side of a patch. With fewer, the
            patches overlap, as in He et al., "TransReID" (ICCV 2021).
    """

    def __init__(self, network: nn.Module, stride: int | None = None) -> None:
        super().__init__()
        self.patch_embed: nn.Module = network.patch_embed  # type: ignore[assignment]
        projection: nn.Conv2d = self.patch_embed.proj  # type: ignore[assignment]
        patch = (int(projection.kernel_size[0]), int(projection.kernel_size[1]))
        if stride is not None:
            if not 1 <= stride <= min(patch):
                raise InputError(
                    f"`patch_stride` is {stride}; 1 to {min(patch)} was expected, the side of this "
                    "network's patches."
                )
            projection.stride = (stride, stride)
        for name in _PREFIX:
            if getattr(network, name, None) is not None:
                self.register_parameter(name, getattr(network, name))
        self.prefix = [name for name in _PREFIX if name in self._parameters]
        self.pos_embed: nn.Parameter | None = network.pos_embed  # type: ignore[assignment]
        self.norm_pre: nn.Module = network.norm_pre  # type: ignore[assignment]
        self.trained_grid = tuple(self.patch_embed.grid_size)  # type: ignore[arg-type]
        count = sum(self.get_parameter(name).shape[1] for name in self.prefix)
        # tokens before the patches that have a position embedding too
        self.placed = 0 if getattr(network, "no_embed_class", False) else count
        self.layout = Tokens(
            prefix=count,
            has_class="cls_token" in self.prefix,
            patch=patch,
            stride=(int(projection.stride[0]), int(projection.stride[1])),
        )

    def forward(self, image: Tensor) -> Tensor:
        x = self.patch_embed.proj(image)  # type: ignore[operator]
        places = self._places((x.shape[2], x.shape[3]))
        x = self.patch_embed.norm(x.flatten(2).transpose(1, 2))  # type: ignore[operator]
        prefix: list[Tensor] = [self.get_parameter(name) for name in self.prefix]
        if places is not None:
            before = places[:, : self.placed]
            x = x + places[:, self.placed :]
            if self.placed:
                prefix = [torch.cat(prefix, dim=1) + before]
        tokens = [token.expand(x.shape[0], -1, -1).to(x.dtype) for token in prefix]
        return self.norm_pre(torch.cat([*tokens, x], dim=1))

    def _places(self, grid: tuple[int, int]) -> Tensor | None:
        """The position embeddings, (1, placed + h·w, C), for a grid of patches."""
        if self.pos_embed is None or grid == self.trained_grid:
            return self.pos_embed
        before, places = self.pos_embed[:, : self.placed], self.pos_embed[:, self.placed :]
        with no_autocast(places):
            return torch.cat([before, resize_grid(places, self.trained_grid, grid)], dim=1)


def resize_grid(places: Tensor, before: tuple[int, ...], after: tuple[int, int]) -> Tensor:
    """Embeddings of one grid of places for another: (1, h·w, C) → (1, h′·w′, C), bicubic.

    Resizing is linear, so it is written as a product with the resized unit matrix: its gradient is
    a product, too, which repeats bit for bit on a GPU, unlike PyTorch's own.
    """
    count = places.shape[1]
    unit = torch.eye(count, dtype=places.dtype, device=places.device).view(1, count, *before)
    weights = F.interpolate(unit, after, mode="bicubic", antialias=True)[0].flatten(1)
    return (weights.transpose(0, 1) @ places[0])[None]

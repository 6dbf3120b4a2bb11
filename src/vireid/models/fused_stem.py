"""A ResNet's stem, whose first convolution, batch norm, ReLU and pooling are our own kernels, and
the images that it takes."""

from __future__ import annotations

from typing import Any

import torch
import triton
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vireid.models import stem_kernels as kernels
from vireid.models.fused import INTERPRETED, norm_relu_pool, ours

# Output places that a program takes at once; programs of the gradient, two for each multiprocessor
# of an H100.
FORWARD = {"ROWS": 128, "num_warps": 4}
BACKWARD = {"ROWS": 64, "num_warps": 4, "num_stages": 2}
PARTS = 264
_PLACES = 128
_TAPS = 4 * 64
_NUMBERS = 2048  # of images, that a program normalises


def normalise(
    images: Tensor,
    mean: tuple[float, float, float],
    std: tuple[float, float, float],
    dtype: torch.dtype,
) -> Tensor:
    """`vireid.data.augment.normalise` in one pass, into the number format of the network."""
    images = images.contiguous()
    found = torch.empty_like(images, dtype=dtype)
    kernels.normalise[(triton.cdiv(images.numel(), _NUMBERS),)](
        images, found, images.numel(), *mean, *std, NUMBERS=_NUMBERS
    )
    return found.permute(0, 3, 1, 2)


class Convolution(torch.autograd.Function):
    """The convolution of images (B, 3, H, W), whose gradient isn't asked for, by weights
    (C, 3, 7, 7), in a number format."""

    @staticmethod
    def forward(ctx: Any, image: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        (count, _, high, wide), channels = image.shape, len(weight)
        size = ((high + 1) // 2, (wide + 1) // 2)
        packed = image.new_empty(count, size[0] + 3, size[1] + 3, 16, dtype=dtype)
        kernels.pack[(count * packed.shape[1], triton.cdiv(packed.shape[2], _PLACES))](
            image, packed, high, wide, *packed.shape[1:3], *image.stride(), PLACES=_PLACES
        )
        columns = triton.next_power_of_2(channels)
        taps = weight.new_empty(_TAPS, columns, dtype=dtype)
        kernels.pack_weight[(4,)](weight, taps, channels, *weight.stride(), CHANNELS=columns)
        y = torch.empty(
            (count, channels, *size), dtype=dtype, device=image.device,
            memory_format=torch.channels_last,
        )  # fmt: skip
        rows = count * size[0] * size[1]
        kernels.convolve[(triton.cdiv(rows, FORWARD["ROWS"]),)](
            packed,
            taps,
            y,
            rows,
            channels,
            *size,
            WIDEN=INTERPRETED,
            CHANNELS=columns,
            **FORWARD,
        )
        ctx.save_for_backward(packed, weight)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Any:  # type: ignore[override]
        packed, weight = ctx.saved_tensors
        dy = dy.contiguous(memory_format=torch.channels_last)
        channels, rows = dy.shape[1], dy.numel() // dy.shape[1]
        columns = triton.next_power_of_2(channels)
        each = triton.cdiv(triton.cdiv(rows, BACKWARD["ROWS"]), PARTS) * BACKWARD["ROWS"]
        parts = triton.cdiv(rows, each)
        sums = dy.new_empty(parts, _TAPS, columns, dtype=torch.float32)
        kernels.weight_gradient[(parts,)](
            packed,
            dy,
            sums,
            rows,
            channels,
            each,
            *dy.shape[2:],
            WIDEN=INTERPRETED,
            CHANNELS=columns,
            **BACKWARD,
        )
        dweight = torch.empty_like(weight)
        kernels.add_weight_gradient[(_TAPS,)](
            sums, dweight, parts, channels, *dweight.stride(), CHANNELS=columns, PARTS=64
        )
        return None, dweight, None


def fits(layer: nn.Conv2d) -> bool:
    """Whether it is a convolution that our kernels compute."""
    asked = (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups)
    return (
        asked == ((7, 7), (2, 2), (3, 3), (1, 1), 1)
        and layer.in_channels == 3
        and 16 <= layer.out_channels <= 128
        and layer.bias is None
    )


def convolve(layer: nn.Conv2d, image: Tensor) -> Tensor:
    """The convolution of images: in the number formats of matrix units, by ours."""
    device, asked = image.device.type, torch.is_grad_enabled() and image.requires_grad
    if not asked and torch.is_autocast_enabled(device) and fits(layer):
        return Convolution.apply(image, layer.weight, torch.get_autocast_dtype(device))
    return layer(image)  # type: ignore[no-any-return]


class FusedStem(nn.Sequential):
    """Convolution, norm, ReLU and max pooling."""

    def forward(self, x: Tensor) -> Tensor:
        if not ours(self, x):
            return super().forward(x)
        convolution, norm = self[0], self[1]
        return norm_relu_pool(norm, convolve(convolution, x))  # type: ignore[arg-type]


STEM: dict[type[nn.Module], type[nn.Module]] = {nn.Sequential: FusedStem}

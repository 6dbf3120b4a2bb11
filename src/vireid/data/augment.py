"""Augmentation of whole batches: drawn on the host, applied on the device.

Every random number is drawn by NumPy as a pure function of (seed, epoch), so the CPU, a GPU, a
captured graph, every rank and a resumed run see the same images. Applying a draw is a fixed
sequence of tensor operations: no synchronisation, no constant copied from the host.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vireid.data.options import AugmentOptions

# ImageNet's channel means and deviations, of values from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# What erased pixels become, after normalisation (as published).
ERASE_FILL = (0.4914, 0.4822, 0.4465)
GREY_WEIGHTS = (0.299, 0.587, 0.114)
ERASE_TRIES = 100

# Columns of a draw.
CROP_Y, CROP_X, FLIP, COLOUR, ERASE_Y, ERASE_X, ERASE_H, ERASE_W = range(8)
# Values of the column COLOUR: unchanged, one channel thrice (1, 2, 3), grey.
UNCHANGED, GREY = 0, 4

_STREAM = 2  # tells these random numbers from the sampler's


class Augment(nn.Module):
    """Pad and crop, flip, colour (visible rows only), normalise, erase; in this order.

    Args:
        options: probabilities and ranges.
        size: (height, width) of the images.
        mean, std: of the channels, of values from 0 to 1, by which the network wants them.
    """

    def __init__(
        self,
        options: AugmentOptions,
        size: tuple[int, int],
        mean: tuple[float, float, float] = MEAN,
        std: tuple[float, float, float] = STD,
    ) -> None:
        super().__init__()
        self._scale: Tensor
        self._shift: Tensor
        self._fill: Tensor
        self.options = options
        self.size = (int(size[0]), int(size[1]))
        # Buffers, so that `.to(device)` moves them once and no step copies from the host; one
        # value for each entry of a row of pixels.
        deviation = torch.tensor(std)
        for name, value in (
            ("_scale", 1 / (255 * deviation)),
            ("_shift", -torch.tensor(mean) / deviation),
            ("_fill", torch.tensor(ERASE_FILL)),
        ):
            self.register_buffer(name, value.repeat(self.size[1]), persistent=False)

    def draw(
        self, rows_per_step: int, num_visible: int, steps: int, *, seed: int, epoch: int
    ) -> np.ndarray:
        """All random decisions of an epoch.

        Args:
            rows_per_step: B.
            num_visible: the first so many rows of a step are visible.

        Returns:
            (steps, B, 8) int32: crop_y, crop_x (0 to 2·pad, from the top left corner of the
            padded image), flip (0, 1), colour (0 unchanged, 1 to 3 that channel thrice, 4
            grey), erased rectangle y, x, h, w (all 0 where nothing is erased).
        """
        options = self.options
        generator = np.random.default_rng([seed, epoch, _STREAM])
        shape = (steps, rows_per_step)
        draws = np.zeros((*shape, 8), dtype=np.int32)
        draws[..., CROP_Y:FLIP] = generator.integers(0, 2 * options.pad + 1, size=(*shape, 2))
        draws[..., FLIP] = generator.random(shape) < options.flip
        one_channel = generator.random(shape) < options.channel
        grey = generator.random(shape) < options.grey
        channel = generator.integers(1, 4, size=shape)
        colour = np.where(one_channel, channel, np.where(grey, GREY, UNCHANGED))
        draws[:, :num_visible, COLOUR] = colour[:, :num_visible]
        flat = draws.reshape(-1, 8)
        erased = np.flatnonzero(generator.random(len(flat)) < options.erase)
        flat[erased, ERASE_Y:] = _rectangles(generator, len(erased), self.size, options)
        return draws

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """Apply a step's draws.

        Args:
            images: (B, H, W, 3) uint8.
            draws: (B, 8) int32 on the same device.

        Returns:
            (B, 3, H, W) float32, normalised; on a CPU contiguous, elsewhere in channels_last
            memory.
        """
        height, width = self.size
        pad = self.options.pad
        count, device = len(images), images.device
        draws = draws.long()
        y = torch.arange(height, device=device)
        # A row of pixels is one line of 3·W numbers: gathers and products then run over long
        # contiguous lines instead of triples.
        entry = torch.arange(width * 3, device=device)
        x, channel = entry // 3, entry % 3
        padded = functional.pad(images.reshape(count, height, -1), (3 * pad, 3 * pad, pad, pad))
        first = torch.arange(count, device=device)[:, None] * (height + 2 * pad)
        from_row = first + draws[:, CROP_Y, None] + y
        lines = padded.flatten(0, 1).index_select(0, from_row.flatten())
        from_x = torch.where(draws[:, FLIP, None] > 0, width - 1 - x, x) + draws[:, CROP_X, None]
        colour = draws[:, COLOUR, None]
        from_channel = torch.where((colour > UNCHANGED) & (colour < GREY), colour - 1, channel)
        from_entry = (from_x * 3 + from_channel)[:, None, :].expand(-1, height, -1)
        out = lines.view(count, height, -1).gather(2, from_entry)
        if self.options.grey:
            # Not a matrix product, which autocast would round to bfloat16.
            red, green, blue = out.view(count, height, width, 3).unbind(3)
            wr, wg, wb = GREY_WEIGHTS
            grey = red * wr + green * wg + blue * wb
            grey = grey[..., None].expand(-1, -1, -1, 3).flatten(2)
            out = torch.where(colour[:, None] == GREY, grey, out)
        out = out * self._scale + self._shift
        if self.options.erase:
            top, left = draws[:, ERASE_Y, None], draws[:, ERASE_X, None]
            erased = ((y >= top) & (y < top + draws[:, ERASE_H, None]))[:, :, None] & (
                (x >= left) & (x < left + draws[:, ERASE_W, None])
            )[:, None, :]
            out = torch.where(erased, self._fill, out)
        image = out.view(count, height, width, 3).permute(0, 3, 1, 2)
        # PyTorch's batch norm on a CPU sums channels-last values one by one in float32, which
        # costs the variance of a large batch three digits; a contiguous image costs no time.
        return image.contiguous() if image.device.type == "cpu" else image


def _rectangles(
    generator: np.random.Generator, count: int, size: tuple[int, int], options: AugmentOptions
) -> np.ndarray:
    """(count, 4) y, x, h, w of erased rectangles; all 0 where no try fitted.

    Area and aspect are drawn uniformly until the rectangle is smaller than the image, at most
    100 times, as in random erasing (Zhong et al., 2017) and the published code.
    """
    height, width = size
    out = np.zeros((count, 4), dtype=np.int32)
    pending = np.arange(count)
    for _ in range(ERASE_TRIES):
        if not len(pending):
            break
        area = generator.uniform(*options.erase_area, len(pending)) * height * width
        aspect = generator.uniform(options.erase_aspect, 1 / options.erase_aspect, len(pending))
        h = np.rint(np.sqrt(area * aspect)).astype(np.int64)
        w = np.rint(np.sqrt(area / aspect)).astype(np.int64)
        fits = (h < height) & (w < width)
        chosen, h, w = pending[fits], h[fits], w[fits]
        y = generator.integers(0, height - h + 1)
        x = generator.integers(0, width - w + 1)
        out[chosen] = np.stack([y, x, h, w], axis=1)
        pending = pending[~fits]
    return out


def normalise(
    images: Tensor,
    mean: tuple[float, float, float] = MEAN,
    std: tuple[float, float, float] = STD,
) -> Tensor:
    """Images as the network takes them in testing.

    Args:
        images: (B, H, W, 3) uint8.
        mean, std: of the channels, of values from 0 to 1, by which the network wants them.

    Returns:
        (B, 3, H, W) float32, in channels_last memory.
    """
    # Python numbers are arguments of the operations: nothing is copied from the host.
    channels = [(images[..., c].float() / 255 - mean[c]) / std[c] for c in range(3)]
    return torch.stack(channels, dim=-1).permute(0, 3, 1, 2)

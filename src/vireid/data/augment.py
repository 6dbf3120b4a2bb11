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

from vireid.data.operations import (
    GREY,
    UNCHANGED,
    grey_of,
    inside,
    mix_channels,
    radical_rectangles,
    recolour,
    shift_hue,
)
from vireid.data.options import ERASE_FILL as ERASE_FILL
from vireid.data.options import AugmentOptions
from vireid.data.own_augment import Rows, check_draws, load_own
from vireid.data.rectangles import draw_rectangles

# ImageNet's channel means and deviations, of values from 0 to 1.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
GREY_WEIGHTS = (0.299, 0.587, 0.114)
PILLOW_GREY = (19595.0, 38470.0, 7471.0)  # the same in 65536ths; their sums are exact in float32
RECTANGLES = 10  # radical ones, drawn for each image; more than 6 are used in less than 1 %
RADICAL_ASPECT = 0.3  # smallest height / width of those; the largest is its inverse

# Columns of every draw; those of the parts that are on follow.
CROP_Y, CROP_X, FLIP, COLOUR, ERASE_Y, ERASE_X, ERASE_H, ERASE_W = range(8)

_STREAM = 2  # tells these random numbers from the sampler's
# Parts with random numbers of their own, so that turning one on moves no other.
_EARLY, _MIX, _RADICAL, _HUE, _OWN = range(5)


class Augment(nn.Module):
    """Changes training images in the order that `AugmentOptions` states.

    Args:
        options: probabilities and ranges.
        size: (height, width) of the images.
        mean, std: of the channels, of values from 0 to 1, by which the network wants them.

    Attributes:
        columns: numbers that a draw has for each row.
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
        end = 8
        self._places: dict[int, slice] = {}
        for part, on, width in (
            (_EARLY, options.early_erase, 4),
            (_MIX, options.mix, 3),
            (_RADICAL, options.radical, 7 * RECTANGLES),
            (_HUE, options.infrared_hue, 1),
        ):
            if on:
                self._places[part] = slice(end, end + width)
                end += width
        self.own = load_own(options.own, self.size) if options.own else None
        if self.own is not None:
            self._places[_OWN] = slice(end, end + self.own.columns)
            end += self.own.columns
        self.columns = end
        # Buffers, so that `.to(device)` moves them once and no step copies from the host; one
        # value for each entry of a row of pixels.
        deviation = torch.tensor(std)
        for name, value in (
            ("_scale", 1 / deviation if self._places else 1 / (255 * deviation)),
            ("_shift", -torch.tensor(mean) / deviation),
            ("_fill", torch.tensor(options.erase_fill)),
        ):
            self.register_buffer(name, value.repeat(self.size[1]), persistent=False)

    def draw(
        self, rows_per_step: int, num_visible: int, steps: int, *, seed: int, epoch: int
    ) -> np.ndarray:
        """All random decisions of an epoch.

        Args:
            rows_per_step: B.
            num_visible: the first so many rows of a step are visible; with two views, the second
                half of these is the second view.

        Returns:
            (steps, B, columns) int32: crop_y, crop_x (0 to 2·pad, from the top left corner of the
            padded image), flip (0, 1), colour (0 unchanged, 1 to 3 that channel thrice, 4
            grey), erased rectangle y, x, h, w (all 0 where nothing is erased). Then, of the parts
            that are on: the early erased rectangle; three weights of the mixture (the bits of
            float32 numbers, all 0 where nothing is mixed); ten radical rectangles and thrice ten
            factors of theirs (as the weights); the shift of the hue (likewise); what a user's own
            augmentation drew (likewise).
        """
        options = self.options
        generator = np.random.default_rng([seed, epoch, _STREAM])
        shape = (steps, rows_per_step)
        draws = np.zeros((*shape, self.columns), dtype=np.int32)
        draws[..., CROP_Y:FLIP] = generator.integers(0, 2 * options.pad + 1, size=(*shape, 2))
        draws[..., FLIP] = generator.random(shape) < options.flip
        channel_odds, grey_odds = self._colour_odds(rows_per_step, num_visible)
        one_channel = generator.random(shape) < channel_odds
        grey = generator.random(shape) < grey_odds
        channel = generator.integers(1, 4, size=shape)
        draws[..., COLOUR] = np.where(one_channel, channel, np.where(grey, GREY, UNCHANGED))
        flat = draws.reshape(-1, self.columns)
        erased = np.flatnonzero(generator.random(len(flat)) < options.erase)
        aspect = (options.erase_aspect, 1 / options.erase_aspect)
        flat[erased, ERASE_Y : ERASE_W + 1] = draw_rectangles(
            generator, len(erased), self.size, options.erase_area, aspect
        )
        for part, place in self._places.items():
            of_part = np.random.default_rng([seed, epoch, _STREAM, part])
            if self.own is not None and part == _OWN:
                rows = self._rows(rows_per_step, num_visible)
                drawn = self.own.draw(of_part, steps, rows)
                draws[..., place] = check_draws(self.own, drawn, steps, rows_per_step)
                continue
            odds = (options.early_erase, options.mix, options.radical, 1.0)[part]
            on = of_part.random(shape) < odds
            if part == _HUE:
                on[:, :num_visible] = False
            chosen = np.flatnonzero(on)
            flat[chosen, place] = self._draw_part(part, of_part, len(chosen))
        return draws

    def changes(self, draws: np.ndarray) -> list[str]:
        """What a step's draws do to each row besides crop and flip, in words: "grey, erased".

        Args:
            draws: (B, columns) of `draw`. What a user's own augmentation does isn't known.
        """
        done = {
            "one channel": (draws[:, COLOUR] > UNCHANGED) & (draws[:, COLOUR] < GREY),
            "grey": draws[:, COLOUR] == GREY,
            "erased": draws[:, ERASE_H] > 0,
        }
        words = {_HUE: "hue", _MIX: "mixed", _RADICAL: "radical", _EARLY: "erased"}
        for part, place in self._places.items():
            if part in words:
                changed = draws[:, place].any(axis=1)
                done[words[part]] = changed | done.get(words[part], False)
        return [
            ", ".join(word for word, rows in done.items() if rows[row]) for row in range(len(draws))
        ]

    def _colour_odds(self, rows: int, num_visible: int) -> tuple[np.ndarray, np.ndarray]:
        """(B,) `channel` and `grey` of each row, by its modality and view."""
        options = self.options
        view = num_visible // options.visible_views
        counts = (view, num_visible - view, rows - num_visible)
        channel = (options.channel, options.second_channel, options.infrared_channel)
        grey = (options.grey, options.second_grey, options.infrared_grey)
        return np.repeat(channel, counts), np.repeat(grey, counts)

    def _rows(self, rows: int, num_visible: int) -> Rows:
        """What the rows of a step are, for a user's own augmentation."""
        number = np.arange(rows)
        view = num_visible // self.options.visible_views
        visible = number < num_visible
        return Rows(visible=visible, second_view=visible & (number >= view))

    def _draw_part(self, part: int, generator: np.random.Generator, count: int) -> np.ndarray:
        """(count, width) int32 columns of a part, of images that it changes."""
        options = self.options
        if part == _EARLY:
            return draw_rectangles(
                generator,
                count,
                self.size,
                options.early_erase_area,
                options.early_erase_aspect,
                options.early_erase_draw,
            )
        if part == _MIX:
            weights = generator.beta(options.mix_beta, options.mix_beta, (count, 3))
            return _bits(weights / weights.sum(1, keepdims=True))
        if part == _HUE:
            largest = options.infrared_hue
            return _bits(generator.uniform(-largest, largest, (count, 1)))
        number = count * RECTANGLES
        aspect = (RADICAL_ASPECT, 1 / RADICAL_ASPECT)
        rectangles = draw_rectangles(generator, number, self.size, options.radical_area, aspect)
        factors = generator.beta(options.radical_beta, options.radical_beta, (number, 3))
        return np.concatenate(
            [rectangles.reshape(count, -1), _bits(factors).reshape(count, -1)], axis=1
        )

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        """Apply a step's draws.

        Args:
            images: (B, H, W, 3) uint8.
            draws: (B, columns) int32 on the same device.

        Returns:
            (B, 3, H, W) float32, normalised; on a CPU contiguous, elsewhere in channels_last
            memory.
        """
        options, (height, width) = self.options, self.size
        pad = options.pad
        count, device = len(images), images.device
        colour, places = draws[:, COLOUR].long(), draws[:, :COLOUR].long()
        early = options.channel_order == "before"
        y = torch.arange(height, device=device)
        # A row of pixels is one line of 3·W numbers: gathers and products then run over long
        # contiguous lines instead of triples.
        entry = torch.arange(width * 3, device=device)
        x, channel = entry // 3, entry % 3
        padded = functional.pad(images.reshape(count, height, -1), (3 * pad, 3 * pad, pad, pad))
        first = torch.arange(count, device=device)[:, None] * (height + 2 * pad)
        from_row = first + places[:, CROP_Y, None] + y
        lines = padded.flatten(0, 1).index_select(0, from_row.flatten())
        from_x = torch.where(places[:, FLIP, None] > 0, width - 1 - x, x) + places[:, CROP_X, None]
        if early:
            one = (colour > UNCHANGED) & (colour < GREY)
            channel = torch.where(one[:, None], colour[:, None] - 1, channel)
        from_entry = (from_x * 3 + channel)[:, None, :].expand(-1, height, -1)
        out = lines.view(count, height, -1).gather(2, from_entry)
        if early and (options.grey or options.second_grey or options.infrared_grey):
            weights = PILLOW_GREY if options.grey_rounding else GREY_WEIGHTS
            grey = grey_of(out.view(count, height, width, 3), weights)
            if options.grey_rounding:
                grey = ((grey + 2**15) / 2**16).floor()
            grey = grey[..., None].expand(-1, -1, -1, 3).flatten(2)
            out = torch.where(colour[:, None, None] == GREY, grey, out)
        if self._places:
            image = (out / 255).view(count, height, width, 3)
            out = self._relit(image, draws).flatten(2)
            if place := self._places.get(_EARLY):
                out = torch.where(inside(draws[:, place], y, x), self._fill, out)
        out = out * self._scale + self._shift
        if options.erase:
            there = inside(draws[:, ERASE_Y : ERASE_W + 1], y, x)
            out = torch.where(there, self._fill, out)
        image = out.view(count, height, width, 3)
        if not early:
            image = recolour(image, colour)
        image = image.permute(0, 3, 1, 2)
        # PyTorch's batch norm on a CPU sums channels-last values one by one in float32, which
        # costs the variance of a large batch three digits; a contiguous image costs no time.
        return image.contiguous() if image.device.type == "cpu" else image

    def _relit(self, image: Tensor, draws: Tensor) -> Tensor:
        """Images (B, H, W, 3) of values from 0 to 1, with hue shifted, mixed, with radical
        rectangles, and as a user's own augmentation leaves them."""
        if place := self._places.get(_HUE):
            image = shift_hue(image, draws[:, place].view(torch.float32)[:, 0])
        if place := self._places.get(_MIX):
            image = mix_channels(image, draws[:, place].view(torch.float32))
        if place := self._places.get(_RADICAL):
            rectangles = draws[:, place][:, : 4 * RECTANGLES].unflatten(1, (RECTANGLES, 4))
            factors = draws[:, place][:, 4 * RECTANGLES :].view(torch.float32)
            image = radical_rectangles(
                image,
                rectangles,
                factors.unflatten(1, (RECTANGLES, 3)),
                published=self.options.radical_arithmetic == "published",
            )
        if self.own is not None:
            numbers = draws[:, self._places[_OWN]].view(torch.float32)
            image = self.own(image.permute(0, 3, 1, 2), numbers).permute(0, 2, 3, 1)
        return image


def _bits(numbers: np.ndarray) -> np.ndarray:
    """float32 numbers in columns of int32."""
    return numbers.astype(np.float32).view(np.int32)


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

"""What augmentation does to images once everything random is drawn.

Images are (B, H, W, 3) float32. Each operation is a fixed sequence of tensor operations whose
shapes depend on no value, so that a step can be captured.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

# Values of a draw's colour: unchanged, one channel thrice (1, 2, 3), grey.
UNCHANGED, GREY = 0, 4
# Of grey as the published codes compute it on normalised values; they sum to 0.9999.
LATE_GREY = (0.2989, 0.5870, 0.1140)
DIMMED = 0.1  # radical rectangles stop once a pixel has kept less of its brightness
_BLACK = 1e-6  # a largest value below it is that of a black area


def grey_of(image: Tensor, weights: tuple[float, float, float]) -> Tensor:
    """(B, H, W) weighted sums of the channels."""
    # Not a matrix product, which autocast would round to bfloat16.
    (red, green, blue), (wr, wg, wb) = image.unbind(3), weights
    return red * wr + green * wg + blue * wb


def recolour(image: Tensor, colour: Tensor) -> Tensor:
    """One channel, or grey, in place of all three.

    Args:
        colour: (B,) 0 unchanged, 1 to 3 that channel thrice, 4 grey.

    Source: channel exchange of Ye, Ruan, Du, Shou, "Channel Augmented Joint Learning for
    Visible-Infrared Recognition" (ICCV 2021).
    """
    colour = colour[:, None, None]
    red, green, blue = image.unbind(3)
    one = torch.where(colour == GREY, grey_of(image, LATE_GREY), red)
    one = torch.where(colour == 2, green, torch.where(colour == 3, blue, one))
    return torch.where(colour[..., None] == UNCHANGED, image, one[..., None])


def shift_hue(image: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of images; grey pixels stay exactly as they are.

    Args:
        image: values from 0 to 1.
        shift: (B,) shares of the colour circle, from -1 to 1; 0 leaves an image as it is.

    Source: the HSV colour model, as in torchvision's `adjust_hue`.
    """
    red, green, blue = image.unbind(3)
    largest, smallest = image.amax(3), image.amin(3)
    spread = largest - smallest
    size = spread.masked_fill(spread == 0, 1.0)
    # in sixths of the circle, from red over green to blue
    hue = torch.where(
        largest == red,
        (green - blue) / size,
        torch.where(largest == green, 2 + (blue - red) / size, 4 + (red - green) / size),
    )
    hue = hue + 6 * shift[:, None, None]
    channels = []
    for start in (5, 3, 1):
        place = (start + hue).remainder(6)
        channels.append(largest - spread * torch.minimum(place, 4 - place).clamp(0, 1))
    turned = torch.stack(channels, 3)
    return torch.where(shift[:, None, None, None] == 0, image, turned)


def mix_channels(image: Tensor, weights: Tensor) -> Tensor:
    """One weighted sum of the channels in place of all three.

    Args:
        weights: (B, 3) that sum to 1; all 0 where an image stays as it is.

    Source: moderate random linear enhancement of Tan et al., "RLE: A Unified Perspective of
    Data Augmentation for Cross-Spectral Re-Identification" (NeurIPS 2024).
    """
    mixed = (image * weights[:, None, None]).sum(3, keepdim=True)
    return torch.where(weights.sum(1)[:, None, None, None] > 0, mixed, image)


def inside(rectangle: Tensor, y: Tensor, x: Tensor) -> Tensor:
    """(B, H, W) whether a place lies in its image's rectangle.

    Args:
        rectangle: (B, 4) y, x, h, w.
        y, x: coordinates of the places, (H,) and (W,), or (B, H) and (B, W).
    """
    top, left, high, wide = rectangle[:, :, None].unbind(1)
    rows, columns = (y >= top) & (y < top + high), (x >= left) & (x < left + wide)
    return rows[:, :, None] & columns[:, None, :]


def radical_rectangles(
    image: Tensor, rectangles: Tensor, factors: Tensor, *, published: bool = False
) -> Tensor:
    """Stretch rectangles to their largest value and dim them, one after the other.

    Each channel of a rectangle is multiplied by factor / (its largest value there now). An image
    is done once one of its pixels has been multiplied by less than 0.1 altogether.

    Args:
        image: values from 0 to 1.
        rectangles: (B, R, 4) y, x, h, w, in order; those of height 0 do nothing.
        factors: (B, R, 3), one a channel.
        published: a channel that is 0 all over a rectangle becomes NaN there, and NaN never ends
            an image, as in the published code; otherwise it stays 0.

    Source: radical random linear enhancement; see `mix_channels`.
    """
    # The rectangles' edges cut an image into cells, each multiplied as a whole. What comes one
    # after the other happens to the cells' largest values; the image is read twice in all.
    top, left, high, wide = rectangles.long().unbind(2)
    rows, row_of, some_rows = _intervals(top, top + high, image.shape[1])
    columns, column_of, some_columns = _intervals(left, left + wide, image.shape[2])
    # A channel is one long line here, which a processor reduces many times as fast.
    planes = image.permute(0, 3, 1, 2).contiguous()
    count = rows.shape[1]
    largest_of_rows = torch.stack(
        [planes.masked_fill((row_of != k)[:, None, :, None], 0.0).amax(2) for k in range(count)], 2
    )
    in_column = column_of[:, None] == torch.arange(count, device=image.device)[:, None]
    cells = torch.where(in_column[:, None, None], largest_of_rows[:, :, :, None], 0.0).amax(4)
    some = some_rows[:, :, None] & some_columns[:, None, :]
    gain = torch.ones_like(cells)
    going = torch.ones(len(image), dtype=torch.bool, device=image.device)
    for number in range(rectangles.shape[1]):
        here = (inside(rectangles[:, number], rows, columns) & some)[:, None]
        largest = (cells * gain).masked_fill(~here, 0.0).amax((2, 3))
        black = largest <= (0.0 if published else _BLACK)
        scale = (factors[:, number] / largest).masked_fill(black, torch.nan if published else 1.0)
        chosen = here & going[:, None, None, None]
        gain = torch.where(chosen, gain * scale[:, :, None, None], gain)
        going = going & ~(gain.flatten(1).amin(1) < DIMMED)
    cell_of = (row_of[:, :, None] * count + column_of[:, None, :]).flatten(1)
    of_pixel = gain.flatten(2).gather(2, cell_of[:, None].expand(-1, 3, -1))
    return (planes * of_pixel.view_as(planes)).permute(0, 2, 3, 1)


def _intervals(start: Tensor, end: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The intervals into which R ranges (B, R) cut the places 0 to `size` − 1.

    Returns:
        (B, 2 R + 1) where each interval starts; (B, size) the interval of each place; (B, 2 R + 1)
        whether an interval has any place.
    """
    edges = torch.cat([start.new_zeros(len(start), 1), start, end], 1).sort(1).values
    place = torch.arange(size, device=start.device)
    of_place = (edges[:, :, None] <= place).sum(1) - 1
    some = functional.pad(edges[:, 1:], (0, 1), value=size) > edges
    return edges, of_place, some

"""Options of the data room. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from vireid.config import Options, option
from vireid.own_code import is_code, whole_code_name
from vireid.types import InputError

# What erased pixels become, after normalisation (as published).
ERASE_FILL = (0.4914, 0.4822, 0.4465)


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options):
    """How training images are changed, in this order: pad and crop, flip, colour, hue,
    mixing of channels, radical rectangles, your own, early erasing, normalise, erase, and colour
    here instead with `channel_order` after. The defaults are the published ones of the first
    methods (without erasing, which only MCLNet uses)."""

    title: ClassVar[str] = "augmentation"

    pad: int = option(10, at_least=0, rare=True)
    """Zero pixels added on each side before the random crop back to the input size."""
    flip: float = option(0.5, at_least=0, at_most=1, rare=True)
    """Probability that an image is mirrored."""
    second_view: bool = option(False, rare=True)
    """Put every visible image into the batch twice, cropped, flipped, erased and coloured
    independently: a batch has 3 x P x K rows then, of which the first 2 x P x K are visible."""
    erase: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that a rectangle is erased, after normalisation."""
    erase_area: tuple[float, float] = option((0.1, 0.8), above=0, at_most=1, rare=True)
    """Smallest and largest area of the rectangle, as shares of the image."""
    erase_aspect: float = option(0.3, above=0, at_most=1, rare=True)
    """Smallest ratio of the rectangle's height to its width; the largest is its inverse."""
    erase_fill: tuple[float, float, float] = option(ERASE_FILL, rare=True)
    """What erased pixels become, red, green and blue, on the scale on which they are erased:
    normalised values, or those from 0 to 1 in early erasing."""
    early_erase: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that a rectangle is erased before normalisation."""
    early_erase_area: tuple[float, float] = option((0.02, 0.33), above=0, at_most=1, rare=True)
    """Smallest and largest area of that rectangle, as shares of the image."""
    early_erase_aspect: tuple[float, float] = option((0.3, 3.3), above=0, rare=True)
    """Smallest and largest ratio of its height to its width."""
    early_erase_draw: Literal["uniform", "log"] = option("log", rare=True)
    """How that ratio is drawn. uniform: evenly, in at most 100 tries, as `erase` draws; log: evenly
    on a logarithmic scale, in at most 10 tries, as torchvision draws."""
    channel: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that one channel of a visible image replaces all three."""
    grey: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that a visible image becomes grey, where `channel` left it alone."""
    second_channel: float = option(0.0, at_least=0, at_most=1, rare=True)
    """`channel` of the second visible view."""
    second_grey: float = option(0.0, at_least=0, at_most=1, rare=True)
    """`grey` of the second visible view."""
    infrared_channel: float = option(0.0, at_least=0, at_most=1, rare=True)
    """`channel` of infrared images."""
    infrared_grey: float = option(0.0, at_least=0, at_most=1, rare=True)
    """`grey` of infrared images."""
    infrared_hue: float = option(0.0, at_least=0, at_most=0.5, rare=True)
    """Largest shift of the hue of infrared images, as a share of the colour circle; it changes only
    files that aren't exactly grey."""
    channel_order: Literal["before", "after"] = option("before", rare=True)
    """When a channel is copied or an image becomes grey: before everything that follows the flip,
    or after normalisation and erasing, which changes infrared images too."""
    grey_rounding: bool = option(False, rare=True)
    """With `channel_order` before: round grey values to whole numbers of 255, as torchvision does
    on 8-bit images."""
    mix: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that all channels become one random mixture of the three."""
    mix_beta: float = option(0.3, above=0, rare=True)
    """Parameter of the Beta(x, x) distribution of the mixture's weights, before they are made to
    sum to 1."""
    radical: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that random rectangles are each stretched to their largest value and dimmed by
    random factors, channel by channel, until some pixel has lost nine tenths of its brightness."""
    radical_area: tuple[float, float] = option((0.02, 0.4), above=0, at_most=1, rare=True)
    """Smallest and largest area of these rectangles, as shares of the image."""
    radical_beta: float = option(0.4, above=0, rare=True)
    """Parameter of the Beta(x, x) distribution of their factors."""
    radical_arithmetic: Literal["exact", "published"] = option("exact", rare=True)
    """What a channel becomes that is 0 all over a rectangle: it stays 0, or becomes NaN, as
    published."""
    own: str = option("", flag="")
    """Your own augmentation, after the radical rectangles: path/to/my.py:MyAugment. The flag
    --augment sets it."""

    def _checked_own(self) -> str:
        if not is_code(self.own):
            raise InputError(
                f"`own` is '{self.own}'; an augmentation as path/to/my.py:MyAugment was expected."
            )
        return self.own

    @property
    def visible_views(self) -> int:
        """How many times a batch holds each of its visible images."""
        return 2 if self.second_view else 1

    @property
    def makes_nan(self) -> bool:
        """Whether black areas may become NaN."""
        return self.radical > 0 and self.radical_arithmetic == "published"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("erase_area", "early_erase_area", "radical_area", "early_erase_aspect"):
            value = getattr(self, name)
            if value[0] > value[1]:
                what = "ratios" if name.endswith("aspect") else "shares of the image"
                raise InputError(
                    f"`{name}` is {value}; two {what}, the smaller first, were expected."
                )
        if self.own:
            object.__setattr__(self, "own", whole_code_name(self._checked_own()))
        if not self.second_view and (self.second_channel or self.second_grey):
            raise InputError(
                "`second_channel` and `second_grey` are of the second visible view, but "
                "`second_view` is off. Turn it on, or leave them out."
            )

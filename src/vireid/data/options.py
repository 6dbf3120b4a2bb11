"""Options of the data room. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class AugmentOptions:
    """How training images are changed, in this order: pad and crop, flip, colour (visible rows
    only), normalise, erase. The defaults are the published ones (without erasing, which only
    MCLNet uses).

    Attributes:
        pad: zero pixels added on each side before the random crop back to the input size.
        flip: probability of a mirror image.
        erase: probability that a rectangle is erased.
        erase_area: smallest and largest share of the picture that is erased.
        erase_aspect: smallest height/width of the rectangle; the largest is its inverse.
        channel: probability that a visible image becomes one of its channels, thrice.
        grey: probability that a visible image becomes grey (drawn after `channel` failed).
    """

    pad: int = 10
    flip: float = 0.5
    erase: float = 0.0
    erase_area: tuple[float, float] = (0.1, 0.8)
    erase_aspect: float = 0.3
    channel: float = 0.0
    grey: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "erase", "channel", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(
                    f"augment.{name} is {getattr(self, name)}; "
                    "a probability from 0 to 1 was expected."
                )
        if self.pad < 0:
            raise InputError(f"augment.pad is {self.pad}; it must not be negative.")
        low, high = self.erase_area
        if not 0 < low <= high <= 1:
            raise InputError(
                f"augment.erase_area is {self.erase_area}; two shares of the picture, "
                "the smaller first, above 0 and up to 1, were expected."
            )
        if not 0 < self.erase_aspect <= 1:
            raise InputError(
                f"augment.erase_aspect is {self.erase_aspect}; above 0 and at most 1 was expected."
            )

"""Options of the data room. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from vireid.config import Options, option
from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class AugmentOptions(Options):
    """How training images are changed, in this order: pad and crop, flip, colour (visible rows
    only), normalise, erase. The defaults are the published ones (without erasing, which only
    MCLNet uses)."""

    title: ClassVar[str] = "augmentation"

    pad: int = option(10, at_least=0, rare=True)
    """Zero pixels added on each side before the random crop back to the input size."""
    flip: float = option(0.5, at_least=0, at_most=1, rare=True)
    """Probability that an image is mirrored."""
    erase: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that a rectangle is erased."""
    erase_area: tuple[float, float] = option((0.1, 0.8), above=0, at_most=1, rare=True)
    """Smallest and largest area of the rectangle, as shares of the image."""
    erase_aspect: float = option(0.3, above=0, at_most=1, rare=True)
    """Smallest ratio of the rectangle's height to its width; the largest is its inverse."""
    channel: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that one channel of a visible image replaces all three."""
    grey: float = option(0.0, at_least=0, at_most=1, rare=True)
    """Probability that a visible image becomes grey, where `channel` left it alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.erase_area[0] > self.erase_area[1]:
            raise InputError(
                f"`erase_area` is {self.erase_area}; two shares of the image, the smaller first, "
                "were expected."
            )

"""An augmentation of a user's own, after the built-in ones: what it is given and must return."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from vireid.own_code import answering, import_class
from vireid.types import InputError


class Rows(NamedTuple):
    """What the rows of a step are.

    Attributes:
        visible: (B,) bool; the others are infrared.
        second_view: (B,) bool; the second view of visible images, where `second_view` is on.
    """

    visible: np.ndarray
    second_view: np.ndarray


class OwnAugment(nn.Module):
    """What `--augment path/to/my.py:MyAugment` names extends this class.

    Everything random is drawn in `draw`, on the host, and only from the generator, so that a
    processor, a GPU, a captured graph, every rank and a resumed run see the same images. `forward`
    is a fixed sequence of tensor operations: no random numbers, no `.item()`, no branch on values.

    Class attributes:
        columns: how many numbers a row needs.
    """

    columns: int = 0

    def __init__(self) -> None:
        super().__init__()

    def draw(self, generator: np.random.Generator, steps: int, rows: Rows) -> np.ndarray:
        """The random decisions of an epoch: (steps, B, columns) numbers, kept as float32.

        Args:
            generator: depends on seed and epoch alone.
            rows: what the B rows of each step are.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `draw`.")

    def forward(self, image: Tensor, draws: Tensor) -> Tensor:
        """Apply a step's draws.

        Args:
            image: (B, 3, H, W) float32, values from 0 to 1; cropped, flipped and coloured already,
                not yet normalised or erased.
            draws: (B, columns) float32, on the same device.

        Returns:
            (B, 3, H, W) float32.
        """
        raise NotImplementedError(f"{type(self).__name__} has no `forward`.")


def load_own(name: str, size: tuple[int, int]) -> OwnAugment:
    """The augmentation that "path/to/my.py:MyAugment" names, tried on four images.

    Raises:
        InputError: there is no such class, or it breaks the contract.
    """
    cls = import_class(name, OwnAugment, "augmentation")
    label = f"Augmentation '{cls.__name__}'"
    rows = Rows(np.array([True, True, False, False]), np.array([False, True, False, False]))
    image = torch.linspace(0, 1, 4 * 3 * size[0] * size[1]).view(4, 3, *size)
    with answering(f"{label} fails on four images", name.rsplit(":", 1)[0]):
        own = cls()
        one, two = (own.draw(np.random.default_rng(1), 2, rows) for _ in range(2))
        check_draws(own, one, 2, 4)
        draws = torch.from_numpy(np.ascontiguousarray(one[0], dtype=np.float32))
        with torch.random.fork_rng([]), torch.no_grad():
            first, again = (own(image.clone(), draws) for _ in range(2))
    if not isinstance(first, Tensor) or first.shape != image.shape or first.dtype != image.dtype:
        what = f"{first.dtype} {tuple(first.shape)}" if isinstance(first, Tensor) else type(first)
        raise InputError(
            f"{label} returned {what} for images of {image.dtype} {tuple(image.shape)}; the same "
            "type and shape were expected."
        )
    if not torch.isfinite(first).all():
        raise InputError(f"{label} makes values that are NaN or infinite.")
    if not np.array_equal(one, two) or not torch.equal(first, again):
        where = "`draw` uses" if not np.array_equal(one, two) else "`forward` draws"
        raise InputError(
            f"{label} gives other images for the same draws: {where} random numbers of its own. "
            "Take them all from the generator that `draw` is given."
        )
    return own


def check_draws(own: OwnAugment, draws: np.ndarray, steps: int, rows: int) -> np.ndarray:
    """The draws of a user's augmentation, as the bits of float32 numbers in int32.

    Raises:
        InputError: they are no numbers, or of another shape.
    """
    wanted = (steps, rows, own.columns)
    array = np.asarray(draws)
    if array.shape != wanted or array.dtype.kind not in "fiub":
        raise InputError(
            f"`draw` of augmentation '{type(own).__name__}' returned {array.dtype} of shape "
            f"{array.shape}; numbers of shape (steps, rows, columns) = {wanted} were expected."
        )
    return np.ascontiguousarray(array, dtype=np.float32).view(np.int32)

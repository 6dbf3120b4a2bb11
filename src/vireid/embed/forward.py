"""The network's forward pass in one number format, eager or compiled."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vireid.data.augment import normalise
from vireid.engine.engines import use_compile_cache
from vireid.engine.precision import Precision
from vireid.methods import Method
from vireid.types import Modality

WORTH_COMPILING = 300_000  # images; a first compilation takes as long as it saves on so many


class Forward:
    """Calls a method on raw pictures.

    Attributes:
        precision: what convolutions compute in; vectors are float32.
    """

    def __init__(self, method: Method, precision: Precision, *, compiled: bool | None) -> None:
        """
        Args:
            method: in evaluation mode, on its device.
            compiled: whether to compile (None: where there is much to do).
        """
        self.method, self.precision = method, precision
        self._compiled = compiled
        self._run: Callable[[Tensor, int], dict[str, Tensor]] = self._eager

    def expect(self, total: int) -> None:
        """Compile, on a GPU, if that pays for so many images."""
        compiled = total >= WORTH_COMPILING if self._compiled is None else self._compiled
        on_gpu = next(self.method.parameters()).is_cuda
        if compiled and on_gpu and self._run == self._eager:
            use_compile_cache()
            self._run = torch.compile(self._eager, dynamic=False)

    def __call__(self, image: Tensor, kind: int, flip: bool = False) -> dict[str, Tensor]:
        """Pictures (B, H, W, 3) uint8 of one modality → named vectors (B, D) float32; with
        `flip`, of the pictures and their mirror images together."""
        visible = len(image) if kind == Modality.VISIBLE else 0
        with self.precision.convolutions():
            vectors = self._run(image, visible)
            if flip:
                mirrored = self._run(image.flip(2), visible)
                vectors = {
                    name: torch.nn.functional.normalize(value + mirrored[name], dim=1)
                    for name, value in vectors.items()
                }
        return vectors

    def _eager(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        with self.precision.autocast(image.device):
            found = self.method.embed(normalise(image), num_visible)
        return {name: value.float() for name, value in found.items()}

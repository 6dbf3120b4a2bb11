"""An exponential moving average of a method's weights, kept on the device beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from vireid.types import InputError
from vireid.weights import mismatch


class WeightAverage:
    """Exponential moving average of parameters and batch statistics.

        average += (1 − d) · (weights − average),  d = min(decay, (1 + t) / (10 + t))

    after step t (from 1), so that the first weights don't weigh for long. Everything stays at its
    address, so that the update can be part of a captured step.

    Args:
        method: whose weights are averaged; already on its device.
        decay: of the average, in (0, 1).

    Source: Tarvainen, Valpola, "Mean teachers are better role models" (2017); the ramp of the
    decay is TensorFlow's.
    """

    def __init__(self, method: nn.Module, decay: float) -> None:
        self.decay = decay
        state = {k: v for k, v in method.state_dict().items() if v.is_floating_point()}
        self.names, self._weights = [*state], [*state.values()]
        self._values = [value.clone() for value in self._weights]
        self.step = torch.zeros((), device=self._weights[0].device)
        self.buffers = [
            value
            for name, value in zip(self.names, self._values)
            if name in dict(method.named_buffers())
        ]

    @torch.no_grad()
    def update(self) -> None:
        """Take the weights of a step in. Nothing here waits for the device."""
        self.step += 1
        share = 1 - ((1 + self.step) / (10 + self.step)).clamp_max(self.decay)
        change = torch._foreach_sub(self._weights, self._values)
        torch._foreach_mul_(change, share)
        torch._foreach_add_(self._values, change)

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """A context in which the method has the average's values."""
        with torch.no_grad():
            kept = [value.clone() for value in self._weights]
            torch._foreach_copy_(self._weights, self._values)
        try:
            yield
        finally:
            with torch.no_grad():
                torch._foreach_copy_(self._weights, kept)

    def tensors(self) -> list[Tensor]:
        """Every tensor that an update changes."""
        return [*self._values, self.step]

    def state(self) -> dict[str, Tensor]:
        """The average by the names of the weights (references), and the steps that it has seen."""
        return {**dict(zip(self.names, self._values)), "step": self.step}

    @torch.no_grad()
    def restore(self, saved: Mapping[str, Tensor] | None) -> None:
        """Copy a saved state in place.

        Raises:
            InputError: it is the average of other weights.
        """
        own = self.state()
        if (
            saved is None
            or own.keys() != saved.keys()
            or any(mismatch(tensor, saved[name]) for name, tensor in own.items())
        ):
            raise InputError(
                "The checkpoint has the weight average of another network. Resume the run with "
                "its own method and options."
            )
        for name, tensor in own.items():
            tensor.copy_(saved[name])

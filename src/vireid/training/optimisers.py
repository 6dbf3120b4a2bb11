"""The two optimisers of a method, with learning rates and state at fixed addresses.

A captured graph replays reads of fixed memory: learning rates are views of one tensor that a
step fills itself, and every state exists before the first step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from vireid.methods import Method, ParameterGroup
from vireid.methods.recipe import Recipe
from vireid.training.gradient_mean import buckets
from vireid.types import InputError

DISCRIMINATOR_LR = 0.1


class Optimisers:
    """SGD (Nesterov) or Adam for the network, SGD at a constant rate for a discriminator.

    Attributes:
        rates: (G,) float32 current learning rate of each group, on the device.
        parameters: every trained parameter, in the order of the groups.
        buckets: parameters that are stepped together.
    """

    def __init__(
        self,
        method: Method,
        recipe: Recipe,
        device: torch.device,
        bucket_bytes: int | None = None,
    ) -> None:
        """
        Args:
            bucket_bytes: several ranks step a bucket while the next one's gradients travel;
                None for one bucket.
        """
        groups = method.groups()
        self._names = {id(p): name for name, p in method.named_parameters()}
        _check(groups, method)
        self.recipe = recipe
        self.groups = groups
        self.rates = torch.zeros(len(groups), dtype=torch.float32, device=device)
        self.parameters = [p for group in groups for p in group.parameters]
        self.buckets = buckets(method.parameters(), bucket_bytes or sys.maxsize)
        self._optimisers = {
            kind: [self._of_kind(kind, bucket, device) for bucket in self.buckets]
            for kind in dict.fromkeys(group.optimiser for group in groups)
        }
        self._make_state()

    def _of_kind(
        self, kind: str, bucket: list[nn.Parameter], device: torch.device
    ) -> torch.optim.Optimizer | None:
        """The optimiser of a bucket's parameters in the groups of one kind; None without any."""
        inside = {id(p) for p in bucket}
        parts = [
            {"params": [p for p in group.parameters if id(p) in inside], "lr": self.rates[i]}
            for i, group in enumerate(self.groups)
            if group.optimiser == kind
        ]
        parts = [part for part in parts if part["params"]]
        return self._build(kind, parts, device) if parts else None

    def of_bucket(self, number: int) -> list[torch.optim.Optimizer]:
        """The optimisers to step once the gradients of a bucket are there."""
        of_kinds = [optimisers[number] for optimisers in self._optimisers.values()]
        return [optimiser for optimiser in of_kinds if optimiser is not None]

    def _all(self) -> Iterator[torch.optim.Optimizer]:
        for number in range(len(self.buckets)):
            yield from self.of_bucket(number)

    def _build(
        self, kind: str, parts: list[dict[str, Any]], device: torch.device
    ) -> torch.optim.Optimizer:
        fused = device.type in {"cpu", "cuda"}
        if kind == "main" and self.recipe.optim == "adam":
            return torch.optim.Adam(
                parts,
                weight_decay=self.recipe.weight_decay,
                fused=fused,
                capturable=device.type == "cuda",
            )
        return torch.optim.SGD(
            parts,
            momentum=self.recipe.momentum,
            fused=fused,
            nesterov=self.recipe.momentum > 0,
            weight_decay=self.recipe.weight_decay,
        )

    def _make_state(self) -> None:
        """Create every state by one step that changes nothing, then set it to its start."""
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        for optimiser in self._all():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        for tensor in self.tensors():
            tensor.zero_()

    def tensors(self) -> list[Tensor]:
        """Every tensor of state, for snapshots."""
        return [
            value
            for optimiser in self._all()
            for state in optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]

    def rate_table(self, epoch: int, steps: int, epochs: int) -> Tensor:
        """(steps, G) float32 learning rates of one epoch, on the CPU."""
        table = torch.empty(steps, len(self.groups))
        bases = [
            (DISCRIMINATOR_LR if g.optimiser == "discriminator" else self.recipe.lr) * g.lr_scale
            for g in self.groups
        ]
        for step in range(steps):
            factor = self.recipe.schedule.factor(epoch, epoch * steps + step, epochs * steps)
            for i, group in enumerate(self.groups):
                table[step, i] = bases[i] * (factor if group.scheduled else 1.0)
        return table

    def zero_grad(self) -> None:
        for optimiser in self._all():
            optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """State by optimiser and parameter name (references; copy before training on)."""
        return {
            kind: {
                self._names[id(parameter)]: {
                    key: value for key, value in entry.items() if isinstance(value, Tensor)
                }
                for optimiser in optimisers
                if optimiser is not None
                for parameter, entry in optimiser.state.items()
            }
            for kind, optimisers in self._optimisers.items()
        }

    def restore(self, saved: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        """Copy a saved state in place.

        Raises:
            InputError: it is the state of other optimisers or parameters.
        """
        own = self.state()
        same = own.keys() == saved.keys() and all(
            own[kind].keys() == saved[kind].keys() for kind in own
        )
        if not same:
            raise InputError(
                "The checkpoint's optimisers don't fit this run's: it was made with "
                "another optimiser or method. Resume with the run's own options."
            )
        for kind, entries in own.items():
            for name, entry in entries.items():
                for key, tensor in entry.items():
                    tensor.copy_(saved[kind][name][key])


def _check(groups: list[ParameterGroup], method: Method) -> None:
    """Every trainable parameter belongs to exactly one group."""
    seen: dict[int, str] = {}
    for group in groups:
        for parameter in group.parameters:
            if id(parameter) in seen:
                raise InputError(
                    f"Method '{method.name}' lists a parameter in the groups '{group.name}' and "
                    f"'{seen[id(parameter)]}'; each must be in exactly one."
                )
            seen[id(parameter)] = group.name
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and id(parameter) not in seen:
            raise InputError(
                f"Method '{method.name}' lists its parameter '{name}' in no group, so "
                "it would never be trained. Add it in groups(), or freeze it."
            )

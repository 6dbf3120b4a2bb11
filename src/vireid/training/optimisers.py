"""The optimisers of a method, with learning rates and state at fixed addresses.

A captured graph replays reads of fixed memory: learning rates are views of one tensor that a
step fills itself, and every state exists before the first step.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

import torch
from torch import Tensor, nn

from vireid.methods import Method, ParameterGroup
from vireid.methods.recipe import OptimiserName, Recipe
from vireid.training.gradient_mean import buckets
from vireid.types import InputError
from vireid.weights import mismatch

MAIN = "main"  # the optimiser of all groups that state none of their own


@dataclass(frozen=True)
class Early:
    """A group that steps before the backward pass.

    Attributes:
        term: name of the loss term that it steps on.
        parameters, optimiser: the group's.
    """

    term: str
    parameters: list[nn.Parameter]
    optimiser: torch.optim.Optimizer


class Optimisers:
    """The main optimiser, of the recipe's kind, and one for each group that states its own.

    Attributes:
        rates: (G,) float32 current learning rate of each group, on the device.
        parameters: every trained parameter, in the order of the groups.
        early: the groups that step before the backward pass, by name.
        buckets: all other parameters, as they are stepped together after it.
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

        Raises:
            InputError: a parameter is in no group or in two, or two groups have one name.
        """
        self.groups = method.groups()
        _check(self.groups, method)
        self.recipe = recipe
        self.rates = torch.zeros(len(self.groups), dtype=torch.float32, device=device)
        self.parameters = [p for group in self.groups for p in group.parameters]
        early = [group for group in self.groups if group.early_term is not None]
        early_parameters = {id(p) for group in early for p in group.parameters}
        late = [p for p in method.parameters() if id(p) not in early_parameters]
        self.buckets = buckets(late, bucket_bytes or sys.maxsize)
        self._parameter_names = {id(p): name for name, p in method.named_parameters()}
        kinds = {
            _owner(group): group.optimiser or recipe.optim
            for group in self.groups
            if group.early_term is None
        }
        self._by_bucket = [
            {
                name: self._build(kind, parts, device)
                for name, kind in kinds.items()
                if (parts := self._parts(name, kind, bucket))
            }
            for bucket in self.buckets
        ]
        self.early = {
            group.name: Early(
                str(group.early_term),
                group.parameters,
                self._build(
                    str(group.optimiser),
                    self._parts(group.name, str(group.optimiser), group.parameters),
                    device,
                ),
            )
            for group in early
        }
        self._make_state()

    def _parts(self, name: str, kind: str, bucket: list[nn.Parameter]) -> list[dict[str, Any]]:
        """What the optimiser `name` steps of a bucket, in the form that PyTorch's take."""
        inside = {id(p) for p in bucket}
        parts = []
        for i, group in enumerate(self.groups):
            parameters = [p for p in group.parameters if id(p) in inside]
            if parameters and _owner(group) == name:
                part = {"params": parameters, "lr": self.rates[i]}
                parts.append(part | self._settings(group, kind))
        return parts

    @staticmethod
    def _build(
        kind: str, parts: list[dict[str, Any]], device: torch.device
    ) -> torch.optim.Optimizer:
        fused = device.type in {"cpu", "cuda"}
        if kind == "sgd":
            return torch.optim.SGD(parts, fused=fused)
        build = torch.optim.Adam if kind == "adam" else torch.optim.AdamW
        return build(parts, fused=fused, capturable=device.type == "cuda")

    def _settings(self, group: ParameterGroup, kind: str) -> dict[str, Any]:
        """What PyTorch's optimiser of this kind is told about a group."""
        recipe = self.recipe
        decay = recipe.weight_decay if group.weight_decay is None else group.weight_decay
        if kind != "sgd":
            return {"weight_decay": decay}
        momentum = recipe.momentum if group.momentum is None else group.momentum
        return {"weight_decay": decay, "momentum": momentum, "nesterov": momentum > 0}

    def of_bucket(self, number: int) -> list[torch.optim.Optimizer]:
        """The optimisers to step once the gradients of a bucket are there."""
        return list(self._by_bucket[number].values())

    def _all(self) -> Iterator[tuple[str, torch.optim.Optimizer]]:
        """Every optimiser, with the name of which it may be a part."""
        for by_name in self._by_bucket:
            yield from by_name.items()
        for name, early in self.early.items():
            yield name, early.optimiser

    def _make_state(self) -> None:
        """Create every state by one step that changes nothing, then set it to its start."""
        for parameter in self.parameters:
            parameter.grad = torch.zeros_like(parameter)
        for _, optimiser in self._all():
            optimiser.step()
            optimiser.zero_grad(set_to_none=True)
        for tensor in self.tensors():
            tensor.zero_()

    def tensors(self) -> list[Tensor]:
        """Every tensor of state, for snapshots."""
        return [
            value
            for _, optimiser in self._all()
            for state in optimiser.state.values()
            for value in state.values()
            if isinstance(value, Tensor)
        ]

    def rate_table(self, epoch: int, steps: int, epochs: int) -> Tensor:
        """(steps, G) float32 learning rates of one epoch, on the CPU."""
        recipe, table = self.recipe, torch.empty(steps, len(self.groups))
        for step in range(steps):
            factor = recipe.schedule.factor(epoch * steps + step, steps, epochs)
            for i, group in enumerate(self.groups):
                base = (recipe.lr if group.lr is None else group.lr) * group.lr_scale
                table[step, i] = base * (factor if group.scheduled else 1.0)
        if epoch < recipe.freeze_epochs:
            table[:, [group.freezes for group in self.groups]] = 0.0
        return table

    def thaw(self) -> None:
        """Forget the state of groups that were frozen: it grew, but moved nothing."""
        frozen = {id(p) for group in self.groups if group.freezes for p in group.parameters}
        for _, optimiser in self._all():
            for parameter, state in optimiser.state.items():
                for value in state.values():
                    if id(parameter) in frozen and isinstance(value, Tensor):
                        value.zero_()

    def clip(self, norm: float, scaler: torch.amp.GradScaler) -> None:
        """Scale the gradients of all buckets down to a Euclidean norm, if theirs is larger."""
        if scaler.is_enabled():
            for by_name in self._by_bucket:
                for optimiser in by_name.values():
                    scaler.unscale_(optimiser)
        late = [p for bucket in self.buckets for p in bucket]
        nn.utils.clip_grad_norm_(late, norm, foreach=True)

    def zero_grad(self) -> None:
        for _, optimiser in self._all():
            optimiser.zero_grad(set_to_none=True)

    def state(self) -> dict[str, dict[str, dict[str, Tensor]]]:
        """State by optimiser and parameter name (references; copy before training on)."""
        state: dict[str, dict[str, dict[str, Tensor]]] = {}
        for name, optimiser in self._all():
            entries = state.setdefault(name, {})
            for parameter, entry in optimiser.state.items():
                entries[self._parameter_names[id(parameter)]] = {
                    key: value for key, value in entry.items() if isinstance(value, Tensor)
                }
        return state

    def restore(self, saved: Mapping[str, Mapping[str, Mapping[str, Tensor]]]) -> None:
        """Copy a saved state in place.

        Raises:
            InputError: it is the state of other optimisers or parameters.
        """
        own = self.state()
        same = own.keys() == saved.keys() and all(
            own[name].keys() == saved[name].keys() for name in own
        )
        if not same:
            raise InputError(
                "The checkpoint belongs to other optimisers: it has "
                f"{_described(saved)}, this run has {_described(own)}. Resume the run with its own "
                "method and options."
            )
        for name, entries in own.items():
            for parameter, entry in entries.items():
                theirs = saved[name][parameter]
                for key, tensor in entry.items():
                    if key not in theirs or mismatch(tensor, theirs[key]):
                        raise InputError(
                            f"The checkpoint's state of the optimiser '{name}' doesn't fit: "
                            f"{key} of {parameter} "
                            f"{mismatch(tensor, theirs[key]) if key in theirs else 'is missing'}. "
                            "Resume the run with its own method and options."
                        )
                    tensor.copy_(theirs[key])


def _owner(group: ParameterGroup) -> str:
    """The name of the optimiser that steps a group."""
    return MAIN if group.optimiser is None else group.name


def _described(state: Mapping[str, Mapping[str, Any]]) -> str:
    return ", ".join(f"'{name}' with {len(entries)} tensors" for name, entries in state.items())


def _check(groups: list[ParameterGroup], method: Method) -> None:
    """Group names differ, and every trainable parameter belongs to exactly one group."""
    names = [group.name for group in groups]
    twice = next((name for name in names if names.count(name) > 1 or name == MAIN), None)
    if twice is not None:
        raise InputError(
            f"Method '{method.name}' has a parameter group named '{twice}', and so is another "
            "one or the main optimiser. Give each group a name of its own."
        )
    group_of: dict[int, str] = {}
    parameter_names = {id(p): name for name, p in method.named_parameters()}
    for group in groups:
        if group.optimiser not in (None, *get_args(OptimiserName)):
            raise InputError(
                f"The parameter group '{group.name}' of method '{method.name}' asks for the "
                f"optimiser '{group.optimiser}'; {', '.join(get_args(OptimiserName))} or None (the "
                "recipe's) was expected."
            )
        if group.early_term is not None and group.optimiser is None:
            raise InputError(
                f"The parameter group '{group.name}' of method '{method.name}' steps early, on "
                f"the term '{group.early_term}', but has no optimiser of its own. Give it "
                f"`optimiser` {' or '.join(get_args(OptimiserName))}."
            )
        for parameter in group.parameters:
            if id(parameter) in group_of:
                raise InputError(
                    f"Method '{method.name}' has its parameter "
                    f"'{parameter_names.get(id(parameter), '?')}' in the groups "
                    f"'{group_of[id(parameter)]}' and '{group.name}'; put it in exactly one."
                )
            group_of[id(parameter)] = group.name
    for name, parameter in method.named_parameters():
        if parameter.requires_grad and id(parameter) not in group_of:
            raise InputError(
                f"Method '{method.name}' has its parameter '{name}' in no group, so it would "
                "never be trained. Add it in `groups` or `separate_groups`, or freeze it with "
                "requires_grad_(False)."
            )

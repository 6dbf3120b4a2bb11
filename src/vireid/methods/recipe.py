"""Recipes: how a method is trained, as one frozen object that is written into the run."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from vireid.data.options import AugmentOptions
from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """The learning rate over a run, as a factor of the base rate.

    Attributes:
        kind: "steps" multiplies by each entry of `factors` from the epoch beside it in
            `milestones` on (as published); "cosine" falls to 0 at the last step;
            "constant" stays.
        warmup_epochs: "steps" and "constant": linear from 1/warmup to 1 by epoch, as published
            ((epoch + 1) / warmup).
        warmup_steps: "cosine": linear from 0 to 1 over this many steps.
    """

    kind: Literal["steps", "cosine", "constant"] = "steps"
    milestones: tuple[int, ...] = (20, 50)
    factors: tuple[float, ...] = (0.1, 0.01)
    warmup_epochs: int = 10
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if len(self.milestones) != len(self.factors):
            raise InputError(
                f"The schedule has {len(self.milestones)} milestones and "
                f"{len(self.factors)} factors; give one factor for each milestone."
            )

    def factor(self, epoch: int, step: int, total_steps: int) -> float:
        """The factor at `epoch` (from 0) and global `step` (from 0) of `total_steps`."""
        if self.kind == "cosine":
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            span = max(1, total_steps - self.warmup_steps)
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - self.warmup_steps) / span)))
        if epoch < self.warmup_epochs:
            return (epoch + 1) / self.warmup_epochs
        if self.kind == "constant":
            return 1.0
        value = 1.0
        for milestone, factor in zip(self.milestones, self.factors):
            if epoch >= milestone:
                value = factor
        return value


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How one method is trained.

    Attributes:
        lr: base learning rate of neck and classifier; groups of parameters have factors of it.
        weight_decay, momentum: of SGD (Nesterov). Adam uses weight_decay and its default betas.
        epochs: passes over the data; one epoch is max(visible, infrared) // (P·K) + 1 steps.
        method_options, model_options: values that differ from the defaults of the method's
            options and of its network; what the user asks for goes before them.
        pids_per_batch, images_per_pid: P and K; K per modality, so a batch has 2·P·K rows.
    """

    name: str
    optim: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    schedule: Schedule = field(default_factory=Schedule)
    epochs: int = 81
    pids_per_batch: int = 8
    images_per_pid: int = 4
    augment: AugmentOptions = field(default_factory=AugmentOptions)
    method_options: dict[str, Any] = field(default_factory=dict)
    model_options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("lr", "epochs", "pids_per_batch", "images_per_pid"):
            if not 0 < getattr(self, name) < math.inf:
                flag = "--" + name.replace("_", "-")
                raise InputError(f"{flag} is {getattr(self, name)}; a number above 0 was expected.")
        for name in ("momentum", "weight_decay"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; it must not be negative.")

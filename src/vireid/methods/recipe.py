"""Recipes: how a method is trained, as one frozen object that is written into the run."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from vireid.config import Options, from_plain, option, overlay, to_plain
from vireid.data.options import AugmentOptions
from vireid.types import PRECISION_ALIASES, InputError, PrecisionName

OptimiserName = Literal["sgd", "adam", "adamw"]


@dataclass(frozen=True, kw_only=True)
class Schedule(Options):
    """The learning rate over a run, as a factor of the base rate."""

    title: ClassVar[str] = "schedule"

    kind: Literal["steps", "cosine", "linear", "peak", "constant"] = option(
        "steps", flag="schedule", rare=True
    )
    """Course of the learning rate. steps: multiplied by each of `factors` from the epoch beside it
    in `milestones` on, as published; cosine, linear: falls to `floor` at the last step; peak: rises
    and falls in straight lines; constant: stays."""
    milestones: tuple[int, ...] = option((20, 50), at_least=0, rare=True)
    """With `kind` steps: epochs at which the rate changes."""
    factors: tuple[float, ...] = option((0.1, 0.01), at_least=0, rare=True)
    """With `kind` steps: one factor of the base rate for each milestone."""
    floor: float = option(0.0, at_least=0, at_most=1, rare=True)
    """With `kind` cosine or linear: the factor at the last step."""
    peak_epochs: int = option(16, at_least=1, rare=True)
    """With `kind` peak: epochs in which the rate rises from `start_factor` to the base rate; from
    then on it falls to 0 at the end. There is no other warm-up then."""
    start_factor: float = option(1e-4, at_least=0, at_most=1, rare=True)
    """With `kind` peak: the factor at the first step."""
    warmup_epochs: int = option(10, at_least=0, rare=True)
    """Epochs of warm-up, as published: (epoch + 1) / warmup. Counts where `warmup_steps` is 0 and
    `kind` isn't peak."""
    warmup_steps: int = option(0, at_least=0, rare=True)
    """Steps of warm-up, linear from 0 to 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.milestones) != len(self.factors):
            raise InputError(
                f"The schedule has {len(self.milestones)} `milestones` and "
                f"{len(self.factors)} `factors`; give one factor for each milestone."
            )

    def warmup(self, steps_per_epoch: int) -> int:
        """Steps until the base rate is reached."""
        if self.kind == "peak":
            return self.peak_epochs * steps_per_epoch
        return self.warmup_steps or self.warmup_epochs * steps_per_epoch

    def factor(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """The factor at global `step` (from 0) of a run of `epochs`."""
        epoch, warmup = step // steps_per_epoch, self.warmup(steps_per_epoch)
        if self.kind == "peak":
            return self._peak(step, steps_per_epoch, epochs)
        if step < warmup:
            by_step = self.warmup_steps > 0
            return (step + 1) / warmup if by_step else (epoch + 1) / self.warmup_epochs
        if self.kind == "constant":
            return 1.0
        if self.kind != "steps":
            gone = min(1.0, (step - warmup) / max(1, steps_per_epoch * epochs - warmup))
            left = 0.5 * (1 + math.cos(math.pi * gone)) if self.kind == "cosine" else 1 - gone
            return self.floor + (1 - self.floor) * left
        value = 1.0
        for milestone, factor in zip(self.milestones, self.factors):
            if epoch >= milestone:
                value = factor
        return value

    def _peak(self, step: int, steps_per_epoch: int, epochs: int) -> float:
        """As DNS's code has it: an epoch's last step already has the rate of the next epoch's
        first one, because the code counts one step an epoch too few."""
        epoch, inside = divmod(step, steps_per_epoch)
        time = epoch + inside / max(1, steps_per_epoch - 1)
        if time < self.peak_epochs:
            return self.start_factor + (1 - self.start_factor) * time / self.peak_epochs
        return max(0.0, (epochs - time) / max(1, epochs - self.peak_epochs))


@dataclass(frozen=True, kw_only=True)
class Recipe(Options):
    """How the method is trained."""

    title: ClassVar[str] = "recipe"

    name: str = option("", flag="")
    """What the recipe is called."""
    optim: OptimiserName = "sgd"
    """Optimiser: SGD with Nesterov momentum; Adam or AdamW with their default betas."""
    lr: float = option(0.1, above=0)
    """Base learning rate, of neck and classifier; the backbone's is `backbone_scale` times it."""
    momentum: float = option(0.9, at_least=0, rare=True)
    """Nesterov momentum of SGD."""
    weight_decay: float = option(5e-4, at_least=0, rare=True)
    """Weight decay, whichever the optimiser."""
    clip_norm: float | None = option(None, above=0, rare=True)
    """Gradients of the whole step are scaled down to this Euclidean norm where it is larger."""
    ema: float | None = option(None, above=0, below=1, rare=True)
    """Decay of an exponential moving average of the weights, which is tested beside them and
    written to weights_ema.safetensors."""
    freeze_epochs: int = option(0, at_least=0, rare=True)
    """The backbone is not trained in the first so many epochs; its batch norms still collect
    statistics."""
    schedule: Schedule = option(Schedule())
    """The learning rate over the run."""
    epochs: int = option(81, above=0)
    """Passes over the data, each of max(visible, infrared) // (P x K) + 1 steps."""
    pids_per_batch: int = option(8, above=0)
    """P, the identities in a batch."""
    images_per_pid: int = option(4, above=0)
    """K, the images of each identity in each modality; a batch has 2 x P x K images, with
    `second_view` 3 x P x K."""
    precision: PrecisionName = option("auto", aliases=PRECISION_ALIASES)
    """Number format the network computes in; auto is bfloat16 where the GPU has it, float16 with
    loss scaling on other GPUs, float32 on a CPU."""
    augment: AugmentOptions = option(AugmentOptions())
    """How training images are changed."""
    method_options: dict[str, Any] = option({}, flag="")
    """Where the recipe differs from the defaults of the method's options."""
    model_options: dict[str, Any] = option({}, flag="")
    """Where the recipe differs from the defaults of the method's network."""
    variants: dict[str, dict[str, Any]] = option({}, flag="")
    """Data set → where the recipe differs on it; a run's own recipe has these values in place."""

    def on(self, dataset: str) -> Recipe:
        """The recipe on a data set, by its registered name."""
        plain = {**to_plain(self), "variants": {}}
        changed = overlay(plain, self.variants.get(dataset, {}))
        return from_plain(Recipe, changed, f"recipe {self.name} on {dataset}")

"""What one training step does, written once for every engine.

The plan of an epoch (which rows, which random draws, which learning rates) lies on the device,
and so does the number of the step; a step therefore needs nothing from the host, and the same
lines run eagerly, compiled, or as one replayed CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

import numpy as np
import torch
from torch import Tensor

from vireid.config import convert
from vireid.data.augment import Augment
from vireid.data.sampler import count_visible
from vireid.losses.full_precision import full
from vireid.methods import Method
from vireid.methods.checks import check_terms
from vireid.runtime.precision import Precision
from vireid.runtime.ranks import World
from vireid.training.average import WeightAverage
from vireid.training.gradient_mean import GradientMean
from vireid.training.optimisers import Optimisers
from vireid.training.store import ImageStore
from vireid.types import Batch, InputError, Limits


class ScalerState(TypedDict):
    """What PyTorch's GradScaler keeps."""

    scale: Annotated[float, Limits(1e-30, 1e30)]
    growth_factor: Annotated[float, Limits(1, 1e6)]
    backoff_factor: Annotated[float, Limits(1e-6, 1)]
    growth_interval: Annotated[int, Limits(1, 2**31)]
    _growth_tracker: Annotated[int, Limits(0, 2**31)]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One epoch on one rank.

    Attributes:
        epoch: from 0.
        positions: (S, B) int64 training positions, visible rows first.
        draws: (S, B, columns) int32 draws of the augmentation.
        rates: (S, G) float32 learning rates.
    """

    epoch: int
    positions: np.ndarray
    draws: np.ndarray
    rates: Tensor


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Columns of the training rows, (M,) int64 each: dense labels and modality."""

    pid: np.ndarray
    camera: np.ndarray
    modality: np.ndarray


class Step:
    """Gather, augment, forward, losses, early groups, backward, gradient mean, optimisers, sums.

    Attributes:
        names: of the losses, once a step has run.
        average: of the weights; None where the recipe has no `ema`.
        compute: `losses` compiled, or None.
        sums: (T,) float64 sums of the losses since the epoch began.
        counter: (1,) int64 number of the next step, on the device.
    """

    def __init__(
        self,
        method: Method,
        augment: Augment,
        images: ImageStore,
        labels: Labels,
        optimisers: Optimisers,
        *,
        precision: Precision,
        world: World,
        steps: int,
        batch: int,
        visible_views: int = 1,
    ) -> None:
        device = world.device
        self.method, self.augment, self.images = method, augment.to(device), images
        self.optimisers, self.precision, self.world = optimisers, precision, world
        self.steps, self.batch = steps, batch
        self.num_visible = count_visible(batch, visible_views)
        self.names: tuple[str, ...] = ()
        self._sums: Tensor | None = None
        self._count = 0
        self.counter = torch.zeros(1, dtype=torch.int64, device=device)
        self._rows = torch.zeros(steps, batch, dtype=torch.int64, device=device)
        self._draws: Tensor | None = None  # has the first plan's width, and its own address since
        self._rates = torch.zeros(steps, len(optimisers.groups), device=device)
        self._labels = [
            torch.from_numpy(np.ascontiguousarray(column, dtype=np.int64)).to(device)
            for column in (labels.pid, labels.camera, labels.modality)
        ]
        self._index = images.index_table(len(labels.pid))
        self._order = torch.arange(batch, device=device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision.scaled)
        if precision.scaled:
            self.scaler.scale(torch.ones((), device=device))  # makes its tensors exist
        self._mean = GradientMean(optimisers.buckets, world)
        decay = optimisers.recipe.ema
        self.average = None if decay is None else WeightAverage(method, decay)
        self._early = [
            (early, GradientMean([early.parameters], world)) for early in optimisers.early.values()
        ]
        self._addresses = [tensor.data_ptr() for tensor in method.state_dict().values()]
        # Never a bound method of this object: a cycle would keep the network, its gradients and
        # the optimiser's state in memory until Python happens to collect.
        self.compute: Callable[..., dict[str, Tensor]] | None = None

    def losses(
        self,
        images: Tensor,
        index: Tensor,
        draws: Tensor,
        pid: Tensor,
        camera: Tensor,
        modality: Tensor,
    ) -> dict[str, Tensor]:
        """From raw images to the method's losses; the part that is compiled."""
        image = self.augment(images.index_select(0, index), draws)
        with self.precision.autocast(images.device):
            return self.method(Batch(image, pid, camera, modality, self.num_visible))

    def load(self, plan: Plan, first: int = 0) -> None:
        """Put an epoch's plan on the device and start at step `first`."""
        self._rows.copy_(torch.from_numpy(np.ascontiguousarray(plan.positions)))
        draws = torch.from_numpy(np.ascontiguousarray(plan.draws))
        if self._draws is None:
            self._draws = torch.empty_like(draws, device=self.world.device)
        self._draws.copy_(draws)
        self._rates.copy_(plan.rates)
        self.counter.fill_(first)
        self.images.start(plan.positions[first:])

    def once(self) -> None:
        """Run one step. Nothing here waits for the device."""
        rows = self._rows.index_select(0, self.counter)[0]
        if self._draws is None:
            raise RuntimeError("There is no plan yet; call `load` before `once`.")
        draws = self._draws.index_select(0, self.counter)[0]
        self.optimisers.rates.copy_(self._rates.index_select(0, self.counter)[0])
        index = self._order if self._index is None else self._index.index_select(0, rows)
        pid, camera, modality = (column.index_select(0, rows) for column in self._labels)
        self.optimisers.zero_grad()
        compute = self.compute or self.losses
        losses = compute(self.images.images, index, draws, pid, camera, modality)
        check_terms(losses, self.method)
        losses = {name: full(value) for name, value in losses.items()}
        self._step_early(losses)
        values = torch.stack(list(losses.values()))
        self._mean.backward(self.scaler.scale(values.sum()))
        arrivals: Iterable[int] = self._mean.arrivals()
        if (norm := self.optimisers.recipe.clip_norm) is not None:
            arrivals = list(arrivals)  # the norm is that of all
            self.optimisers.clip(norm, self.scaler)
        for bucket in arrivals:
            for optimiser in self.optimisers.of_bucket(bucket):
                self.scaler.step(optimiser)
        self.scaler.update()
        if self.average is not None:
            self.average.update()
        self._accumulate(tuple(losses), values.detach())
        self.counter += 1

    def _step_early(self, losses: dict[str, Tensor]) -> None:
        """Step the groups that have a term of their own, which then is a number only."""
        for early, mean in self._early:
            if early.term not in losses:
                raise InputError(
                    f"Method '{self.method.name}' has a parameter group that steps on the term "
                    f"'{early.term}'; its terms are {', '.join(losses)}."
                )
            mean.backward(self.scaler.scale(losses[early.term]))
            for _ in mean.arrivals():
                self.scaler.step(early.optimiser)
            losses[early.term] = losses[early.term].detach()

    def _accumulate(self, names: tuple[str, ...], values: Tensor) -> None:
        if self._sums is None:
            self.names = names
            dtype = torch.float32 if values.device.type == "mps" else torch.float64
            self._sums = torch.zeros(len(names), dtype=dtype, device=values.device)
        self._sums += values

    @property
    def sums(self) -> Tensor | None:
        return self._sums

    def clear_sums(self) -> None:
        """Begin an epoch's means."""
        if self._sums is not None:
            self._sums.zero_()

    def read_sums(self) -> dict[str, float]:
        """Sums of the losses so far in this epoch (waits for the device)."""
        if self._sums is None:
            return {}
        return dict(zip(self.names, self._sums.tolist()))

    def set_sums(self, sums: Mapping[str, float]) -> None:
        """Go on with the sums of a checkpoint."""
        if not sums:
            return
        self.names = tuple(sums)
        dtype = torch.float32 if self.world.device.type == "mps" else torch.float64
        self._sums = torch.tensor(list(sums.values()), dtype=dtype, device=self.world.device)

    def check_addresses(self) -> None:
        """Notice weights that were moved: a captured graph would go on with the old ones.

        Raises:
            RuntimeError: a parameter or buffer lies elsewhere than when the step was made.
        """
        if self._addresses != [tensor.data_ptr() for tensor in self.method.state_dict().values()]:
            raise RuntimeError(
                "The method's weights were moved or replaced during the evaluation. Evaluate with "
                "an Embedder, or on a copy."
            )

    def tensors(self) -> list[Tensor]:
        """Every tensor that a step changes, for snapshots around warm-up."""
        tensors = [
            *self.method.parameters(),
            *self.method.buffers(),
            *self.optimisers.tensors(),
            self.optimisers.rates,
            self.counter,
        ]
        if self.average is not None:
            tensors += self.average.tensors()
        if self._sums is not None:
            tensors.append(self._sums)
        return tensors

    def close(self) -> None:
        """Let go of what refers back to this object or to the network."""
        self.compute = None
        for mean in (self._mean, *(mean for _, mean in self._early)):
            mean.close()

    def scaler_state(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def restore_scaler(self, state: Mapping[str, Any]) -> None:
        """Go on with a saved scale; in place, as a graph reads its address."""
        if self.precision.scaled and state:
            self.scaler.load_state_dict(convert(ScalerState, dict(state), "the loss scale"))

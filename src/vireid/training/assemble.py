"""The one place that wires a run: from options, data and ranks to steps that can be run."""

from __future__ import annotations

import dataclasses
import inspect
import logging
from collections.abc import Callable

import torch

from vireid.cores import sensible_threads
from vireid.data import Dataset, PixelStore
from vireid.data.sampler import count_visible
from vireid.methods import Method, Sizes, build_method
from vireid.methods.checks import HostReads, try_method
from vireid.models.two_stream import resolved
from vireid.own_code import is_code
from vireid.runtime.device import Throttle, memory_format, tune
from vireid.runtime.precision import choose_precision
from vireid.runtime.ranks import World, gather_rows
from vireid.training.engines import Engine, build_engine
from vireid.training.gradient_mean import bucket_bytes
from vireid.training.optimisers import Optimisers
from vireid.training.options import TrainOptions
from vireid.training.step import Plan, Step
from vireid.training.store import place_images
from vireid.training.sync_batch_norm import synchronise
from vireid.training.training_set import Planner, TrainingSet

log = logging.getLogger(__name__)


class Assembly:
    """Everything that the steps of a run need. The trainer trains with it, `vireid bench` times it.

    Attributes:
        options, world: what it was made from, the network's options resolved.
        data: the training rows, their labels, and how many steps an epoch has.
        precision: number format of a step.
        method: on its device, in training mode.
        optimisers, planner, images, step: see their classes.
        host_reads: what of a user's own reads values of tensors on the host, and where, or "".
        engine: runs the steps; None before `prepare`.

    Raises:
        InputError: options that don't fit the data, the machine or each other; a method that
            breaks its contract; pretrained weights that can't be had.
    """

    def __init__(
        self,
        options: TrainOptions,
        dataset: Dataset,
        store: PixelStore,
        world: World,
        *,
        pretrained: bool = True,
    ) -> None:
        """
        Args:
            dataset, store: samples and their images (row i of the store is sample i).
            pretrained: load pretrained weights; not needed where a checkpoint follows.
        """
        options = dataclasses.replace(options, model=resolved(options.model))
        self.options, self.world, device = options, world, world.device
        if device.type == "cpu":
            torch.set_num_threads(sensible_threads(world.size))
        self.data = TrainingSet(dataset, store, options, world.rank, world.size)
        self.precision = choose_precision(options.recipe.precision, device)
        exact = self.precision.name == "float32"
        tune(device, deterministic=options.deterministic, full_float32=exact)
        torch.manual_seed(options.seed)
        self.method = _build(options, self.data.sizes, world, pretrained=pretrained)
        self.host_reads = self._try_method() if is_code(options.method) else ""
        self.host_reads = self.host_reads or self._try_augment()
        torch.manual_seed(options.seed * 1_000_003 + world.rank + 1)  # of dropout
        self.optimisers = Optimisers(
            self.method, options.recipe, device, bucket_bytes(world, self.precision)
        )
        self.planner = Planner(self.data, self.optimisers)
        store.check(self.data.rows)
        self.images = place_images(
            options.store, store.images, self.data.rows, self.data.batch, device
        )
        self.step = Step(
            self.method,
            self.data.augment,
            self.images,
            self.data.labels,
            self.optimisers,
            precision=self.precision,
            world=world,
            steps=self.data.steps,
            batch=self.data.batch,
            visible_views=self.data.sampler.visible_views,
        )
        self.engine: Engine | None = None
        self._throttle = Throttle(device)

    def _try_method(self) -> str:
        """Check a user's method on a batch of the run's own labels; see `try_method`."""
        data, device = self.data, self.world.device
        rows = data.sampler.epoch(0)[0][data.columns]
        columns = (data.labels.pid, data.labels.camera, data.labels.modality)
        pid, camera, modality = (torch.from_numpy(column[rows]).to(device) for column in columns)
        autocast = self.precision.autocast(device)
        host_reads = try_method(
            self.method,
            (pid, camera, modality),
            data.size,
            autocast,
            count_visible(len(pid), data.sampler.visible_views),
        )
        if device.type == "cuda":
            torch.cuda.empty_cache()  # what is free decides where the images are kept
        return _on_host(f"method '{self.method.name}'", host_reads)

    def _try_augment(self) -> str:
        """Whether a user's augmentation reads values on the host."""
        own = self.data.augment.own
        if own is None:
            return ""
        reads = HostReads(inspect.getfile(type(own)))
        with reads, torch.no_grad():
            own(torch.rand(2, 3, *self.data.size), torch.zeros(2, own.columns))
        return _on_host(f"augmentation '{type(own).__name__}'", reads.place)

    def begin_epoch(self, epoch: int, step: int, means: dict[str, float] | None) -> Plan:
        """Load the plan of an epoch, to go on at `step`.

        Args:
            epoch, step: from 0.
            means: mean losses of the epoch before, for the method; None in the first one.
        """
        self.method.epoch_started(epoch, means)
        if epoch == self.options.recipe.freeze_epochs and step == 0:
            self.optimisers.thaw()
        plan = self.planner.get(epoch)
        self.step.load(plan, step)
        return plan

    def prepare(self, *, steps: int, say: Callable[[str], None] = log.info) -> Engine:
        """Prepare the engine that the options name, once a plan is loaded.

        Args:
            steps: of the whole run.
            say: receives a sentence on what is being waited for.
        """
        self.engine = build_engine(
            self.options.engine,
            self.step,
            steps=steps,
            kernels=self.options.kernels,
            host_reads=self.host_reads,
            say=say,
        )
        return self.engine

    def advance(self) -> None:
        """Queue the next step; the host stays at most a few steps ahead of the device.

        Raises:
            RuntimeError: `prepare` was not called before.
        """
        if self.engine is None:
            raise RuntimeError("There is no engine yet; call `prepare` before `advance`.")
        self.engine.advance()
        self._throttle.tick()

    def means(self, steps: int) -> dict[str, float]:
        """Mean losses of this epoch's first `steps` steps over all ranks (waits for the device)."""
        sums = self.world.gather(self.step.read_sums())
        return {name: sum(rank[name] for rank in sums) / len(sums) / steps for name in sums[0]}

    def close(self) -> None:
        """End background work, free a captured graph and all that would keep the network in memory;
        comes before `World.leave`."""
        self.planner.close()
        self.images.close()
        if self.engine is not None:
            self.engine.close()
        self.step.close()


def _on_host(what: str, place: str) -> str:
    return f"{what} reads values of tensors on the host ({place})" if place else ""


def _build(options: TrainOptions, sizes: Sizes, world: World, *, pretrained: bool) -> Method:
    """The method on its device, with what several ranks ask of it, in training mode."""
    model = options.model
    if not pretrained:
        model = dataclasses.replace(model, pretrained="none")
    method = build_method(options.method, model, sizes, options.method_options)
    method.to(world.device)
    memory_format(method, world.device)
    if options.sync_bn and world.size > 1:
        synchronise(method)
    if options.gather and world.size > 1:
        method.gather = gather_rows
    return method.train()

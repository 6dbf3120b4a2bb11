"""From a data set and a run's options to the plan of each epoch."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from vireid.data import Dataset, PixelStore, load_dataset, training_rows, without
from vireid.data.augment import Augment
from vireid.data.protocol import TrainingRows
from vireid.data.sampler import IdentitySampler, check_batches, rank_columns, sampler_class
from vireid.methods import Sizes
from vireid.own_code import answering, is_code
from vireid.training.optimisers import Optimisers
from vireid.training.options import TrainOptions
from vireid.training.step import Labels, Plan
from vireid.types import InputError


def dataset_of(options: TrainOptions) -> Dataset:
    """The data set that a run's options name.

    Raises:
        InputError: it isn't there, or isn't what its layout says.
    """
    assert options.trial != "all"
    return load_dataset(**names_of_data(options))


def names_of_data(options: TrainOptions) -> dict[str, Any]:
    """What `load_dataset` is given; the same names are the same data."""
    return {
        "name": options.dataset, "root": options.data_root, "trial": options.trial,
        "camera_pattern": options.camera_pattern, "intensity_range": options.intensity_range,
        "junk": options.junk, "sensor_cameras": options.sensor_cameras,
    }  # fmt: skip


def sampler_of(options: TrainOptions, train: TrainingRows) -> IdentitySampler:
    """What composes the batches of a run.

    Raises:
        InputError: there can't be such batches of these rows.
    """
    recipe = options.recipe
    with answering(f"Sampler '{options.sampler.rsplit(':', 1)[-1]}' makes no batches"):
        sampler = sampler_class(options.sampler)(
            train.pid_label,
            train.modality,
            camera_label=train.camera_label,
            pids_per_batch=recipe.pids_per_batch,
            images_per_pid=recipe.images_per_pid,
            seed=options.seed,
            visible_views=recipe.augment.visible_views,
        )
        if is_code(options.sampler):
            check_batches(sampler)
    return sampler


class TrainingSet:
    """The rows that are trained on, their labels, and what each epoch does with them.

    Attributes:
        rows: (M,) int64 rows of the store.
        labels: dense labels and modality of these rows.
        sizes: numbers of identities and cameras; 0 cameras where they are unknown.
        steps: steps of an epoch.
        batch: rows of a step on this rank.
        total_batch: rows of a step over all ranks.
        size: (height, width) of the images.
        notes: sentences on what was left out.
    """

    def __init__(
        self, dataset: Dataset, store: PixelStore, options: TrainOptions, rank: int, world: int
    ) -> None:
        recipe = options.recipe
        self.options, self.rank, self.world = options, rank, world
        usable = without(dataset, np.asarray(store.valid))
        train = training_rows(usable, options.part)
        self.rows, self.notes = train.rows, usable.notes
        self.labels = Labels(
            pid=train.pid_label, camera=train.camera_label, modality=train.modality
        )
        has_camids = bool((dataset.camids[self.rows] >= 0).all())
        self.sizes = Sizes(
            num_pids=len(train.pids), num_cameras=len(train.camids) if has_camids else 0
        )
        if recipe.pids_per_batch % world:
            raise InputError(
                f"A batch of {recipe.pids_per_batch} identities can't be split over {world} "
                f"processes. Set `pids_per_batch` to a multiple of {world}."
            )
        if world > 1 and recipe.pids_per_batch // world < 2:
            raise InputError(
                f"A batch of {recipe.pids_per_batch} identities over {world} processes leaves one "
                f"identity each; a triplet needs two. Set `pids_per_batch` to {2 * world} or more."
            )
        self.sampler = sampler_of(options, train)
        self.size = (int(store.size[0]), int(store.size[1]))
        statistics = {"mean": options.model.input_mean, "std": options.model.input_std}
        known = {name: value for name, value in statistics.items() if value is not None}
        self.augment = Augment(recipe.augment, self.size, **known)
        self.columns = np.asarray(
            rank_columns(
                recipe.pids_per_batch,
                recipe.images_per_pid,
                rank,
                world,
                self.sampler.visible_views,
            )
        )
        self.total_batch = self.sampler.rows
        self.batch = len(self.columns)
        self.steps = self.sampler.steps_per_epoch
        if options.steps_per_epoch:
            self.steps = min(self.steps, options.steps_per_epoch)

    def plan(self, epoch: int, optimisers: Optimisers) -> Plan:
        """What this rank does in `epoch`: a pure function of the seed and the epoch."""
        positions = self.sampler.epoch(epoch)[: self.steps]
        draws = self.augment.draw(
            self.total_batch,
            self.sampler.num_visible,
            self.steps,
            seed=self.options.seed,
            epoch=epoch,
        )
        return Plan(
            epoch=epoch,
            positions=np.ascontiguousarray(positions[:, self.columns]),
            draws=np.ascontiguousarray(draws[:, self.columns]),
            rates=optimisers.rate_table(epoch, self.steps, self.options.recipe.epochs),
        )


class Planner:
    """Makes the next epoch's plan in the background."""

    def __init__(self, data: TrainingSet, optimisers: Optimisers) -> None:
        self._data, self._optimisers = data, optimisers
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="vireid-plan")
        self._next: tuple[int, Future[Plan]] | None = None

    def get(self, epoch: int) -> Plan:
        """The plan of `epoch`; starts on the next one."""
        if self._next is not None and self._next[0] == epoch:
            plan = self._next[1].result()
        else:
            plan = self._data.plan(epoch, self._optimisers)
        if epoch + 1 < self._data.options.last_epoch:
            future = self._pool.submit(self._data.plan, epoch + 1, self._optimisers)
            self._next = (epoch + 1, future)
        return plan

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

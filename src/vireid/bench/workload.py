"""The work that is timed: random pictures in SYSU-MM01's proportions, real steps over them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vireid.data import DEFAULT_DATASET, Dataset, PixelStore, facts_of
from vireid.embed.embedder import Embedder
from vireid.methods import Method, build_method, method_class
from vireid.methods.recipe import Recipe
from vireid.runtime.device import memory_format, tune
from vireid.runtime.precision import choose_precision
from vireid.runtime.ranks import World, join
from vireid.training.engines import Engine, build_engine
from vireid.training.gradient_mean import bucket_bytes
from vireid.training.optimisers import Optimisers
from vireid.training.options import TrainOptions
from vireid.training.step import Step
from vireid.training.store import place_images
from vireid.training.sync_batch_norm import synchronise
from vireid.training.training_set import TrainingSet
from vireid.types import Modality, Sample

SYSU_PIDS, SYSU_CAMIDS = 395, (1, 2, 3, 4, 5, 6)


def random_data(
    num_images: int,
    *,
    size: tuple[int, int] = (288, 144),
    num_pids: int = SYSU_PIDS,
    seed: int = 0,
) -> tuple[Dataset, PixelStore]:
    """Noise in the form of a data set: every identity in all six cameras.

    Pictures of an identity share a colour pattern, so that a network can learn something.

    Args:
        num_images: about so many; at least one for each identity and camera.
    """
    each = max(1, round(num_images / (num_pids * len(SYSU_CAMIDS))))
    samples = tuple(
        Sample(
            path=f"cam{camid}/{pid:04d}/{number:04d}.jpg",
            pid=pid,
            camid=camid,
            modality=Modality.INFRARED if camid in (3, 6) else Modality.VISIBLE,
        )
        for camid in SYSU_CAMIDS
        for pid in range(1, num_pids + 1)
        for number in range(each)
    )
    generator = np.random.default_rng(seed)
    images = np.empty((len(samples), *size, 3), np.uint8)
    bands = generator.integers(0, 160, (num_pids, 6, 1, 3), dtype=np.uint8)
    patterns = np.repeat(bands, -(-size[0] // 6), axis=1)[:, : size[0]]
    for i, sample in enumerate(samples):
        images[i] = generator.integers(0, 96, (*size, 3), dtype=np.uint8)
        images[i] += patterns[sample.pid - 1]
    rows = np.arange(len(samples))
    dataset = Dataset(
        facts=facts_of(DEFAULT_DATASET),
        root=Path("random"),
        samples=samples,
        parts={"train": rows, "fit": rows, "val": rows[:0], "test": rows[:0]},
    )
    store = PixelStore(
        images=images,
        size=size,
        key="random",
        valid=np.ones(len(samples), bool),
        broken=[],
        path=Path("random"),
    )
    return dataset, store


class StepBench:
    """A method with everything a step needs, as the trainer sets it up.

    Attributes:
        step, engine: see `vireid.training`.
        ready_seconds: time that preparing the engine took, compiling included.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: PixelStore,
        *,
        device: str = "auto",
        engine: str = "auto",
        method: str = "mcl",
        arch: str = "resnet50",
        precision: str = "auto",
        where: str = "auto",
        recipe: str = "published",
        pids_per_batch: int = 8,
        images_per_pid: int = 4,
        lr: float | None = None,
        method_options: dict[str, Any] | None = None,
        seed: int = 0,
        world: World | None = None,
        sync_bn: bool = False,
        gather: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        self.world = world or join(device)
        cls = method_class(method)
        model = cls.model_defaults(arch, "none")
        chosen: Recipe = replace(
            cls.recipes[recipe],
            pids_per_batch=pids_per_batch * self.world.size,
            images_per_pid=images_per_pid,
        )
        if lr is not None:
            chosen = replace(chosen, lr=lr)
        options = TrainOptions(
            method=method, model=model, recipe=chosen, size=store.size, seed=seed
        )
        picked = choose_precision(precision, self.world.device)
        tune(self.world.device, deterministic=False, full_float32=picked.name == "float32")
        self.data = TrainingSet(dataset, store, options, self.world.rank, self.world.size)
        torch.manual_seed(seed)
        self.method: Method = build_method(method, model, self.data.sizes, method_options)
        self.method.to(self.world.device).train()
        memory_format(self.method, self.world.device)
        if sync_bn:
            synchronise(self.method)
        self.method.gather = gather
        apart = bucket_bytes(self.world, picked)
        self.optimisers = Optimisers(self.method, options.recipe, self.world.device, apart)
        self.images = place_images(
            where, store.images, self.data.rows, self.data.batch, self.world.device
        )
        self.step = Step(
            self.method,
            self.data.augment,
            self.images,
            self.data.labels,
            self.optimisers,
            precision=picked,
            world=self.world,
            steps=self.data.steps,
            batch=self.data.batch,
        )
        self.epoch, self.position = 0, 0
        self.step.load(self.data.plan(0, self.optimisers))
        self.method.epoch_started(0, None)
        if self.world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.world.device)
        start = time.perf_counter()
        self.engine: Engine = build_engine(engine, self.step, remaining=1 << 30)
        self.ready_seconds = time.perf_counter() - start

    def advance(self, count: int = 1) -> None:
        """Run steps, epoch after epoch."""
        for _ in range(count):
            if self.position == self.data.steps:
                self.epoch, self.position = self.epoch + 1, 0
                self.step.load(self.data.plan(self.epoch, self.optimisers))
            self.engine.advance()
            self.position += 1

    def losses(self, count: int) -> list[float]:
        """The sum of all losses in each of `count` steps (waits for the device each step)."""
        curve, before = [], sum(self.step.read_sums().values())
        for _ in range(count):
            self.advance()
            now = sum(self.step.read_sums().values())
            curve.append(now - before)
            before = now
        return curve

    def time(self, steps: int, repeats: int = 3, warm_up: int = 10) -> dict[str, float]:
        """Median milliseconds a step over `repeats` stretches of `steps`, and images a second."""
        self.advance(warm_up)
        found = []
        for _ in range(repeats):
            _wait(self.world.device)
            start = time.perf_counter()
            self.advance(steps)
            _wait(self.world.device)
            found.append((time.perf_counter() - start) / steps)
        seconds = statistics.median(found)
        return {
            "ms": round(1e3 * seconds, 3),
            "ms_lowest": round(1e3 * min(found), 3),
            "ms_highest": round(1e3 * max(found), 3),
            "images_per_second": round(self.data.total_batch / seconds, 1),
        }

    def memory_gib(self) -> float:
        """Peak GPU memory besides the image store."""
        if self.world.device.type != "cuda":
            return 0.0
        peak = torch.cuda.max_memory_allocated(self.world.device)
        return round((peak - self.images.num_bytes) / 2**30, 3)

    def close(self) -> None:
        """Give the device's memory back."""
        self.engine.close()
        self.images.close()
        device = self.world.device
        for name in ("engine", "step", "method", "optimisers", "images"):
            setattr(self, name, None)
        if device.type == "cuda":
            import gc

            gc.collect()
            torch.cuda.empty_cache()


def time_extraction(
    embedder: Embedder, store: PixelStore, rows: np.ndarray, *, batch_size: int = 256
) -> dict[str, float]:
    """Images a second: through the network alone, and from the host's memory to host vectors."""
    device = embedder.device
    batch = torch.from_numpy(store.images[rows[:batch_size]]).to(device)
    embedder.forward.expect(1 << 30)
    with torch.inference_mode():
        for _ in range(5):
            embedder.forward(batch, Modality.VISIBLE)
        _wait(device)
        found = []
        count = 40 if device.type == "cuda" else 1
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(count):
                embedder.forward(batch, Modality.VISIBLE)
            _wait(device)
            found.append(count * len(batch) / (time.perf_counter() - start))
    kinds = np.zeros(len(rows), np.int64)

    def whole() -> float:
        start = time.perf_counter()
        embedder._vectors(
            lambda chosen: store.images[rows[chosen]], kinds, tta=None, batch_size=batch_size
        )
        return len(rows) / (time.perf_counter() - start)

    whole()
    return {
        "network_images_per_second": round(statistics.median(found), 1),
        "images_per_second": round(statistics.median([whole() for _ in range(3)]), 1),
    }


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

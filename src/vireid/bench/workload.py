"""The work that is timed: random images in SYSU-MM01's proportions, real steps over them."""

from __future__ import annotations

import gc
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vireid.data import DEFAULT_DATASET, Dataset, PixelStore, facts_of
from vireid.embed.embedder import Embedder
from vireid.runtime.device import peak_gpu_memory
from vireid.runtime.ranks import join
from vireid.training.assemble import Assembly
from vireid.training.defaults import train_options
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

    Images of an identity share a colour pattern, so that a network can learn something.

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
    """A run's steps, as the trainer has them, on data that is at hand.

    Attributes:
        run: what is timed: the very object that the trainer trains with.
        step_number: of the next step in its epoch, from 0.
        ready_seconds: time that preparing the engine took, compiling included.
    """

    def __init__(
        self,
        dataset: Dataset,
        store: PixelStore,
        /,
        *,
        arch: str = "resnet50",
        method: str = "mcl",
        recipe: str = "clean",
        pids_per_batch: int = 8,
        images_per_pid: int = 4,
        **options: Any,
    ) -> None:
        """
        Args:
            arch: of a network without pretrained weights.
            method, recipe: by name.
            pids_per_batch, images_per_pid: of each rank.
            options: more of what `train_options` takes: lr, device, engine, precision, store, …
        """
        world = join(options.get("device", "auto"))
        run_options = train_options(
            method=method,
            recipe=recipe,
            arch=arch,
            pretrained="none",
            pids_per_batch=pids_per_batch * world.size,
            images_per_pid=images_per_pid,
            size=store.size,
            **options,
        )
        self.run = Assembly(run_options, dataset, store, world)
        self._epoch, self.step_number = 0, 0
        self.run.begin_epoch(0, 0, None)
        if world.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(world.device)
        start = time.perf_counter()
        self.engine = self.run.prepare(steps=1 << 30)  # worth compiling for, as a whole run is
        self.ready_seconds = time.perf_counter() - start

    def advance(self, count: int = 1) -> None:
        """Run steps, epoch after epoch."""
        for _ in range(count):
            if self.step_number == self.run.data.steps:
                self._epoch, self.step_number = self._epoch + 1, 0
                means = self.run.means(self.run.data.steps)
                self.run.step.clear_sums()
                self.run.begin_epoch(self._epoch, 0, means)
            self.run.advance()
            self.step_number += 1

    def losses(self, count: int) -> list[float]:
        """The sum of all losses in each of `count` steps (waits for the device each step)."""
        curve, before = [], sum(self.run.step.read_sums().values())
        for _ in range(count):
            self.advance()
            now = sum(self.run.step.read_sums().values())
            curve.append(now if self.step_number == 1 else now - before)
            before = now
        return curve

    def time(self, steps: int, repeats: int = 3, warm_up: int = 10) -> dict[str, float]:
        """Median milliseconds a step over `repeats` stretches of `steps`, and images a second."""
        self.advance(warm_up)
        device, times = self.run.world.device, []
        for _ in range(repeats):
            wait(device)
            start = time.perf_counter()
            self.advance(steps)
            wait(device)
            times.append((time.perf_counter() - start) / steps)
        seconds = statistics.median(times)
        return {
            "ms": round(1e3 * seconds, 3),
            "ms_lowest": round(1e3 * min(times), 3),
            "ms_highest": round(1e3 * max(times), 3),
            "images_per_second": round(self.run.data.total_batch / seconds, 1),
        }

    def memory_gib(self) -> float:
        """Peak GPU memory besides the image store; 0 on a CPU."""
        peak = peak_gpu_memory(self.run.world.device)
        return round((peak - self.run.images.num_bytes) / 2**30, 3) if peak else 0.0

    def close(self) -> None:
        """Give the device's memory back."""
        self.run.close()
        device = self.run.world.device
        del self.run, self.engine
        if device.type == "cuda":
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
        wait(device)
        rates = []
        count = 40 if device.type == "cuda" else 1
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(count):
                embedder.forward(batch, Modality.VISIBLE)
            wait(device)
            rates.append(count * len(batch) / (time.perf_counter() - start))
    kinds = np.zeros(len(rows), np.int64)

    def whole() -> float:
        start = time.perf_counter()
        embedder._vectors(
            lambda chosen: store.images[rows[chosen]], kinds, tta=None, batch_size=batch_size
        )
        return len(rows) / (time.perf_counter() - start)

    whole()
    return {
        "network_images_per_second": round(statistics.median(rates), 1),
        "images_per_second": round(statistics.median([whole() for _ in range(3)]), 1),
    }


def wait(device: torch.device) -> None:
    """Wait for all work that a GPU was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)

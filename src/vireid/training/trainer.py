"""The training loop: one seed fixes everything, and a resumed run equals one never stopped."""

from __future__ import annotations

import dataclasses
import resource
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from vireid.cores import sensible_threads
from vireid.data import Dataset, PixelStore
from vireid.figures import draw_batch
from vireid.methods import Method, build_method
from vireid.runtime.background import BackgroundWriter
from vireid.runtime.device import Throttle, memory_format, peak_memory, tune
from vireid.runtime.precision import choose_precision
from vireid.runtime.provenance import commit, versions
from vireid.runtime.ranks import World, gather_rows, join
from vireid.runtime.signals import stop_on_signals
from vireid.training import checkpoint
from vireid.training.engines import Engine, build_engine
from vireid.training.gradient_mean import bucket_bytes
from vireid.training.journal import Journal
from vireid.training.optimisers import Optimisers
from vireid.training.options import TrainOptions
from vireid.training.run_state import Progress, open_folder, pack, unpack
from vireid.training.step import Plan, Step
from vireid.training.store import place_images
from vireid.training.sync_batch_norm import synchronise
from vireid.training.training_set import Planner, TrainingSet
from vireid.types import InputError
from vireid.weights import WEIGHTS, method_metadata, portable, save_weights

__all__ = ["TrainOptions", "TrainResult", "train"]

POLL = 10  # steps between the ranks' agreements on whether to stop
Evaluate = Callable[[Method, int], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run did.

    Attributes:
        run: its folder.
        epoch: epochs that are done.
        seconds: training time of all its starts, evaluation included.
        images_per_second: of this start, without compiling and evaluating.
        peak_cpu_bytes, peak_gpu_bytes: most memory of this process; the GPU's includes the images.
        store_bytes: of it, the images.
        metrics: of the last evaluation.
        engine: sentence on the engine that ran.
    """

    run: Path
    epoch: int
    seconds: float
    images_per_second: float
    peak_cpu_bytes: int
    peak_gpu_bytes: int
    store_bytes: int
    metrics: dict[str, float] = field(default_factory=dict)
    engine: str = ""


def train(
    options: TrainOptions,
    dataset: Dataset,
    store: PixelStore,
    run: Path,
    *,
    evaluate: Evaluate | None = None,
    resume: bool = False,
) -> TrainResult:
    """Train a method and leave a run folder.

    Args:
        options: what and how.
        dataset, store: samples and their pictures (row i of the store is sample i).
        run: folder of the run; a new one unless `resume`.
        evaluate: called every `options.eval_every` epochs with the method in eval mode and the
            number of finished epochs, on every rank; returns named fractions.
        resume: go on from the newest whole checkpoint in `run`.

    Raises:
        InputError: options, data or run folder that can't be used; a loss that is no number.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the state was saved and how to resume was said.
    """
    world = join(options.device)
    try:
        return _Run(options, dataset, store, Path(run), world, evaluate, resume).go()
    except BaseException:
        world.fail()
        raise


class _Run:
    """One start of a run: everything that lives between its first and its last step."""

    def __init__(
        self,
        options: TrainOptions,
        dataset: Dataset,
        store: PixelStore,
        run: Path,
        world: World,
        evaluate: Evaluate | None,
        resume: bool,
    ) -> None:
        self.options, self.run, self.world, self.evaluate = options, run, world, evaluate
        self.journal = Journal(run, speaks=world.first, tensorboard=options.tensorboard)
        state = open_folder(options, run, world, resume=resume, say=self.journal.say)
        if world.device.type == "cpu":
            torch.set_num_threads(sensible_threads(world.size))
        self.store, self.data = store, TrainingSet(dataset, store, options, world.rank, world.size)
        for note in self.data.notes:
            self.journal.say(f"note: {note}")
        self.precision = choose_precision(options.precision, world.device)
        full = self.precision.name == "float32"
        tune(world.device, deterministic=options.deterministic, full_float32=full)
        self.model = options.model
        self.method = self._build_method(pretrained=state is None)
        apart = bucket_bytes(world, self.precision)
        optimisers = Optimisers(self.method, options.recipe, world.device, apart)
        self.planner = Planner(self.data, optimisers)
        self.images = place_images(
            options.store, store.images, self.data.rows, self.data.batch, world.device
        )
        self.step = Step(
            self.method,
            self.data.augment,
            self.images,
            self.data.labels,
            optimisers,
            precision=self.precision,
            world=world,
            steps=self.data.steps,
            batch=self.data.batch,
        )
        self.progress = Progress()
        if state is not None:
            source = f"The checkpoint of '{run}'"
            self.progress = unpack(state, self.step, world, source, self.journal.say)
        self.writer = BackgroundWriter()
        self._asked_to_stop = threading.Event()
        self._trained = [0, 0.0]  # images and seconds of this start

    def _build_method(self, *, pretrained: bool) -> Method:
        options, world = self.options, self.world
        torch.manual_seed(options.seed)
        model = self.model
        if not pretrained:  # the weights come from a checkpoint
            model = dataclasses.replace(model, pretrained="none")
        method = build_method(options.method, model, self.data.sizes, options.method_options)
        method.to(world.device)
        memory_format(method, world.device)
        if options.sync_bn and world.size > 1:
            synchronise(method)
        if options.gather and world.size > 1:
            method.gather = gather_rows
        torch.manual_seed(options.seed * 1_000_003 + world.rank + 1)  # of dropout
        return method.train()

    # The loop --------------------------------------------------------------------------------

    def go(self) -> TrainResult:
        """Train to the last epoch."""
        epochs, progress = self.options.recipe.epochs, self.progress
        if progress.epoch >= epochs:
            self.journal.say(f"The run already has its {epochs} epochs; nothing is left to do.")
        self.journal.open(progress.epoch, progress.step)
        engine: Engine | None = None
        try:
            with stop_on_signals(self._asked_to_stop):
                while progress.epoch < epochs:
                    self.method.epoch_started(progress.epoch, progress.means)
                    plan = self.planner.get(progress.epoch)
                    self.step.load(plan, progress.step)
                    if engine is None:
                        engine = self._start_engine(plan)
                    self._run_epoch(engine)
                    self._end_epoch()
            self.writer.finish()
            self.world.barrier()  # from here on every rank may read what was written
        finally:
            self.planner.close()
            self.images.close()
            self.writer.close()
            self.journal.curves(force=True)
            self.journal.close()
            if engine is not None:
                engine.close()
        return self._result(engine)

    def _start_engine(self, plan: Plan) -> Engine:
        if self.world.first and not (self.run / "batch.png").exists():
            self._draw_batch(plan)
        word, progress = self.options.engine, self.progress
        left = (self.options.recipe.epochs - progress.epoch) * self.data.steps - progress.step
        engine = build_engine(word, self.step, remaining=left, say=self.journal.say)
        self.journal.say(f"{self.precision.why}; {engine.why}; images in {self.images.where}.")
        return engine

    def _run_epoch(self, engine: Engine) -> None:
        """Run the rest of an epoch. The host only queues steps; it looks at the device's
        numbers every `log_every` steps."""
        options, progress, steps = self.options, self.progress, self.data.steps
        first, batch = progress.step, self.data.total_batch
        throttle = Throttle(self.world.device)
        self.journal.begin_epoch(progress.epoch, options.recipe.epochs, steps, first, batch)
        start, before = time.perf_counter(), progress.seconds
        for done in range(first + 1, steps + 1):
            engine.advance()
            throttle.tick()
            self.journal.advance(batch)
            progress.step = done
            progress.seconds = before + time.perf_counter() - start
            if done == steps:
                break
            if done % options.log_every == 0:
                self._log("step", self._means(done), (done - first) * batch, start)
            if options.checkpoint_steps and done % options.checkpoint_steps == 0:
                self._save()
            if (self.world.size == 1 or done % POLL == 0) and self._must_stop():
                self._stop()
        progress.means = self._means(steps)  # waits for the device
        seconds = time.perf_counter() - start
        progress.seconds = before + seconds
        self._trained[0] += (steps - first) * batch
        self._trained[1] += seconds
        self._epoch_rate = (steps - first) * batch / seconds

    def _end_epoch(self) -> None:
        """Evaluate, write weights and checkpoint, look whether to stop."""
        options, progress = self.options, self.progress
        self.world.mean([buffer for _, buffer in self.method.named_buffers()])
        number, start = progress.epoch + 1, time.perf_counter()
        last = number == options.recipe.epochs
        metrics: dict[str, float] = {}
        if self.evaluate and options.eval_every and (number % options.eval_every == 0 or last):
            self.method.eval()
            with torch.no_grad():
                metrics = dict(self.evaluate(self.method, number))
            self.method.train()
            self.step.check_places()
            progress.metrics = metrics
        progress.seconds += time.perf_counter() - start
        self._log("epoch", progress.means or {}, metrics=metrics)
        self.journal.curves(force=bool(metrics))
        self.step.clear_sums()
        progress.epoch, progress.step = number, 0
        self._write_weights(metrics)
        if number % options.checkpoint_every == 0 or last:
            self._save()
        if not last and self._must_stop():
            self._stop()

    def _means(self, steps: int) -> dict[str, float]:
        """Mean losses of this epoch's first `steps` steps over all ranks."""
        sums = self.world.gather(self.step.read_sums())
        means = {name: sum(rank[name] for rank in sums) / len(sums) / steps for name in sums[0]}
        wrong = [name for name, value in means.items() if not abs(value) < float("inf")]
        if wrong:
            raise InputError(
                f"The loss {', '.join(wrong)} is no number any more in epoch "
                f"{self.progress.epoch + 1}. The last checkpoint is from before. Use a smaller "
                "--lr, a longer warm-up, or --precision float32."
            )
        return means

    def _log(
        self,
        kind: str,
        means: dict[str, float],
        images: int = 0,
        start: float = 0.0,
        **more: Any,
    ) -> None:
        progress, recipe, steps = self.progress, self.options.recipe, self.data.steps
        at = progress.epoch * steps + progress.step
        factor = recipe.schedule.factor(progress.epoch, at - 1, recipe.epochs * steps)
        rate = images / (time.perf_counter() - start) if images else self._epoch_rate
        self.journal.line(
            kind,
            epoch=progress.epoch,
            step=progress.step,
            global_step=at,
            losses=means,
            lr=recipe.lr * factor,
            images_per_second=round(rate, 1),
            seconds=round(progress.seconds, 3),
            **more,
        )

    # Writing ---------------------------------------------------------------------------------

    def _save(self) -> None:
        """Copy the state to the host now and write it in the background."""
        state = pack(self.options, self.step, self.progress, self.world)
        if state is not None:
            self.writer.submit(
                checkpoint.save_checkpoint,
                self.run / "checkpoints",
                state,
                epoch=self.progress.epoch,
                step=self.progress.step,
                keep=self.options.keep,
            )

    def _write_weights(self, metrics: dict[str, float]) -> None:
        """Write the weights of the epoch that just ended, if they are the ones to keep."""
        options, progress = self.options, self.progress
        chosen = "last epoch"
        if options.epochs_from:
            chosen += f", their number found by another run: {options.epochs_from}"
        if options.select == "val":
            values = [value for name, value in metrics.items() if name.endswith("mean_ap")]
            if not values or sum(values) / len(values) <= (progress.best or -1.0):
                return
            progress.best = sum(values) / len(values)
            chosen = f"best mAP on validation identities ({100 * progress.best:.2f} %)"
        if not self.world.first:
            return
        known = method_metadata(options.method, self.model, self.data.sizes, options.method_options)
        facts = {
            "size": list(self.data.size),
            "dataset": options.dataset,
            "data_root": options.data_root,
            "trial": options.trial,
            "part": options.part,
            "recipe": options.recipe.name,
            "epoch": progress.epoch,
            "chosen": chosen,
            "seed": options.seed,
            "versions": versions(),
            "commit": commit(),
        }
        self.writer.submit(
            save_weights,
            self.run / WEIGHTS,
            portable(self.method),
            known | facts,
        )

    @torch.no_grad()
    def _draw_batch(self, plan: Plan) -> None:
        pictures = torch.from_numpy(self.store.images[self.data.rows[plan.positions[0]]])
        draws = torch.from_numpy(plan.draws[0])
        image = self.data.augment(pictures.to(self.world.device), draws.to(self.world.device))
        draw_batch(image, self.run / "batch.png")

    # Ends ------------------------------------------------------------------------------------

    def _must_stop(self) -> bool:
        return self.world.any(self._asked_to_stop.is_set())

    def _stop(self) -> None:
        self._save()
        self.writer.finish()
        self.world.barrier()
        self.journal.end_bar()
        self.journal.say(
            f"Stopped in epoch {self.progress.epoch + 1} after {self.progress.step} steps; the "
            f"state is saved. Go on with: vireid train --resume {self.run}"
        )
        raise KeyboardInterrupt

    def _result(self, engine: Engine | None) -> TrainResult:
        images, seconds = self._trained
        unit = 1 if sys.platform == "darwin" else 1024
        return TrainResult(
            run=self.run,
            epoch=self.progress.epoch,
            seconds=self.progress.seconds,
            images_per_second=images / seconds if seconds else 0.0,
            peak_cpu_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            peak_gpu_bytes=peak_memory(self.world.device),
            store_bytes=self.images.num_bytes,
            metrics=self.progress.metrics,
            engine=engine.why if engine else "",
        )

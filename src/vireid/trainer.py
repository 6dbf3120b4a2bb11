"""The training loop: one seed fixes everything, and a resumed run equals one never stopped."""

from __future__ import annotations

import dataclasses
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vireid import checkpoint
from vireid.config import from_plain, to_plain
from vireid.data import Dataset, PixelStore
from vireid.engine.distributed import World, gather_rows, join
from vireid.engine.engines import (
    Engine,
    Throttle,
    build_engine,
    memory_format,
    peak_memory,
    tune,
)
from vireid.engine.journal import Journal, draw_batch
from vireid.engine.optimisers import Optimisers
from vireid.engine.options import MAY_CHANGE, TrainOptions
from vireid.engine.precision import Precision, choose_precision
from vireid.engine.provenance import commit, versions
from vireid.engine.step import Plan, Step
from vireid.engine.store import ImageStore, place_images
from vireid.engine.threads import sensible_threads
from vireid.engine.training_set import Planner, TrainingSet
from vireid.files import read_json, write_json
from vireid.methods import Method, build_method
from vireid.models.options import ModelOptions
from vireid.types import InputError

__all__ = ["TrainOptions", "TrainResult", "train"]
POLL = 10  # steps between looks at whether any rank was asked to stop
Evaluate = Callable[[Method, int], dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run did.

    Attributes:
        run: its folder.
        epoch: epochs that are done.
        seconds: training time of all its starts, evaluation included.
        images_per_second: of the last start, without compiling and evaluating.
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
        InputError: options, data or run folder that can't be used.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the state was saved and how to resume was said.
    """
    world = join(options.device)
    try:
        return _Run(options, dataset, store, Path(run), world, evaluate, resume).go()
    finally:
        world.leave()


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
        self.pixels = store
        self.journal = Journal(run, speaks=world.first, tensorboard=options.tensorboard)
        state = self._open_folder(resume)
        if options.device == "cpu" or world.device.type == "cpu":
            torch.set_num_threads(sensible_threads(world.size))
        self.data = TrainingSet(dataset, store, options, world.rank, world.size)
        for note in self.data.notes:
            self.journal.say(f"note: {note}")
        self.precision: Precision = choose_precision(options.precision, world.device)
        tune(
            world.device,
            deterministic=options.deterministic,
            full_float32=self.precision.name == "float32",
        )
        self.method = self._build_method(state)
        self.optimisers = Optimisers(self.method, options.recipe, world.device)
        self.images: ImageStore = place_images(
            options.store, store.images, self.data.rows, self.data.batch, world.device
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
        )
        self.epoch, self.first, self.seconds = 0, 0, 0.0
        self.means: dict[str, float] | None = None
        self.best: float | None = None
        self.metrics: dict[str, float] = {}
        if state is not None:
            self._restore(state)
        self._saver = checkpoint.BackgroundWriter()
        self._stop = threading.Event()

    # Folder ------------------------------------------------------------------------------

    def _open_folder(self, resume: bool) -> dict[str, Any] | None:
        """Make the run's folder, or find the checkpoint to go on from (on every rank the same)."""
        folder, plain = self.run / "checkpoints", to_plain(self.options)
        problem: str | None = None
        if not resume:
            if self.world.first:
                if checkpoint.list_checkpoints(folder) or (self.run / checkpoint.WEIGHTS).exists():
                    problem = (
                        f"'{self.run}' already holds a run. Go on with it by "
                        f"--resume {self.run}, or give another --run."
                    )
                else:
                    write_json(self.run / "config.json", plain)
            self._agree(problem)
            return None
        if not checkpoint.list_checkpoints(folder) and (self.run / "config.json").is_file():
            self.journal.say("The run has no checkpoint yet; it starts from its beginning.")
            before = read_json(self.run / "config.json")
            state = None
        else:
            state, path, notes = checkpoint.load_latest(folder)
            for note in notes:
                self.journal.say(f"[yellow]{note} The one before is used.[/]")
            self.journal.say(f"Resuming from {path.name}.")
            before = state["config"]
        _compare(before, plain, self.run)
        if self.world.first:
            write_json(self.run / "config.json", plain)
        self._agree()
        return state

    def _agree(self, problem: str | None = None) -> None:
        """Let a problem of the first rank end every rank."""
        found = next((p for p in self.world.gather(problem) if p), None)
        if found:
            raise InputError(found)

    def _build_method(self, state: dict[str, Any] | None) -> Method:
        options = self.options
        model = from_plain(ModelOptions, options.model, "the network's options")
        torch.manual_seed(options.seed)
        if state is not None:  # its weights come from the checkpoint
            model = _without_pretrained(model)
        method = build_method(options.method, model, self.data.sizes, options.method_options)
        method.to(self.world.device)
        memory_format(method, self.world.device)
        if options.sync_bn and self.world.size > 1:
            if self.world.device.type != "cuda":
                raise InputError(
                    "--sync-bn needs GPUs; PyTorch has no synchronised batch norm for the CPU."
                )
            method = torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)
        if options.gather and self.world.size > 1:
            method.gather = gather_rows
        torch.manual_seed(options.seed * 1_000_003 + self.world.rank + 1)  # dropout
        return method.train()

    def _restore(self, state: dict[str, Any]) -> None:
        checkpoint.load_strictly(self.method, state["method"], f"the checkpoint of '{self.run}'")
        self.optimisers.restore(state["optimisers"])
        self.step.restore_scaler(state["scaler"])
        self.epoch, self.first = state["epoch"], state["step"]
        self.means, self.seconds = state["means"], state["seconds"]
        self.best, self.metrics = state["best"], state["metrics"]
        if len(state["ranks"]) != self.world.size:
            self.journal.say(
                f"[yellow]The checkpoint was written by {len(state['ranks'])} processes, this run "
                f"has {self.world.size}: dropout and batch statistics go other ways.[/]"
            )
            return
        own = state["ranks"][self.world.rank]
        self.step.set_sums(own["sums"])
        buffers = dict(self.method.named_buffers())
        for name, tensor in own["buffers"].items():
            buffers[name].copy_(tensor)
        torch.set_rng_state(own["random"])
        if self.world.device.type == "cuda" and own["device_random"] is not None:
            torch.cuda.set_rng_state(own["device_random"], self.world.device)

    # The loop ----------------------------------------------------------------------------

    def go(self) -> TrainResult:
        """Train to the last epoch."""
        epochs = self.options.recipe.epochs
        if self.epoch >= epochs:
            self.journal.say(f"The run already has its {epochs} epochs; nothing to do.")
        self.journal.open(self.epoch, self.first)
        planner = Planner(self.data, self.optimisers)
        engine: Engine | None = None
        done, spent = 0, 0.0
        try:
            with self._signals():
                for epoch in range(self.epoch, epochs):
                    self.epoch = epoch
                    self.method.epoch_started(epoch, self.means)
                    plan = planner.get(epoch)
                    self.step.load(plan, self.first)
                    if engine is None:
                        engine = self._start_engine(plan, (epochs - epoch) * self.data.steps)
                    count, seconds = self._epoch(engine)
                    done, spent = done + count, spent + seconds
            self._saver.finish()
        finally:
            planner.close()
            self.images.close()
            self._saver.close()
            self.journal.curves(force=True)
            self.journal.close()
        return self._result(done, spent, engine)

    def _start_engine(self, plan: Plan, remaining: int) -> Engine:
        if self.world.first and not (self.run / "batch.png").exists():
            self._draw_batch(plan)
        word = (
            "eager"
            if self.options.sync_bn and self.options.engine == "auto"
            else self.options.engine
        )
        engine = build_engine(word, self.step, remaining=remaining - self.first)
        self.journal.say(f"{self.precision.why}; {engine.why}; images in {self.images.where}.")
        return engine

    def _epoch(self, engine: Engine) -> tuple[int, float]:
        """Run the rest of an epoch; returns images and seconds of training alone."""
        options, steps, epoch = self.options, self.data.steps, self.epoch
        first, batch = self.first, self.data.total_batch
        throttle = Throttle(self.world.device)
        self.journal.begin_epoch(epoch, options.recipe.epochs, steps, first, batch)
        start = shown = time.perf_counter()
        base, paused = self.seconds, 0.0
        for step in range(first, steps):
            engine.advance()
            throttle.tick()
            self.journal.advance(batch)
            finished, now = step + 1, time.perf_counter()
            self.seconds = base + now - start
            if finished == steps:
                break
            if finished % options.log_every == 0 or now - shown > 10:
                self._log("step", finished, (finished - first) * batch / (now - start - paused))
                shown = time.perf_counter()
            if options.checkpoint_steps and finished % options.checkpoint_steps == 0:
                self._save(epoch, finished)
            if finished % POLL == 0 and self.world.any(self._stop.is_set()):
                self._interrupted(epoch, finished)
        rate_seconds = time.perf_counter() - start
        self._end_epoch((steps - first) * batch, start, base)
        return (steps - first) * batch, rate_seconds

    def _end_epoch(self, images: int, start: float, base: float) -> None:
        """Means, statistics over the ranks, evaluation, weights and checkpoint."""
        options, epoch = self.options, self.epoch
        self.means = self._read_means(self.data.steps)
        rate = images / max(1e-9, time.perf_counter() - start)
        self.world.mean([b for _, b in self.method.named_buffers()])
        metrics: dict[str, float] = {}
        last = epoch + 1 == options.recipe.epochs
        if self.evaluate and options.eval_every and ((epoch + 1) % options.eval_every == 0 or last):
            self.method.eval()
            with torch.no_grad():
                metrics = self.metrics = dict(self.evaluate(self.method, epoch + 1))
            self.method.train()
        self.seconds = base + time.perf_counter() - start
        self.journal.line(
            "epoch", metrics=metrics, **self._facts(self.data.steps, self.means, rate)
        )
        self.journal.curves(force=bool(metrics))
        self.step.clear_sums()
        self.epoch, self.first = epoch + 1, 0
        self._write_weights(metrics)
        if (epoch + 1) % options.checkpoint_every == 0 or last:
            self._save(epoch + 1, 0)
        if not last and self.world.any(self._stop.is_set()):
            self._interrupted(epoch + 1, 0)

    def _read_means(self, steps: int) -> dict[str, float]:
        sums = self.step.read_sums()
        ranks = self.world.gather(sums)
        means = {name: sum(rank[name] for rank in ranks) / len(ranks) / steps for name in sums}
        wrong = [name for name, value in means.items() if not -float("inf") < value < float("inf")]
        if wrong:
            raise InputError(
                f"The loss {', '.join(wrong)} is no number any more in epoch {self.epoch + 1}. The "
                "last checkpoint is from before. Use a smaller --lr, a longer warm-up, or "
                "--precision float32."
            )
        return means

    def _facts(self, step: int, means: dict[str, float], rate: float) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": step,
            "global_step": self.epoch * self.data.steps + step,
            "losses": means,
            "lr": self._rate(step),
            "images_per_second": round(rate, 1),
            "seconds": round(self.seconds, 3),
        }

    def _rate(self, step: int) -> float:
        """The schedule's rate after `step` steps of this epoch."""
        recipe, steps = self.options.recipe, self.data.steps
        at = self.epoch * steps + max(0, step - 1)
        return recipe.lr * recipe.schedule.factor(self.epoch, at, recipe.epochs * steps)

    def _log(self, kind: str, step: int, rate: float) -> None:
        self.journal.line(kind, **self._facts(step, self._read_means(step), rate))

    # Writing -----------------------------------------------------------------------------

    def _save(self, epoch: int, step: int) -> None:
        """Copy the state to the host and write it in the background."""
        buffers = {name: b.detach().to("cpu", copy=True) for name, b in self.method.named_buffers()}
        own = {
            "sums": self.step.read_sums() if step else {},
            "buffers": buffers if self.world.size > 1 else {},
            "random": torch.get_rng_state(),
            "device_random": torch.cuda.get_rng_state(self.world.device)
            if self.world.device.type == "cuda"
            else None,
        }
        ranks = self.world.gather(own)
        if not self.world.first:
            return
        state = {
            "format": checkpoint.FORMAT,
            "config": to_plain(self.options),
            "versions": versions(),
            "method": _on_host(self.method.state_dict()),
            "optimisers": _on_host(self.optimisers.state()),
            "scaler": self.step.scaler_state(),
            "epoch": epoch,
            "step": step,
            "means": self.means,
            "seconds": self.seconds,
            "best": self.best,
            "metrics": self.metrics,
            "ranks": ranks,
        }
        self._saver.submit(
            checkpoint.save_checkpoint,
            self.run / "checkpoints",
            state,
            epoch=epoch,
            step=step,
            keep=self.options.keep,
        )

    def _write_weights(self, metrics: dict[str, float]) -> None:
        """Write the weights of the epoch that just ended, if they are the ones to keep."""
        chosen = "last epoch"
        if self.options.choose == "validation":
            values = [value for name, value in metrics.items() if name.endswith("mean_ap")]
            if not values or (self.best is not None and sum(values) / len(values) <= self.best):
                return
            self.best = sum(values) / len(values)
            chosen = f"best mAP on validation identities ({100 * self.best:.2f} %)"
        if not self.world.first:
            return
        options = self.options
        metadata = checkpoint.method_metadata(
            options.method,
            from_plain(ModelOptions, options.model, "the network's options"),
            self.data.sizes,
            options.method_options,
        ) | {
            "size": list(self.data.size),
            "dataset": options.dataset,
            "data_root": options.data_root,
            "trial": options.trial,
            "part": options.part,
            "recipe": options.recipe.name,
            "epoch": self.epoch,
            "chosen": chosen,
            "seed": options.seed,
            "versions": versions(),
            "commit": commit(),
        }
        self._saver.submit(
            checkpoint.save_weights,
            self.run / checkpoint.WEIGHTS,
            checkpoint.portable(self.method),
            metadata,
        )

    @torch.no_grad()
    def _draw_batch(self, plan: Plan) -> None:
        rows = self.data.rows[plan.positions[0]]
        pictures = torch.from_numpy(self.pixels.images[rows]).to(self.world.device)
        draws = torch.from_numpy(plan.draws[0]).to(self.world.device)
        draw_batch(self.data.augment(pictures, draws), self.run / "batch.png")

    # Ends --------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn the first Ctrl-C or SIGTERM into a request to stop; the second one kills."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def ask(number: int, frame: Any) -> None:
            self._stop.set()
            signal.signal(number, before[number])

        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        for number in before:
            signal.signal(number, ask)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _interrupted(self, epoch: int, step: int) -> None:
        self._save(epoch, step)
        self._saver.finish()
        self.world.barrier()
        self.journal.end_bar()
        self.journal.say(
            f"Stopped in epoch {epoch + 1} after {step} steps; the state is saved. Go "
            f"on with: vireid train --resume {self.run}"
        )
        raise KeyboardInterrupt

    def _result(self, images: int, seconds: float, engine: Engine | None) -> TrainResult:
        unit = 1 if sys.platform == "darwin" else 1024
        return TrainResult(
            run=self.run,
            epoch=self.epoch,
            seconds=self.seconds,
            images_per_second=images / seconds if seconds else 0.0,
            peak_cpu_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
            peak_gpu_bytes=peak_memory(self.world.device),
            store_bytes=self.images.num_bytes,
            metrics=self.metrics,
            engine=engine.why if engine else "",
        )


def _compare(before: dict[str, Any], now: dict[str, Any], run: Path) -> None:
    """Refuse to go on with a run as something else than it was; more epochs are allowed."""

    def stripped(plain: dict[str, Any]) -> dict[str, Any]:
        kept = {key: value for key, value in plain.items() if key not in MAY_CHANGE}
        kept["recipe"] = {**kept["recipe"], "epochs": None}
        return kept

    old, new = stripped(before), stripped(now)
    other = [key for key in old.keys() | new.keys() if old.get(key) != new.get(key)]
    if other:
        words = "; ".join(
            f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in sorted(other)
        )
        raise InputError(
            f"The run '{run}' can't go on with other options: {words}. Resume it "
            "without these flags, or start another run."
        )


def _without_pretrained(model: ModelOptions) -> ModelOptions:
    return dataclasses.replace(model, pretrained="none")


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_host(item) for key, item in value.items()}
    return value

"""The training loop: one seed fixes everything, and a resumed run equals one never stopped."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from vireid.config import to_plain
from vireid.console import count_text, first_line, quoted, typed
from vireid.data import Dataset, PixelStore, without
from vireid.evaluation.measures import criterion_words
from vireid.evaluation.unlike import joined
from vireid.figures import BatchRow, draw_batch
from vireid.methods import Method
from vireid.models.hub import WEIGHTS, WEIGHTS_EMA
from vireid.models.two_stream import resolved
from vireid.own_code import is_code, named_again
from vireid.runtime.background import BackgroundWriter
from vireid.runtime.checkpoints import list_checkpoints
from vireid.runtime.device import peak_cpu_memory, peak_gpu_memory
from vireid.runtime.ranks import World, join
from vireid.runtime.signals import StopRequest, stop_on_signals
from vireid.training import checkpoint, record
from vireid.training.assemble import Assembly
from vireid.training.callbacks import Callback, Callbacks, load_callbacks
from vireid.training.journal import Journal
from vireid.training.options import TrainOptions
from vireid.training.run_state import Progress, open_folder, pack, unpack
from vireid.training.step import Plan
from vireid.training.tensorboard import TensorBoard
from vireid.types import InputError
from vireid.weights import method_metadata, portable, save_weights

__all__ = ["TrainOptions", "TrainResult", "train"]

POLL = 10  # steps between the ranks' agreements on whether to stop
Evaluate = Callable[[Method, int], dict[str, float]]
EMA = "ema"  # before the names of the averaged weights' metrics


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
    callbacks: Sequence[Callback] = (),
    other_code: bool = False,
) -> TrainResult:
    """Train a method and leave a run folder.

    Args:
        options: what and how.
        dataset, store: samples and their images (row i of the store is sample i).
        run: folder of the run; a new one unless `resume`.
        evaluate: called every `options.eval_every` epochs with the method in eval mode and the
            number of finished epochs, on every rank; returns named fractions.
        resume: go on from the newest whole checkpoint in `run`.
        callbacks: are told what the run does, beside those that the options name.
        other_code: resume also with other code, packages or data than the run began with.

    Raises:
        InputError: options, data or a run folder that can't be used; a loss that became NaN;
            other code without `other_code`.
        KeyboardInterrupt: after Ctrl-C or SIGTERM, once the state is saved; says how to resume.
    """
    world = join(options.device)
    try:
        parts = (options, dataset, store, Path(run), world, evaluate)
        return _Run(*parts, resume=resume, other_code=other_code, callbacks=callbacks).train()
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
        *,
        resume: bool,
        other_code: bool,
        callbacks: Sequence[Callback],
    ) -> None:
        options = replace(options, model=resolved(options.model))  # what config.json says
        self.options, self.run, self.world, self.evaluate = options, run, world, evaluate
        told: list[Callback] = []
        if world.first:
            board = [TensorBoard()] if options.tensorboard else []
            told = [*board, *load_callbacks(options.callbacks), *callbacks]
        self.callbacks = Callbacks(told)
        self.journal = Journal(run, active=world.first)
        self.record = record.begin(options, dataset) if world.first else None
        usable = without(dataset, np.asarray(store.valid))
        state, self.record, self.identities = open_folder(
            options, run, world, self.record, usable,
            resume=resume, other_code=other_code, say=self.journal.say,
        )  # fmt: skip
        self.dataset, self.store = usable, store
        self.parts = Assembly(options, dataset, store, world, pretrained=state is None)
        for note in self.parts.data.notes:
            self.journal.say(f"note: {note}")
        self.progress = Progress()
        if state is not None:
            source = f"The checkpoint of '{run}'"
            self.progress = unpack(state, self.parts.step, world, source, self.journal.say)
        if self.record is not None:
            precision, method = self.parts.precision.name, self.parts.method
            self.record = record.finish(self.record, method, precision=precision, ranks=world.size)
            self.record = record.keep(self.record, options, run)
        self.writer = BackgroundWriter()
        self._stop_requested = StopRequest()
        self._were_finite = state is not None  # the losses, when they were last read
        self._images, self._seconds, self._epoch_rate = 0, 0.0, 0.0  # trained in this start

    # The loop --------------------------------------------------------------------------------

    def train(self) -> TrainResult:
        """Train to the last epoch."""
        epochs, progress, parts = self.options.last_epoch, self.progress, self.parts
        if progress.epoch >= epochs:
            had = count_text(epochs, "epoch", "epochs")
            self.journal.say(f"The run already has {had}; nothing is left to do.")
        self.journal.open(progress.epoch, progress.step)
        state: Literal["finished", "stopped", "failed"] = "failed"
        try:
            self.callbacks.tell("on_start", self.run, to_plain(self.options))
            with stop_on_signals(self._stop_requested):
                while progress.epoch < epochs:
                    plan = parts.begin_epoch(progress.epoch, progress.step, progress.means)
                    if parts.engine is None:
                        self._prepare(plan)
                    self._train_epoch()
                    self._end_epoch()
            self.writer.finish()
            self.world.barrier()  # from here on every rank may read what was written
            state = "finished"
        except KeyboardInterrupt:
            state = "stopped"
            raise
        finally:
            self.writer.close()
            self.journal.curves(force=True)
            self.journal.close()
            self.callbacks.tell("on_end", state)
            parts.close()
        return self._result()

    def _prepare(self, plan: Plan) -> None:
        """Prepare the engine, and draw the first batch."""
        if self.world.first and not (self.run / "batch.png").exists():
            self._draw_batch(plan)
        parts = self.parts
        # Of the whole run: what is left of it must not decide the engine, or a run that is resumed
        # near its end would go on with other roundings.
        steps = self.options.last_epoch * parts.data.steps
        engine = parts.prepare(steps=steps, say=self.journal.say)
        self.journal.say(f"{parts.precision.why}; {engine.why}; images in {parts.images.where}.")
        if self.world.first:
            # The curves need it later, the first step doesn't. Its import leaves a cycle that keeps
            # the frames above it: those of this thread would keep the network.
            self.writer.submit(importlib.import_module, "matplotlib.figure")

    def _train_epoch(self) -> None:
        """Run the rest of an epoch. The host only queues steps; it reads the device's numbers
        every `log_every` steps."""
        options, progress, data = self.options, self.progress, self.parts.data
        first, steps, batch = progress.step, data.steps, data.total_batch
        self.journal.begin_epoch(progress.epoch, options.last_epoch, steps, first, batch)
        start, before = time.perf_counter(), progress.seconds
        for done in range(first + 1, steps + 1):
            self.parts.advance()
            self.journal.advance(batch)
            progress.step = done
            progress.seconds = before + time.perf_counter() - start
            if done == steps:
                break
            if done % options.log_every == 0:
                means = self._means(done)
                self._log("step", means, (done - first) * batch / (time.perf_counter() - start))
            if options.checkpoint_steps and done % options.checkpoint_steps == 0:
                self._save()
            if (self.world.size == 1 or done % POLL == 0) and self._must_stop():
                self._stop()
        progress.means = self._means(steps)  # waits for the device
        if sentence := self.parts.method.trouble(progress.means):
            self.journal.say(sentence)
        seconds = time.perf_counter() - start
        progress.seconds = before + seconds
        self._images += (steps - first) * batch
        self._seconds += seconds
        self._epoch_rate = (steps - first) * batch / seconds

    def _end_epoch(self) -> None:
        """Evaluate, write weights and checkpoint, stop if that was asked for."""
        options, progress, method = self.options, self.progress, self.parts.method
        average = self.parts.step.average
        self.world.mean([buffer for _, buffer in method.named_buffers()])
        if average is not None:
            self.world.mean(average.buffers)
        number, start = progress.epoch + 1, time.perf_counter()
        last = number == options.last_epoch
        metrics: dict[str, float] = {}
        if self.evaluate and options.eval_every and (number % options.eval_every == 0 or last):
            metrics = self._evaluate(self.evaluate, number)
            progress.metrics = metrics
            self.callbacks.tell("on_evaluate", number, metrics)
        progress.seconds += time.perf_counter() - start
        chosen = self._chosen(metrics)
        self._log(
            "epoch", progress.means or {}, self._epoch_rate,
            metrics=metrics, **({"best": chosen is not None} if options.select == "val" else {}),
        )  # fmt: skip
        self.journal.curves(force=bool(metrics))
        self.parts.step.clear_sums()
        progress.epoch, progress.step = number, 0
        if chosen is not None:
            self._write_weights(chosen)
        if number % options.checkpoint_every == 0 or last:
            self._save()
        if not last and self._must_stop():
            self._stop()

    def _evaluate(self, evaluate: Evaluate, number: int) -> dict[str, float]:
        """The metrics of the weights and of their average; none, and a sentence, where there is
        something that can't be evaluated, which is no reason to lose a training."""
        method, average = self.parts.method, self.parts.step.average
        method.eval()
        metrics: dict[str, float] = {}
        try:
            with torch.no_grad():
                metrics |= evaluate(method, number)
                if average is not None:
                    with average.in_force():
                        of_average = evaluate(method, number)
                    metrics |= {f"{EMA}_{name}": value for name, value in of_average.items()}
        except InputError as error:  # the same on every rank
            metrics.clear()
            self.journal.say(f"No evaluation after epoch {number}: {error} Training goes on.")
        except torch.OutOfMemoryError as error:
            if self.world.size > 1:
                raise  # the other ranks wait for this one
            metrics.clear()
            torch.cuda.empty_cache()
            self.journal.say(f"No evaluation after epoch {number}: {first_line(error)}.")
        method.train()
        self.parts.step.check_addresses()
        return metrics

    def _means(self, steps: int) -> dict[str, float]:
        """Mean losses of this epoch's first `steps` steps over all ranks.

        Raises:
            InputError: one of them is not finite.
        """
        means = self.parts.means(steps)
        wrong = [name for name, value in means.items() if not math.isfinite(value)]
        if wrong:
            self.writer.finish()
            newest = list_checkpoints(self.run / "checkpoints")
            useful = {
                "a smaller `lr`": True,
                "a `clip_norm` of 5": self.options.recipe.clip_norm is None,
                "a longer warm-up": True,
                "the `precision` float32": self.parts.precision.name != "float32",
            }
            *advice, last = [words for words, use in useful.items() if use]
            raise InputError(
                f"The {'loss' if len(wrong) == 1 else 'losses'} {joined(wrong)} became "
                f"{'NaN' if any(map(math.isnan, means.values())) else 'infinite'} in epoch "
                f"{self.progress.epoch + 1}. "
                + (f"The newest checkpoint is '{newest[0].name}'. " if newest else "")
                + f"Use {', '.join(advice)} or {last}."
                + (
                    " Or black areas became NaN, as published: set `radical_arithmetic` to exact."
                    if self.options.recipe.augment.makes_nan
                    else ""
                )
                + (
                    " No earlier value was read, so it may also be the arithmetic of your own "
                    "terms: a logarithm, a division, or a root, whose gradient at 0 is infinite."
                    if is_code(self.options.method) and not self._were_finite
                    else ""
                )
            )
        self._were_finite = True
        return means

    def _log(
        self, kind: Literal["step", "epoch"], means: dict[str, float], rate: float, **more: Any
    ) -> None:
        progress, recipe, steps = self.progress, self.options.recipe, self.parts.data.steps
        count = progress.epoch * steps + progress.step
        factor = recipe.schedule.factor(count - 1, steps, recipe.epochs)
        line = {
            "kind": kind,
            "epoch": progress.epoch,
            "step": progress.step,
            "global_step": count,
            "losses": means,
            "lr": recipe.lr * factor,
            "images_per_second": round(rate, 1),
            "seconds": round(progress.seconds, 3),
            **more,
        }
        self.journal.line(line)
        self.callbacks.tell(f"on_{kind}", line)

    # Writing ---------------------------------------------------------------------------------

    def _save(self) -> None:
        """Copy the state to the host now and write it in the background."""
        step, progress = self.parts.step, self.progress
        state = pack(self.options, step, progress, self.world, self.identities)
        if state is not None:
            self.writer.submit(
                checkpoint.save_checkpoint,
                self.run / "checkpoints",
                state,
                epoch=self.progress.epoch,
                step=self.progress.step,
                keep=self.options.keep,
            )

    def _chosen(self, metrics: dict[str, float]) -> str | None:
        """How the weights of the epoch that just ended were chosen, in words; None if they are not
        the ones to keep.

        Raises:
            InputError: the evaluation doesn't give the criterion.
        """
        options, progress = self.options, self.progress
        if options.select != "val":
            found = f"; the number of epochs is from {options.epochs_from}"
            return "last epoch" + (found if options.epochs_from else "")
        if not metrics:
            nothing = progress.best is None and progress.epoch + 1 == options.last_epoch
            return "last epoch; no epoch could be evaluated" if nothing else None
        if options.criterion not in metrics:
            raise InputError(
                f"`criterion` is {options.criterion}, which the evaluation doesn't give; it gives "
                f"{', '.join(metrics)}. Name one of them."
            )
        value = metrics[options.criterion]
        if value <= (progress.best if progress.best is not None else -1.0):
            return None
        progress.best = value
        words = criterion_words(options.criterion)
        return f"best {words} on validation identities ({100 * value:.2f} %)"

    def _write_weights(self, chosen: str) -> None:
        """Write the weights of the epoch that just ended."""
        options, progress, data = self.options, self.progress, self.parts.data
        if not self.world.first:
            return
        metadata = {
            **method_metadata(options.method, options.model, data.sizes, options.method_options),
            "size": list(data.size),
            "dataset": options.dataset,
            "data_root": options.data_root,
            "trial": options.trial,
            "part": options.part,
            "synthetic": self.identities[0]["synthetic"],
            "identities": self.identities,
            "recipe": options.recipe.name,
            "epoch": progress.epoch,
            "steps": progress.epoch * data.steps,
            "chosen": chosen,
            "seed": options.seed,
            "record": self.record,
        }
        tensors = portable(self.parts.method)
        self.writer.submit(save_weights, self.run / WEIGHTS, tensors, metadata)
        if (average := self.parts.step.average) is not None:
            with average.in_force():
                tensors = portable(self.parts.method)
            averaged = {**metadata, "averaged": average.decay}
            self.writer.submit(save_weights, self.run / WEIGHTS_EMA, tensors, averaged)

    @torch.no_grad()
    def _draw_batch(self, plan: Plan) -> None:
        data, device, dataset = self.parts.data, self.world.device, self.dataset
        rows, draws = data.rows[plan.positions[0]], plan.draws[0]
        images, drawn = torch.from_numpy(self.store.images[rows]), torch.from_numpy(draws)
        batch = data.augment(images.to(device), drawn.to(device)).cpu()
        names, pids = dataset.pid_names, dataset.pids[rows].tolist()
        persons = [names.get(pid, f"person {pid}") for pid in pids]
        cameras = [f"camera {camid}" if camid >= 0 else "" for camid in dataset.camids[rows]]
        self.writer.submit(
            draw_batch,
            batch,
            self.run / "batch.png",
            rows=[*map(BatchRow, persons, cameras, data.augment.changes(draws))],
            num_visible=self.parts.step.num_visible,
            visible_views=data.sampler.visible_views,
            statistics=self.parts.method.input_statistics,
        )

    # Ends ------------------------------------------------------------------------------------

    def _must_stop(self) -> bool:
        return self.world.any(self._stop_requested.is_set())

    def _stop(self) -> None:
        self._save()
        self.writer.finish()
        self.world.barrier()
        self.journal.end_bar()
        steps = count_text(self.progress.step, "step", "steps")
        again = f"vireid train --resume {quoted(self.run)}{named_again(self.options)}"
        self.journal.say(
            f"Stopped in epoch {self.progress.epoch + 1} after {steps}; the state is saved."
        )
        raise self._stop_requested.interruption(f"Go on with: {typed(again)}")

    def _result(self) -> TrainResult:
        engine = self.parts.engine
        return TrainResult(
            run=self.run,
            epoch=self.progress.epoch,
            seconds=self.progress.seconds,
            images_per_second=self._images / self._seconds if self._seconds else 0.0,
            peak_cpu_bytes=peak_cpu_memory(),
            peak_gpu_bytes=peak_gpu_memory(self.world.device),
            store_bytes=self.parts.images.num_bytes,
            metrics=self.progress.metrics,
            engine=engine.why if engine else "",
        )

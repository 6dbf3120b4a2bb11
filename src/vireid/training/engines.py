"""Ways to run a step: eager, compiled, or captured whole in one CUDA graph.

`eager` is the reference and the default on a CPU. `graph` replays one captured step: at 64
images a step the GPU otherwise waits for the host to launch kernels.
"""

from __future__ import annotations

import importlib.util
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from vireid.runtime.capture import capture, first_line, warm_up
from vireid.runtime.device import use_compile_cache
from vireid.training.gradient_mean import PIECE
from vireid.training.step import Step
from vireid.types import InputError

log = logging.getLogger(__name__)
SHORT_RUN = 400  # steps below which compiling costs more than it saves


@dataclass
class Engine:
    """A way to run steps.

    Attributes:
        name: "eager", "compiled" or "graph".
        why: a sentence: what was picked, why, and how long preparing took.
        advance: runs the next step.
        graph: what is replayed, or None.
    """

    name: str
    why: str
    advance: Callable[[], None]
    graph: torch.cuda.CUDAGraph | None = None

    def close(self) -> None:
        """Destroy the graph. The ranks' connection waits for good for graphs that use it, so this
        comes before `World.leave`."""
        if self.graph is not None:
            torch.cuda.synchronize()
            self.graph.reset()
            self.graph = None


class _Snapshot:
    """Everything that a step changes, kept on the host, to undo warm-up steps."""

    def __init__(self, step: Step) -> None:
        self.step = step
        self.tensors = [(t, t.detach().to("cpu", copy=True)) for t in step.tensors()]
        self.sums = step.read_sums()
        self.random = torch.get_rng_state()
        self.device_random = None
        if step.world.device.type == "cuda":
            self.device_random = torch.cuda.get_rng_state(step.world.device)
        self.scaler = step.scaler_state() if step.precision.scaled else {}

    @torch.no_grad()
    def restore(self) -> None:
        for tensor, value in self.tensors:
            tensor.copy_(value)
        if self.step.sums is not None and not self.sums:
            self.step.clear_sums()
        torch.set_rng_state(self.random)
        if self.device_random is not None:
            torch.cuda.set_rng_state(self.device_random, self.step.world.device)
        self.step.restore_scaler(self.scaler)
        self.step.optimisers.zero_grad()


def build_engine(
    word: str, step: Step, *, remaining: int, say: Callable[[str], None] = log.info
) -> Engine:
    """Prepare the engine that `word` names for a step whose plan is loaded.

    Preparing runs a few steps and undoes them, so every engine starts from the same state.

    Args:
        word: "auto", "eager", "compiled" or "graph".
        step: with a plan loaded.
        remaining: steps that the run still has; "auto" doesn't compile for a short run.
        say: told what is waited for.

    Raises:
        InputError: the engine that was asked for doesn't work here.
    """
    device = step.world.device
    if word == "eager":
        return Engine("eager", "engine eager: as asked", _with_images(step, step.once))
    if device.type != "cuda":
        if word == "graph":
            raise InputError(
                f"Engine 'graph' needs a CUDA GPU; the device is '{device}'. Use --engine auto."
            )
        if word == "auto":
            return Engine(
                "eager", f"engine eager: the device is {device}", _with_images(step, step.once)
            )
    if word == "auto" and remaining < SHORT_RUN:
        return Engine(
            "eager",
            f"engine eager: {remaining} steps are too few to pay for compiling",
            _with_images(step, step.once),
        )
    attempts: list[tuple[str, bool, bool]] = {
        "auto": [("graph", True, True), ("graph", False, True), ("eager", False, False)],
        "graph": [("graph", True, True), ("graph", False, True)],
        "compiled": [("compiled", True, False)],
    }[word]
    if importlib.util.find_spec("triton") is None and device.type == "cuda":
        attempts = [a for a in attempts if not a[1]]
    problems: list[str] = []
    if not attempts:
        raise InputError(
            f"Engine '{word}' needs Triton, which isn't installed. Install it, or use "
            "--engine graph."
        )
    for name, compiled, captured in attempts:
        snapshot = _Snapshot(step)
        start = time.perf_counter()
        if compiled:
            kept = use_compile_cache()
            where = f"kernels are kept in '{kept}'" if kept else "no folder for kernels to keep"
            say(f"Compiling the step: a minute or two the first time, less later ({where}).")
        try:
            advance, graph = _prepare(step, compiled=compiled, captured=captured)
        except Exception as error:  # whatever a user's method meets in the compiler
            if isinstance(error, (torch.cuda.OutOfMemoryError, InputError)):
                raise
            log.debug("engine %s failed", name, exc_info=True)
            problems.append(
                f"{name}{' over compiled code' if compiled and captured else ''} "
                f"failed ({first_line(error)})"
            )
            step.compute = step.losses
            _quieten(device)
            snapshot.restore()
            continue
        snapshot.restore()
        seconds = time.perf_counter() - start
        how = (
            "the whole step captured in one CUDA graph over "
            + ("compiled" if compiled else "eager")
            + " kernels"
            if captured
            else "forward and losses compiled"
            if compiled
            else "one kernel after the other"
        )
        why = f"engine {name}: {how}, ready after {seconds:.0f} s"
        if problems:
            why += f"; before it, {'; '.join(problems)}"
        return Engine(name, why, advance, graph)
    raise InputError(
        f"Engine '{word}' doesn't work with method '{step.method.name}' here: "
        f"{'; '.join(problems)}. Use --engine auto or --engine eager."
    )


def _prepare(
    step: Step, *, compiled: bool, captured: bool
) -> tuple[Callable[[], None], torch.cuda.CUDAGraph | None]:
    if compiled:
        use_compile_cache()
        torch._dynamo.reset()
        options = _compiler_options(step.world.device)
        if step.world.size > 1:
            step.compute = torch.compile(step.losses, dynamic=False, backend=in_pieces(options))
        else:
            step.compute = torch.compile(step.losses, dynamic=False, options=options)
    if step.world.device.type != "cuda":
        for _ in range(2):
            step.counter.clamp_(max=step.steps - 1)
            step.once()
        return _with_images(step, step.once), None

    def first() -> None:
        step.counter.zero_()
        step.once()

    warm_up(first, step.world.device)
    if not captured:
        return _with_images(step, step.once), None
    step.optimisers.zero_grad()
    torch.cuda.empty_cache()
    graph, _ = capture(step.once, step.world.device)
    return _with_images(step, graph.replay), graph


def _compiler_options(device: torch.device) -> dict[str, Any] | None:
    """A step has hundreds of kernels of a few microseconds (casts and statistics of each layer);
    the compiler may put independent ones into one launch. Proven on PyTorch 2.11 and newer."""
    new = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 11)
    return {"combo_kernels": True} if device.type == "cuda" and new else None


def in_pieces(options: dict[str, Any] | None) -> Callable[..., Any]:
    """The compiler, given the step in pieces.

    A compiled backward pass hands out all of its gradients at its end; several hand out the first
    ones while the others run, so `GradientMean` can send them off."""
    from torch._inductor.compile_fx import compile_fx

    inner: Any = partial(compile_fx, config_patches=options)
    try:
        from torch._dynamo.backends.distributed import DDPOptimizer
    except ImportError:  # no public part of PyTorch; without it averaging comes after the pass
        return inner
    return DDPOptimizer(PIECE, inner, first_bucket_cap=PIECE).compile_fn


def _with_images(step: Step, run: Callable[[], None]) -> Callable[[], None]:
    def advance() -> None:
        step.images.next()
        run()

    return advance


def _quieten(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()

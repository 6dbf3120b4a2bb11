"""Ways to run a step: eager, compiled, or captured whole in one CUDA graph.

`eager` is the reference and the default on a CPU. `graph` replays one captured step: at 64
images a step the GPU otherwise waits for the host to launch kernels.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, NamedTuple

import torch

from vireid.console import first_line
from vireid.extras import has_triton
from vireid.models.fusing import fits, fuse, plain, why_not
from vireid.models.two_stream import TwoStream
from vireid.runtime.capture import capture, warm_up
from vireid.runtime.device import use_compile_cache
from vireid.training.ahead import check_engine
from vireid.training.gradient_mean import PIECE
from vireid.training.step import Step
from vireid.types import InputError

log = logging.getLogger(__name__)
LONG_RUN = 20_000  # steps from which what is around our own kernels is compiled


@dataclass
class Engine:
    """A way to run steps.

    Attributes:
        name: "eager", "compiled" or "graph".
        why: for the user: what was picked, why, and how long preparing took.
        advance: runs the next step.
        graph: what is replayed, or None.
    """

    name: str
    why: str
    advance: Callable[[], None]
    graph: torch.cuda.CUDAGraph | None = None

    def close(self) -> None:
        """Destroy the graph, before `World.leave`: the ranks' connection would wait for ever for a
        graph that uses it."""
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


class _Attempt(NamedTuple):
    """A way to run steps that may turn out not to work."""

    engine: str
    kernels: Literal["own", "mixed", "compiled", "eager"]

    @property
    def captured(self) -> bool:
        return self.engine == "graph"

    @property
    def compiled(self) -> bool:
        return self.kernels in ("mixed", "compiled")

    @property
    def own(self) -> bool:
        return self.kernels in ("own", "mixed")

    @property
    def failed(self) -> str:
        return f"{self.engine} over {self.kernels} kernels failed"

    @property
    def how(self) -> str:
        if self.captured:
            return f"the whole step captured in one CUDA graph over {self.kernels} kernels"
        return "forward and losses compiled" if self.compiled else "one kernel after the other"


def build_engine(
    name: str,
    step: Step,
    *,
    steps: int,
    kernels: str = "auto",
    host_reads: str = "",
    say: Callable[[str], None] = log.info,
) -> Engine:
    """Prepare the engine `name` for a step whose plan is loaded.

    Preparing runs a few steps and undoes them, so every engine starts from the same state.

    Args:
        name: "auto", "eager", "compiled" or "graph".
        step: with a plan loaded.
        steps: of the whole run; "auto" doesn't compile for a short one.
        kernels: of a captured step: "auto", "own", "mixed", "compiled" or "eager".
        host_reads: what reads values of tensors on the host and where, as the subject of a
            sentence and what follows it; "" if nothing does.
        say: receives a sentence on what is being waited for.

    Raises:
        InputError: the engine that was asked for doesn't work here.
    """
    reason = check_engine(name, kernels, step.world.device, steps=steps, host_reads=host_reads)
    if reason:
        return Engine("eager", f"engine eager: {reason}", _with_images(step, step.once))
    problems: list[str] = []
    for attempt in _attempts_of(name, kernels, step, steps):
        snapshot, start = _Snapshot(step), time.perf_counter()
        folder = use_compile_cache() if attempt.kernels != "eager" else None
        if attempt.compiled:
            where = f"kernels are kept in '{folder}'" if folder else "kernels can't be kept"
            say(f"Compiling the step: a minute or two the first time, less later ({where}).")
        try:
            advance, graph = _prepare(step, attempt)
        except (torch.cuda.OutOfMemoryError, InputError):
            raise
        except Exception as error:  # whatever a user's method meets in the compiler
            log.debug("engine %s failed", attempt.engine, exc_info=True)
            problems.append(f"{attempt.failed} ({first_line(error)})")
            step.compute = None
            _close(step.method.model, False, None)
            if attempt.own:
                plain(step.method)
                step.method.model.side_by_side = False
            _free_memory(step.world.device)
            snapshot.restore()
            continue
        snapshot.restore()
        seconds = time.perf_counter() - start
        why = f"engine {attempt.engine}: {attempt.how}, ready after {seconds:.0f} s"
        if problems:
            why += f"; before it, {'; '.join(problems)}"
        return Engine(attempt.engine, why, advance, graph)
    instead = "`engine` auto or eager" if kernels == "auto" else "`kernels` auto"
    raise InputError(
        f"Engine '{name}' doesn't work with method '{step.method.name}' here: "
        f"{'; '.join(problems)}. Use {instead}."
    )


def _attempts_of(name: str, kernels: str, step: Step, steps: int) -> list[_Attempt]:
    """What to try, the first that works counts.

    Raises:
        InputError: kernels were asked for that this step can't have.
    """
    if name == "compiled":
        return [_Attempt("compiled", "compiled")]
    own, method = fits(step.method), step.method.name
    if kernels in ("own", "mixed") and not own:
        raise InputError(
            f"`kernels` is {kernels}, but the network of method '{method}' has none of the blocks "
            "that our own kernels compute: residual, of ReLUs and batch norms over one process. "
            "Use `kernels` auto."
        )
    if kernels != "auto":
        return [_Attempt("graph", kernels)]  # type: ignore[arg-type]
    found = attempts(steps, own=own, triton=has_triton())
    return [*found, _Attempt("eager", "eager")] if name == "auto" else found


def attempts(steps: int, *, own: bool, triton: bool) -> list[_Attempt]:
    """Kernels to capture, the best first.

    Args:
        steps: of the run.
        own: the network has blocks for our own kernels.
        triton: Triton is installed.
    """
    kinds = ["mixed", "own"] if steps >= LONG_RUN else ["own", "mixed"]
    kinds = [*(kinds if own else []), "compiled"] if triton else []
    return [_Attempt("graph", kind) for kind in (*kinds, "eager")]  # type: ignore[arg-type]


def _prepare(
    step: Step, attempt: _Attempt
) -> tuple[Callable[[], None], torch.cuda.CUDAGraph | None]:
    device = step.world.device
    if not attempt.captured and device.type == "cuda" and fits(step.method) and not why_not(device):
        # Validation would do so, and the step be compiled again for its other classes.
        fuse(step.method, training=False)
    if attempt.own:
        fuse(step.method, dtype=step.precision.dtype, device=device)
        # Gradients that several ranks average are sent off from one stream.
        step.method.model.side_by_side = step.world.size == 1
    if attempt.compiled:
        torch._dynamo.reset()
        options = _compiler_options(device)
        _close(step.method.model, attempt.kernels == "mixed", options)
        if step.world.size > 1:
            step.compute = torch.compile(step.losses, dynamic=False, backend=in_pieces(options))
        else:
            step.compute = torch.compile(step.losses, dynamic=False, options=options)
    if device.type != "cuda":
        for _ in range(2):
            step.counter.clamp_(max=step.steps - 1)
            step.once()
        return _with_images(step, step.once), None

    def first() -> None:
        step.counter.zero_()
        step.once()

    warm_up(first, device)
    if not attempt.captured:
        return _with_images(step, step.once), None
    step.optimisers.zero_grad()
    torch.cuda.empty_cache()
    graph, _ = capture(step.once, device)
    return _with_images(step, graph.replay), graph


def _close(model: TwoStream, closed: bool, options: dict[str, Any] | None) -> None:
    """Keep the compiler out of the blocks: it would take as long as without our kernels."""
    if not isinstance(model, TwoStream):
        return
    model.closed, model.extend = closed, None
    if closed and type(model).after_stage is not TwoStream.after_stage:
        # The function, not a bound method, which would refer back to the network.
        model.extend = torch.compile(type(model).after_stage, dynamic=False, options=options)


def _compiler_options(device: torch.device) -> dict[str, Any] | None:
    """A step has hundreds of kernels of a few microseconds (casts and statistics of each layer);
    the compiler may put independent ones into one launch. Proven on PyTorch 2.11 and newer."""
    new = tuple(int(part) for part in torch.__version__.split(".")[:2]) >= (2, 11)
    return {"combo_kernels": True} if device.type == "cuda" and new else None


def in_pieces(options: dict[str, Any] | None) -> Callable[..., Any]:
    """The compiler, which compiles the step in pieces.

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


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.empty_cache()

"""The network's forward pass in one number format: eager, or on our own kernels or compiled, and
replayed as one graph."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from vireid.console import first_line, say
from vireid.data.augment import normalise
from vireid.methods import Method
from vireid.models.fusing import fits, fuse, plain, why_not
from vireid.runtime.capture import capture, warm_up
from vireid.runtime.device import use_compile_cache
from vireid.runtime.precision import Precision
from vireid.types import InputError, Modality

Network = Callable[[Tensor, int], dict[str, Tensor]]
WORTH_COMPILING = 300_000  # images; a first compilation takes as long as it saves on so many
_FEW = 4  # images of a pass that only says which kernels to compile
WORTH_RECORDING = 5_000  # on our own kernels, which takes a second or two


@dataclass(frozen=True)
class _Recorded:
    """A pass over images at a fixed address."""

    graph: torch.cuda.CUDAGraph
    image: Tensor
    vectors: dict[str, Tensor]

    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        self.image.copy_(image)
        self.graph.replay()
        return {name: value.clone() for name, value in self.vectors.items()}


def _eager(method: Method, precision: Precision, *, fused: bool = False) -> Network:
    """The pass as a function that knows the method alone: a bound method of `Forward`, kept in it,
    would be a cycle that keeps the network in memory until Python happens to collect.

    Args:
        fused: the method is on our own kernels.
    """
    statistics = method.input_statistics
    as_network_takes: Callable[..., Tensor] = normalise
    if fused and precision.dtype != torch.float32:
        from vireid.models import fused_stem

        as_network_takes = partial(fused_stem.normalise, dtype=precision.dtype)

    def run(image: Tensor, num_visible: int) -> dict[str, Tensor]:
        with precision.autocast(image.device):
            vectors = method.embed(as_network_takes(image, *statistics), num_visible)
        return {name: value.float() for name, value in vectors.items()}

    return run


def with_mirrored(
    run: Callable[[Tensor], dict[str, Tensor]], image: Tensor, flip: bool, mean: bool
) -> dict[str, Tensor]:
    """The vectors of images (B, H, W, 3), or with `flip` their sums with those of the mirrored
    images, and with `mean` these at length 1."""
    vectors = run(image)
    if flip:
        mirrored = run(image.flip(2))
        vectors = {name: value + mirrored[name] for name, value in vectors.items()}
    if flip and mean:
        vectors = {name: functional.normalize(value) for name, value in vectors.items()}
    return vectors


@cache
def _tell(sentence: str) -> None:
    """Say it once."""
    say(sentence)


class Forward:
    """Calls a method on raw images.

    Attributes:
        precision: what convolutions compute in; vectors are float32.
    """

    def __init__(self, method: Method, precision: Precision, *, compiled: bool | None) -> None:
        """
        Args:
            method: in evaluation mode, on its device.
            compiled: compile, on a GPU (None: where there is much to do).
        """
        self.method, self.precision = method, precision
        self._compile = compiled
        self._eager = _eager(method, precision)
        self._network = self._eager  # or the same, compiled
        self._replays = False
        # On our own kernels: whether they are still to be compiled; None: not on them.
        self._uncompiled: bool | None = None
        self._recorded: dict[int, _Recorded] = {}  # by the number of visible images

    def expect(self, total: int) -> None:
        """Use our own kernels or compile, on a GPU, and record, as pays for so many images."""
        device = next(self.method.parameters()).device
        if device.type != "cuda" or self._network is not self._eager:
            return
        if self._compile is None and fits(self.method):
            use_compile_cache()
            if reason := why_not(device):
                _tell(f"Our own kernels don't work here ({reason}); PyTorch's are used.")
            else:
                if self._uncompiled is None:
                    fuse(self.method, training=False)
                    self._network = self._eager = _eager(self.method, self.precision, fused=True)
                    self._uncompiled = True
                self._replays = self._replays or total >= WORTH_RECORDING
                return
        if total >= WORTH_COMPILING if self._compile is None else self._compile:
            use_compile_cache()
            self._network = torch.compile(self._eager, dynamic=False)
            self._replays = True

    def __call__(
        self, image: Tensor, kind: int, flip: bool = False, mean: bool = False
    ) -> dict[str, Tensor]:
        """Images (B, H, W, 3) uint8 of one modality → named vectors (B, D) float32; with
        `flip`, the sums of the images' and their mirror images' vectors, and with `mean` these
        at length 1."""
        visible = len(image) if kind == Modality.VISIBLE else 0
        # Triton launches on the thread's GPU, whichever the images are on.
        here = torch.cuda.device(image.device) if image.is_cuda else nullcontext()
        with here, self.precision.convolutions():
            return with_mirrored(lambda rows: self._run(rows, visible), image, flip, mean)

    def _run(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        if self._uncompiled:
            from vireid.models.precompile import precompile_pass

            self._uncompiled, few = False, image[:_FEW]  # a kernel depends on no batch size
            precompile_pass(lambda: self._eager(few, min(num_visible, _FEW)), image.device)
        run = self._replay if self._replays else self._network
        return run(image, num_visible)

    def _replay(self, image: Tensor, num_visible: int) -> dict[str, Tensor]:
        """The pass as one launch: busy cores launch kernels late."""
        if any(pass_.image.shape != image.shape for pass_ in self._recorded.values()):
            self._recorded.clear()  # a graph keeps its memory; batches usually have one size
        if num_visible not in self._recorded:
            recorded = self._record(image.clone(), num_visible)
            if recorded is None:
                return self._run(image, num_visible)
            self._recorded[num_visible] = recorded
        return self._recorded[num_visible](image)

    def _record(self, image: Tensor, num_visible: int) -> _Recorded | None:
        """None where a method can't be recorded, which is then said and run another way."""

        def run() -> dict[str, Tensor]:
            return self._network(image, num_visible)

        problem, instead = "compiled", _eager(self.method, self.precision)
        try:
            warm_up(run, image.device)
            problem, instead = "recorded as one CUDA graph", self._network
            graph, vectors = capture(run, image.device)
        except (torch.cuda.OutOfMemoryError, InputError):
            raise
        except Exception as error:  # whatever a user's method does, looking at values above all
            torch.cuda.synchronize(image.device)
            say(
                f"Method '{self.method.name}' can't be {problem} ({first_line(error)}); it runs "
                "kernel by kernel."
            )
            if problem == "compiled":
                plain(self.method)  # if on our kernels, they are what failed
            self._network, self._replays = instead, False
            return None
        return _Recorded(graph, image, vectors)

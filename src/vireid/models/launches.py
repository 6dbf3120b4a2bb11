"""Our own kernels, whose launches can be noted instead of made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import triton
from torch import Tensor
from triton.runtime.jit import JITFunction


class Launch(NamedTuple):
    """A kernel, its grid and what it is called with."""

    kernel: Kernel
    grid: Any
    args: tuple[Any, ...]
    words: dict[str, Any]

    def make(self) -> None:
        self.kernel[self.grid](*self.args, **self.words)

    @property
    def name(self) -> str:
        """Equal for launches that need the same compiled kernel."""
        function = self.kernel.fn
        kinds = map(_kind, self.args, self.kernel.params)
        words = (f"{name}={value}" for name, value in self.words.items())
        return " ".join([f"{function.__module__}.{function.__name__}", *kinds, *words])


def _kind(arg: Any, parameter: Any) -> str:
    """What Triton compiles for: a type, of a whole number whether it is 1 or a multiple of 16, and
    of an address whether it is such a multiple."""
    if isinstance(arg, Tensor):
        return f"{arg.dtype}{'' if arg.data_ptr() % 16 == 0 else ' anywhere'}"
    if isinstance(arg, int) and not parameter.do_not_specialize:
        return "1" if arg == 1 else "16" if arg % 16 == 0 else "int"
    return type(arg).__name__


_noted: ContextVar[list[Launch] | None] = ContextVar("noted", default=None)


class Kernel(JITFunction):  # type: ignore[misc,type-arg]
    """A kernel that may note its launches."""

    def run(self, *args: Any, grid: Any, warmup: bool, **words: Any) -> Any:
        if (noted := _noted.get()) is None or warmup:
            return super().run(*args, grid=grid, warmup=warmup, **words)
        noted.append(Launch(self, grid, args, words))
        return None


def kernel(**words: Any) -> Callable[[Callable[..., Any]], Any]:
    """As `triton.jit`."""

    def made(function: Callable[..., Any]) -> Any:
        found = triton.jit(**words)(function)
        if isinstance(found, JITFunction):  # else it is the interpreter's
            found.__class__ = Kernel
        return found

    return made


@contextmanager
def noted() -> Iterator[list[Launch]]:
    """Launches within the block, none of which is made."""
    found: list[Launch] = []
    before = _noted.set(found)
    try:
        yield found
    finally:
        _noted.reset(before)

"""Ctrl-C and SIGTERM: as exceptions, or as a request to stop in good order."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

PATIENCE_SECONDS = 10.0  # with an import that a signal meets


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does, with an exit code of its own."""


class StopRequest(threading.Event):
    """A request to stop, made by a signal, or by code (such as at a deadline) with `set`.

    Attributes:
        signal: the number of the signal that made it; None where code did.
    """

    signal: int | None = None

    def interruption(self, how: str) -> KeyboardInterrupt:
        """What to raise once all is in order.

        Args:
            how: a sentence on how to go on, for whoever catches it: what runs within something
                longer doesn't know how that goes on.
        """
        kind = Terminated if self.signal == signal.SIGTERM else KeyboardInterrupt
        return kind(how)


class _AfterImports:
    """A handler of a signal that waits until no module is being imported, then calls `then`, which
    raises: libraries in C++ call Python while they are loaded, and an exception in there aborts
    the process. It waits for so long only, and no longer at a second signal: the code of a user's
    own is imported too, and may never end."""

    def __init__(self, then: Callable[[int], None]) -> None:
        self._then = then
        self._until: float | None = None  # while it waits
        self._own = False  # the signal comes from here

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now, own, self._own = time.monotonic(), self._own, False
        if self._until is None:
            self._until, own = now + PATIENCE_SECONDS, True
        if own and now < self._until and _imports(frame):
            waiting = threading.Timer(0.05, self._again, [number])
            waiting.daemon = True
            waiting.start()
            return
        self._until = None
        self._then(number)

    def _again(self, number: int) -> None:
        if self._until is None:  # a second signal was answered meanwhile
            return
        self._own = True
        if hasattr(signal, "pthread_kill"):  # wakes the main thread where that waits
            signal.pthread_kill(threading.main_thread().ident or 0, number)
        else:
            signal.raise_signal(number)


def _imports(frame: FrameType | None) -> bool:
    """Whether a frame is within the import of a module."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


@contextmanager
def signals_raise() -> Iterator[list[type[KeyboardInterrupt]]]:
    """Raise `KeyboardInterrupt` at Ctrl-C, and `Terminated` at the first SIGTERM, whose second one
    ends the process at once; neither while a module is imported, if that doesn't take too long.

    Leaves a signal alone that is handled or ignored already, and both outside the main thread,
    where Python lets no one handle signals.

    Yields:
        What was raised. It may not arrive: code in C that was called meanwhile can answer with an
        error of its own instead.
    """
    raised: list[type[KeyboardInterrupt]] = []

    def interrupt(number: int) -> None:
        raised.append(KeyboardInterrupt)
        raise KeyboardInterrupt

    def end(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        raised.append(Terminated)
        raise Terminated

    before = {
        number: (usual, then)
        for number, usual, then in (
            (signal.SIGINT, signal.default_int_handler, interrupt),
            (signal.SIGTERM, signal.SIG_DFL, end),
        )
        if threading.current_thread() is threading.main_thread()
        and signal.getsignal(number) is usual
    }
    for number, (_, then) in before.items():
        signal.signal(number, _AfterImports(then))
    try:
        yield raised
    finally:
        for number, (usual, _) in before.items():
            signal.signal(number, usual)


@contextmanager
def stop_on_signals(asked: StopRequest) -> Iterator[None]:
    """Set `asked` at the first Ctrl-C or SIGTERM. A second SIGTERM ends the process at once, a
    second Ctrl-C is handled as before the block (`KeyboardInterrupt`); each signal counts for
    itself.

    Does nothing outside the main thread, where Python lets no one handle signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {
        number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)
    }

    def ask(number: int, frame: Any) -> None:
        asked.signal = number
        asked.set()
        # What handled SIGTERM before may be `signals_raise`: only a third one would kill.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""Ctrl-C and SIGTERM: as exceptions, or as a request to stop in good order."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


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


@contextmanager
def sigterm_raises() -> Iterator[None]:
    """Raise `Terminated` at the first SIGTERM, as Python raises `KeyboardInterrupt` at Ctrl-C; the
    second one ends the process at once.

    Does nothing where SIGTERM is handled or ignored already, or outside the main thread, where
    Python lets no one handle signals.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return

    def end(number: int, frame: Any) -> None:
        signal.signal(number, signal.SIG_DFL)
        raise Terminated

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


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
        # What handled SIGTERM before may be `sigterm_raises`: only a third one would kill.
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else before[number])

    for number in before:
        signal.signal(number, ask)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

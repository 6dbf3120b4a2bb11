"""Pieces that several commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from vireid.console import choose, console, harmless, say, typed
from vireid.runtime.signals import TOLD
from vireid.types import PRECISION_ALIASES, InputError, PrecisionName

# How to go on with a long command that was interrupted.
KEPT = "What was made is kept; the same command goes on with it."
AFRESH = "Nothing half-made is kept; the same command starts again."


def precision_name(given: str) -> str:
    """The valid name of a precision, whatever the case."""
    return choose("precision", given, get_args(PrecisionName), aliases=PRECISION_ALIASES)


def print_json(value: Any) -> None:
    """Print a result for scripts on standard output."""
    sys.stdout.write(harmless(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


class Problems:
    """What is wrong with several arguments, so that the user is told of all at once.

    Errors within `with problems:` are kept; `tell` raises them before what they spoiled is used.
    """

    def __init__(self) -> None:
        self._found: list[InputError] = []

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if isinstance(error, InputError):
            self._found.append(error)
            return True
        return False

    def tell(self) -> None:
        """
        Raises:
            InputError: what was found, if anything.
        """
        if len(self._found) == 1:
            raise self._found[0]  # of its own class
        if self._found:
            raise InputError(" ".join(map(str, self._found)))


@contextmanager
def going_on(how: str | Callable[[], str] = KEPT, *, always: bool = False) -> Iterator[None]:
    """Say how to go on, where Ctrl-C or SIGTERM ends the block (or the command that this
    decorates).

    Args:
        always: also where a part of the block has said how to go on with that part.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if (always or TOLD not in error.args) and os.environ.get("RANK", "0") == "0":
            say(how if isinstance(how, str) else how())
        raise


def next_step(wrote: str | Path, then: str | None = None) -> None:
    """Say at a command's end what it wrote and what to run next."""
    console.print("[bold]Wrote[/] ", end="")
    say(str(wrote))
    if then:
        suggest(then)


def suggest(command: str) -> None:
    """Say what to run next, in words that can be typed here."""
    console.print("[bold]Next:[/] ", end="")
    say(typed(command))

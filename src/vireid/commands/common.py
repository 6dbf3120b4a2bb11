"""Pieces that several commands share."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, get_args

from vireid.console import choose, console, harmless, say, typed
from vireid.data.registry import DEFAULT_DATASET, find_root
from vireid.testing import TRIALS
from vireid.types import PRECISION_ALIASES, InputError, PrecisionName

# How to go on with a long command that was interrupted.
KEPT = "Finished parts are kept; the same command goes on from there."
AFRESH = "Nothing half-made is kept; the same command starts again."
NO_CHECKPOINT = "There is no checkpoint yet; the same command starts again."


def precision_name(given: str) -> str:
    """The valid name of a precision, whatever the case."""
    names = get_args(PrecisionName)
    return choose("precision", given, names, aliases=PRECISION_ALIASES, option=True)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, or that of one run for each split."""
    return any((folder / name).is_file() for name in ("config.json", TRIALS))


def print_json(value: Any) -> None:
    """Print a result for scripts on standard output."""
    sys.stdout.write(harmless(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


@contextmanager
def going_on(how: str | Callable[[], str] = KEPT, *, always: bool = False) -> Iterator[None]:
    """Let an interruption (Ctrl-C, SIGTERM) of the block, or of the command that this decorates,
    say how to go on. The command line then tells it, once.

    Args:
        always: also where a part of the block knows how to go on with that part.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        if always or not error.args:
            error.args = (how if isinstance(how, str) else how(),)
        raise


def kept_in(folder: Path, pattern: str = "[!.]*.*") -> str:
    """How an interrupted command goes on whose finished parts are the files of such names anywhere
    in `folder`, if there are any yet."""
    return KEPT if any(folder.glob(f"**/{pattern}")) else AFRESH


def root_words(dataset: str) -> str:
    """What a suggested command about a data set needs where its folder isn't known: " --data-root
    DIR", or "" where `$VIREID_DATA` holds it."""
    try:
        find_root(dataset, None)
    except InputError:
        return " --data-root DIR"
    return ""


def words_of_test(dataset: str | None) -> str:
    """What a suggested `vireid test` of weights needs that don't say what they were trained on."""
    if dataset is not None:
        return ""
    usual = DEFAULT_DATASET
    return f" --dataset {usual}{root_words(usual)}   # or another; with regdb also its --trial"


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

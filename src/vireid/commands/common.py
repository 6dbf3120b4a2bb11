"""Pieces that several commands share."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from vireid.console import choose, console, say
from vireid.types import InputError

TRIALS = "trials.json"  # in the folder of all splits' runs: what each is trained with
PRECISIONS = ("auto", "bfloat16", "float16", "float32")
PRECISION_ALIASES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}


def precision_name(given: str) -> str:
    """The valid name of a precision, whatever the case."""
    return choose("precision", given, PRECISIONS, aliases=PRECISION_ALIASES)


def check_folder(folder: Path, what: str) -> None:
    """Refuse a folder that can't be written to before long work is done for it.

    Args:
        folder: it need not exist yet.
        what: what will be written there, for the message ("the run").

    Raises:
        InputError: it is a file, lies in a file, or may not be written to.
    """
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        raise InputError(
            f"'{nearest}' is a file; a folder for {what} was expected. Name another one."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(
            f"The folder '{nearest}' may not be written to, so {what} can't be kept in "
            f"'{folder}'. Name a folder you may write to."
        )


def tell_broken(paths: Iterable[str]) -> None:
    """List the images that were left out because they can't be decoded."""
    for path in paths:
        say(f"skipped (cannot be decoded): {path}")


def print_json(value: Any) -> None:
    """Print a result for scripts on standard output."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def next_step(wrote: str | Path, then: str | None = None) -> None:
    """Say at a command's end what it wrote and what to run next."""
    console.print("[bold]Wrote[/] ", end="")
    say(str(wrote))
    if then:
        suggest(then)


def suggest(command: str) -> None:
    """Say what to run next."""
    console.print("[bold]Next:[/] ", end="")
    say(command)

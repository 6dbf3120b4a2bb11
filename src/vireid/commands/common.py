"""Pieces that several commands share."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, get_args

from vireid.console import choose, console, harmless, say, typed
from vireid.types import PRECISION_ALIASES, PrecisionName


def precision_name(given: str) -> str:
    """The valid name of a precision, whatever the case."""
    return choose("precision", given, get_args(PrecisionName), aliases=PRECISION_ALIASES)


def print_json(value: Any) -> None:
    """Print a result for scripts on standard output."""
    sys.stdout.write(harmless(json.dumps(value, indent=2, ensure_ascii=False)) + "\n")


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

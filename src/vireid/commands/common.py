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


def resolve_device(gpu: int | None, device: str) -> str:
    """The device that `--gpu` or `--device` names: "cpu", "cuda:N" or "auto" → the best present.

    Raises:
        InputError: a GPU that isn't there; the message lists those present.
    """
    import torch

    word = device.strip().lower()
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ", ".join(f"{i}: {torch.cuda.get_device_name(i)}" for i in range(count)) or "none"
    if gpu is not None:
        if word not in {"auto", "cuda", f"cuda:{gpu}"}:
            raise InputError(f"--gpu {gpu} and --device {device} contradict each other; give one.")
        word = f"cuda:{gpu}"
    if word == "auto":
        return "cuda:0" if count else "cpu"
    if word == "cpu" or (word == "mps" and torch.backends.mps.is_available()):
        return word
    if word == "cuda":
        word = "cuda:0"
    if not word.startswith("cuda:") or not word[5:].removeprefix("-").isdigit():
        raise InputError(f"--device is '{device}'; 'auto', 'cpu' or 'cuda:N' was expected.")
    if not 0 <= int(word[5:]) < count:
        way = "Choose one of them with --gpu, or use" if count else "Leave --gpu out, or use"
        raise InputError(
            f"There is no GPU {word[5:]} on this machine. GPUs present: {present}. "
            f"{way} --device cpu."
        )
    return word


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

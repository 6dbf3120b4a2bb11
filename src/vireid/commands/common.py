"""Pieces that several commands share."""

from __future__ import annotations

from pathlib import Path

from vireid.console import choose, console
from vireid.types import InputError

DATASETS = ("sysu", "regdb", "llcm", "folder")
DATASET_ALIASES = {"sysu-mm01": "sysu", "sysumm01": "sysu", "own": "folder", "csv": "folder"}


def dataset_name(given: str) -> str:
    """The legal name of a data set, whatever the case."""
    return choose("data set", given, DATASETS, aliases=DATASET_ALIASES)


def resolve_device(gpu: int | None, device: str) -> str:
    """The device that `--gpu` or `--device` names: "cpu", "cuda:N" or "auto" → the best present.

    Raises:
        InputError: a GPU that isn't there; the message lists those present.
    """
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    present = ", ".join(f"{i}: {torch.cuda.get_device_name(i)}" for i in range(count)) or "none"
    if gpu is not None:
        if device not in {"auto", "cuda", f"cuda:{gpu}"}:
            raise InputError(f"--gpu {gpu} and --device {device} contradict each other; give one.")
        device = f"cuda:{gpu}"
    if device == "auto":
        return "cuda:0" if count else "cpu"
    word = device.lower()
    if word in {"cpu", "mps"}:
        return word
    if word == "cuda":
        word = "cuda:0"
    if not word.startswith("cuda:") or not word[5:].isdigit():
        raise InputError(f"--device is '{device}'; 'auto', 'cpu' or 'cuda:N' was expected.")
    if int(word[5:]) >= count:
        raise InputError(
            f"There is no GPU {word[5:]} on this machine. GPUs present: {present}. "
            "Choose one of them with --gpu, or use --device cpu."
        )
    return word


def next_step(wrote: str | Path, then: str | None = None) -> None:
    """Say at a command's end what it wrote and what to run next."""
    console.print(f"[bold]Wrote[/] {wrote}")
    if then:
        console.print(f"[bold]Next:[/] {then}")

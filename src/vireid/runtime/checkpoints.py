"""The checkpoints in a run's folder, by their names, and how far it has trained. Nothing here
imports PyTorch."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping
from pathlib import Path

from vireid.console import count_text, quoted, say, typed
from vireid.files import permitted, read_json
from vireid.models.hub import WEIGHTS, WEIGHTS_EMA
from vireid.models.whereabouts import on_disk
from vireid.own_code import named_again
from vireid.types import InputError

NAME = re.compile(r"epoch-(\d+)-step-(\d+)\.pt")


def checkpoint_name(epoch: int, step: int) -> str:
    """File name of the state before `step` of `epoch` (both from 0)."""
    return f"epoch-{epoch:04d}-step-{step:06d}.pt"


def position(path: Path) -> tuple[int, int]:
    """Epochs that were done when a checkpoint was written, and steps of the next one."""
    match = NAME.fullmatch(path.name)
    assert match, path
    return int(match[1]), int(match[2])


def list_checkpoints(folder: str | Path) -> list[Path]:
    """Checkpoints in `folder`, newest first.

    Raises:
        NoPermission: it may not be looked into.
    """
    try:
        with permitted(folder):
            names = os.listdir(folder)
    except OSError:  # there is none
        names = []
    checkpoints = [
        (tuple(map(int, match.groups())), Path(folder) / name)
        for name in names
        if (match := NAME.fullmatch(name))
    ]
    return [path for _, path in sorted(checkpoints, reverse=True)]


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint stands in."""
    return Path(os.path.abspath(checkpoint)).parent.parent


def epochs_so_far(run: Path) -> str | None:
    """ "4 of 5 epochs" of a run that has checkpoints, but not all of its epochs; else None."""
    newest, config = list_checkpoints(run / "checkpoints"), run / "config.json"
    if not newest or not config.is_file():
        return None
    options, (done, _) = read_json(config), position(newest[0])
    if not isinstance(options, Mapping):
        return None
    recipe = options.get("recipe")
    whole = recipe.get("epochs") if isinstance(recipe, Mapping) else None
    epochs = options.get("stop_epoch") or whole
    if not isinstance(epochs, int) or done >= epochs:
        return None
    return f"{done} of {count_text(epochs, 'epoch', 'epochs')}"


def unfinished(run: Path) -> str | None:
    """A sentence on a run that hasn't trained all of its epochs (`epochs_so_far`); else None."""
    so_far = epochs_so_far(run)
    if so_far is None:
        return None
    again = named_again(read_json(run / "config.json"))
    command = typed(f"vireid train --resume {quoted(run)}{again}")
    return f"'{run}' has trained {so_far}; `{command}` goes on."


def tell_unfinished(weights: str | Path) -> None:
    """Say of weights that are used that their run is unfinished, if it is.

    Args:
        weights: a run's folder, its weights or a checkpoint in it; of others nothing is said.
    """
    place = Path(weights)
    if not on_disk(weights):
        return
    # Weights can be used whatever has become of the files beside them.
    with contextlib.suppress(InputError):
        run: Path | None = place if place.is_dir() else None
        if NAME.fullmatch(place.name):
            run = run_of(place)
        elif place.name in (WEIGHTS, WEIGHTS_EMA):
            run = Path(os.path.abspath(place)).parent
        if run is not None and (note := unfinished(run)):
            say(f"note: {note}")

"""Running a training, then perhaps once more on all identities."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.commands.common import NO_CHECKPOINT, going_on, next_step, suggest
from vireid.config import to_plain
from vireid.console import quoted, say, typed
from vireid.files import check_folder, read_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.training.options import TrainOptions


def pick_device(gpu: int | None, device: str) -> str:
    """The device that the flags name; under torchrun each rank takes its own GPU."""
    from vireid.runtime.device import resolve_device

    if "LOCAL_RANK" in os.environ and gpu is None and device == "auto":
        return "auto"
    return resolve_device(gpu, device)


def train_one(
    options: TrainOptions,
    folder: Path,
    *,
    device: str,
    max_steps: int | None = None,
    refit: bool = False,
    resume: bool = False,
    other_code: bool = False,
) -> int:
    """Train a run and say what it took; with `refit` once more on all training identities."""
    from vireid.own_code import named_again
    from vireid.training.run import train

    if refit and options.select != "val":
        raise InputError("--refit trains again after the epoch was chosen; add --select val.")
    if not resume:
        refuse_used(folder)
    options = dataclasses.replace(options, device=device)
    again = named_again(options)

    def how() -> str:
        if not any(folder.glob("checkpoints/*.pt")):
            return NO_CHECKPOINT
        command = typed(f"vireid train --resume {quoted(folder)}{again}")
        return f"The newest checkpoint is kept. Go on with: {command}"

    with going_on(how):
        result = train(options, folder, max_steps=max_steps, resume=resume, other_code=other_code)
    if int(os.environ.get("RANK", "0")):
        return 0
    if refit:
        return _refit(options, folder, device)
    if result.engine:
        next_step(folder)
    suggest(f"vireid test --resume {quoted(folder)}{named_again(options, training=False)}")
    if options.select == "val":
        suggest(
            f"vireid train --resume {quoted(folder)}{again} --refit   # once more on all training "
            "identities, with the steps and the schedule that were chosen"
        )
    return 0


def folder_of_refit(folder: Path) -> Path:
    """Where a run is trained again on all training identities."""
    return folder.with_name(folder.name + "-refit")


def refuse_used(folder: Path) -> None:
    """What the trainer would find as well, but only after the images are prepared."""
    if (folder / "weights.safetensors").exists() or any(folder.glob("checkpoints/*.pt")):
        raise InputError(
            f"'{folder}' already holds a run. Go on with it by --resume {folder}, or give "
            "another --run."
        )


def _refit(options: TrainOptions, folder: Path, device: str) -> int:
    """Train again on all training identities, with the steps and the schedule up to the epoch that
    was chosen.

    Args:
        options: of the run in `folder`, as it was started; its config.json has them as they were
            resolved.
    """
    from vireid.own_code import code_in
    from vireid.training.options import TrainOptions
    from vireid.weights import read_weights

    named = code_in(to_plain(options))
    options = TrainOptions.read(read_json(folder / "config.json"), f"'{folder}'", named)
    metadata = read_weights(folder)[1]
    if "steps" not in metadata:
        raise InputError(
            f"The weights in '{folder}' don't say after how many steps they were chosen; an "
            "earlier version of vireid wrote them. Train the run again to refit it."
        )
    best, steps, chosen = metadata["epoch"], metadata["steps"], metadata["chosen"]
    again = folder_of_refit(folder)
    check_folder(again, "the run")
    recipe, each = options.recipe, steps // best
    rate = recipe.lr * recipe.schedule.factor(steps - 1, each, recipe.epochs)
    say(
        f"Epoch {best} of {recipe.epochs}: {chosen}. Training again on all training identities for "
        f"the same {steps:,} steps of the same schedule, in {again}. It ends where the schedule "
        f"was then: at a learning rate of {rate:.3g}, of {recipe.lr:g}."
    )
    options = dataclasses.replace(
        options,
        select="last",
        eval_every=0,
        steps_per_epoch=each,
        stop_epoch=best,
        epochs_from=f"{chosen} in the run '{folder.name}'",
    )
    return train_one(options, again, device=device, resume=(again / "config.json").is_file())

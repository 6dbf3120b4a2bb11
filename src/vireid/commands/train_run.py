"""Running a training: data, the loop, what it took; then perhaps once more on all identities."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import check_folder, next_step, suggest, tell_broken
from vireid.console import say
from vireid.files import write_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset
    from vireid.training.options import TrainOptions
    from vireid.training.trainer import TrainResult


def pick_device(flags: dict[str, Any]) -> str:
    """The device that the flags name; under torchrun each rank takes its own GPU."""
    from vireid.runtime.device import resolve_device

    if "LOCAL_RANK" in os.environ and flags["gpu"] is None and flags["device"] == "auto":
        return "auto"
    return resolve_device(flags["gpu"], flags["device"])


def train_one(
    options: TrainOptions,
    folder: Path,
    *,
    device: str,
    max_steps: int | None = None,
    refit: bool = False,
    resume: bool = False,
) -> int:
    """Train a run and say what it took; with `refit` once more on all training identities."""
    if refit and options.choose != "validation":
        raise InputError("--refit trains again after the epoch was chosen; add --select val.")
    if not resume:
        _refuse_used(folder)
    trained = run_training(options, folder, device=device, max_steps=max_steps, resume=resume)
    if int(os.environ.get("RANK", "0")):
        return 0
    if refit:
        return _refit(folder, device)
    if trained:
        next_step(folder)
    suggest(f"vireid test --resume {folder}")
    if options.choose == "validation":
        suggest(
            f"vireid train --resume {folder} --refit   (once more on all training identities, "
            "for the number of epochs that was best)"
        )
    return 0


def run_training(
    options: TrainOptions,
    folder: Path,
    *,
    device: str,
    max_steps: int | None = None,
    resume: bool = False,
) -> bool:
    """Read the data, train, and keep what it took in the run's summary.json.

    Returns:
        Whether there was something left to train.
    """
    from vireid.commands.evaluating import validation
    from vireid.data import load_dataset, prepare, without
    from vireid.training import trainer

    data = load_dataset(
        options.dataset,
        options.data_root,
        trial=options.trial,
        camera_pattern=options.camera_pattern,
    )
    root = options.data_root or str(data.root.absolute())
    options = dataclasses.replace(options, data_root=root, device=device)
    if max_steps is not None:
        options = _for_steps(options, data, max_steps)
    evaluate = None
    if options.eval_every and options.part == "train":
        say(
            "note: the validation identities are trained on too, so the numbers between epochs "
            "are not about unseen people; --select val or held-out leaves them out."
        )
    store = prepare(data, size=options.size, skip_broken=options.skip_broken)
    tell_broken(store.broken)
    if options.eval_every:
        evaluate = validation(without(data, store.valid), store, precision=options.precision)
    fresh = not folder.exists()
    try:
        result = trainer.train(options, data, store, folder, evaluate=evaluate, resume=resume)
    except InputError:
        if fresh and {path.name for path in folder.glob("*")} == {"config.json"}:
            (folder / "config.json").unlink()  # nothing was begun
            folder.rmdir()
        raise
    trained = bool(result.engine)
    if trained and not int(os.environ.get("RANK", "0")):
        _conclude(folder, result)
    return trained


def _refuse_used(folder: Path) -> None:
    """What the trainer would find as well, but only after the images are prepared."""
    if (folder / "weights.safetensors").exists() or any(folder.glob("checkpoints/*.pt")):
        raise InputError(
            f"'{folder}' already holds a run. Go on with it by --resume {folder}, or give "
            "another --run."
        )


def _refit(folder: Path, device: str) -> int:
    """Train again on all training identities, for as many epochs as were best."""
    from vireid import config
    from vireid.training.options import TrainOptions
    from vireid.weights import read_weights

    options = config.load(TrainOptions, folder / "config.json")
    metadata = read_weights(folder)[1]
    best, chosen = int(metadata["epoch"]), metadata["chosen"]
    place = folder.with_name(folder.name + "-refit")
    check_folder(place, "the run")
    say(
        f"Epoch {best}: {chosen}. Training again on all training identities for "
        f"{_epochs(best)}, in {place}."
    )
    again = dataclasses.replace(
        options,
        part="train",
        choose="last",
        eval_every=0,
        epochs_from=f"{chosen} in the run '{folder.name}'",
        recipe=dataclasses.replace(options.recipe, epochs=best),
    )
    return train_one(again, place, device=device, resume=(place / "config.json").is_file())


def _conclude(folder: Path, result: TrainResult) -> None:
    """Say and keep what the run took."""
    facts = {
        "epochs": result.epoch, "seconds": round(result.seconds, 1),
        "images_per_second": round(result.images_per_second, 1),
        "peak_cpu_bytes": result.peak_cpu_bytes, "peak_gpu_bytes": result.peak_gpu_bytes,
        "store_bytes": result.store_bytes, "engine": result.engine, "metrics": result.metrics,
    }  # fmt: skip
    write_json(folder / "summary.json", facts)
    memory = f"{result.peak_cpu_bytes / 2**30:.1f} GiB"
    if result.peak_gpu_bytes:
        memory += (
            f", GPU {result.peak_gpu_bytes / 2**30:.1f} GiB "
            f"(images {result.store_bytes / 2**30:.1f})"
        )
    say(
        f"{_epochs(result.epoch)} in {result.seconds:.0f} s, "
        f"{result.images_per_second:,.0f} img/s; peak memory {memory}."
    )


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"


def _for_steps(options: TrainOptions, data: Dataset, max_steps: int) -> TrainOptions:
    """Options whose run has about `max_steps` steps, in whole epochs of equal length."""
    import numpy as np

    if max_steps < 1:
        raise InputError(f"--max-steps is {max_steps}; it must be at least 1.")
    recipe = options.recipe
    counts = np.bincount(data.modality[data.parts[options.part]], minlength=2)
    whole = int(counts.max()) // (recipe.pids_per_batch * recipe.images_per_pid) + 1
    epochs = -(-max_steps // whole)
    return dataclasses.replace(
        options,
        max_steps=-(-max_steps // epochs),
        recipe=dataclasses.replace(recipe, epochs=epochs),
    )

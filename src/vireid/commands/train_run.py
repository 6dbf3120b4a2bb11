"""Running trainings: one, one again on all identities, or RegDB's ten."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import next_step, resolve_device
from vireid.console import console
from vireid.files import write_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset
    from vireid.engine.options import TrainOptions
    from vireid.evaluation import Report
    from vireid.trainer import TrainResult


def pick_device(flags: dict[str, Any]) -> str:
    if "LOCAL_RANK" in os.environ and flags["gpu"] is None and flags["device"] == "auto":
        return "auto"  # under torchrun each rank takes its own GPU
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
    from vireid import trainer
    from vireid.checkpoint import read_weights
    from vireid.commands.evaluating import validation
    from vireid.data import load_dataset, prepare, without

    if refit and options.choose != "validation":
        raise InputError("--refit trains again after the epoch was chosen; add --select val.")
    data = load_dataset(
        options.dataset,
        options.data_root,
        trial=options.trial,
        camera_pattern=options.camera_pattern,
    )
    options = dataclasses.replace(options, data_root=str(data.root), device=device)
    for note in data.notes:
        console.print(f"note: {note}")
    if max_steps is not None:
        options = _for_steps(options, data, max_steps)
    store = prepare(data, size=options.size, skip_broken=options.skip_broken)
    for path in store.broken:
        console.print(f"skipped (cannot be decoded): {path}")
    data = without(data, store.valid)
    evaluate = validation(data, store, precision=options.precision) if options.eval_every else None
    result = trainer.train(options, data, store, folder, evaluate=evaluate, resume=resume)
    if int(os.environ.get("RANK", "0")):
        return 0
    _conclude(folder, result)
    if not refit:
        next_step(folder, f"vireid test --resume {folder}")
        return 0
    best = int(read_weights(folder)[1]["epoch"])
    console.print(
        f"Epoch {best} was best on the validation identities; training again on all "
        "training identities for that many epochs."
    )
    again = dataclasses.replace(
        options,
        part="train",
        choose="last",
        eval_every=0,
        recipe=dataclasses.replace(options.recipe, epochs=best),
    )
    place = folder.with_name(folder.name + "-refit")
    started = (place / "config.json").is_file()
    return train_one(again, place, device=device, resume=started)


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
    console.print(
        f"{result.epoch} epochs in {result.seconds:.0f} s, "
        f"{result.images_per_second:,.0f} img/s; peak memory {memory}."
    )


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


def train_all_trials(flags: dict[str, Any], options: TrainOptions, folder: Path) -> int:
    """RegDB: train and test ten models, skipping what is done, and average the reports."""
    from vireid.commands.test import test
    from vireid.evaluation import Report, average_reports

    if options.dataset != "regdb":
        raise InputError(f"--trial all belongs to RegDB; '{options.dataset}' has one split only.")
    reports: dict[str, list[Report]] = {}
    for trial in range(1, 11):
        one = folder / f"trial{trial}"
        started = (one / "checkpoints").is_dir()
        if not (one / "summary.json").is_file():
            train_one(
                dataclasses.replace(options, trial=trial),
                one,
                device=pick_device(flags),
                max_steps=flags["max_steps"],
                resume=started,
            )
        for direction in ("infrared_to_visible", "visible_to_infrared"):
            out = one / "test" / direction
            if not (out / "report.json").is_file():
                test(
                    resume=one,
                    direction=direction,
                    out=out,
                    gpu=flags["gpu"],
                    device=flags["device"],
                )
            reports.setdefault(direction, []).append(Report.load(out / "report.json"))
    for direction, found in reports.items():
        mean = average_reports(found)
        mean.write(folder / "test" / direction)
        console.print(mean.to_table())
    next_step(folder / "test", f"vireid report {folder}/test/*/report.json")
    return 0

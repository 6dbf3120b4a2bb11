"""train: from a data set to a run folder with weights, curves and checkpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import TRIALS, check_folder
from vireid.commands.train_options import build_options
from vireid.commands.train_run import pick_device, train_one
from vireid.commands.train_trials import resume_all_trials, train_all_trials
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.training.options import TrainOptions


def train(
    *,
    dataset: str | None = None,
    data_root: Path | None = None,
    method: str | None = None,
    arch: str | None = None,
    recipe: str | None = None,
    pretrained: str | None = None,
    lr: float | None = None,
    optim: str | None = None,
    epochs: int | None = None,
    max_steps: int | None = None,
    pids_per_batch: int | None = None,
    images_per_pid: int | None = None,
    augment: str | None = None,
    seed: int | None = None,
    trial: str | None = None,
    camera_pattern: str | None = None,
    select: str | None = None,
    refit: bool = False,
    eval_every: int | None = None,
    centers: str | None = None,
    triplet: str | None = None,
    nonlocal_channels: int | None = None,
    confusion: bool = True,
    identity_centers: bool = True,
    camera_centers: bool = True,
    part: bool = True,
    graph: bool = True,
    identity_weight: float | None = None,
    triplet_weight: float | None = None,
    confusion_weight: float | None = None,
    identity_center_weight: float | None = None,
    camera_center_weight: float | None = None,
    rho: float | None = None,
    sigma: float | None = None,
    margin: float | None = None,
    label_smoothing: float | None = None,
    gpu: int | None = None,
    device: str = "auto",
    engine: str | None = None,
    precision: str | None = None,
    deterministic: bool = False,
    sync_bn: bool = False,
    gather: bool = False,
    run: str | None = None,
    model_path: Path = Path("runs"),
    resume: Path | None = None,
    keep: int | None = None,
    checkpoint_steps: int | None = None,
    config: Path | None = None,
    skip_broken: bool = False,
    tensorboard: bool = False,
) -> int:
    """Train a method on a data set.

    Ctrl-C saves and says how to go on. Everything about the run is in its folder: config.json,
    log.jsonl, checkpoints, weights.safetensors, curves.png.

    Args:
        dataset: sysu (default), regdb, llcm or folder.
        data_root: the data set's folder (default: $VIREID_DATA/NAME).
        method: mcl (default), base, agw, ddag, or path/to/my.py:MyMethod.
        arch: resnet50 (default), resnet18, or another ResNet of timm.
        recipe: published (default with pretrained weights), scratch (default without), or best.
        pretrained: imagenet (default), synth, none, a timm tag, or a file.
        lr: base learning rate (default: the recipe's; 0.00035 with Adam).
        optim: sgd or adam.
        epochs: passes over the data.
        max_steps: train for about this many steps instead, in whole epochs of equal length.
        pids_per_batch: P, identities a batch.
        images_per_pid: K, images of each modality for each identity.
        augment: none, plain (crop, flip), published (and erasing up to 0.8) or channel (milder
            erasing; visible images as one channel or grey). Default: the recipe's.
        seed: one seed fixes everything.
        trial: RegDB's split, 1 to 10, or all: train and test ten models and average them.
        camera_pattern: folder: regular expression that finds the camera's number in a file's
            name, as 'c(\\d+)_'.
        select: last (default: train on all training identities, keep the last epoch), val
            (train on train_id.txt alone, keep the epoch that is best on val_id.txt) or held-out
            (train on train_id.txt alone, keep the last epoch).
        refit: with --select val: then train on all training identities for that many epochs.
        eval_every: test on the validation identities every so many epochs.
        centers: mcl: learned (default) or frozen (as published).
        triplet: mcl, agw: exact (default) or published arithmetic.
        nonlocal_channels: mcl, agw: inner width of the non-local blocks (default and published: 1).
        confusion: mcl: the modality confusion terms.
        identity_centers: mcl: center aggregation by identity.
        camera_centers: mcl: center aggregation by camera.
        part: ddag: the weighted-part attention.
        graph: ddag: the cross-modality graph attention.
        identity_weight: weight of the classifier's cross-entropy.
        triplet_weight: weight of the triplet loss.
        confusion_weight: mcl: weight of the encoder's confusion term.
        identity_center_weight: mcl: weight of center aggregation by identity.
        camera_center_weight: mcl: weight of center aggregation by camera.
        rho: mcl: squared distance that centers should keep.
        sigma: mcl: squared spread within a class that is left alone.
        margin: base, ddag: margin of the batch-hard triplet.
        label_smoothing: of the cross-entropy, from 0 to below 1.
        gpu: number of the GPU, from 0.
        device: auto, cpu or cuda:N.
        engine: auto, eager, compiled or graph: how a step is run.
        precision: auto, bfloat16, float16 or float32.
        deterministic: bit-equal repeats on CUDA too, slower.
        sync_bn: several GPUs: batch norm over all of them.
        gather: several GPUs: the triplet sees the embeddings of all of them.
        run: name of the run in the folder of --model-path, or a path (default: named by data
            set, method, arch, recipe and seed).
        model_path: parent folder of runs.
        resume: go on with this run, in its own folder; --epochs may raise its number of epochs.
        keep: how many checkpoints to keep (default: 2).
        checkpoint_steps: also save every so many steps.
        config: JSON file with any option (all of a run's config.json, or a part, as
            {"method_options": {"hidden": 64}}); flags override it.
        skip_broken: leave out images that cannot be decoded, and list them.
        tensorboard: also write TensorBoard files (needs vireid[logging]).
    """
    flags = dict(locals())
    if resume is not None:
        return _resume(flags)
    options = build_options(flags, config)
    folder = _run_folder(flags, options)
    check_folder(folder, "the run")
    if str(trial).lower() == "all":
        return train_all_trials(options, folder, device=pick_device(flags), max_steps=max_steps)
    return train_one(
        options,
        folder,
        device=pick_device(flags),
        max_steps=max_steps,
        refit=refit,
        resume=_restarted(folder),
    )


def _restarted(folder: Path) -> bool:
    """Whether `torchrun --max-restarts` starts this very command again: it goes on then."""
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return again and (folder / "config.json").is_file()


def _named_folder(run: str, parent: Path) -> Path:
    """The folder that `--run` names: a name in the parent of runs, or a path."""
    path = Path(run).expanduser()
    return path if path.parent != Path() or path.is_absolute() else parent / path


def _run_folder(flags: dict[str, Any], options: TrainOptions) -> Path:
    if flags["run"] is not None:
        return _named_folder(flags["run"], flags["model_path"])
    from vireid.methods import method_class

    words = [
        options.dataset,
        method_class(options.method).name,
        options.model["arch"],
        options.recipe.name,
        f"seed{options.seed}",
    ]
    if options.dataset == "regdb" and str(flags["trial"]).lower() != "all":
        words.append(f"trial{options.trial}")
    return flags["model_path"] / "-".join(words)


def _resume(flags: dict[str, Any]) -> int:
    """Go on with a run. Flags that say what it is already are welcome, others are refused by
    the trainer, which compares."""
    folder = flags["resume"]
    named = flags["run"] and _named_folder(flags["run"], flags["model_path"])
    if named and named.resolve() != folder.resolve():
        raise InputError(
            f"--resume {folder} goes on in its own folder; leave --run "
            f"'{flags['run']}' out. To start another run from these weights, use "
            f"--pretrained {folder / 'weights.safetensors'}."
        )
    if flags["config"] is not None:
        raise InputError("--resume takes the run's own config.json; leave --config out.")
    if (folder / TRIALS).is_file():
        return resume_all_trials(folder, device=pick_device(flags), data_root=flags["data_root"])
    if not (folder / "config.json").is_file():
        raise InputError(
            f"'{folder}' is not a run: it has no config.json. Give the folder that "
            "`vireid train` wrote."
        )
    return train_one(
        build_options(flags, folder / "config.json"),
        folder,
        device=pick_device(flags),
        max_steps=flags["max_steps"],
        refit=flags["refit"],
        resume=True,
    )

"""train: from a data set to a run folder with weights, curves and checkpoints."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.commands.common import dataset_name, next_step, resolve_device
from vireid.console import choose, console
from vireid.files import write_json
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset
    from vireid.engine.options import TrainOptions
    from vireid.methods.recipe import Recipe
    from vireid.trainer import TrainResult


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
    seed: int | None = None,
    trial: str | None = None,
    select: str = "last",
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
        seed: one seed fixes everything.
        trial: RegDB's split, 1 to 10, or all: train and test ten models and average them.
        select: last (train on all training identities, keep the last epoch) or val (train on
            train_id.txt alone, keep the epoch that is best on val_id.txt).
        refit: with --select val: then train on all training identities for that many epochs.
        eval_every: test on the validation identities every so many epochs.
        centers: mcl: learned or frozen (as published).
        triplet: mcl, agw: exact or published arithmetic.
        nonlocal_channels: inner width of the non-local blocks (published: 1).
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
        gpu: number of the GPU.
        device: auto, cpu or cuda:N.
        engine: auto, eager, compiled or graph: how a step is run.
        precision: auto, bfloat16, float16 or float32.
        deterministic: bit-equal repeats on CUDA too, slower.
        sync_bn: several GPUs: batch norm over all of them.
        gather: several GPUs: the triplet sees the embeddings of all of them.
        run: name of the run in MODEL_PATH, or a path.
        model_path: parent folder of runs.
        resume: go on with this run, in its own folder.
        keep: how many checkpoints to keep.
        checkpoint_steps: also save every so many steps.
        config: config.json with any other option; flags override it.
        skip_broken: leave out images that cannot be decoded, and list them.
        tensorboard: also write TensorBoard files (needs vireid[logging]).
    """
    flags = dict(locals())
    if flags["resume"] is not None:
        return _resume(flags)
    options = _options(flags)
    folder = _run_folder(flags, options)
    if str(flags["trial"]).lower() == "all":
        return _all_trials(flags, options, folder)
    return _train_one(options, folder, device=_device(flags), max_steps=max_steps, refit=refit)


METHOD_FLAGS = (
    "centers", "triplet", "confusion", "identity_centers", "camera_centers", "part", "graph",
    "identity_weight", "triplet_weight", "confusion_weight", "identity_center_weight",
    "camera_center_weight", "rho", "sigma", "margin", "label_smoothing",
)  # fmt: skip
CHOICES = {"centers": ("learned", "frozen"), "triplet": ("exact", "published")}
RECIPE_FLAGS = ("lr", "optim", "epochs", "pids_per_batch", "images_per_pid")
PLAIN_FLAGS = ("seed", "engine", "precision", "keep", "checkpoint_steps", "eval_every")
SWITCHES = ("deterministic", "sync_bn", "gather", "tensorboard", "skip_broken")
ADAM_LR = 0.00035


def _options(flags: dict[str, Any]) -> TrainOptions:
    """The run's options: the file of --config if given, then the flags."""
    from vireid import config
    from vireid.engine.options import ENGINES, PRECISIONS, TrainOptions
    from vireid.methods import method_class, resolve_method
    from vireid.methods.recipes import recipes_of

    plain: dict[str, Any] = {}
    if flags["config"] is not None:
        plain = config.to_plain(config.load(TrainOptions, flags["config"]))
    method = resolve_method(flags["method"] or plain.get("method", "mcl"))
    cls = method_class(method)
    model = dict(plain.get("model", {}))
    pretrained = flags["pretrained"] or model.get("pretrained", "imagenet")
    if model and flags["pretrained"] is None and flags["arch"] is None:
        changes = {}
    else:
        model = config.to_plain(
            cls.model_defaults(_arch(flags["arch"] or model.get("arch", "resnet50")), pretrained)
        )
        changes = {}
    if flags["nonlocal_channels"] is not None:
        changes["nonlocal_channels"] = flags["nonlocal_channels"]
    from vireid.models.options import ModelOptions

    model = config.to_plain(config.from_plain(ModelOptions, {**model, **changes}, "model"))
    recipe = _recipe(flags, plain, recipes_of(method), model["pretrained"])
    method_options = {**plain.get("method_options", {}), **_method_flags(flags, cls, method)}
    config.from_plain(cls.Options, method_options, f"options of method {method}")
    values: dict[str, Any] = {
        **plain,
        "method": method,
        "method_options": method_options,
        "model": model,
        "recipe": config.to_plain(recipe),
    }
    values["dataset"] = dataset_name(flags["dataset"] or plain.get("dataset", "sysu"))
    if flags["data_root"] is not None:
        values["data_root"] = str(flags["data_root"])
    if flags["select"] not in {"last", "val"}:
        raise InputError(f"--select is '{flags['select']}'; last or val was expected.")
    if flags["select"] == "val":
        values |= {"part": "fit", "choose": "validation"}
    if flags["trial"] is not None and str(flags["trial"]).lower() != "all":
        values["trial"] = _trial(flags["trial"], values["dataset"])
    for name, legal in (("engine", ENGINES), ("precision", PRECISIONS)):
        if flags[name] is not None:
            flags[name] = choose(
                name,
                flags[name],
                legal,
                aliases={"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}
                if name == "precision"
                else None,
            )
    values.update({name: flags[name] for name in PLAIN_FLAGS if flags[name] is not None})
    values.update({name: True for name in SWITCHES if flags[name]})
    if flags["select"] == "val" and not values.get("eval_every"):
        values["eval_every"] = 1
    return config.from_plain(TrainOptions, values, "options")


def _arch(given: str) -> str:
    return given.strip().lower().replace("-", "")


def _recipe(
    flags: dict[str, Any], plain: dict[str, Any], recipes: dict[str, Recipe], pretrained: str
) -> Recipe:
    from vireid import config
    from vireid.methods.recipe import Recipe

    changes = {name: flags[name] for name in RECIPE_FLAGS if flags[name] is not None}
    if "optim" in changes:
        changes["optim"] = choose("optimiser", changes["optim"], ("sgd", "adam"))
        if changes["optim"] == "adam":
            changes.setdefault("lr", ADAM_LR)
    if "recipe" in plain and flags["recipe"] is None:
        base = config.from_plain(Recipe, plain["recipe"], "recipe")
    else:
        default = "scratch" if pretrained == "none" else "published"
        name = choose("recipe", flags["recipe"] or default, tuple(recipes))
        base = recipes[name]
        if name == "published" and pretrained == "none":
            console.print(
                "[bold yellow]Warning:[/] the recipe 'published' is meant for ImageNet weights. "
                "Its erasing (up to 0.8 of each picture) and its low rate for the backbone keep "
                "a network that starts from nothing near chance; 'scratch' is made for that."
            )
    return dataclasses.replace(base, **changes)


def _method_flags(flags: dict[str, Any], cls: Any, method: str) -> dict[str, Any]:
    given = {
        name: flags[name]
        for name in METHOD_FLAGS
        if flags[name] is not None and flags[name] is not True
    }
    legal = {field.name for field in dataclasses.fields(cls.Options)}
    for name in given:
        if name not in legal:
            word = name.replace("_", "-")
            raise InputError(
                f"The method '{method}' has no option --{word}. It has: "
                f"{', '.join('--' + n.replace('_', '-') for n in sorted(legal))}."
            )
        if name in CHOICES:
            given[name] = choose(f"--{name}", given[name], CHOICES[name])
    return given


def _trial(given: str, dataset: str) -> int:
    if not str(given).isdigit() or not 1 <= int(given) <= 10:
        raise InputError(f"--trial is '{given}'; a number from 1 to 10, or all, was expected.")
    if dataset != "regdb" and int(given) != 1:
        raise InputError(
            f"--trial {given} belongs to RegDB; '{dataset}' has one split only. Leave the flag out."
        )
    return int(given)


def _device(flags: dict[str, Any]) -> str:
    if "LOCAL_RANK" in os.environ and flags["gpu"] is None and flags["device"] == "auto":
        return "auto"  # under torchrun each rank takes its own GPU
    return resolve_device(flags["gpu"], flags["device"])


def _run_folder(flags: dict[str, Any], options: TrainOptions) -> Path:
    given = flags["run"]
    if given is not None:
        path = Path(given)
        return path if path.parent != Path() or path.is_absolute() else flags["model_path"] / path
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
    """Go on with a run as what it was."""
    from vireid import config
    from vireid.engine.options import MAY_CHANGE, TrainOptions

    folder = flags["resume"]
    if flags["run"] is not None:
        raise InputError(
            f"--resume {folder} goes on in its own folder; leave --run "
            f"'{flags['run']}' out. To start another run from these weights, use "
            f"--pretrained {folder / 'weights.safetensors'}."
        )
    if not (folder / "config.json").is_file():
        raise InputError(
            f"'{folder}' is not a run: it has no config.json. Give the folder that "
            "`vireid train` wrote."
        )
    options = config.load(TrainOptions, folder / "config.json")
    changes = {
        name: flags[name]
        for name in MAY_CHANGE
        if flags.get(name) not in (None, False) and name != "device"
    }
    if "data_root" in changes:
        changes["data_root"] = str(changes["data_root"])
    options = dataclasses.replace(options, **changes)
    return _train_one(options, folder, device=_device(flags), refit=flags["refit"], resume=True)


def _train_one(
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
    from vireid.data import load_dataset, prepare

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
    return _train_one(again, place, device=device, resume=started)


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


def _all_trials(flags: dict[str, Any], options: TrainOptions, folder: Path) -> int:
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
            _train_one(
                dataclasses.replace(options, trial=trial),
                one,
                device=_device(flags),
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

"""From the options of a run to its folder: data, validation, the loop, what it took."""

from __future__ import annotations

import dataclasses
import os
import shutil
import traceback
from collections.abc import Sequence
from pathlib import Path

from vireid.config import convert
from vireid.console import count_text, quoted, say, warn
from vireid.data import Dataset, prepare, training_rows, without
from vireid.data.matches import Matches, matches_beforehand
from vireid.evaluation.measures import METRICS, PERCENT
from vireid.files import read_json, write_json, write_text
from vireid.methods import method_class
from vireid.models.hub import WEIGHTS
from vireid.own_code import HOW_TO_DEBUG, failure, named_again
from vireid.problems import Problems
from vireid.runtime.checkpoints import list_checkpoints
from vireid.runtime.device import resolve_device
from vireid.training import checkpoint, trainer
from vireid.training.ahead import check_ahead
from vireid.training.callbacks import Callback
from vireid.training.defaults import for_steps, whole_epoch
from vireid.training.options import TrainOptions, check_config, usual_eval_every
from vireid.training.own_ahead import check_fetched
from vireid.training.run_state import Count
from vireid.training.trainer import EMA, TrainResult
from vireid.training.training_set import dataset_of, sampler_of
from vireid.training.validation import check_validation, validation
from vireid.types import InputError

SUMMARY = "summary.json"  # in a run's folder, once it has ended


def train(
    options: TrainOptions,
    run: str | Path,
    *,
    max_steps: int | None = None,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    other_code: bool = False,
) -> TrainResult:
    """Train a method on a data set, as `vireid train` does, and leave a run folder.

        options = vireid.training.train_options(dataset="sysu", data_root="…", method="agw")
        vireid.train(options, "runs/agw")

    Args:
        options: what and how; `vireid.training.train_options` makes them from a few names.
        run: folder of the run; a new one unless `resume`.
        max_steps: train for about this many steps instead of `recipe.epochs`, in whole epochs of
            equal length; with `resume`, in epochs of the run's own length.
        resume: go on from the newest checkpoint in `run`.
        callbacks: are told what the run does, beside those that `options.callbacks` names.
        other_code: resume also with other code, packages or data than the run began with; its
            record and every report on it then say so.

    Raises:
        InputError: options, data or run folder that can't be used; a loss that became NaN; other
            code or data without `other_code`.
        KeyboardInterrupt: after Ctrl-C or SIGTERM; the state was saved. It says how to resume.
    """
    folder = Path(run)
    if options.trial == "all":
        raise InputError("`trial` is all; a run has one split. Train one run for each.")
    # a run that has ended may be elsewhere than it was trained
    data = dataset_of(options) if resume else checked_data(options)
    if resume:
        check_with_data(options, data)
    else:
        _warn_of_recipe(options)
        _warn_of_black_areas(options)
    root = options.data_root or str(data.root.absolute())
    options = dataclasses.replace(options, data_root=root)
    if max_steps is not None:
        if resume and (folder / "config.json").is_file():
            options = _for_steps_of(folder, options, data, max_steps)
        else:
            options = for_steps(options, data, max_steps)
    if not resume:
        _warn_of_warm_up(options, data)
    can_evaluate = _look_ahead(options, data)
    if can_evaluate and options.part == "train":
        say(
            "note: the validation identities are trained on too, so the numbers between epochs "
            "are not about unseen people; `select` val or held-out leaves them out."
        )
    if not resume:
        check_fetched(options)
    store = prepare(data, size=options.size, skip_broken=options.skip_broken)
    for path in store.broken:
        say(f"skipped (cannot be decoded): {path}")
    evaluate = None
    if can_evaluate:
        evaluate = validation(without(data, store.valid), store, precision=options.recipe.precision)
    fresh = not folder.exists()
    try:
        result = trainer.train(
            options,
            data,
            store,
            folder,
            evaluate=evaluate,
            resume=resume,
            other_code=other_code,
            callbacks=callbacks,
        )
    except InputError:
        if fresh and not _began(folder):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    except Exception as error:
        if where := failure(error):
            raise InputError(_failed(where, error, folder, options)) from error
        raise
    if not int(os.environ.get("RANK", "0")):
        if result.engine:
            _summarise(folder, result)
        elif not (folder / SUMMARY).is_file():  # it was interrupted between its weights and this
            _keep_summary(folder, result)
    return result


def _for_steps_of(
    folder: Path, options: TrainOptions, data: Dataset, max_steps: int
) -> TrainOptions:
    """As `for_steps`, of a run that goes on: its epochs stay as long as they are.

    Raises:
        InputError: it has trained for as many steps already.
    """
    where = folder / "config.json"
    begun = check_config(read_json(where), f"'{where}'")
    shortened, eval_every = (
        convert(Count, begun.get(name, 0), f"'{where}': {name}")
        for name in ("steps_per_epoch", "eval_every")
    )
    whole = whole_epoch(options, data)
    each = min(shortened or whole, whole)
    epochs, newest = -(-max_steps // each), checkpoint.list_checkpoints(folder / "checkpoints")
    done, step = checkpoint.position(newest[0]) if newest else (0, 0)
    if epochs <= done and epochs != begun.get("recipe", {}).get("epochs"):
        raise InputError(
            f"`max_steps` is {max_steps}, but the run '{folder}' has trained "
            f"{count_text(done * each + step, 'step', 'steps')} already. Give more, leave it out, "
            "or start another run."
        )
    length, of = count_text(epochs, "epoch", "epochs"), count_text(each, "step", "steps")
    say(f"`max_steps` {max_steps} makes {length} of {of} in this run.")
    usual = options.select == "val" and options.eval_every == usual_eval_every(
        options.recipe.epochs
    )
    return dataclasses.replace(
        options,
        eval_every=eval_every if usual else options.eval_every,
        steps_per_epoch=shortened,
        recipe=dataclasses.replace(options.recipe, epochs=epochs),
    )


def checked_data(options: TrainOptions) -> Dataset:
    """The data set of a new run, once the rest of its options was looked at as well; nothing is
    fetched or decoded.

    Raises:
        InputError: all that is wrong with either.
    """
    problems = Problems()
    with problems:
        check_ahead(options, resolve_device(None, options.device))
    with problems:
        data = dataset_of(options)
        check_with_data(options, data)
    problems.tell()
    return data


def check_with_data(options: TrainOptions, data: Dataset) -> None:
    """Refuse what a run can't do with its data, before any of them is decoded.

    Raises:
        InputError: there is nobody to train on, or there are too few for a batch; there are no
            validation identities to evaluate, or the weights are to be chosen by an evaluation
            that can't be done.
    """
    problems = Problems()
    with problems:
        sampler_of(options, training_rows(data, options.part))
    with problems:
        if options.select == "val":
            _check_criterion(options)
    with problems:
        if options.select == "val" or (options.eval_every and not len(data.parts["val"])):
            check_validation(data)
    problems.tell()


def _failed(where: str, error: Exception, folder: Path, options: TrainOptions) -> str:
    """What is said of an error that code of the user's own raised while it trained."""
    kept = HOW_TO_DEBUG
    if folder.is_dir():
        write_text(folder / checkpoint.ERROR_LOG, "".join(traceback.format_exception(error)))
        kept = f"The traceback is in '{folder / checkpoint.ERROR_LOG}'."
    newest = list_checkpoints(folder / "checkpoints")
    again = (
        "Correct it, then go on from the newest checkpoint with `vireid train --resume "
        f"{quoted(folder)}{named_again(options)} --other-code`."
        if newest
        else "There is no checkpoint yet; correct it, then start again."
    )
    return f"Code of your own failed while training, {where}. {kept} {again}"


def _began(folder: Path) -> bool:
    """Whether a run has left anything that training made."""
    log = folder / "log.jsonl"
    kept = [*folder.glob(WEIGHTS), *folder.glob("checkpoints/*")]
    return bool(kept) or (log.is_file() and log.stat().st_size > 0)


def _look_ahead(options: TrainOptions, data: Dataset) -> bool:
    """Say how many queries have a match, before anything is decoded or trained; whether there will
    be evaluations."""
    possible = bool(options.eval_every)
    try:
        if possible:
            check_validation(data)
    except InputError as error:
        warn(f"There will be no evaluation between epochs. {error}")
        possible = False
    for found in matches_beforehand(data, ("val", "test") if possible else ("test",)):
        if isinstance(found, Matches) and found.matched:
            say(str(found))
        else:
            warn(f"This run can't be tested on its own data set. {found}")
    return possible


def _warn_of_warm_up(options: TrainOptions, data: Dataset) -> None:
    """Say that a run ends before its learning rate has risen."""
    steps = options.steps_per_epoch or whole_epoch(options, data)
    recipe = options.recipe
    warmup, total = recipe.schedule.warmup(steps), options.last_epoch * steps
    if warmup >= total:
        in_force = "warmup_steps" if recipe.schedule.warmup_steps else "warmup_epochs"
        field = "peak_epochs" if recipe.schedule.kind == "peak" else in_force
        warn(
            f"the run has {count_text(total, 'step', 'steps')} and its warm-up {warmup}: the "
            f"learning rate never reaches {recipe.lr:g}. Lower `{field}`, or train for longer."
        )


def _check_criterion(options: TrainOptions) -> None:
    """Refuse a criterion that no evaluation gives before anything is trained.

    Raises:
        InputError: there is no such test embedding or metric.
    """
    embeddings = method_class(options.method).test_embeddings
    metrics = [name for name, m in METRICS.items() if m.in_brief and m.unit == PERCENT]
    valid = [f"{embedding}_{metric}" for embedding in embeddings for metric in metrics]
    if options.recipe.ema is not None:
        valid += [f"{EMA}_{name}" for name in valid]
    if options.criterion not in valid:
        raise InputError(
            f"`criterion` is {options.criterion}; by the test embeddings of the method it can be "
            f"{', '.join(valid)}."
        )


def _warn_of_recipe(options: TrainOptions) -> None:
    """Say that a recipe for pretrained weights is used without any."""
    recipe = options.recipe
    if recipe.name == "finetune" and options.model.pretrained == "none":
        warn(
            "the recipe 'finetune' is meant for weights that know people. Its rate of "
            f"{recipe.lr:g} is low for a network that starts from nothing; 'scratch' is made for "
            "that."
        )
    if recipe.name not in ("published", "clean") or options.model.pretrained != "none":
        return
    area = recipe.augment.erase_area[1]
    erased = f" and erasing up to {area:g} of each image" if recipe.augment.erase else ""
    warn(
        f"the recipe '{recipe.name}' is meant for ImageNet weights. Its steps in the learning "
        f"rate{erased} keep a network that starts from nothing near chance; 'scratch' is made "
        "for that."
    )


def _warn_of_black_areas(options: TrainOptions) -> None:
    """Say that images may become NaN, as published."""
    if options.recipe.augment.makes_nan:
        warn(
            "with `radical_arithmetic` published, a rectangle that is black in a channel becomes "
            "NaN, and the loss with it. Set it to exact, which leaves such areas black."
        )


def _keep_summary(folder: Path, result: TrainResult) -> None:
    """Write what the run took; that the file is there means that the run has ended."""
    facts = {
        "epochs": result.epoch, "seconds": round(result.seconds, 1),
        "images_per_second": round(result.images_per_second, 1),
        "peak_cpu_bytes": result.peak_cpu_bytes, "peak_gpu_bytes": result.peak_gpu_bytes,
        "store_bytes": result.store_bytes, "engine": result.engine, "metrics": result.metrics,
    }  # fmt: skip
    write_json(folder / SUMMARY, facts)


def _summarise(folder: Path, result: TrainResult) -> None:
    """Say and keep what the run took."""
    _keep_summary(folder, result)
    memory = f"{result.peak_cpu_bytes / 2**30:.1f} GiB"
    if result.peak_gpu_bytes:
        memory += (
            f", GPU {result.peak_gpu_bytes / 2**30:.1f} GiB "
            f"(images {result.store_bytes / 2**30:.1f})"
        )
    say(
        f"{count_text(result.epoch, 'epoch', 'epochs')} in {result.seconds:.0f} s, "
        f"{result.images_per_second:,.0f} img/s; peak memory {memory}."
    )

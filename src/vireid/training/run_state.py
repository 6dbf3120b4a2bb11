"""A run's whole state, packed into a checkpoint and unpacked bit for bit, and its folder."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import torch
from torch import Tensor

from vireid.config import flatten, from_plain, to_plain
from vireid.console import count_text
from vireid.data import Dataset
from vireid.data.identities import TrainedOn, trained_on
from vireid.files import read_json, write_json
from vireid.methods.recipes import AUGMENTATIONS
from vireid.models.hub import WEIGHTS
from vireid.own_code import same_code
from vireid.runtime.checkpoints import list_checkpoints
from vireid.runtime.provenance import versions
from vireid.runtime.ranks import World
from vireid.runtime.record import Record
from vireid.training import checkpoint, record
from vireid.training.options import MAY_CHANGE, TrainOptions, check_config
from vireid.training.step import Step
from vireid.types import InputError, Limits, shown
from vireid.weights import identities_before, load_strictly, mismatch

_EPOCHS = "recipe.epochs"  # may change beside `MAY_CHANGE`
_STEPS = "steps_per_epoch"
_TOLD = 5  # of the options that differ
_NAMES = {"recipe.name": "recipe"}  # of options that aren't called as their keys
# An option → a pattern of those that follow from it, where they aren't given themselves.
_LEADERS = {
    "recipe.optim": r"recipe\.lr",
    "model.arch": r"model\.(?!pretrained$).*",
    "model.pretrained": r"model\..*",
    "recipe.name": r"recipe\..*|model\..*|method_options\..*",
    "dataset": r"recipe\..*|model\..*|method_options\..*",
    "method": r".*",
}
Count = Annotated[int, Limits(0, 2**31)]
_DEFAULTS = {
    one.name: to_plain(one.default)
    for one in dataclasses.fields(TrainOptions)
    if one.default is not dataclasses.MISSING
}


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch, step: what comes next, from 0.
        seconds: of training so far, with evaluation, without compiling.
        means: mean losses of the last whole epoch.
        best: best mAP on validation identities.
        metrics: of the last evaluation.
    """

    epoch: Count = 0
    step: Count = 0
    seconds: Annotated[float, Limits(0, 1e12)] = 0.0
    means: dict[str, float] | None = None
    best: Annotated[float, Limits(0, 1)] | None = None
    metrics: dict[str, float] = field(default_factory=dict)


def pack(
    options: TrainOptions,
    step: Step,
    progress: Progress,
    world: World,
    identities: list[dict[str, Any]],
) -> dict[str, Any] | None:
    """The state as a checkpoint holds it, copied to the host; None on other ranks than the first.

    Args:
        identities: who was trained on; see `trained_identities`.

    Ranks differ in dropout's random numbers and, inside an epoch, in batch statistics: each
    one's are kept.
    """
    method, device = step.method, world.device
    own = {
        "sums": step.read_sums() if progress.step else {},
        "buffers": _on_host(dict(method.named_buffers())) if world.size > 1 else {},
        "random": torch.get_rng_state(),
        "device_random": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }
    ranks = world.gather(own)
    if not world.first:
        return None
    return {
        "format": checkpoint.FORMAT,
        "config": to_plain(options),
        "versions": versions(),
        "identities": identities,
        "method": _on_host(method.state_dict()),
        "optimisers": _on_host(step.optimisers.state()),
        "average": _on_host(step.average.state()) if step.average else None,
        "scaler": step.scaler_state(),
        "progress": to_plain(progress),
        "ranks": ranks,
    }


def unpack(
    state: Mapping[str, Any], step: Step, world: World, source: str, say: Callable[[str], None]
) -> Progress:
    """Put a checkpoint's state into `step` and return how far it was.

    Raises:
        InputError: it is the state of another network or other optimisers.
    """
    progress = _progress(state, source)
    if progress.step >= step.steps:
        raise InputError(
            f"{source} is of step {progress.step} of an epoch, which has {step.steps} steps in "
            "this run. Start a new run."
        )
    load_strictly(step.method, state["method"], source)
    step.optimisers.restore(state["optimisers"])
    if step.average:
        step.average.restore(state.get("average"))
    step.restore_scaler(state["scaler"])
    if len(state["ranks"]) != world.size:
        if progress.step:
            raise InputError(
                f"{source} was written inside an epoch by {len(state['ranks'])} processes; this "
                f"run has {world.size}. Resume with as many, or from the end of an epoch."
            )
        say(
            f"The run had {len(state['ranks'])} processes and now has {world.size}: "
            "dropout and batch statistics differ from here on."
        )
        return progress
    own = state["ranks"][world.rank]
    step.set_sums(own["sums"])
    buffers = dict(step.method.named_buffers())
    for name, tensor in own["buffers"].items():
        if name not in buffers or (wrong := mismatch(buffers[name], tensor)):
            wrong = wrong if name in buffers else "isn't known"
            raise InputError(f"{source}: the buffer {shown(name)} {wrong}. Start a new run.")
        buffers[name].copy_(tensor)
    try:
        torch.Generator().set_state(own["random"])
    except (RuntimeError, TypeError) as error:  # only PyTorch knows what a state looks like
        raise InputError(
            f"{source} holds a state of random numbers that can't be: {error}. Start a new run."
        ) from error
    torch.set_rng_state(own["random"])
    if world.device.type == "cuda" and own["device_random"] is not None:
        torch.cuda.set_rng_state(own["device_random"], world.device)
    return progress


def _progress(state: Mapping[str, Any], source: str) -> Progress:
    return from_plain(Progress, state["progress"], f"{source}: progress")


def trained_identities(
    dataset: Dataset,
    options: TrainOptions,
    state: Mapping[str, Any] | None,
    run: Path,
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Who is trained on, and who the first weights were trained on, as weights files and
    checkpoints keep it.

    Args:
        dataset: without broken images.
        state: the checkpoint to go on from.

    Raises:
        InputError: the checkpoint's labels stand for other identities or cameras.
    """
    now = TrainedOn.of(dataset, options.part)
    if state is None:
        return [now.plain(), *identities_before(options.model.pretrained)]
    if not state.get("identities"):
        say("The checkpoint is of an earlier version and doesn't say whom it was trained on.")
        return [now.plain()]
    before, *others = trained_on(state)
    if changes := before.change_to(now):
        raise InputError(
            f"The run '{run}' can't go on with other identities: {changes}. What it has learned of "
            f"one would be taken for another. Restore the data set '{dataset.root}' as it was, or "
            "start another run."
        )
    if before.data_hash != now.data_hash:
        say(
            f"The training images are not those that the run began with ({before.images:,} then, "
            f"{now.images:,} now): it goes on, but not as if it had never been stopped."
        )
    return [now.plain(), *(one.plain() for one in others)]


def compare_options(before: dict[str, Any], now: dict[str, Any], run: Path) -> dict[str, str]:
    """What differs of the options that may: dotted name → what it was and is.

    Raises:
        InputError: others differ; the run would go on as something else than it was.
    """

    def flat(plain: dict[str, Any]) -> dict[str, Any]:
        # the defaults are of options that came later
        return flatten({**_DEFAULTS, **check_config(plain, f"The run '{run}'")})

    def same(one: Any, other: Any) -> bool:
        if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
            return all(map(same, one, other))
        code = isinstance(one, str) and isinstance(other, str) and ".py:" in one
        return same_code(one, other) if code else one == other

    old, new = flat(before), flat(now)
    changes = {
        key: f"`{_NAMES.get(key, key)[:80]}` was {shown(old.get(key))} and is {shown(new.get(key))}"
        for key in sorted(old.keys() | new.keys())
        if not same(old.get(key), new.get(key))
    }
    if not new.get(_STEPS) and _STEPS in changes:
        changes[_STEPS] += " (`max_steps` sets it)"
    other = {k: text for k, text in changes.items() if k not in (*MAY_CHANGE, _EPOCHS)}
    if other:
        told = [*_without_followers(other, old, new).values()]
        more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
        raise InputError(
            f"The run '{run}' can't go on with other options: {'; '.join(told[:_TOLD])}{more}. "
            "Resume it without them, or start another run."
        )
    return changes


def _without_followers(
    changes: Mapping[str, str], old: Mapping[str, Any], new: Mapping[str, Any]
) -> Mapping[str, str]:
    """Of changed options those that the others follow from: whoever chose a recipe hasn't given
    what stands in it."""
    for leader, follows in _LEADERS.items():
        if leader in changes:
            rest = {k: text for k, text in changes.items() if not re.fullmatch(follows, k)}
            changes = {leader: changes[leader], **rest}
    section = "recipe.augment."
    if sum(key.startswith(section) for key in changes) > 1 and (preset := _preset(new, section)):
        was = _preset(old, section) or "another one"
        rest = {k: text for k, text in changes.items() if not k.startswith(section)}
        changes = {section: f"`augment` was {shown(was)} and is {shown(preset)}", **rest}
    return changes


def _preset(options: Mapping[str, Any], section: str) -> str | None:
    """The preset of augmentation that options are, but for the user's own, if they are one."""
    given = {k.removeprefix(section): v for k, v in options.items() if k.startswith(section)}
    for name, preset in AUGMENTATIONS.items():
        if flatten(to_plain(preset)) == {**given, "own": ""}:
            return name
    return None


def _changed_since(state: Mapping[str, Any], options: TrainOptions, run: Path) -> dict[str, str]:
    """As `compare_options`, of a checkpoint and what goes on from it.

    Raises:
        InputError: the run would be something else, or no longer than it is: its weights say what
            they were trained with.
    """
    changes = compare_options(state["config"], to_plain(options), run)
    done = _progress(state, str(run)).epoch
    if _EPOCHS in changes and options.last_epoch <= done:
        raise InputError(
            f"`epochs` is {options.last_epoch}, but the run '{run}' has trained "
            f"{count_text(done, 'epoch', 'epochs')} already. Give more, leave it out, or start "
            "another run."
        )
    return changes


def tell_changes(changes: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Say what `compare_options` found, if anything."""
    if changes:
        say(f"It goes on with other options than before: {'; '.join(changes.values())}.")


def open_folder(
    options: TrainOptions,
    run: Path,
    world: World,
    now: Record | None,
    dataset: Dataset,
    *,
    resume: bool,
    other_code: bool,
    say: Callable[[str], None],
) -> tuple[dict[str, Any] | None, Record | None, list[dict[str, Any]]]:
    """Make the run's folder, or find the checkpoint to go on from; alike on every rank.

    Args:
        now: what is known of the run as it would be made now; None on other ranks than the first.
        dataset: without broken images.
        other_code: go on although code, packages or data are others than the run began with.

    Returns:
        The checkpoint's state, if there is one, `now` with what is known of the run's past, and who
        is trained on; see `trained_identities`.

    Raises:
        InputError: the folder holds a run and `resume` is off; a run of other options, code, data
            or identities, or whose checkpoints are damaged.
    """
    folder, plain = run / "checkpoints", to_plain(options)
    state, problem, changes, begins = None, None, {}, ""
    if not resume and (list_checkpoints(folder) or (run / WEIGHTS).exists()):
        problem = f"'{run}' already holds a run. Go on with it by `resume`, or name another `run`."
    elif resume and (list_checkpoints(folder) or not (run / "config.json").is_file()):
        state, path, notes = checkpoint.load_latest(folder)
        for note in notes:
            say(note if note is not notes[-1] else f"{note} The one before is used.")
        begins = f"Resuming from {path.name}."
        changes = _changed_since(state, options, run)
    elif resume:
        begins = "The run has no checkpoint yet; it starts from its beginning."
        changes = compare_options(read_json(run / "config.json"), plain, run)
    identities = trained_identities(dataset, options, state, run, say) if not problem else []
    if state is not None and now is not None:
        now, problem = _go_on(now, run, state, other_code=other_code, say=say)
    first_problem = next((text for text in world.gather(problem) if text), None)
    if first_problem:
        raise InputError(first_problem)
    if begins:  # it isn't refused
        say(begins)
    tell_changes(changes, say)
    if world.first:
        write_json(run / "config.json", plain)
        (run / checkpoint.ERROR_LOG).unlink(missing_ok=True)  # of an attempt before this one
    return state, now, identities


def _go_on(
    now: Record, run: Path, state: dict[str, Any], *, other_code: bool, say: Callable[[str], None]
) -> tuple[Record, str | None]:
    """The record of a resumed run, and why it must not go on."""
    before = record.read(run)
    if before is None:
        say(
            "note: the run is from before runs kept a record; whether its code and data are still "
            "what it began with isn't known."
        )
        return now, None
    changes = record.other_code(before, now)
    if changes and not other_code:
        return now, record.refuse_other_code(changes, before, run)
    for change in changes:
        say(f"note: {change}.")
    changes += record.other_course(before, now)
    place = f"epoch {_progress(state, str(run)).epoch + 1}"
    return record.go_on(before, now, changes, place), None


def _on_host(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _on_host(item) for key, item in value.items()}
    return value

"""train: from a data set to a run folder with weights, curves and checkpoints."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from vireid.commands.common import is_run, print_json
from vireid.commands.train_run import folder_of_refit, pick_device, refuse_used, train_one
from vireid.commands.train_trials import read_trials, train_all_trials
from vireid.config import Options, option, to_plain
from vireid.console import folder_meant
from vireid.data.registry import facts_of, find_root
from vireid.files import check_folder
from vireid.methods.recipes import augmentation_choices
from vireid.own_code import is_code
from vireid.problems import Problems
from vireid.runtime.device import check_device, device_named
from vireid.testing import TRIALS
from vireid.training.ahead import check_ahead
from vireid.training.defaults import (
    Choices,
    check_own_names,
    defaults,
    options_despite,
    resolve,
)
from vireid.training.flat import of_other_methods
from vireid.training.options import FOREIGN, TrainOptions
from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class Start(Options):
    """Where the options come from, and where the run goes."""

    title: ClassVar[str] = "start"

    recipe: str | None = None
    """How to train: scratch (default without pretrained weights), finetune (scratch with AdamW at a
    low rate, to keep what weights know of people: default with synth), clean (default with other
    weights), or published (as the published code, with its accidents)."""
    augment: str | None = option(None, choices=augmentation_choices)
    """Augmentation preset: {augment}; docs/augmentation.md says what each does. Or
    path/to/my.py:MyAugment, your own on top of the recipe's (default: the recipe's)."""
    max_steps: int | None = option(None, at_least=1, at_most=2**31)
    """Train for about this many steps, in whole epochs of equal length, instead of --epochs; with
    --resume, in epochs of the run's own length."""
    config: Path | None = None
    """JSON or TOML file of options: a run's config.json, or a part of one. Flags override it."""
    print_config: bool = False
    """Print all options that the run would have, as JSON, and exit."""
    run: str | None = None
    """Name of the run, or a path to its folder (default: a name made of data set, method, arch,
    recipe, every option that differs from the recipe, and seed)."""
    model_path: Path = Path("runs")
    """Folder in which runs are made, each in a folder of its own. Weights to start from are
    --pretrained."""
    resume: Path | None = None
    """Continue this run, in its own folder; --epochs or --max-steps may change its length."""
    other_code: bool = False
    """With --resume: go on although the code of your own method or data set, vireid, PyTorch, timm
    or the data are others than the run began with; its record and every report will say so."""
    refit: bool = False
    """With --select val: train again afterwards, on all training identities, for as many steps of
    the same schedule as were best."""
    gpu: int | None = None
    """GPU to train on, by its number from 0; short for --device cuda:N."""


def train(*, options: TrainOptions, start: Start) -> int:
    """Train a method on a data set.

    Ctrl-C saves the run and says how to continue it. Everything about the run is in its folder:
    config.json, log.jsonl, checkpoints, weights.safetensors, curves.png. The defaults shown are
    those of the --method, --recipe and --config given along with --help; --help-all also shows
    the flags that are rarely needed.
    """
    if options.data_root is not None:
        # absolute, so that the run finds its data from every folder
        root = str(Path(options.data_root).expanduser().absolute())
        options = dataclasses.replace(options, data_root=root)
    if start.print_config:
        print_json(to_plain(options))
        return 0
    if start.resume is not None:
        device = pick_device(start.gpu, options.device)
        return _resume(start.resume, start, options, device)
    folder = _run_folder(start, options)
    _check_quickly(options, start, folder)
    device = pick_device(start.gpu, options.device)
    if options.trial == "all":
        return train_all_trials(options, folder, device=device, max_steps=start.max_steps)
    return train_one(
        options,
        folder,
        device=device,
        max_steps=start.max_steps,
        refit=start.refit,
        resume=_restarted(folder),
    )


def _check_quickly(options: TrainOptions, start: Start, folder: Path) -> None:
    """Refuse what can be refused before PyTorch is imported, such as a path that isn't there.

    Raises:
        InputError: all that is wrong.
    """
    problems, device = Problems(), "auto"
    with problems:
        for place in (folder, *([folder_of_refit(folder)] if start.refit else [])):
            check_folder(place, "the run")
            if not _restarted(folder):
                refuse_used(place)
    with problems:
        find_root(facts_of(options.dataset).name, options.data_root)
    with problems:
        named = device_named(start.gpu, options.device).strip().lower()
        check_device(named)
        device = named
    with problems:
        check_ahead(options, device, own="leave")
    problems.tell()


def prepare(words: Sequence[str], problems: Problems) -> dict[str, Options]:
    """The defaults of all flags, as far as method, network, recipe and file decide them; where
    `problems` keeps what is wrong with these, others that the flags can be checked by."""
    found = _prepared(words, problems)
    options, start = found["options"], dataclasses.fields(Start)
    if isinstance(options, TrainOptions) and is_code(options.method):
        taken = (*(field.name for field in start), "help", "help_all")
        check_own_names(type(options.method_options), taken)
    return found


def _prepared(words: Sequence[str], problems: Problems) -> dict[str, Options]:
    names = ("config", "resume", "epochs", "steps-per-epoch", "max-steps")
    typed = {name: _typed(words, name) for name in names}
    for other in ("epochs", "steps-per-epoch"):  # which --max-steps sets
        if typed[other] is not None and typed["max-steps"] is not None:
            raise InputError(f"--{other} and --max-steps contradict each other; give one.")
    choices = _choices(words)
    if typed["resume"] is None:
        options, _ = options_despite(typed["config"], choices, problems)
        return {"start": Start(), "options": options}
    if typed["config"] is not None:
        raise InputError("--resume takes the run's own config.json; leave --config out.")
    folder = Path(typed["resume"])
    if (folder / TRIALS).is_file():
        plain = read_trials(folder)["options"]
        return {"start": Start(), "options": resolve(plain, choices, f"'{folder / TRIALS}'")}
    if not (folder / "config.json").is_file():
        raise InputError(
            f"'{folder}' is not a run: it has no config.json.{folder_meant(folder, is_run)} Give "
            "the folder that `vireid train` wrote."
        )
    return {"start": Start(), "options": defaults(folder / "config.json", choices)}


def _choices(words: Sequence[str]) -> Choices:
    decisive = ("dataset", "method", "arch", "pretrained", "optim", "recipe", "augment")
    return Choices(
        **{name: _typed(words, name) for name in decisive},
        sampler=_typed(words, "sampler"),
        callback=_all_typed(words, "callback"),
        lr=_typed(words, "lr") is not None,
    )


def refuse(flag: str, words: Sequence[str]) -> str | None:
    """A sentence on a flag that another method has, or that is nearest to one of its flags, or
    None; "" where the method isn't known, so that it may have the flag."""
    options, known = options_despite(_typed(words, "config"), _choices(words), Problems())
    names = [field.name for field in dataclasses.fields(Start)]
    found = of_other_methods(flag.removeprefix("no-"), options, [*names, "help", "help_all"])
    if found is None:
        return None
    meant = "" if found.alike else f" Did you mean --{found.name.replace('_', '-')}?"
    if not known:
        return f"`vireid train` has no flag '--{flag}'.{meant}" if meant else ""
    own = dataclasses.fields(options.method_options)
    has = ", ".join(f"--{field.name.replace('_', '-')}" for field in own)
    return (
        f"The method '{options.method}' has no option --{flag}.{meant} {found}. Its own are: {has}."
    )


setattr(train, "prepare", prepare)  # noqa: B010 - read by `commands.flags`
setattr(train, "refuse", refuse)  # noqa: B010
setattr(  # noqa: B010
    train, "foreign", {f"--{name.replace('_', '-')}": text for name, text in FOREIGN.items()}
)


def _typed(words: Sequence[str], name: str) -> str | None:
    """What was typed after a flag, before the flags are parsed; the last one counts."""
    value = None
    for i, word in enumerate(words):
        flag, equals, after = word.partition("=")
        if flag.replace("_", "-") == f"--{name}":
            value = after if equals else words[i + 1] if i + 1 < len(words) else None
    return value


def _all_typed(words: Sequence[str], name: str) -> tuple[str, ...]:
    """All that was typed after a flag that takes several."""
    found: list[str] = []
    for i, word in enumerate(words):
        flag, equals, after = word.partition("=")
        if flag.replace("_", "-") == f"--{name}":
            rest = list(itertools.takewhile(lambda one: not one.startswith("--"), words[i + 1 :]))
            found = [after] if equals else rest
    return tuple(found)


def _restarted(folder: Path) -> bool:
    """Whether `torchrun --max-restarts` starts this very command again: it goes on then."""
    again = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"
    return again and (folder / "config.json").is_file()


def _named_folder(run: str, parent: Path) -> Path:
    """The folder that `--run` names: a name in the parent of runs, or a path."""
    path = Path(run).expanduser()
    return path if path.parent != Path() or path.is_absolute() else parent / path


def _run_folder(start: Start, options: TrainOptions) -> Path:
    if start.run is not None:
        return _named_folder(start.run, start.model_path)
    from vireid.training.naming import run_name

    return start.model_path / run_name(options, start.max_steps)


def _resume(folder: Path, start: Start, options: TrainOptions, device: str) -> int:
    """Go on with a run. Flags that repeat what it is are accepted; the trainer compares, and
    refuses others."""
    named = start.run and _named_folder(start.run, start.model_path)
    if named and named.resolve() != folder.resolve():
        raise InputError(
            f"--resume {folder} goes on in its own folder; leave --run "
            f"'{start.run}' out. To start another run from these weights, use "
            f"--pretrained {folder / 'weights.safetensors'}."
        )
    if (folder / TRIALS).is_file():
        begun = read_trials(folder)["max_steps"]
        max_steps = begun if start.max_steps is None else start.max_steps
        return train_all_trials(
            options, folder, device=device, max_steps=max_steps, other_code=start.other_code
        )
    return train_one(
        options,
        folder,
        device=device,
        max_steps=start.max_steps,
        refit=start.refit,
        resume=True,
        other_code=start.other_code,
    )

"""From a data set's name and folder to its facts and a checked `Dataset`.

Facts are there without NumPy, which would make `--help` slow; loaders import it.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.console import choose, path_meant
from vireid.data.facts import DatasetFacts, Decoding, Rule
from vireid.own_code import answering, import_file, is_code, whole_code_name
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset

DATASETS = {  # name → where its `DatasetFacts` stand; the last one fits every folder
    "sysu": "vireid.data.sysu_mm01:SYSU",
    "regdb": "vireid.data.regdb:REGDB",
    "llcm": "vireid.data.llcm:LLCM",
    "folder": "vireid.data.folder:FOLDER",
}
DEFAULT_DATASET = "sysu"
_registered: dict[str, DatasetFacts] = {}


def register(facts: DatasetFacts) -> DatasetFacts:
    """Make a data set of your own available by its name, in this process.

    The command line takes `path/to/my.py:MY_SET` instead, a `DatasetFacts` in a file.

    Raises:
        InputError: the name belongs to another data set.
    """
    if facts.name in DATASETS or _registered.get(facts.name, facts) != facts:
        raise InputError(
            f"There is a data set named '{facts.name}' already. Give yours another `name`."
        )
    _registered[facts.name] = facts
    return facts


def dataset_names() -> tuple[str, ...]:
    """The data sets of this package, then those registered."""
    return (*DATASETS, *_registered)


def known_facts() -> Iterator[DatasetFacts]:
    """The facts of `dataset_names()`, in that order."""
    yield from map(_built_in, DATASETS)
    yield from _registered.values()


def resolve_dataset(name: str) -> str:
    """The name of a data set, from what a user wrote ("SYSU-MM01"); of "file.py:NAME" the whole
    path, so that a run can be used from every folder.

    Raises:
        InputError: there is no such data set; those that exist are listed.
    """
    if is_code(name):
        return whole_code_name(name)
    aliases = {alias: facts.name for facts in known_facts() for alias in facts.aliases}
    try:
        return choose("data set", name, dataset_names(), aliases=aliases)
    except InputError as error:
        raise InputError(f"{error} For your own, give path/to/my.py:MY_SET.") from None


def facts_of(name: str) -> DatasetFacts:
    """The facts of a data set, by its name or as "path/to/my.py:MY_SET".

    A file given in this way is run, as Python code of the user.

    Raises:
        InputError: there is no such data set, file or constant.
    """
    name = resolve_dataset(name)
    if is_code(name):
        return register(_from_file(*name.rsplit(":", 1)))
    return _registered.get(name) or _built_in(name)


def rule_named(rule: str | Rule) -> Rule:
    """The rule of the data set of that name; a `Rule` is returned as it is.

    Raises:
        InputError: there is no such data set.
    """
    return rule if isinstance(rule, Rule) else facts_of(choose("rule", rule, dataset_names())).rule


def name_of_rule(rule: Rule) -> str:
    """The first data set that has the rule, or the rule in words."""
    return next((facts.name for facts in known_facts() if facts.rule == rule), str(rule))


def title_of(name: str) -> str:
    """A data set's title; of one that isn't registered here, its name."""
    return facts_of(name).title if name in dataset_names() else name


def label_of(name: str) -> str:
    """A name for reports: of "path/to/my.py:MY_SET" without its place on a disk."""
    return name.rsplit(":", 1)[-1] if is_code(name) else name


def find_root(name: str | None, root: str | Path | None) -> Path:
    """The folder of data set `name`, where that is known: `root`, else `$VIREID_DATA/<name>`.

    Raises:
        InputError: neither is given, the folder does not exist, or `vireid synthesize` hasn't
            finished it.
    """
    which = f" '{name}'" if name else ""
    if root is None:
        base = os.environ.get("VIREID_DATA")
        if not base:
            raise InputError(
                f"No folder was given for the data set '{name}'. Give its folder as `data_root`, "
                f"or set the environment variable VIREID_DATA to a folder that holds '{name}'."
            )
        root = Path(base) / str(name)
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(
            f"The folder '{root}' does not exist.{path_meant(root)} Give the folder of the data "
            f"set{which} as `data_root`."
        )
    _refuse_unfinished(root)
    return root


def _refuse_unfinished(root: Path) -> None:
    from vireid.data.protocol import read_marker

    made = read_marker(root)
    if made is not None and not made.get("complete", True):
        raise InputError(
            f"`vireid synthesize` hasn't finished '{root}', so images or lists are missing. The "
            "same command goes on where it was stopped."
        )


def recognise(root: str | Path) -> DatasetFacts:
    """The data set that a folder is laid out as; registered ones are tried first.

    Raises:
        InputError: the folder does not exist.
    """
    root = Path(root).expanduser()
    if not root.exists():
        raise InputError(
            f"There is no folder '{root}'.{path_meant(root)} Give the folder of a data set."
        )
    candidates = [*_registered.values(), *map(_built_in, DATASETS)]
    return next(facts for facts in candidates if facts.is_layout and facts.is_layout(root))


def load_dataset(
    name: str,
    root: str | Path | None,
    *,
    trial: int = 1,
    split_seed: int = 0,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    junk: Sequence[str] = (),
    sensor_cameras: bool = False,
) -> Dataset:
    """Read the list of images, identities, cameras and parts of a data set.

    Args:
        name: of a data set, or path/to/my.py:MY_SET.
        root: its folder (for own images also a table); None means `$VIREID_DATA/<name>`.
        trial: which split of the identities, from 1.
        split_seed: own images only: fixes the split by identity where the data give none.
        camera_pattern: own images only: a regular expression with one group that finds the
            camera number in an image's file name. Data sets that don't use one refuse it.
        intensity_range: what the values of images with more than 8 bits per channel mean; see
            `vireid.data.facts.Decoding`.
        junk: own images only: identities, as they are written there, of nobody, besides -1. Their
            images are left out and counted.
        sensor_cameras: own images only: each sensor's camera numbers are its own, so that camera
            1 of visible images and camera 1 of infrared ones are two cameras.

    Raises:
        InputError: the folder is missing or is not laid out as expected, lists contradict each
            other, a modality has no image, or an identity is both trained on and tested.
    """
    from vireid.data.protocol import check_usable

    dataset = load_unchecked(
        facts_of(name),
        root,
        trial=trial,
        split_seed=split_seed,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
        sensor_cameras=sensor_cameras,
    )
    check_usable(dataset)
    return dataset


def load_unchecked(
    facts: DatasetFacts, root: str | Path | None, *, trial: int, split_seed: int,
    camera_pattern: str | None, intensity_range: str | None, junk: Sequence[str],
    sensor_cameras: bool,
) -> Dataset:  # fmt: skip
    """As `load_dataset`, also where an identity is in two parts or a modality has no image."""
    from vireid.data.protocol import absent_cameras, check_complete, nobody_note
    from vireid.data.unread import unread

    check_trial(facts, trial)
    of_own = {"junk": tuple(junk) or None, "sensor_cameras": sensor_cameras or None}
    of_own = {option: value for option, value in of_own.items() if value is not None}
    check_takes(facts, camera_pattern=camera_pattern, split_seed=split_seed or None, **of_own)
    folder = find_root(facts.name, root)
    with answering(f"The data set '{facts.name}' can't be read from '{folder}'"):
        dataset: Dataset = facts.load(
            folder,
            trial=trial,
            split_seed=split_seed,
            camera_pattern=camera_pattern,
            **of_own,
        )
    check_complete(dataset, facts.title)
    nobody = nobody_note([sample.path for sample in dataset.samples if sample.pid < 0])
    return dataclasses.replace(
        dataset,
        intensity_range=Decoding(intensity_range=intensity_range).intensity_range,
        notes=(*dataset.notes, *nobody, *unread(dataset, root), *absent_cameras(dataset)),
    )


def takes(facts: DatasetFacts, name: str) -> bool:
    """Whether a data set's loader has an option that few have, such as `sensor_cameras`."""
    return name in inspect.signature(facts.load).parameters


def check_takes(facts: DatasetFacts, **given: object) -> None:
    """Refuse options of a loader that a data set's doesn't have.

    Args:
        given: option → its value, or None.

    Raises:
        InputError: there is such an option.
    """
    for option, value in given.items():
        if value is not None and not takes(facts, option):
            raise InputError(
                f"`{option}` is {shown(value)}, but {facts.title} does not use one; it is for "
                "folders of your own images. Leave it out."
            )


def check_trial(facts: DatasetFacts, trial: int) -> None:
    """Refuse a split that a data set doesn't have.

    Raises:
        InputError: no such split.
    """
    if 1 <= trial <= facts.splits:
        return
    if facts.splits == 1:
        raise InputError(f"`trial` is {trial}, but {facts.title} has one split only; leave it out.")
    raise InputError(
        f"`trial` is {trial}; {facts.title} has the splits 1 to {facts.splits}. Give one of them."
    )


def _built_in(name: str) -> DatasetFacts:
    module, constant = DATASETS[name].split(":")
    return getattr(importlib.import_module(module), constant)


def _from_file(file: str, attribute: str) -> DatasetFacts:
    module = import_file(Path(file), "data set")
    facts = getattr(module, attribute, None)
    if not isinstance(facts, DatasetFacts):
        names = [key for key, value in vars(module).items() if isinstance(value, DatasetFacts)]
        raise InputError(
            f"'{file}' has no `DatasetFacts` named '{attribute}'. "
            f"It has: {', '.join(names) or 'none'}."
        )
    return facts

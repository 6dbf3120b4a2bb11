"""What a data set is to the rest of the library, and which searches it defines."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np

from vireid.config import convert
from vireid.console import count_text
from vireid.data.facts import DIRECTIONS, DatasetFacts, Decoding, Direction, Rule
from vireid.files import read_json
from vireid.problems import Problems
from vireid.types import InputError, Modality, Sample

SYNTHETIC_MARKER = ".vireid-synthetic.json"  # written by `vireid synthesize` into its folders


class SyntheticSet(TypedDict):
    """What a set of synthetic people was made with; sizes and the generator's version besides."""

    seed: int


def read_marker(root: Path) -> dict[str, Any] | None:
    """What `vireid synthesize` noted of a folder, or None where it didn't make it.

    Raises:
        InputError: the note can't be read.
    """
    marker = root / SYNTHETIC_MARKER
    return convert(SyntheticSet, read_json(marker), str(marker)) if marker.is_file() else None


@dataclass(frozen=True, kw_only=True)
class PixelFile:
    """A .npy file (n, H, W, 3) uint8 that holds decoded images of a data set.

    Attributes:
        path: relative to the data root.
        rows: (n,) int64; image i of the file is `samples[rows[i]]`.
    """

    path: str
    rows: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Dataset:
    """All images of a data set and the parts they fall into.

    Attributes:
        facts: what the data set states about itself; a loader may replace some (the rule, where
            camera numbers are missing).
        root: the folder that the samples' paths are relative to.
        samples: all images, sorted by path.
        parts: name → int64 rows into `samples`. "train" is what is trained on as published
            (SYSU-MM01: train and validation identities); "fit" is what is trained on when
            the epoch is chosen on "val"; "val" and "test" hold whole identities. Where no
            validation identities exist, "val" is empty and "fit" equals "train". Identities
            with images of one modality only are in neither "train" nor "fit". Images of nobody
            (pid below 0) are in no part, whatever is given.
        trial: which of the data set's splits of the identities, from 1.
        notes: sentences on what was left out, for the user to read.
        roles: (N,) int64, 0 for a query and 1 for a gallery image, -1 for neither, or None
            where the data give no roles.
        pixel_files: decoded images that need no decoding.
        intensity_range: what deep images' values mean; see `Decoding`.
        pid_names: identity → its name, where that isn't its number.
        left_out: images, and folders that end with "/", of which the loader's notes say why they
            are in no sample.
    """

    facts: DatasetFacts
    root: Path
    samples: tuple[Sample, ...]
    parts: dict[str, np.ndarray]
    trial: int = 1
    notes: tuple[str, ...] = ()
    roles: np.ndarray | None = None
    pixel_files: tuple[PixelFile, ...] = ()
    intensity_range: str | None = None
    pid_names: Mapping[int, str] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        nobody = self.pids < 0
        if nobody.any():
            parts = {name: rows[~nobody[rows]] for name, rows in self.parts.items()}
            object.__setattr__(self, "parts", parts)

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.facts.name

    @property
    def rule(self) -> Rule:
        """How a search is scored."""
        return self.facts.rule

    @cached_property
    def decoding(self) -> Decoding:
        """How the image files become pixels."""
        return Decoding(intensity_range=self.intensity_range, orientation=self.facts.orientation)

    @cached_property
    def pids(self) -> np.ndarray:
        """(N,) int64 identities as the data set numbers them; -1 for nobody."""
        return np.array([sample.pid for sample in self.samples], dtype=np.int64)

    @cached_property
    def camids(self) -> np.ndarray:
        """(N,) int64 cameras as the data set numbers them; -1 where unknown."""
        return np.array([sample.camid for sample in self.samples], dtype=np.int64)

    @cached_property
    def modality(self) -> np.ndarray:
        """(N,) int64 values of `Modality`."""
        return np.array([int(sample.modality) for sample in self.samples], dtype=np.int64)

    @cached_property
    def synthetic(self) -> dict[str, Any] | None:
        """What `vireid synthesize` noted of the folder (seed, layout, preset …), or None where
        it didn't make it."""
        return read_marker(self.root)

    def names_of(self, pids: Iterable[int]) -> str:
        """The first of some identities as the data set calls them, as a list in words."""
        return few([self.pid_names.get(int(pid), int(pid)) for pid in pids])

    def __len__(self) -> int:
        return len(self.samples)

    def __repr__(self) -> str:
        return f"Dataset({self.name!r}, root={str(self.root)!r}, images={len(self)})"

    def __str__(self) -> str:
        split = f", trial {self.trial}" if self.facts.splits > 1 else ""
        visible = int(np.sum(self.modality == Modality.VISIBLE))
        people = {name: len(np.unique(self.pids[rows])) for name, rows in self.parts.items()}
        cameras = few(np.unique(self.camids[self.camids >= 0]).tolist(), limit=20)
        return (
            f"{self.facts.title}{split} in {self.root}\n"
            f"images:     {len(self):,} ({visible:,} visible, {len(self) - visible:,} infrared)\n"
            f"identities: {', '.join(f'{count:,} {name}' for name, count in people.items())}\n"
            f"cameras:    {cameras or 'unknown'}"
        )


@dataclass(frozen=True, kw_only=True)
class ProtocolOptions:
    """Which search is run. Every field is part of a number's name.

    What a data set decides (scope, shots, draw, direction, variant) is checked against its facts
    by `of`, which `vireid.data.trials` calls.

    Attributes:
        part: the identities searched for; "val" may be empty.
        scope: which cameras are searched ("indoor" of SYSU-MM01); None: the data set's first.
        shots: gallery images drawn for each identity and camera; None: the data set's first.
        draw: how gallery images are drawn: "seeded" as most public code does, "official" by the
            data set's own permutation file.
        direction: modality of the query, then of the gallery; None: the data set's first.
        num_trials: number of gallery draws; 1 to 10 for "official". Where the whole gallery is
            searched, there is one trial.
        variant: "standard", or one of the data set's variants.
    """

    part: Literal["test", "val"] = "test"
    scope: str | None = None
    shots: int | None = None
    draw: Literal["seeded", "official"] = "seeded"
    direction: Direction | None = None
    num_trials: int = 10
    variant: str = "standard"

    def __post_init__(self) -> None:
        valid: dict[str, tuple] = {
            "part": ("test", "val"),
            "draw": ("seeded", "official"),
            "direction": (None, *DIRECTIONS),
        }
        for name, choices in valid.items():
            if getattr(self, name) not in choices:
                raise InputError(
                    f"`{name}` is {getattr(self, name)!r}; "
                    f"expected one of {', '.join(map(str, filter(None, choices)))}."
                )
        if self.num_trials < 1:
            raise InputError(f"`num_trials` is {self.num_trials}; at least 1 is needed.")

    def of(self, facts: DatasetFacts) -> SearchOptions:
        """The same of one data set, with its own scope, shots and direction where none is given.

        Raises:
            InputError: the data set doesn't define such a search.
        """
        defined = {
            "scope": tuple(facts.scopes),
            "shots": facts.shots,
            "draw": facts.draws,
            "direction": facts.directions,
            "variant": facts.variant_names,
        }
        values = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        problems = Problems()
        for name, choices in defined.items():
            if values[name] is None:
                values[name] = choices[0]
            with problems:
                if values[name] not in choices:
                    one_of = "one of " if len(choices) > 1 else ""
                    raise InputError(
                        f"`{name}` is {values[name]!r}; for the data set {facts.title}, expected "
                        f"{one_of}{', '.join(map(str, choices))}."
                    )
        problems.tell()
        if self.draw == "official" and self.num_trials > 10:
            raise InputError(
                f"`num_trials` is {self.num_trials}; the official permutation file has 10 draws. "
                "Give 1 to 10."
            )
        return SearchOptions(**values)


@dataclass(frozen=True, kw_only=True)
class SearchOptions(ProtocolOptions):
    """`ProtocolOptions` of one data set, which defines such a search; nothing is left open."""

    scope: str
    shots: int
    direction: Direction

    @property
    def query_modality(self) -> Modality:
        """The modality of the queries."""
        if self.direction == "infrared_to_visible":
            return Modality.INFRARED
        return Modality.VISIBLE

    @property
    def gallery_modality(self) -> Modality:
        """The modality of the gallery."""
        return Modality(1 - self.query_modality)


class Trial(NamedTuple):
    """One search: every query against one draw of the gallery.

    Attributes:
        number: the seed of a seeded draw or the row of an official one, from 0; where
            the data set has several splits and searches the whole gallery, the split, from 1.
        query, gallery: int64 rows into `Dataset.samples`.
    """

    number: int
    query: np.ndarray
    gallery: np.ndarray


class TrainingRows(NamedTuple):
    """The images that are trained on, with dense labels.

    Attributes:
        rows: (N,) int64 rows into `Dataset.samples`.
        pid_label, camera_label: (N,) int64 from 0; without camera numbers,
            `camera_label` is the modality.
        modality: (N,) int64.
        pids, camids: the numbers that labels 0, 1, … stand for.
    """

    rows: np.ndarray
    pid_label: np.ndarray
    camera_label: np.ndarray
    modality: np.ndarray
    pids: np.ndarray
    camids: np.ndarray


def training_rows(dataset: Dataset, part: Literal["train", "fit"] = "train") -> TrainingRows:
    """The rows of a training part with dense identity and camera labels.

    Raises:
        InputError: there is no such part, or no image in it.
    """
    if part not in dataset.parts:
        raise InputError(
            f"Data set '{dataset.name}' has no part '{part}'; it has {', '.join(dataset.parts)}."
        )
    rows = dataset.parts[part]
    if not len(rows):
        raise InputError(
            f"The data set '{dataset.name}' in '{dataset.root}' has no identity to train on: "
            "training needs identities with visible and infrared images."
        )
    pids, pid_label = np.unique(dataset.pids[rows], return_inverse=True)
    cameras = dataset.camids[rows]
    if np.any(cameras < 0):
        cameras = dataset.modality[rows]
    camids, camera_label = np.unique(cameras, return_inverse=True)
    return TrainingRows(
        rows,
        pid_label.astype(np.int64),
        camera_label.astype(np.int64),
        dataset.modality[rows],
        pids,
        camids,
    )


def without(dataset: Dataset, valid: np.ndarray) -> Dataset:
    """The data set with the rows where `valid` (N,) is False taken out of every part.

    `samples` and row numbers stay, so a pixel store of the data set still fits. Training
    identities that lose their last image of a modality are taken out of training too.
    """
    if np.all(valid):
        return dataset
    parts = {}
    for name, rows in dataset.parts.items():
        rows = rows[valid[rows]]
        if name in ("train", "fit"):
            rows = rows[in_both_modalities(dataset.pids[rows], dataset.modality[rows])]
        parts[name] = rows
    count = int(np.sum(~valid))
    note = f"{count} broken image{' was' if count == 1 else 's were'} left out."
    return dataclasses.replace(dataset, parts=parts, notes=(*dataset.notes, note))


def in_both_modalities(pids: np.ndarray, modality: np.ndarray) -> np.ndarray:
    """(N,) bool: does the row's identity have rows of both modalities?"""
    visible = np.unique(pids[modality == Modality.VISIBLE])
    infrared = np.unique(pids[modality == Modality.INFRARED])
    return np.isin(pids, np.intersect1d(visible, infrared))


def sorted_samples(samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Samples in the order of their paths, the order that every seeded draw counts in.

    Raises:
        InputError: an image is listed twice.
    """
    ordered = sorted(samples, key=lambda sample: sample.path)
    for one, other in itertools.pairwise(ordered):
        if one.path == other.path:
            raise InputError(
                f"The image '{one.path}' is in two lists of the data set. Every image has one "
                "identity, one modality and one part; remove one of the lines."
            )
    return tuple(ordered)


def make_parts(
    samples: Sequence[Sample],
    identities: dict[str, set[int]],
    *,
    names: Mapping[int, str] = MappingProxyType({}),
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Rows of each part from its identities, and notes on identities left out of training.

    Args:
        samples: in their final order.
        identities: part → identities, for "train", "fit", "val" and "test".
        names: identity → its name, where that isn't its number.
    """
    pids = np.array([sample.pid for sample in samples], dtype=np.int64)
    modality = np.array([int(sample.modality) for sample in samples], dtype=np.int64)
    both = in_both_modalities(pids, modality)
    parts, notes = {}, []
    for name, chosen in identities.items():
        rows = np.flatnonzero(np.isin(pids, sorted(chosen)))
        if name in ("train", "fit"):
            lone = sorted(set(pids[rows[~both[rows]]].tolist()))
            if lone and name == "train":
                notes.append(
                    f"{count_text(len(lone), 'identity', 'identities')} with images of one "
                    f"modality only left out of training: {few([names.get(p, p) for p in lone])}."
                )
            rows = rows[both[rows]]
        parts[name] = rows.astype(np.int64)
    return parts, notes


def nobody_note(paths: Sequence[str], identity: str = "-1") -> list[str]:
    """A note on images of nobody; none where there are none."""
    if not paths:
        return []
    return [
        f"{count_text(len(paths), 'image', 'images')} of nobody (identity {identity}) left out, "
        f"such as '{paths[0]}'."
    ]


def check_complete(dataset: object, title: str) -> None:
    """Refuse what the loader of a user's data set forgot.

    Raises:
        InputError: no `Dataset`, a part that is missing, or samples that are not in order.
    """
    if not isinstance(dataset, Dataset):
        raise InputError(
            f"The `load` of the data set {title} returned {type(dataset).__name__}; a "
            "vireid.data.Dataset was expected."
        )
    absent = [part for part in ("train", "fit", "val", "test") if part not in dataset.parts]
    if absent:
        raise InputError(
            f"The `load` of the data set {title} gives no part {', '.join(absent)}; a part may be "
            "empty, but not absent. `vireid.data.make_parts` makes all four."
        )
    paths = [sample.path for sample in dataset.samples]
    if any(one >= other for one, other in itertools.pairwise(paths)):
        raise InputError(
            f"The samples of the data set {title} are not sorted by path, each path once, so that "
            "a seeded draw would not be the same everywhere. Use `vireid.data.sorted_samples`."
        )


def absent_cameras(dataset: Dataset) -> list[str]:
    """A note on cameras of which this copy of the data set has no image, to test or at all."""
    names = {"this copy": np.arange(len(dataset)), "the test": dataset.parts["test"]}
    for where, rows in names.items():
        absent = sorted({*dataset.facts.cameras} - {*dataset.camids[rows].tolist()})
        if absent and len(rows) and dataset.camids.max() >= 0:
            return [
                f"{dataset.facts.title} has {len(dataset.facts.cameras)} cameras; {where} has no "
                f"image of {few(absent)}, so numbers are not comparable with published ones."
            ]
    return []


def check_usable(dataset: Dataset) -> None:
    """Refuse data whose numbers would mean nothing.

    Raises:
        InputError: a modality has no image, or an identity is in training and in testing.
    """
    for modality in Modality:
        if not np.any(dataset.modality == modality):
            raise InputError(
                f"The data set '{dataset.name}' in '{dataset.root}' has no {modality.word} image. "
                "Visible and infrared images are needed; see docs/data.md for the layout."
            )
    for trained, held in (("train", "test"), ("fit", "val"), ("val", "test")):
        shared = np.intersect1d(
            dataset.pids[dataset.parts[trained]], dataset.pids[dataset.parts[held]]
        )
        if len(shared):
            raise InputError(
                f"{count_text(len(shared), 'identity is', 'identities are')} in both '{trained}' "
                f"and '{held}' of '{dataset.root}': {dataset.names_of(shared)} (an image of the "
                f"first: '{dataset.samples[int(np.argmax(dataset.pids == shared[0]))].path}'). "
                "People to find must never be seen in training; give each identity to one part."
            )


def few(items: Sequence[object], limit: int = 10) -> str:
    """The first items as a list in words."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit} more"

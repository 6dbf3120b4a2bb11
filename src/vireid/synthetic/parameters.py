"""What a data set is a function of, checked; and the file that marks a folder as ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vireid.config import convert, to_plain
from vireid.console import choose
from vireid.data.protocol import SYNTHETIC_MARKER as MARKER
from vireid.files import read_json, write_json
from vireid.problems import Problems
from vireid.synthetic.layouts import LAYOUTS, Split, split_identities
from vireid.synthetic.pictures.render import PASSER_SEED
from vireid.synthetic.preset import preset_named
from vireid.synthetic.versions import GENERATOR_VERSION, VERSIONS, Version
from vireid.types import InputError, shown

SEEDS = 1_000_000_000
"""Seeds are below this; those above belong to the VIReID-Synth releases."""


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """What the bytes of a data set are a function of; `version` is the generator's."""

    layout: str
    identities: int
    test_identities: int
    images: int
    seed: int
    preset: str
    masks: bool = False
    without_person: bool = False
    version: Version = GENERATOR_VERSION

    @property
    def split(self) -> Split:
        return split_identities(self.identities, self.test_identities)


def checked_parameters(
    layout: str,
    identities: int,
    test_identities: int | None,
    images: int,
    seed: int,
    preset: str,
    masks: bool,
    without_person: bool,
    version: Version = GENERATOR_VERSION,
) -> Parameters:
    """Parameters of a data set, with the defaults filled in.

    Raises:
        InputError: some of them are out of range or name nothing; all are told.
    """
    problems = Problems()
    with problems:
        layout = choose("layout", layout, tuple(LAYOUTS))
    with problems:
        preset, _ = preset_named(preset)
    with problems:
        if version not in VERSIONS:
            raise InputError(
                f"`version` is {version}; this generator draws {', '.join(map(str, VERSIONS))}."
            )
    with problems:
        if identities < 3:
            raise InputError(
                f"`identities` is {identities}; at least 3 are needed: one to train on and "
                "two to test on. Give a larger number."
            )
        if identities > 9999:
            raise InputError(
                f"`identities` is {identities}; folder names have four digits, so at most "
                "9999 are possible. Make several data sets with different seeds."
            )
        if test_identities is None:
            test_identities = max(2, identities // 5)
        if not 1 <= test_identities < identities:
            raise InputError(
                f"`test_identities` is {test_identities} of {identities} identities; at "
                f"least 1 and at most {identities - 1} are possible, since test "
                "identities count among all identities."
            )
    with problems:
        if not 1 <= images <= 9999:
            raise InputError(
                f"`images` is {images}; 1 to 9999 images of each identity by each camera are "
                "possible."
            )
    with problems:
        if not 0 <= seed < SEEDS:
            raise InputError(
                f"`seed` is {seed}; 0 to {SEEDS - 1:,} is possible (higher seeds are "
                "reserved for the VIReID-Synth releases)."
            )
        if seed == PASSER_SEED:
            raise InputError(
                f"`seed` is {seed}; its people are the passers-by in the images of every data set. "
                "Choose another seed."
            )
    problems.tell()
    assert test_identities is not None
    return Parameters(
        layout=layout,
        identities=identities,
        test_identities=test_identities,
        images=images,
        seed=seed,
        preset=preset,
        masks=masks,
        without_person=without_person,
        version=version,
    )


def claim(out: Path, parameters: Parameters) -> bool:
    """Mark the folder as ours, or check that it is; returns whether an earlier call began it.

    Raises:
        InputError: a file, a folder with other content, or one begun with other parameters.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"'{out}' is a file; a folder to write to was expected.")
    marker, ours = out / MARKER, to_plain(parameters)
    if marker.exists():
        before = convert(dict[str, Any], read_json(marker), str(marker))
        before.pop("complete", None)
        if before != ours:
            differences = ", ".join(
                f"{name[:40]} {shown(before.get(name))} instead of {ours.get(name)}"
                for name in sorted({*before, *ours})
                if before.get(name) != ours.get(name)
            )
            raise InputError(
                f"The folder '{out}' was begun with other parameters ({differences}). Give the "
                "same ones to continue it, or name another folder."
            )
        return True
    if out.exists() and any(out.iterdir()):
        raise InputError(
            f"The folder '{out}' is not empty and was not made by this command. "
            "Nothing was written. Name a new or an empty folder."
        )
    write_json(marker, {**ours, "complete": False})
    return False


def mark_complete(out: Path, parameters: Parameters) -> None:
    """Note in the marker that every file is there."""
    write_json(out / MARKER, {**to_plain(parameters), "complete": True})

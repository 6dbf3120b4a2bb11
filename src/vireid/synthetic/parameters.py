"""What a data set is a function of, checked; and the marker that makes a folder ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from vireid.config import to_plain
from vireid.console import choose
from vireid.files import read_json, write_json
from vireid.synthetic.layouts import LAYOUTS, Split, split_identities
from vireid.synthetic.preset import preset_named
from vireid.synthetic.versions import GENERATOR_VERSION, Version
from vireid.types import InputError

MARKER = ".vireid-synthetic.json"
"""File that says a folder is ours, and with which parameters it is made."""
SEEDS = 1_000_000_000
"""Seeds are below this; those above belong to VIReID-Synth releases and passers-by."""


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
    layout, identities, test_identities, images, seed, preset, masks, without_person
) -> Parameters:
    layout = choose("layout", layout, tuple(LAYOUTS))
    preset, _ = preset_named(preset)
    if identities < 3:
        raise InputError(
            f"identities is {identities}; at least 3 are needed: one to train on and "
            "two to test on. Give a larger number."
        )
    if identities > 9999:
        raise InputError(
            f"identities is {identities}; folders have four digits, so at most 9999 "
            "fit. Make several data sets with other seeds."
        )
    if test_identities is None:
        test_identities = max(2, identities // 5)
    if not 1 <= test_identities < identities:
        raise InputError(
            f"test_identities is {test_identities} of {identities} identities; at "
            f"least 1 and at most {identities - 1} are possible, since test "
            "identities count among all identities."
        )
    if not 1 <= images <= 9999:
        raise InputError(
            f"images is {images}; 1 to 9999 images of each identity by each camera are possible."
        )
    if not 0 <= seed < SEEDS:
        raise InputError(
            f"seed is {seed}; 0 to {SEEDS - 1:,} is possible (higher seeds are kept "
            "for the VIReID-Synth releases)."
        )
    return Parameters(
        layout=layout,
        identities=identities,
        test_identities=test_identities,
        images=images,
        seed=seed,
        preset=preset,
        masks=masks,
        without_person=without_person,
    )


def claim(out: Path, parameters: Parameters) -> bool:
    """Make the folder ours, or see that it is; whether an earlier call began it."""
    if out.exists() and not out.is_dir():
        raise InputError(f"'{out}' is a file; a folder to write to was expected.")
    marker = out / MARKER
    if marker.exists():
        before = read_json(marker)
        before.pop("complete", None)
        if before != to_plain(parameters):
            names = sorted(
                name
                for name in {*before, *to_plain(parameters)}
                if before.get(name) != to_plain(parameters).get(name)
            )
            told = ", ".join(
                f"{name} {before.get(name)} instead of {to_plain(parameters).get(name)}"
                for name in names
            )
            raise InputError(
                f"The folder '{out}' was begun with other parameters ({told}). Give "
                "the same ones to continue it, or name another folder."
            )
        return True
    if out.exists() and any(out.iterdir()):
        raise InputError(
            f"The folder '{out}' is not empty and was not made by this command. "
            "Nothing was written. Name a new or an empty folder."
        )
    write_json(marker, {**to_plain(parameters), "complete": False})
    return False


def mark_complete(out: Path, parameters: Parameters) -> None:
    """Note in the marker that every file is there."""
    write_json(out / MARKER, {**to_plain(parameters), "complete": True})

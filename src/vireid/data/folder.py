"""A user's own images: `visible/PID/*` and `infrared/PID/*`, or a CSV table of paths.

Identities fall into train, val and test by a seed where the table gives no split: a fifth (at
least 2) for testing, a sixth of the rest for validation.
"""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.data.facts import DatasetFacts, Rule
from vireid.data.listing import folder_names, image_names, left_out, walk
from vireid.data.table import Table, read_table
from vireid.types import FIRST_NAME, InputError, Modality, Sample, parse_pid

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset

MODALITY_FOLDERS = {
    **dict.fromkeys(("visible", "vis", "rgb"), Modality.VISIBLE),
    **dict.fromkeys(("infrared", "ir", "nir", "thermal"), Modality.INFRARED),
}
TABLE_NAME = "samples.csv"


def load(
    root: Path,
    *,
    trial: int = 1,
    split_seed: int = 0,
    camera_pattern: str | None = None,
    junk: Sequence[str] = (),
    sensor_cameras: bool = False,
) -> Dataset:
    """Read own images.

    Args:
        root: a folder with `visible/PID/*` and `infrared/PID/*`, a folder with `samples.csv`, or
            a CSV table; see docs/data.md.
        split_seed: fixes which identities are trained on, where the table names no split.
        camera_pattern: regular expression with one group that finds the camera's number in a
            file name; folders only.
        junk, sensor_cameras: see `vireid.data.load_dataset`.

    Raises:
        InputError: the folder has neither form, or a name or the table can't be read.
    """
    root = Path(root)
    table = root if root.is_file() else root / TABLE_NAME
    if table.is_file():
        if camera_pattern is not None:
            raise InputError(
                f"A camera pattern was given, but '{table}' is a table. Give the camera in its "
                "column 'camid'."
            )
        facts, listed = dataclasses.replace(FOLDER, layout=table.name), read_table(table)
        root = table.parent
    else:
        facts, listed = FOLDER, _scan(root, camera_pattern)
    nobody = {-1, *map(parse_pid, junk)}
    notes = [*listed.notes]
    if sensor_cameras:
        notes += _number_apart(listed)
    notes += _unknown(nobody, listed)
    return _dataset(root, listed, split_seed, facts, nobody, notes)


def _unknown(junk: set[int], table: Table) -> list[str]:
    """A note on junk identities that are not there: one may be misspelled."""
    absent = sorted(junk - {-1} - {sample.pid for sample in table.samples})
    return [f"No image shows an identity named by `junk`: {absent}."] if absent else []


def _number_apart(table: Table) -> list[str]:
    """Number infrared cameras after all others where a number stands for both sensors."""
    camids = {m: {s.camid for s in table.samples if s.modality == m} for m in Modality}
    if -1 in camids[Modality.VISIBLE] | camids[Modality.INFRARED]:
        raise InputError(
            "`sensor_cameras` numbers the cameras of the two sensors apart, but these images have "
            "no camera numbers. Leave it out."
        )
    if not camids[Modality.VISIBLE] & camids[Modality.INFRARED]:
        return ["No camera number stands for both sensors; `sensor_cameras` changes nothing."]
    more = max(camids[Modality.VISIBLE] | camids[Modality.INFRARED]) + 1
    more -= min(camids[Modality.INFRARED])
    table.samples = [
        dataclasses.replace(sample, camid=sample.camid + more) if sample.modality else sample
        for sample in table.samples
    ]
    return [f"Camera N of the infrared images is counted as camera N + {more}."]


def _dataset(
    root: Path,
    table: Table,
    split_seed: int,
    facts: DatasetFacts,
    junk: set[int],
    notes: list[str],
) -> Dataset:
    import numpy as np

    from vireid.data.protocol import Dataset, make_parts, nobody_note, sorted_samples

    samples = sorted_samples([sample for sample in table.samples if sample.pid not in junk])
    left_out = [sample for sample in table.samples if sample.pid in junk]
    for pid in sorted(junk):
        paths = [sample.path for sample in left_out if sample.pid == pid]
        notes += nobody_note(paths, "-1" if pid < 0 else table.names.get(pid, str(pid)))
    if table.split is None:
        identities = split_identities(samples, split_seed)
        notes.append(
            f"Split by identity with seed {split_seed}: {len(identities['fit'])} to train on, "
            f"{len(identities['val'])} for validation, {len(identities['test'])} for testing."
        )
    else:
        identities = {name: set() for name in ("fit", "val", "test")}
        for sample in samples:
            identities[table.split[sample.path]].add(sample.pid)
        identities["train"] = identities["fit"] | identities["val"]
    names = {pid: name for pid, name in table.names.items() if pid >= FIRST_NAME}
    parts, alone = make_parts(samples, identities, names=names)
    if not all(sample.camid >= 0 for sample in samples):
        facts = dataclasses.replace(facts, rule=Rule(), whole_gallery=True)
    roles = None
    if table.roles is not None:
        roles = np.array([table.roles[sample.path] for sample in samples], dtype=np.int64)
    return Dataset(
        facts=facts,
        root=root,
        samples=samples,
        parts=parts,
        notes=(*notes, *alone),
        roles=roles,
        pid_names=names,
        left_out=tuple(sample.path for sample in left_out),
    )


def split_identities(samples: tuple[Sample, ...], seed: int) -> dict[str, set[int]]:
    """Identities of each part, drawn by a seed.

    Identities with images of one modality cannot be trained on; all of them go to testing, as
    distractors.
    """
    import numpy as np

    of = {m: {s.pid for s in samples if s.modality == m} for m in Modality}
    both = sorted(of[Modality.VISIBLE] & of[Modality.INFRARED])
    lone = of[Modality.VISIBLE] ^ of[Modality.INFRARED]
    order = np.random.default_rng(seed).permutation(len(both))
    num_test = min(len(both), max(2, len(both) // 5))
    num_val = (len(both) - num_test) // 6
    shuffled = [both[position] for position in order]
    test, val = shuffled[:num_test], shuffled[num_test : num_test + num_val]
    fit = set(shuffled[num_test + num_val :])
    return {"train": fit | set(val), "fit": fit, "val": set(val), "test": set(test) | lone}


def _scan(root: Path, camera_pattern: str | None) -> Table:
    """A folder's images as a table."""
    pattern = _compile(camera_pattern)
    images: list[tuple[str, str, Modality]] = []
    for top in folder_names(root):
        modality = MODALITY_FOLDERS.get(top.lower())
        if modality is None:
            continue  # another folder of the user's
        for name in folder_names(root / top):
            images += [
                (f"{top}/{name}/{image}", name, modality)
                for image in image_names(root / top / name)
            ]
    if not images:
        why = (
            f"'{root}' has no images of people. Expected {FOLDER.layout}, or a table {TABLE_NAME} "
            "with the columns path, pid and modality."
        )
        raise InputError(" ".join([why, *_what_there_is(root)]))
    samples = [
        Sample(path=path, pid=parse_pid(name), camid=_camera(pattern, path), modality=modality)
        for path, name, modality in images
    ]
    return Table(samples=samples, names={parse_pid(name): name for _, name, _ in images})


def _what_there_is(root: Path) -> list[str]:
    found = walk(root)
    others = [left_out("images elsewhere", found.images)] if found.images else []
    return [*others, *found.notes()]


def _compile(camera_pattern: str | None) -> re.Pattern[str] | None:
    if camera_pattern is None:
        return None
    try:
        with warnings.catch_warnings():  # of what a coming Python would read differently
            warnings.simplefilter("ignore", FutureWarning)
            pattern = re.compile(camera_pattern, re.ASCII)
    except (re.error, OverflowError, RecursionError) as error:
        raise InputError(
            f"The camera pattern '{camera_pattern}' is not a regular expression: {error}. Write "
            r"for example 'c(\d+)_'."
        ) from error
    if pattern.groups != 1:
        raise InputError(
            f"The camera pattern '{camera_pattern}' has {pattern.groups} groups; exactly one, "
            r"around the camera's number, was expected, for example 'c(\d+)_'."
        )
    return pattern


def _camera(pattern: re.Pattern[str] | None, path: str) -> int:
    if pattern is None:
        return -1
    match = pattern.search(path.rsplit("/", 1)[-1])
    digits = match.group(1) if match else None
    if not digits or not (digits.isascii() and digits.isdigit() and len(digits) <= 9):
        raise InputError(
            f"The camera pattern '{pattern.pattern}' finds no number in the file name of "
            f"'{path}'. Correct the pattern, or leave it out."
        )
    return int(digits)


FOLDER = DatasetFacts(
    name="folder",
    title="own data",
    aliases=("own", "csv"),
    load=load,
    layout="visible/PID/* and infrared/PID/*",
    is_layout=lambda root: True,
    rule=Rule(skip_same_camera=True, collapse_identities=True),  # with camera numbers
)

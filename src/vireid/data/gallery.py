"""Which images are queries and which are drawn into the gallery, for each trial.

Sources: SYSU-MM01's seeded draw as AGW, MCLNet and DDAG do it; the official draw from the data
set's own permutation file; LLCM's draw and its swapped variant as in DEEN's public test script.
The multi-shot seeded draw is ours: the published code defines none.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from vireid.data.permutation import read_permutations
from vireid.data.protocol import Dataset, ProtocolOptions, Trial
from vireid.types import InputError, Modality

INDOOR_VISIBLE_CAMERAS = (1, 2)  # SYSU-MM01; its infrared cameras are searched in both scopes

# (identity, camera) → rows in the order of their paths; keys in sorted order.
Groups = dict[tuple[int, int], list[int]]


def trials(dataset: Dataset, options: ProtocolOptions) -> list[Trial]:
    """The searches that a protocol asks of a data set.

    Queries are in the order identity, camera, path; so is the gallery.

    Raises:
        InputError: the data set has no such protocol, the part is empty, or the permutation
            file of the official draw is missing or does not fit the images.
    """
    _check(dataset, options)
    query, gallery, roles_given = _sides(dataset, options)
    if roles_given or dataset.rule == "regdb":
        return [Trial(dataset.trial if dataset.name == "regdb" else 0, query, gallery)]
    groups = _groups(dataset, gallery)
    draw = _drawer(dataset, options, groups)
    out = []
    for number in range(options.num_trials):
        drawn = np.array(draw(number), dtype=np.int64)
        if options.variant == "legacy-deen" and options.query_modality == Modality.VISIBLE:
            out.append(Trial(number, drawn, query))
        else:
            out.append(Trial(number, query, drawn))
    return out


def _sides(dataset: Dataset, options: ProtocolOptions) -> tuple[np.ndarray, np.ndarray, bool]:
    """All query rows, all rows the gallery is drawn from, and whether the data name both."""
    rows = dataset.parts[options.part]
    roles = None if dataset.roles is None else dataset.roles[rows]
    roles_given = roles is not None and bool(np.any(roles >= 0))
    sides = []
    for side, role, modality in (
        ("query", 0, options.query_modality),
        ("gallery", 1, options.gallery_modality),
    ):
        keep = dataset.modality[rows] == modality
        if roles is not None and roles_given:
            keep &= roles == role
        if options.scope == "indoor" and modality == Modality.VISIBLE:
            keep &= np.isin(dataset.camids[rows], INDOOR_VISIBLE_CAMERAS)
        found = rows[keep]
        if not len(found):
            raise InputError(
                f"The part '{options.part}' of '{dataset.root}' has no {modality.word} image for "
                f"the {side} of {options.direction.replace('_', ' ')} search. Choose another part "
                "or direction; docs/data.md says how identities come into each part."
            )
        # samples are sorted by path already, so rows break ties in the order of paths
        sides.append(found[np.lexsort((found, dataset.camids[found], dataset.pids[found]))])
    return sides[0], sides[1], roles_given


def _groups(dataset: Dataset, rows: np.ndarray) -> Groups:
    groups: Groups = {}
    for row in rows.tolist():
        groups.setdefault((int(dataset.pids[row]), int(dataset.camids[row])), []).append(row)
    return groups


def _drawer(
    dataset: Dataset, options: ProtocolOptions, groups: Groups
) -> Callable[[int], list[int]]:
    if options.draw == "seeded":
        return lambda number: seeded_draw(groups, number, options.shots)
    permutations = read_permutations(dataset.root / "exp" / "rand_perm_cam.mat")

    def official(number: int) -> list[int]:
        drawn = []
        for (pid, camid), files in groups.items():
            order = permutations.order(pid, camid, number, expected=len(files))
            drawn += [files[position] for position in order[: options.shots]]
        return drawn

    return official


def seeded_draw(groups: Groups, number: int, shots: int) -> list[int]:
    """One draw of `shots` files per identity and camera, from Python's generator at `number`."""
    generator = random.Random(number)  # the same stream as random.seed(number)
    if shots == 1:
        return [generator.choice(files) for files in groups.values()]
    drawn = []
    for files in groups.values():
        drawn += generator.sample(files, min(shots, len(files)))
    return drawn


def _check(dataset: Dataset, options: ProtocolOptions) -> None:
    """Refuse what a data set's evaluation does not define."""
    if dataset.name != "sysu":
        for name, value, default in (
            ("scope", options.scope, "all"),
            ("shots", options.shots, 1),
            ("draw", options.draw, "seeded"),
        ):
            if value != default:
                raise InputError(
                    f"The protocol asks for {name} '{value}' on the data set '{dataset.name}'. "
                    f"Only SYSU-MM01 has it; leave {name} at '{default}'."
                )
    if options.variant == "legacy-deen" and dataset.name != "llcm":
        raise InputError(
            f"The protocol 'legacy-deen' is LLCM's; the data set here is '{dataset.name}'. "
            "Use the standard protocol."
        )
    if options.draw == "official" and options.num_trials > 10:
        raise InputError(
            f"num_trials is {options.num_trials}; the official permutation file has 10 draws. "
            "Give 1 to 10."
        )

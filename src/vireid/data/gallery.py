"""Which images are queries and which are drawn into the gallery, for each trial.

Sources: SYSU-MM01's seeded draw as AGW, MCLNet and DDAG do it; the official draw from the data
set's own permutation file; LLCM's draw and its swapped variant as in DEEN's public test script.
The multi-shot seeded draw is ours: the published code defines none.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from vireid.data.facts import DatasetFacts
from vireid.data.permutation import read_permutations
from vireid.data.protocol import Dataset, ProtocolOptions, SearchOptions, Trial
from vireid.types import InputError

# (identity, camera) → rows in the order of their paths; keys in sorted order.
Groups = dict[tuple[int, int], list[int]]


def trials(dataset: Dataset, options: ProtocolOptions) -> list[Trial]:
    """The searches that a protocol asks of a data set.

    Queries are in the order identity, camera, path; so is the gallery.

    Raises:
        InputError: the data set has no such protocol, the part is empty, or the permutation
            file of the official draw is missing or does not fit the images.
    """
    facts = dataset.facts
    options = options.of(facts)
    query, gallery = sides(dataset, options)
    if searches_whole_gallery(dataset, options):
        return [Trial(dataset.trial if facts.splits > 1 else 0, query, gallery)]
    groups = _groups(dataset, gallery)
    draw = _drawer(dataset, options, groups)
    swap = swaps(facts, options)
    out = []
    for number in range(options.num_trials):
        drawn = np.array(draw(number), dtype=np.int64)
        out.append(Trial(number, drawn, query) if swap else Trial(number, query, drawn))
    return out


def swaps(facts: DatasetFacts, options: SearchOptions) -> bool:
    """Whether a variant draws the queries and searches all images of their modality."""
    variant = facts.variants.get(options.variant)
    return variant is not None and variant.swap and variant.direction == options.direction


def rows_of(drawn: Sequence[Trial]) -> np.ndarray:
    """The rows that trials name, each once, sorted."""
    return np.unique(np.concatenate([side for t in drawn for side in (t.query, t.gallery)]))


def searches_whole_gallery(dataset: Dataset, options: ProtocolOptions) -> bool:
    """Whether all images are searched, not a draw: as the data set says, or where the data say
    which images are queries."""
    return dataset.facts.whole_gallery or _roles(dataset, options) is not None


def _roles(dataset: Dataset, options: ProtocolOptions) -> np.ndarray | None:
    """Roles of the part's rows, or None where the data give none."""
    roles = None if dataset.roles is None else dataset.roles[dataset.parts[options.part]]
    return roles if roles is not None and np.any(roles >= 0) else None


def sides(dataset: Dataset, options: SearchOptions) -> tuple[np.ndarray, np.ndarray]:
    """All query rows, and all rows that the gallery is drawn from.

    Raises:
        InputError: one of them is empty.
    """
    rows, roles = dataset.parts[options.part], _roles(dataset, options)
    cameras = dataset.facts.scopes[options.scope]
    both = []
    for side, role, modality in (
        ("query", 0, options.query_modality),
        ("gallery", 1, options.gallery_modality),
    ):
        keep = dataset.modality[rows] == modality
        if roles is not None:
            keep &= roles == role
        if cameras is not None:
            keep &= np.isin(dataset.camids[rows], cameras)
        side_rows = rows[keep]
        if not len(side_rows):
            raise InputError(
                f"The part '{options.part}' of '{dataset.root}' has no {modality.word} image for "
                f"the {side} of {options.direction.replace('_', ' ')} search. Choose another part "
                "or direction; docs/data.md says how identities come into each part."
            )
        # samples are sorted by path already, so rows break ties in the order of paths
        order = np.lexsort((side_rows, dataset.camids[side_rows], dataset.pids[side_rows]))
        both.append(side_rows[order])
    return both[0], both[1]


def _groups(dataset: Dataset, rows: np.ndarray) -> Groups:
    groups: Groups = {}
    for row in rows.tolist():
        groups.setdefault((int(dataset.pids[row]), int(dataset.camids[row])), []).append(row)
    return groups


def _drawer(dataset: Dataset, options: SearchOptions, groups: Groups) -> Callable[[int], list[int]]:
    file = dataset.facts.permutations
    if options.draw == "seeded" or file is None:
        return lambda number: seeded_draw(groups, number, options.shots)
    permutations = read_permutations(dataset.root / file)

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

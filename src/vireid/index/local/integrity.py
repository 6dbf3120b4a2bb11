"""Checks that read everything that a local index stores."""

from __future__ import annotations

import numpy as np

from vireid.index.checks import in_blocks
from vireid.index.local import projection, store
from vireid.index.local.state import State
from vireid.types import shown

NAMED = 5  # damaged entries that are listed by path; the others are only counted


def unusable_entries(named: list[tuple[int, str, str]], count: int) -> list[str]:
    """Sentences on entries that were changed into something that can't be.

    Args:
        named: id, path and wrong column of some of them.
        count: how many there are.
    """
    problems = [
        f"Entry {number} ({shown(path)}) can't be used, as its {wrong} can't be: embed that image "
        "again and `vireid index update` it; `vireid index compact` removes such entries."
        for number, path, wrong in named
    ]
    if count > len(named):
        problems.append(f"{count - len(named)} more entries can't be used.")
    return problems


def damaged_vectors(state: State, stored: list[tuple[int, int, str]]) -> list[str]:
    """Sentences on entries whose vector is not what was written.

    Args:
        state: a state.
        stored: slot, checksum and path of its entries, in order of slot.
    """
    beyond = [path for slot, _, path in stored if slot >= len(state.vectors)]
    wrong = []
    inside = stored[: len(stored) - len(beyond)]
    for block in in_blocks(inside, store.CHUNK):
        rows = np.ascontiguousarray(state.vectors[[slot for slot, _, _ in block]])
        checksums = store.checksums_of(rows)
        wrong += [path for now, (_, then, path) in zip(checksums, block) if now != then]
    problems = [
        f"The vector of '{path}' is damaged: embed that image again and `vireid index update` it."
        for path in wrong[:NAMED]
    ]
    if len(wrong) > NAMED:
        problems.append(f"{len(wrong) - NAMED} more vectors are damaged.")
    if beyond:
        problems.append(
            f"{len(beyond)} entries have no vector ('{beyond[0]}' is one): add them again."
        )
    return problems


def damaged_codes(state: State) -> list[str]:
    """Sentences on the projection of a state."""
    if not state.head.projection:
        return []
    undamaged = state.projection is not None and all(
        projection.codes_agree(state.projection, state.vectors, slots)
        for slots in in_blocks(state.live[state.live < state.head.projected], store.CHUNK)
    )
    if undamaged:
        return []
    return ["The projection is damaged (no entry is): run `vireid index compact`."]

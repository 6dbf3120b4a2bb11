"""Which reports of two sides answer the same question, so that they can be compared."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, NamedTuple

from vireid.evaluation.protocol import PROTOCOL_WORDS, choice_words, protocol_value
from vireid.evaluation.report import Report
from vireid.evaluation.unlike import differing_searches, joined
from vireid.types import InputError

# How a run is tested, beside the search and re-ranking; the two sides may differ in it.
_TESTED = ("precision", "preprocessing", "epoch_choice")


class Question(NamedTuple):
    """Reports of two sides that can be compared.

    Attributes:
        one, other: of each side, at least one report.
        words: the search, and what else tells the question from others.
        left_out: sentences on reports that one side only has.
    """

    one: list[Report]
    other: list[Report]
    words: str
    left_out: tuple[str, ...] = ()


def questions_of(ones: Sequence[Report], others: Sequence[Report]) -> list[Question]:
    """The questions that both sides answer, at least one for each search that both have.

    Raises:
        InputError: the sides share no search.
    """
    found: list[Question] = []
    alone: list[Report] = []
    for search in _searches([*ones, *others]):
        one, other = (
            [r for r in side if not differing_searches([search, r])] for side in (ones, others)
        )
        if one and other:
            found += _tested_alike(one, other)
        else:
            alone.append(search)
    if not found:
        words = [PROTOCOL_WORDS[n].lower() for n in differing_searches([ones[0], others[0]])]
        raise InputError(
            f"The two sides share no search: they differ in {joined(words)}. Test both alike."
        )
    first = found[0].one[0]
    left = tuple(_on_one_side(one, differing_searches([first, one])) for one in alone)
    return [*found[:-1], found[-1]._replace(left_out=(*found[-1].left_out, *left))]


def _on_one_side(report: Report, fields: Sequence[str]) -> str:
    """A sentence on reports that the other side has none like, by the fields that tell them from
    others."""
    words = [f"{PROTOCOL_WORDS[n].lower()} {protocol_value(report.protocol, n)}" for n in fields]
    return f"Reports with {joined(words)} are on one side only and are left out."


def _searches(reports: Sequence[Report]) -> list[Report]:
    """One report of each search."""
    found: list[Report] = []
    for report in reports:
        if all(differing_searches([report, other]) for other in found):
            found.append(report)
    return found


def _tested_alike(one: list[Report], other: list[Report]) -> list[Question]:
    """Reports of one search by how they were tested, where each side has a test of all its models
    that is like one of the other side; else all of them, which can be compared only if a side's
    are alike."""
    words = one[0].protocol.search()
    fields = [n for n in _TESTED if any(len({_value(r, n) for r in s}) > 1 for s in (one, other))]
    kinds: list[dict[tuple[Hashable, ...], list[Report]]] = [{}, {}]
    for kind, side in zip(kinds, (one, other)):
        for report in side:
            kind.setdefault(tuple(_value(report, name) for name in fields), []).append(report)
    shared = [key for key in kinds[0] if key in kinds[1]]
    if not fields or not any(
        all(_models(kind[key]) == _models(side) for kind, side in zip(kinds, (one, other)))
        for key in shared
    ):
        return [Question(one, other, words)]
    left = [
        _on_one_side(reports[0], fields) for kind in kinds for key, reports in kind.items()
        if key not in shared
    ]  # fmt: skip
    found = []
    for key in shared:
        protocol = kinds[0][key][0].protocol
        values = [f"{PROTOCOL_WORDS[n].lower()} {protocol_value(protocol, n)}" for n in fields]
        also = values if len(shared) > 1 else []
        found.append(Question(kinds[0][key], kinds[1][key], ", ".join([words, *also])))
    found[-1] = found[-1]._replace(left_out=tuple(dict.fromkeys(left)))
    return found


def _value(report: Report, name: str) -> Hashable:
    value: Any = getattr(report.protocol, name)
    return choice_words(value) if name == "epoch_choice" else repr(value)


def _models(reports: Sequence[Report]) -> set[tuple[int | None, int | None]]:
    return {(report.protocol.seed, report.protocol.split) for report in reports}

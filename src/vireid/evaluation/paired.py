"""Is one way of training better than another? Their runs compared in pairs of one seed and one
start, with what may be said of the difference."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.evaluation import tables
from vireid.evaluation.averaging import average_all
from vireid.evaluation.comparison import method_words
from vireid.evaluation.difference import Difference
from vireid.evaluation.measures import METRICS
from vireid.evaluation.numbers import RERANKED, numbers_of, raw_once
from vireid.evaluation.questions import Question, questions_of
from vireid.evaluation.report import Report
from vireid.evaluation.significance import (
    FEWEST_PAIRS,
    Interval,
    count_identities,
    over_identities,
    too_few,
)
from vireid.evaluation.unlike import differences, differing_options, joined, short_names
from vireid.files import write_json, write_text
from vireid.types import InputError

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """Two ways of training, compared in one search.

    Attributes:
        one, other: what the sides are, in words.
        differs: in what they differ, in words with both values; empty if in nothing.
        search: the search in words.
        pairs: names of the pairs, such as "seed 0".
        unpaired: sentences on reports without a partner.
        results: of every test embedding and metric.
        notes: what a reader must know besides.
    """

    one: str
    other: str
    differs: tuple[str, ...]
    search: str
    pairs: tuple[str, ...]
    unpaired: tuple[str, ...]
    results: tuple[Difference, ...]
    notes: tuple[str, ...] = ()

    def shown(self, *, everywhere: bool = False) -> list[Difference]:
        """The results of metrics that are `in_comparison`; all of them with `everywhere`."""
        return [r for r in self.results if everywhere or METRICS[r.metric].in_comparison]

    def title(self) -> str:
        """What is compared, in words."""
        return f"{self.one} minus {self.other}"

    def heading(self) -> str:
        """What is compared, and in which search."""
        return f"{self.title()}: {self.search}"

    def differing(self) -> str:
        """In what the sides differ, as a sentence."""
        if not self.differs:
            return "Nothing that their reports hold differs, but the runs themselves."
        return f"They differ in {joined(list(self.differs))}."

    def to_table(self) -> Table:
        """For `vireid.console.results.print`."""
        from vireid.console import table

        columns = ["", "Metric", *self.pairs, "Mean ± dev."]
        rows, last = [], ""
        for result in self.shown():
            deviation = "" if math.isnan(result.std) else f" ± {result._text(result.std, '')}"
            name = result.embedding if result.embedding != last else ""
            last = result.embedding
            cells = [result._text(value) for value in result.values]
            mean = f"{result._text(result.mean)}{deviation}"
            rows.append([name, METRICS[result.metric].head, *cells, mean])
        return table(self.heading(), columns, rows)

    def sentences(self) -> list[str]:
        """One for each test embedding and metric, and what is to be known of them."""
        lines = []
        for result in self.shown():
            line = f"{result.embedding}: {result.sentence()}"
            if more := result.of_identities():
                line += f"; {more}"
            lines.append(f"{line}.")
        return [*lines, *self.unpaired, *self.notes]

    def to_markdown(self) -> str:
        heads = ["Test embedding", "Metric", *self.pairs, "Mean", "Deviation", "95 % interval (t)",
                 "p (sign flips)", "95 % over identities"]  # fmt: skip
        rows = []
        for result in self.shown(everywhere=True):
            interval, enough = result.interval, len(result.values) >= FEWEST_PAIRS
            identities = result.identities
            rows.append([
                result.embedding,
                METRICS[result.metric].head,
                *(result._text(value) for value in result.values),
                result._text(result.mean),
                "" if math.isnan(result.std) else result._text(result.std, ""),
                result._limits(interval) if interval else "",
                f"{result.p:.2g}" if enough else "no claim",
                result._limits(identities[0]) if identities else "",
            ])  # fmt: skip
        count = len(self.pairs)
        lines = [
            f"## {self.heading()}",
            "",
            self.differing(),
            "",
            f"Differences in percentage points, {count} "
            f"{'pair' if count == 1 else 'pairs'}; deviation of a sample (n - 1).",
            "",
            tables.markdown(heads, rows, words=2),
            *(f"- {sentence}" for sentence in self.sentences()),
            "",
        ]
        return "\n".join(lines)

    def to_plain(self) -> dict[str, Any]:
        return {
            "one": self.one,
            "other": self.other,
            "differs": list(self.differs),
            "search": self.search,
            "pairs": list(self.pairs),
            "unpaired": list(self.unpaired),
            "results": [result.to_plain() for result in self.results],
            "notes": list(self.notes),
        }


def compare_paired(
    ones: Sequence[Report],
    others: Sequence[Report],
    *,
    names: tuple[str, str] | None = None,
) -> list[PairedComparison]:
    """Compare two ways of training by their reports, one comparison for each question that both
    sides answer: a search, and where a side's runs were tested in several ways, one of these.

    Reports are paired by seed (and split); where each seed has a start of its own, by that too.
    Several splits of several seeds are averaged within a seed first: the pairs are seeds. What only
    one side has is left out, which a sentence says.

    Args:
        names: of the two sides (default: their methods and networks, and options that differ).

    Raises:
        InputError: a side is empty or mixes several ways of training (what differs is named), the
            sides share no search or no pair, or a report is an average.
    """
    for side, name in ((ones, "before"), (others, "after")):
        if not side:
            raise InputError(f"There is no report {name} `with`; give at least one.")
        for report in side:
            if report.averaged:
                raise InputError(
                    f"'{report.folder}' is an average; its models can't be paired any more. Give "
                    "the reports that it was made of."
                )
    return [one for question in questions_of(ones, others) for one in _answers(question, names)]


def _answers(question: Question, names: tuple[str, str] | None) -> list[PairedComparison]:
    """The comparison of raw numbers, with those after re-ranking where the pairs are the same, else
    these in comparisons of their own."""
    raw = [raw_once(side) for side in (question.one, question.other)]
    found = [_compare(raw[0], raw[1], names, question.words)]
    sides = [
        {words: [r for r in side if r.reranked and r.protocol.reranking == words]
         for words in dict.fromkeys(r.protocol.reranking for r in side if r.reranked)}
        for side in (question.one, question.other)
    ]  # fmt: skip
    left = [*question.left_out]
    for words in {**sides[0], **sides[1]}:
        one, other = (side.get(words, []) for side in sides)
        if not (one and other):
            left.append(
                f"Numbers after re-ranking ({words}) are on one side only and are left out."
            )
            continue
        title = f"{question.words}, re-ranked"
        try:
            found.append(_compare(one, other, names, title, reranked=True))
        except InputError as error:
            left.append(f"Numbers after re-ranking ({words}) are left out. {error}")
    if len(found) == 2 and found[0].pairs == found[1].pairs:
        found = [replace(found[0], results=(*found[0].results, *found[1].results))]
    return [replace(found[0], unpaired=(*found[0].unpaired, *left)), *found[1:]]


def _compare(
    ones: list[Report],
    others: list[Report],
    names: tuple[str, str] | None,
    search: str,
    *,
    reranked: bool = False,
) -> PairedComparison:
    """Of raw numbers, or with `reranked` of those after re-ranking."""
    for side in (ones, others):
        _refuse_mixed(side)
    options = differing_options([ones[0], others[0]])
    keys, unpaired, over = _pairs(ones, others)
    notes = ["p-values and intervals are not corrected for the number of comparisons."]
    if over == "splits":
        notes.append(
            "The pairs are splits of one seed, which share people: they are not independent, and "
            "the interval is too narrow."
        )
    sides = [{key: average_all(group[key]) for key in keys} for group in (
        _by_key(ones, over), _by_key(others, over))]  # fmt: skip
    first = sides[0][keys[0]], sides[1][keys[0]]
    results = []
    everyone = [pair for key in keys for pair in _models(ones, others, key, over)]
    count = _identities(everyone)
    if count and (why := too_few(count)):
        notes.append(why)
    for name in _embeddings(*first, reranked=reranked):
        for metric in METRICS:
            one, other = ([_number(side[key], name, metric) for key in keys] for side in sides)
            if None in one or None in other:
                continue
            results.append(
                Difference(
                    embedding=name, metric=metric, one=tuple(one), other=tuple(other), over=over,  # type: ignore[arg-type]
                    identities=_over_identities(everyone, name, metric),
                )
            )  # fmt: skip
    one_name, other_name = names or (
        _side_words(ones[0], others[0], options, 0), _side_words(others[0], ones[0], options, 1)
    )  # fmt: skip
    return PairedComparison(
        one=one_name,
        other=other_name,
        differs=tuple(differences(ones[0], others[0])),
        search=search,
        pairs=tuple(f"{over[:-1]} {key[0] if over == 'seeds' else key[1]}" for key in keys),
        unpaired=unpaired,
        results=tuple(results),
        notes=tuple(notes),
    )


def _refuse_mixed(side: list[Report]) -> None:
    for report in side[1:]:
        if found := differences(side[0], report):
            names = " and ".join(
                f"'{r.folder}'" if r.folder else "a report" for r in (side[0], report)
            )
            raise InputError(
                f"{names} stand on one side but differ in {joined(found)}. A side is one way of "
                "training with several seeds."
            )


Key = tuple[Hashable, ...]


def _by_key(reports: Sequence[Report], over: str) -> dict[Key, list[Report]]:
    """Reports of one pair; over seeds with all their splits."""
    groups: dict[Key, list[Report]] = {}
    for report in reports:
        key = _key(report) if over == "splits" else (_key(report)[0], None)
        groups.setdefault(key, []).append(report)
    return groups


def _key(report: Report) -> Key:
    return report.protocol.seed, report.protocol.split


def _pairs(ones: list[Report], others: list[Report]) -> tuple[list[Key], tuple[str, ...], str]:
    """Keys of `_by_key` that both sides have, sentences on the others, and what the pairs are."""
    for side in (ones, others):
        for number, report in enumerate(side):
            if any(_key(report) == _key(earlier) for earlier in side[:number]):
                raise InputError(
                    f"'{report.folder}' is the second report of seed {report.protocol.seed}"
                    f"{'' if report.protocol.split is None else f', split {report.protocol.split}'}"
                    " on its side. Give each model once."
                )
    by_seed = len({report.protocol.seed for report in (*ones, *others)}) > 1
    over = "seeds" if by_seed or ones[0].protocol.split is None else "splits"
    sides = [_by_key(side, over) for side in (ones, others)]
    unpaired = [
        f"{over[:-1].capitalize()} {key[0] if over == 'seeds' else key[1]} has no partner and is "
        "left out."
        for side, opposite in (sides, reversed(sides))
        for key in side
        if key not in opposite
    ]
    keys = [key for key in sides[0] if key in sides[1]]
    for key in [*keys]:
        splits = [{r.protocol.split for r in side[key]} for side in sides]
        if splits[0] != splits[1]:
            keys.remove(key)
            unpaired.append(f"Seed {key[0]} has other splits on the two sides and is left out.")
        elif _other_start(ones, others, sides[0][key], sides[1][key]):
            keys.remove(key)
            unpaired.append(
                f"Seed {key[0]} started from other weights on the two sides and is left out."
            )
    if not keys:
        raise InputError(
            f"No report has a partner of the same seed. {' '.join(unpaired)} Train both sides "
            "with the same seeds, from the same start."
        )
    return sorted(keys, key=str if over == "seeds" else repr), tuple(unpaired), over


def _start(report: Report) -> str | None:
    return (report.record or {}).get("start_hash")


def _other_start(
    ones: list[Report], others: list[Report], one: list[Report], other: list[Report]
) -> bool:
    """Whether a pair has two starts, where starts belong to seeds; a side whose runs all have the
    same start is compared with that start."""
    sides = [{_start(report) for report in side} for side in (ones, others)]
    if all(len(side) == 1 for side in sides):
        return False
    return {_start(report) for report in one} != {_start(report) for report in other}


def _embeddings(one: Report, other: Report, *, reranked: bool) -> list[str]:
    if reranked:
        return [name + RERANKED for name in one.reranked if name in other.reranked]
    return [name for name in one.raw if name in other.raw]


def _number(report: Report, name: str, metric: str) -> float | None:
    entry = (numbers_of(report, name) or {}).get(metric)
    return None if entry is None else float(entry["mean"])


def _models(
    ones: list[Report], others: list[Report], key: Key, over: str
) -> list[tuple[Report, Report]]:
    """The two models of each pair, split by split."""
    sides = [_by_key(side, over)[key] for side in (ones, others)]
    return [(a, b) for a in sides[0] for b in sides[1] if _key(a) == _key(b)]


def _identities(pairs: list[tuple[Report, Report]]) -> int:
    """Query identities of all pairs; 0 where the reports don't tell them."""
    known = [one.queries for one, _ in pairs if "pids" in one.queries]
    if not known:
        return 0
    pids, matched = (np.concatenate([q[key] for q in known]) for key in ("pids", "matched"))
    return count_identities(pids, matched)


def _over_identities(
    pairs: list[tuple[Report, Report]], name: str, metric: str
) -> tuple[Interval, int] | None:
    """See `Difference.identities`."""
    column = f"{name}.{metric}"
    values, weights, pids = [], [], []
    for one, other in pairs:
        a, b = one.queries, other.queries
        if column not in a or column not in b:
            return None
        if not all(np.array_equal(a[key], b[key]) for key in ("pids", "camids", "matched")):
            return None
        values.append(a[column].astype(np.float64) - b[column])
        weights.append(a["matched"])
        pids.append(a["pids"])
    counted, identities = np.concatenate(weights), np.concatenate(pids)
    count = count_identities(identities, counted)
    if too_few(count):
        return None
    return over_identities(np.concatenate(values), counted, identities), count


def _side_words(
    report: Report, other: Report, options: dict[str, tuple[str, ...]], side: int
) -> str:
    """A side by its method and network; if the other side's are the same, also by the options that
    the other side has not."""
    words = [method_words(report, seed=False)]
    if words[0] != method_words(other, seed=False):
        return words[0]
    for name, values in zip(short_names(options), options.values()):
        words.append(f"{name.replace('_', ' ')} {values[side]}")
    return ", ".join(words)


def write_paired(comparisons: Sequence[PairedComparison], folder: str | Path) -> list[Path]:
    """Write compare.md and compare.json; returns their paths."""
    folder = Path(folder)
    text = "# Comparison in pairs\n\n" + "\n".join(c.to_markdown() for c in comparisons)
    write_text(folder / "compare.md", text)
    write_json(folder / "compare.json", [comparison.to_plain() for comparison in comparisons])
    return [folder / "compare.md", folder / "compare.json"]

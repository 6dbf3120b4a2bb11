"""Reports side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from vireid.evaluation import tables
from vireid.evaluation.measures import METRICS, units
from vireid.evaluation.protocol import (
    PROTOCOL_WORDS,
    protocol_value,
)
from vireid.evaluation.report import (
    Report,
    at_chance,
    averaged_words,
    shared_chance,
)
from vireid.evaluation.tables import Numbers
from vireid.evaluation.unlike import (
    NOT_THERE,
    differences,
    differing_options,
    differing_searches,
    joined,
    short_names,
)
from vireid.files import csv_text, write_text
from vireid.types import InputError

if TYPE_CHECKING:
    from rich.table import Table

_WORDS = ("Report", "Method", "Data", "Search", "Over", "Epoch chosen by", "Embedding")
_MANY_WORDS = 3  # of the names of all runs, which a narrow table says once


class Line(NamedTuple):
    """One line of a comparison.

    Attributes:
        words: the cells under `Comparison.columns`.
        reranking: "none" or the re-ranking with its options.
        numbers: metric → mean, std, trials.
    """

    words: tuple[str, ...]
    reranking: str
    numbers: Numbers


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Reports in one table.

    Attributes:
        reports: in the order given.
        differences: fields of the search in which they differ, so that their numbers must not
            be compared; empty if all measured the same.
        options: options that differ between their training runs, by dotted name: one value a
            report, in words.
    """

    reports: tuple[Report, ...]
    differences: tuple[str, ...]
    options: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Heads of the words of a line: `_WORDS` with the options that differ."""
        return (*_WORDS[:-1], *short_names(self.options), _WORDS[-1])

    def lines(self) -> list[Line]:
        """One line for each report, test embedding, raw and re-ranked."""
        lines = []
        for number, report in enumerate(self.reports, 1):
            protocol = report.protocol
            data = protocol_value(protocol, "dataset")
            head = (
                _name(report) or f"report {number}",
                method_words(report),
                f"synthetic, as {data}" if protocol.synthetic else data,
                protocol.search(),
                _over(report),
                protocol.epoch_choice or "not stated",
                *(values[number - 1] for values in self.options.values()),
            )
            for name, numbers in report.raw.items():
                lines.append(Line((*head, name), "none", numbers))
                if name in report.reranked:
                    words = (*head, f"{name}, re-ranked")
                    lines.append(Line(words, protocol.reranking, report.reranked[name]))
        return lines

    def warning(self) -> str:
        """A sentence on what makes the numbers incomparable; "" if nothing does."""
        if not self.differences:
            return ""
        words = [PROTOCOL_WORDS[name].lower() for name in self.differences]
        return (
            f"These reports differ in {joined(words)}: their numbers measure different things and "
            "must not be compared with each other."
        )

    def below_chance(self) -> str:
        """A sentence on the reports that are no better than a random order; "" if none is."""
        found: dict[str, None] = {}  # a run tested with re-ranking and without says it once
        names = [_name(report) or f"report {n}" for n, report in enumerate(self.reports, 1)]
        for name, report in zip(names, self.reports):
            if words := at_chance(report):
                search = f", {report.protocol.search()}" if names.count(name) > 1 else ""
                found[f"{name}{search}: {words}"] = None
        return f"Not above chance: {'; '.join(found)}." if found else ""

    def to_markdown(self) -> str:
        lines = ["# Comparison", "", tables.caption([*METRICS]), ""]
        if self.differences:
            lines += [f"**{self.warning()}**", ""]
        lines += [f"{averaged_words(r)}\n" for r in self.reports if r.averaged]
        columns, rows, same = self._compact()
        if same:
            lines += [f"In all rows: {same}.", ""]
        if self._reranking():
            lines += [f"Re-ranking: {self._reranking()}.", ""]
        if self.below_chance():
            lines += [f"**{self.below_chance()}**", ""]
        return "\n".join([*lines, tables.markdown(*_with_numbers(columns, rows, self.lines()),
                                                  words=len(columns))])  # fmt: skip

    def to_csv(self) -> str:
        """Means and deviations in columns of their own, as in report.json: no percent."""
        columns = [word.lower().replace(" ", "_") for word in (*self.columns, "re-ranking")]
        for metric in METRICS:
            columns += [metric, f"{metric}_std"]
        rows = [
            [
                *line.words,
                line.reranking,
                *(
                    f"{line.numbers[m][k]:.6f}" if m in line.numbers else ""
                    for m in METRICS
                    for k in ("mean", "std")
                ),
            ]
            for line in self.lines()
        ]
        return csv_text(columns, rows)

    def to_latex(self) -> str:
        columns, rows, same = self._compact()
        sentences = [
            tables.caption([*METRICS]),
            f"{same[:1].upper()}{same[1:]}." if same else "",
            f"Re-ranking: {self._reranking()}." if self._reranking() else "",
            self.warning(),
            self.below_chance(),
        ]
        return tables.latex(
            *_with_numbers(columns, rows, self.lines()),
            words=len(columns),
            caption=" ".join(filter(None, sentences)),
        )

    def to_table(self) -> Table:
        """The metrics that are `in_comparison`, for `vireid.console.console.print`."""
        from vireid.console import table

        columns, rows, same = _without_common(*self._compact())
        lines = self.lines()
        shown = [name for name, metric in METRICS.items() if metric.in_comparison]
        # Many narrow columns of words can't be read: all but the embedding share one, said once,
        # in which options have their names.
        cells, last = [], ""
        for line, words in zip(lines, rows):
            text = "; ".join(
                word if head in _WORDS else f"{head.replace('_', ' ')} {word}"
                for head, word in zip(columns, words)
                if head != "Embedding" and word not in ("", NOT_THERE)
            )
            numbers = [
                tables.spread(m, line.numbers[m]).replace(" ", "") if m in line.numbers else ""
                for m in shown
            ]
            cells.append([text if text != last else "", line.words[-1], *numbers])
            last = text
        heads = "; ".join(
            head for head, *words in zip(columns, *rows) if head in _WORDS[:-1] and any(words)
        )
        title = "; ".join(filter(None, [same, units(shown)]))
        out = table(title, [heads, "Embedding", *(METRICS[m].head for m in shown)], cells)
        for position, column in enumerate(out.columns):
            if position < 2:  # words may break, numbers must not
                column.justify, column.overflow = "left", "fold"
            else:
                column.no_wrap = True
        out.caption = " ".join(filter(None, [self.warning(), self.below_chance()])) or None
        return out

    def _compact(self) -> tuple[list[str], list[list[str]], str]:
        """Columns of words that differ between the lines, their cells, and the others in words."""
        lines, heads = self.lines(), self.columns
        same = [i for i in range(1, len(heads)) if len({line.words[i] for line in lines}) == 1]
        words = [f"{heads[i].lower()}: {lines[0].words[i]}" for i in same]
        if chance := shared_chance(self.reports, [*METRICS]):
            words.append(f"chance: {chance}")
        shared = "; ".join(words)
        left = [i for i in range(len(heads)) if i not in same]
        return [heads[i] for i in left], [[line.words[i] for i in left] for line in lines], shared

    def _reranking(self) -> str:
        return " or ".join(sorted({line.reranking for line in self.lines()} - {"none"}))

    def write(self, folder: str | Path) -> list[Path]:
        """Write comparison.md, comparison.csv and comparison.tex; returns their paths."""
        folder = Path(folder)
        texts = {"md": self.to_markdown(), "csv": self.to_csv(), "tex": self.to_latex()}
        paths = []
        for ending, text in texts.items():
            paths.append(folder / f"comparison.{ending}")
            write_text(paths[-1], text)
        return paths


def compare(reports: Sequence[Report]) -> Comparison:
    """Put reports side by side; those of different searches are marked, not refused.

    Raises:
        InputError: no report.
    """
    if not reports:
        raise InputError("There is no report to compare; give at least one report.json.")
    return Comparison(
        reports=tuple(reports),
        differences=differing_searches(reports),
        options=differing_options(reports, brief=True),
    )


def groups_of(reports: Sequence[Report]) -> list[list[Report]]:
    """Reports that may be averaged with each other stand together, in the order of the first."""
    groups: list[list[Report]] = []
    for report in reports:
        for group in groups:
            if not differences(group[0], report):
                group.append(report)
                break
        else:
            groups.append([report])
    return groups


def _name(report: Report) -> str:
    """The run's name where the report lies in RUN/test/NAME, else its folder's."""
    folder = report.folder
    if folder is None:
        return ""
    return folder.parent.parent.name if folder.parent.name == "test" else folder.name


def method_words(report: Report, *, seed: bool = True) -> str:
    """The method with its network, and the seed."""
    protocol = report.protocol
    words = [protocol.method or "embeddings"]
    if protocol.arch:
        words.append(protocol.arch)
    if seed and protocol.seed is not None:
        words.append(f"seed {protocol.seed}")
    return ", ".join(words)


def _over(report: Report) -> str:
    """What mean and deviation are taken over."""
    if report.averaged:
        models = report.averaged["reports"]
        own = len(report.averaged["labels"])
        per = "" if models == own else f", {models // own} splits each"
        return f"{own} {report.averaged['over'][-1]}s{per}"
    count = len(report.protocol.trials)
    return f"{count} trial{'s' if count > 1 else ''}"


def _without_common(
    columns: list[str], rows: list[list[str]], same: str
) -> tuple[list[str], list[list[str]], str]:
    """Words of a narrow table without those that all rows share, which are said above it."""
    above, out = [], [list(row) for row in rows]
    others = [place for place, head in enumerate(columns) if head not in ("Report", "Embedding")]
    differ = len({tuple(row[place] for place in others) for row in rows}) > 1
    for place, head in enumerate(columns):
        cells = [row[place] for row in rows]
        words = [cell.split(", ") for cell in cells]
        common, left = "", cells
        if head == "Report" and differ:
            common, left = _common_start(cells)
        elif head == "Method":  # a network alone is no method
            count = _alike(words)
            common, left = ", ".join(words[0][:count]), [", ".join(one[count:]) for one in words]
        elif head == "Search":
            shared = [word for word in words[0] if all(word in one for one in words)]
            common = ", ".join(shared)
            left = [", ".join(word for word in one if word not in shared) for one in words]
        if common:
            above.append(f"{head.lower()}: {common}")
            for row, cell in zip(out, left):
                row[place] = cell
    return columns, out, "; ".join(filter(None, [*above, same]))


def _alike(lists: Sequence[Sequence[str]]) -> int:
    """Words that all lists start with."""
    return sum(1 for _ in takewhile(lambda words: len(set(words)) == 1, zip(*lists)))


def _common_start(names: Sequence[str]) -> tuple[str, list[str]]:
    """What the names of all runs start with, up to a hyphen, and the rest of each."""
    if len(set(names)) == 1:
        return names[0], [""] * len(names)
    words = [name.split("-") for name in names]
    count = min(_alike(words), *(len(one) - 1 for one in words))
    if count < _MANY_WORDS:
        return "", list(names)
    return "-".join(words[0][:count]) + "-…", ["…-" + "-".join(one[count:]) for one in words]


def _with_numbers(
    columns: Sequence[str], rows: Sequence[Sequence[str]], lines: Sequence[Line]
) -> tuple[list[str], list[list[str]]]:
    heads = [metric.head for metric in METRICS.values()]
    cells = [[*words, *tables.number_cells(line.numbers)] for words, line in zip(rows, lines)]
    return [*columns, *heads], cells

"""The table of a paper: ways of training by searches, the best in bold, the second underlined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from vireid.console import choose
from vireid.evaluation import tables
from vireid.evaluation.averaging import average_all
from vireid.evaluation.comparison import method_words
from vireid.evaluation.measures import METRICS, PERCENT
from vireid.evaluation.numbers import RERANKED, numbers_of, raw_once, same_but_reranking
from vireid.evaluation.protocol import PROTOCOL_WORDS, choice_words, protocol_value
from vireid.evaluation.report import Report, shared_chance
from vireid.evaluation.tables import Numbers
from vireid.evaluation.unlike import differing_options, differing_searches, short_names
from vireid.files import write_text
from vireid.runtime.record import recipe_of
from vireid.types import InputError

# Options that say on what was trained; a row of a table goes over several data sets.
_OF_DATA = {"dataset", "camera_pattern", "intensity_range"}
_WAY = ("method", "arch", "recipe", "epoch_choice", "reranking")  # of the protocol


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """Ways of training (rows) by searches (columns).

    Attributes:
        rows: names of the rows.
        columns: names of the searches; "" where there is one only.
        metrics: shown of each search, keys of `METRICS`.
        numbers: (rows, columns) the numbers of the chosen embedding; None where there are none.
        seeds: (rows, columns) models that a cell is a mean over, without splits; 0 where empty.
        chance: of each column what a random order would have, by metric, as far as it is known.
        note: sentences for the caption.
    """

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    metrics: tuple[str, ...]
    numbers: tuple[tuple[Numbers | None, ...], ...]
    seeds: tuple[tuple[int, ...], ...]
    chance: tuple[dict[str, float], ...]
    note: str

    def cells(self) -> list[list[tuple[str, int]]]:
        """Text and place of each cell: 1 the best of its column, 2 the second of three or more, 0
        any other. Cells that read alike share a place; those not above chance have none."""
        count = len(self.columns) * len(self.metrics)
        texts = [["" for _ in range(count)] for _ in self.rows]
        places = [[0 for _ in range(count)] for _ in self.rows]
        for column in range(count):
            search, metric = divmod(column, len(self.metrics))
            name = self.metrics[metric]
            values = {}
            for row in range(len(self.rows)):
                table = self.numbers[row][search]
                if table is None or name not in table:
                    continue
                mean = values[row] = METRICS[name].text(table[name]["mean"])
                spread = METRICS[name].text(table[name]["std"])
                texts[row][column] = mean + (f" ± {spread}" if self.seeds[row][search] > 1 else "")
            if METRICS[name].unit == PERCENT and len(values) > 1:
                chance = self.chance[search].get(name, 0.0)
                above = {r: v for r, v in values.items() if self._mean(r, search, name) > chance}
                order = sorted({float(value) for value in above.values()}, reverse=True)
                for row, value in above.items():
                    place = order.index(float(value)) + 1
                    places[row][column] = place if place <= min(2, len(values) - 1) else 0
        return [[*zip(*pair)] for pair in zip(texts, places)]

    def _mean(self, row: int, column: int, metric: str) -> float:
        table = self.numbers[row][column]
        return 0.0 if table is None else float(table[metric]["mean"])

    def caption(self) -> str:
        """What the numbers are, with the number of seeds."""
        counts = {seeds for row in self.seeds for seeds in row if seeds}
        if counts == {1}:
            means = "of one seed each (n = 1)"
        elif len(counts) == 1:
            means = f"mean ± sample deviation over n = {counts.pop()} seeds"
        else:
            own = [
                f"{name}: n = {' or '.join(map(str, sorted({*row} - {0})))}"
                for name, row in zip(self.rows, self.seeds)
            ]
            means = f"mean ± sample deviation over n seeds ({'; '.join(own)})"
        places = {place for row in self.cells() for _, place in row}
        words = {1: "The best is bold", 2: "the second best underlined"}
        marks = ", ".join(words[place] for place in (1, 2) if place in places)
        note = self.note[:1].upper() + self.note[1:]
        return f"{note} {tables.caption(self.metrics, means)}{f' {marks}.' if marks else ''}"

    def to_markdown(self) -> str:
        heads = [
            f"{column}: {METRICS[metric].head}" if column else METRICS[metric].head
            for column in self.columns
            for metric in self.metrics
        ]
        marks = ("{}", "**{}**", "<u>{}</u>")
        rows = [
            [name, *(marks[place].format(text) for text, place in cells)]
            for name, cells in zip(self.rows, self.cells())
        ]
        return f"{self.caption()}\n\n{tables.markdown(['Method', *heads], rows)}"

    def to_latex(self) -> str:
        width, escape = len(self.metrics), tables.latex_text
        marks = ("{}", "\\textbf{{{}}}", "\\underline{{{}}}")
        heads = [escape(METRICS[metric].head) for _ in self.columns for metric in self.metrics]
        above = []
        if any(self.columns):
            spans = [f"\\multicolumn{{{width}}}{{c}}{{{escape(name)}}}" for name in self.columns]
            rules = [
                f"\\cmidrule(lr){{{2 + width * i}-{1 + width * (i + 1)}}}"
                for i in range(len(self.columns))
            ]
            above = [" & ".join(["", *spans]).strip() + " \\\\", " ".join(rules)]
        body = [
            [escape(name), *(marks[place].format(escape(text)) if text else ""
                             for text, place in cells)]
            for name, cells in zip(self.rows, self.cells())
        ]  # fmt: skip
        return tables.latex_table(
            ["Method", *heads], body, words=1, caption=self.caption(), above=above
        )

    def write(self, folder: str | Path) -> list[Path]:
        """Write paper.md and paper.tex; returns their paths."""
        folder = Path(folder)
        write_text(folder / "paper.md", self.to_markdown())
        write_text(folder / "paper.tex", self.to_latex())
        return [folder / "paper.md", folder / "paper.tex"]


def paper_table(
    reports: Sequence[Report],
    *,
    embedding: str | None = None,
    metrics: Sequence[str] = (),
) -> PaperTable:
    """Reports as a table for a paper: a row for each way of training, its seeds (and splits)
    averaged, a column for each search (all and indoor, or data sets).

    Args:
        embedding: a test embedding, for its raw numbers, or with ", re-ranked" behind it, for
            those of the reports that have them; None for "embedding", or the first one where there
            is none of that name.
        metrics: keys or heads of `METRICS` ("rank1", "mAP"); none for those `in_comparison`.

    Raises:
        InputError: no report, an unknown metric or embedding, or reports of one cell that can't be
            averaged.
    """
    if not reports:
        raise InputError("There is no report for a table; give at least one report.json.")
    aliases = {metric.head: name for name, metric in METRICS.items()}
    chosen = tuple(choose("metric", m, tuple(METRICS), aliases=aliases) for m in metrics)
    chosen = chosen or tuple(name for name, m in METRICS.items() if m.in_comparison)
    embedding = _embedding(reports, embedding)
    reports, about = _with_numbers(reports, embedding)
    searches = _distinct(reports, lambda a, b: not differing_searches([a, b]))
    ways = _distinct(reports, lambda a, b: _way(a) == _way(b))
    numbers: list[tuple[Numbers | None, ...]] = []
    seeds: list[tuple[int, ...]] = []
    cells: list[Report] = []
    for way in ways:
        row = [
            _cell([r for r in reports if _way(r) == _way(way) and not differing_searches([r, s])])
            for s in searches
        ]
        numbers.append(tuple(numbers_of(cell, embedding) if cell else None for cell in row))
        seeds.append(tuple(_seeds(cell) for cell in row))
        cells += filter(None, row)
    columns, shared = _column_names(searches)
    by_chance: list[str] = []
    chance: list[dict[str, float]] = []
    for search, name in zip(searches, columns):
        alike = [report for report in cells if not differing_searches([report, search])]
        chance.append(
            {m: max(r.chance.get(m, 0.0) for r in alike) for m in METRICS} if alike else {}
        )
        if words := shared_chance(alike, chosen):
            by_chance.append(f"{name}: {words}" if name else words)
    sentences = [f"{'; '.join(filter(None, [shared, f'test embedding: {embedding}{about}']))}."]
    if by_chance:
        sentences.append(f"Chance: {'; '.join(by_chance)}.")
    return PaperTable(
        rows=_row_names(ways),
        columns=columns,
        metrics=chosen,
        numbers=tuple(numbers),
        seeds=tuple(seeds),
        chance=tuple(chance),
        note=" ".join(sentences),
    )


def _embedding(reports: Sequence[Report], asked: str | None) -> str:
    names = [
        name
        for name in dict.fromkeys(name for r in reports for name in r.raw)
        if all(name in r.raw for r in reports)
    ]
    if not names:
        raise InputError("The reports share no test embedding. Give reports of one method each.")
    if asked is None:
        return "embedding" if "embedding" in names else names[0]
    again = [name + RERANKED for name in names if any(name in r.reranked for r in reports)]
    if not again and asked.endswith(RERANKED):
        raise InputError(
            f"`embedding` is '{asked}', but none of the reports has numbers after re-ranking. Test "
            f"with `vireid test --rerank`, or leave '{RERANKED}' out."
        )
    return choose("common test embedding", asked, [*names, *again])


def _with_numbers(reports: Sequence[Report], embedding: str) -> tuple[list[Report], str]:
    """The reports that have numbers of the chosen embedding, each model once, and what a reader
    must know of the choice."""
    rerankings = {r.protocol.reranking for r in reports if r.reranked}
    if not embedding.endswith(RERANKED):
        return raw_once(reports), ", without re-ranking" if rerankings else ""
    found = [report for report in reports if numbers_of(report, embedding)]
    absent = [
        report for report in reports
        if not numbers_of(report, embedding)
        and not any(same_but_reranking(report, one) for one in found)
    ]  # fmt: skip
    about = f" ({rerankings.pop()})" if len(rerankings) == 1 else ""
    if absent:
        words = "1 report" if len(absent) == 1 else f"{len(absent)} reports"
        about += f"; left out: {words} without re-ranking"
    return found, about


def _distinct(reports: Sequence[Report], same: Callable[[Report, Report], bool]) -> list[Report]:
    """One report of each kind."""
    found: list[Report] = []
    for report in reports:
        if not any(same(report, other) for other in found):
            found.append(report)
    return found


def _way(report: Report) -> tuple[dict, ...]:
    """What makes a row: how it was trained and tested, whatever the data set and the seed."""
    protocol = {name: getattr(report.protocol, name) for name in _WAY}
    protocol["epoch_choice"] = choice_words(report.protocol.epoch_choice)
    recipe = recipe_of(report.record) if report.record else {}
    return protocol, {k: v for k, v in recipe.items() if k not in _OF_DATA}


def _cell(reports: list[Report]) -> Report | None:
    return average_all(reports) if reports else None


def _seeds(report: Report | None) -> int:
    if report is None:
        return 0
    averaged = report.averaged
    return len(averaged["labels"]) if averaged and averaged["over"][-1] == "seed" else 1


def _row_names(ways: Sequence[Report]) -> tuple[str, ...]:
    """Methods, with their networks and options where these differ."""
    archs = {way.protocol.arch for way in ways}
    options = {
        name: values
        for name, values in differing_options(ways).items()
        if name not in _OF_DATA and not name.startswith("model.arch") and name != "method"
    }
    heads, names = short_names(options), []
    for number, way in enumerate(ways):
        own = [method_words(way, seed=False) if len(archs) > 1 else way.protocol.method or "—"]
        rivals = [w for w in ways if w is not way and w.protocol.method == way.protocol.method]
        for head, values in zip(heads, options.values()):
            others = {values[ways.index(w)] for w in rivals}
            if others - {values[number]}:
                own.append(f"{head.replace('_', ' ')} {values[number]}")
        if len({w.protocol.reranking for w in (way, *rivals)}) > 1:
            own.append(way.protocol.reranking)
        choices = {choice_words(w.protocol.epoch_choice) for w in (way, *rivals)}
        if len(choices) > 1:
            own.append(choice_words(way.protocol.epoch_choice) or "epoch not stated")
        names.append(", ".join(own))
    return tuple(names)


def _column_names(searches: Sequence[Report]) -> tuple[tuple[str, ...], str]:
    """What differs between the searches, and the whole of the first where nothing does."""
    first = searches[0].protocol
    data = protocol_value(first, "dataset")
    people = f"{'synthetic people, as ' if first.synthetic else ''}{data}"
    if len(searches) == 1:
        return ("",), f"{people}, {first.search()}"
    names = [n for n in differing_searches(searches) if n not in ("rule", "trials", "data_hash")]
    if "dataset" in names:  # its people, cameras and searches go with it
        kept = ("dataset", "synthetic", "scope", "direction", "part", "tta")
        names = [n for n in names if n in kept]
    columns = tuple(
        ", ".join(_field(search, name) for name in names) or search.protocol.search()
        for search in searches
    )
    return columns, "" if "dataset" in names else people


def _field(report: Report, name: str) -> str:
    protocol = report.protocol
    if name == "synthetic":
        return "synthetic" if protocol.synthetic else "real"
    if name == "tta":
        words = PROTOCOL_WORDS[name].lower()
        return f"without {words}" if protocol.tta == "none" else f"{words} {protocol.tta}"
    return protocol_value(protocol, name)

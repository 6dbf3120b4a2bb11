"""A report: numbers that cannot be read without what they are numbers of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from vireid.config import convert, flatten, from_plain, hints_of, to_plain
from vireid.data.arrays import read_arrays
from vireid.data.registry import title_of
from vireid.evaluation.measures import METRICS, units
from vireid.evaluation.protocol import Protocol, protocol_rows, value_words
from vireid.evaluation.tables import (
    Entry,
    Numbers,
    Row,
    between,
    caption,
    counted,
    markdown,
    number_cells,
    one_line,
    spread,
    value_cells,
)
from vireid.files import atomic_write, read_json, write_json, write_text
from vireid.runtime.record import Record
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from rich.table import Table

FORMAT = "vireid-report-1"
QUERIES = "queries.npz"


class _Pair(TypedDict):
    """A row of `camera_pairs`."""

    query_camid: int
    gallery_camid: int
    queries: float
    rank1: float
    mean_ap: float


class _Averaged(TypedDict):
    """What an average is one of."""

    over: list[Literal["seed", "split"]]
    reports: int
    values: dict[str, list[int | None]]
    labels: list[str]


class _Counts(TypedDict):
    """One number a trial."""

    queries: list[int]
    without_match: list[int]
    gallery: list[int]
    identities: list[int]


class _Rest(TypedDict, total=False):
    """What a report.json holds beside its protocol and the numbers of each embedding."""

    reranked: dict[str, Numbers]
    chance: dict[str, float]
    confidence: dict[str, dict[str, list[float]]]
    counts: _Counts
    camera_pairs: dict[str, list[_Pair]]
    curves: dict[str, list[float]]
    record: Record
    averaged: _Averaged
    notes: list[str]


@dataclass(kw_only=True, repr=False)
class Report:
    """The result of `vireid.evaluation.evaluate`. Numbers are fractions, but those of a metric
    with another `unit`.

    Attributes:
        protocol: what was measured, on what, how.
        raw: test embedding → metric → {"mean", "std", "trials"}; "std" is the population's
            deviation over the trials; of an average, the sample deviation over its models.
            `METRICS` lists the metrics; a report that was written before one existed lacks it.
        reranked: the same after k-reciprocal re-ranking; empty if it wasn't asked for.
        confidence: test embedding → metric → [low, high], 95 % by bootstrap over identities; empty
            where they are too few for one.
        camera_pairs: test embedding → rows {"query_camid", "gallery_camid", "queries", "rank1",
            "mean_ap"}: queries of one camera against the gallery images of one camera.
        curves: test embedding → the CMC curve's first twenty points.
        counts: one number a trial: "queries" (that count), "without_match", "gallery",
            "identities" (of the queries).
        chance: "rank1" and "mean_ap" expected of a random order.
        record: of the training run, by which reports of unlike runs are told apart; None for
            embeddings whose training isn't known, and for weights from before there were records.
        queries: arrays (Q,) over the queries, means over the trials: "pids", "camids", "matched"
            (trials in which the query has a match) and "EMBEDDING.METRIC" for each metric that is
            `in_brief`; kept in queries.npz beside the report. Empty for an average.
        averaged: for an average, {"over": ["seed"], "reports": n, ...}; else None.
        notes: sentences for the reader.
        folder: where the report was written or read, or None.
    """

    protocol: Protocol
    raw: dict[str, Numbers]
    reranked: dict[str, Numbers] = field(default_factory=dict)
    confidence: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    camera_pairs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    curves: dict[str, list[float]] = field(default_factory=dict)
    counts: dict[str, list[int]] = field(default_factory=dict)
    chance: dict[str, float] = field(default_factory=dict)
    record: Record | None = None
    queries: dict[str, np.ndarray] = field(default_factory=dict, compare=False)
    averaged: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()
    folder: Path | None = field(default=None, compare=False)

    def best(self) -> Numbers:
        """The raw numbers of `best_embedding`."""
        return self.raw[self.best_embedding()]

    def best_embedding(self) -> str:
        """The test embedding with the highest mean Rank-1."""
        return max(self.raw, key=lambda name: self.raw[name]["rank1"]["mean"])

    def to_plain(self) -> dict[str, Any]:
        """JSON values: "protocol", one entry for each test embedding, and the rest."""
        return {
            "format": FORMAT,
            "protocol": to_plain(self.protocol),
            **self.raw,
            "reranked": self.reranked,
            "chance": self.chance,
            "confidence": self.confidence,
            "counts": self.counts,
            "camera_pairs": self.camera_pairs,
            "curves": self.curves,
            "record": self.record,
            "averaged": self.averaged,
            "notes": list(self.notes),
        }

    @classmethod
    def from_plain(cls, plain: Any, where: str = "The report") -> Report:
        """The inverse of `to_plain`.

        Raises:
            InputError: not a report, or one with missing or unknown entries.
        """
        if not isinstance(plain, dict) or plain.get("format") != FORMAT:
            found = plain.get("format") if isinstance(plain, dict) else None
            raise InputError(
                f"{where} is not a report of this program (its 'format' is {shown(found)}, "
                f"expected '{FORMAT}'). Name a report.json that `vireid test` wrote."
            )
        protocol = from_plain(Protocol, plain.get("protocol"), f"{where}: protocol")
        if not protocol.embeddings or not protocol.trials:
            raise InputError(f"{where}: its protocol names no test embedding or no trial.")
        # An average of other kinds of numbers, or an earlier version, leaves some empty.
        given = {key: value for key, value in plain.items() if value not in (None, {}, [])}
        if odd := [name for name in protocol.embeddings if name in _KEYS]:
            raise InputError(f"{where}: {shown(odd[0])} can't be the name of a test embedding.")
        rest: Any = convert(_Rest, {k: v for k, v in given.items() if k in _KEYS}, where)
        report = cls(
            protocol=protocol,
            raw={
                name: convert(Numbers, given.get(name, {}), f"{where}: {name}")
                for name in protocol.embeddings
            },
            **{**rest, "notes": tuple(rest.get("notes", ()))},
        )
        _check_tables(report, where)
        return report

    def write(self, folder: str | Path) -> Report:
        """Write report.json, report.md and queries.npz into `folder`, which `self.folder` names
        from then on."""
        folder = Path(folder)
        if self.queries:
            with atomic_write(folder / QUERIES) as file:
                np.savez_compressed(file, **self.queries)  # type: ignore[arg-type]
        else:
            (folder / QUERIES).unlink(missing_ok=True)
        write_text(folder / "report.md", report_markdown(self))
        write_json(folder / "report.json", self.to_plain())
        self.folder = folder
        return self

    @classmethod
    def load(cls, path: str | Path) -> Report:
        """Read a report.json and the queries.npz beside it.

        Raises:
            InputError: the file is missing or isn't a report.
        """
        path = Path(path)
        report = cls.from_plain(read_json(path), f"'{path}'")
        return replace(report, folder=path.parent, queries=_read_queries(path.with_name(QUERIES)))

    def __repr__(self) -> str:
        return f"Report({title(self)!r}, {self.protocol.search()!r})"

    def __str__(self) -> str:
        tables: dict[str, Numbers] = {}
        for name, numbers in self.raw.items():
            tables[name] = numbers
            if name in self.reranked:
                tables[f"{name}, re-ranked"] = self.reranked[name]
        brief = [name for name, metric in METRICS.items() if metric.in_brief]
        width = max(map(len, tables))
        rows = [
            f"{name:{width}}  "
            + ", ".join(f"{METRICS[m].head} {spread(m, numbers[m])}" for m in brief if m in numbers)
            for name, numbers in tables.items()
        ]
        head = [title(self), f"{self.protocol.search()}."]
        notes = [caption_of(self, brief), *_unmatched(self), below_chance(self)]
        return "\n".join([*head, *rows, *filter(None, notes)])

    def to_table(self) -> Table:
        """The numbers for `vireid.console.console.print`: the metrics that are `in_terminal`, few
        deviations."""
        from vireid.console import table

        shown = [name for name, metric in METRICS.items() if metric.in_terminal]
        return table(
            f"{title(self)}: {self.protocol.search()} ({units(shown)})",
            ["", *(METRICS[metric].head for metric in shown)],
            _terminal_rows(self, shown),
        )


def _read_queries(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a queries.npz; none where the report was copied without it.

    Raises:
        InputError: it isn't readable, or its arrays don't fit each other.
    """
    if not path.is_file():
        return {}
    arrays = read_arrays(path)
    shape = arrays["pids"].shape if "pids" in arrays else ()
    fits = {"pids", "camids", "matched"} <= arrays.keys() and len(shape) == 1
    if not fits or any(a.shape != shape or a.dtype.kind not in "if" for a in arrays.values()):
        raise InputError(
            f"'{path}' doesn't hold the numbers of one set of queries. Remove it, or test again; "
            "it is needed only for the bootstrap over identities."
        )
    return arrays


def summary(values: Sequence[float], *, sample: bool = False) -> Entry:
    """Mean and deviation of the trials, beside the trials.

    Args:
        sample: the sample deviation (n - 1), as over models; the population's over trials.
    """
    array = np.asarray(values, np.float64)
    std = float(array.std(ddof=1 if sample else 0))
    return {"mean": float(array.mean()), "std": std, "trials": array.tolist()}


_KEYS = frozenset(hints_of(_Rest))


def _check_tables(report: Report, where: str) -> None:
    """The tables of a report that was read have all the cells that are shown.

    Raises:
        InputError: some are missing.
    """
    averaged = report.averaged
    trials = len(averaged["labels"] if averaged else report.protocol.trials)
    if averaged and not all(name in averaged["values"] for name in averaged["over"]):
        raise InputError(f"{where}: `averaged` lacks the values that it is an average over.")
    if not set(report.reranked) <= set(report.raw):
        raise InputError(f"{where}: `reranked` has other test embeddings than the protocol.")
    for name, numbers in [*report.raw.items(), *report.reranked.items()]:
        if "rank1" not in numbers:
            raise InputError(
                f"{where}: {name} is missing; an object with {', '.join(METRICS)} was expected."
            )
        if wrong := [m for m, entry in numbers.items() if len(entry["trials"]) != trials]:
            raise InputError(
                f"{where}: {name}.{wrong[0][:40]} has {len(numbers[wrong[0]]['trials'])} `trials`; "
                f"{trials} were expected."
            )
    for name, intervals in report.confidence.items():
        if any(len(interval) != 2 for interval in intervals.values()):
            raise InputError(f"{where}: confidence.{name[:40]} has an interval without two ends.")
    if not averaged and any(len(column) != trials for column in report.counts.values()):
        raise InputError(f"{where}: `counts` are not those of {trials} trials.")


def title(report: Report) -> str:
    """Method and data set, and that the people are synthetic where they are."""
    protocol = report.protocol
    return f"{protocol.method or 'embeddings'} on {data_title(protocol)}"


def data_title(protocol: Protocol) -> str:
    """The data set, and that its people are synthetic where they are."""
    title = title_of(protocol.dataset)
    return f"synthetic people in the layout of {title}" if protocol.synthetic else title


def report_rows(report: Report) -> tuple[Row, list[Row]]:
    """The numbers of one report, raw and re-ranked side by side, with chance below."""
    rows: list[Row] = []
    for name, numbers in report.raw.items():
        rows.append([name, *number_cells(numbers)])
        if name in report.reranked:
            rows.append(["  re-ranked", *number_cells(report.reranked[name])])
    if report.chance:
        by_chance = value_cells(report.chance, tuple(METRICS))
        rows.append(["random order (expected)", *by_chance])
    return ["Test embedding", *(metric.head for metric in METRICS.values())], rows


def _terminal_rows(report: Report, shown: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for name, numbers in report.raw.items():
        rows.append([name, *_terminal_cells(numbers, shown)])
        if name in report.reranked:
            rows.append(["  re-ranked", *_terminal_cells(report.reranked[name], shown)])
    if report.chance:
        rows.append(["chance", *value_cells(report.chance, shown)])
    return rows


def _terminal_cells(numbers: Numbers, shown: Sequence[str]) -> list[str]:
    cells = value_cells({name: entry["mean"] for name, entry in numbers.items()}, shown)
    for position, name in enumerate(shown):
        if METRICS[name].in_comparison and name in numbers:
            cells[position] = spread(name, numbers[name]).replace(" ", "")
    return cells


def report_markdown(report: Report) -> str:
    """The whole report for a reader."""
    protocol = report.protocol
    lines = [f"# {one_line(title(report))}", "", f"{one_line(protocol.search())}.", ""]
    if protocol.synthetic:
        lines += ["**All people are synthetic**; compare with numbers on the same set only.", ""]
    if report.averaged:
        lines += [averaged_words(report), ""]
    if words := counted(report.counts):
        lines += [words, ""]
    lines += [
        caption_of(report),
        "",
        markdown(*report_rows(report)),
    ]
    if words := below_chance(report):
        lines += [f"**{words}**", ""]
    if report.confidence:
        metrics = [m for m in METRICS if any(m in table for table in report.confidence.values())]
        columns = ["Test embedding", *(METRICS[m].head for m in metrics)]
        rows = [
            [name, *(_interval(m, intervals[m]) if m in intervals else "" for m in metrics)]
            for name, intervals in report.confidence.items()
        ]
        lines += [
            "## 95 % confidence for other people",
            "",
            "Bootstrap over the queries' identities, 1,000 resamples, percentile interval; the "
            "gallery draws and the network stay as they are.",
            "",
            markdown(columns, rows),
        ]
    lines += [
        "## What was measured",
        "",
        markdown(["What", "Value"], protocol_rows(protocol), words=2),
    ]
    lines += record_section(report.record)
    lines += _trial_section(report) + _pair_section(report)
    if report.notes:
        lines += ["## Notes", "", *(f"- {one_line(note)}" for note in report.notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def below_chance(report: Report) -> str:
    """A sentence on what of the best test embedding is no better than a random order; "" if
    nothing is, or chance isn't known."""
    if not (words := at_chance(report)):
        return ""
    return f"The best test embedding is not above chance: {words}."


def at_chance(report: Report) -> str:
    """The numbers of `report.best()` that are not above chance, beside it; "" if all are."""
    best = {name: entry["mean"] for name, entry in report.best().items()}
    return ", ".join(
        f"{METRICS[name].head} {METRICS[name].text(best[name])} "
        f"(chance {METRICS[name].text(expected)})"
        for name, expected in report.chance.items()
        if name in METRICS and name in best and best[name] <= expected
    )


def shared_chance(reports: Sequence[Report], metrics: Sequence[str]) -> str:
    """Chance as printed, "Rank-1 1.04, mAP 1.56", where all reports have the same; else ""."""
    found = {
        ", ".join(
            f"{METRICS[name].head} {METRICS[name].text(report.chance[name])}"
            for name in metrics
            if name in report.chance
        )
        for report in reports
    }
    return found.pop() if len(found) == 1 else ""


def _unmatched(report: Report) -> list[str]:
    """How many queries don't count, where there are some."""
    absent = report.counts.get("without_match", [0])
    if not any(absent):
        return []
    return [f"Queries without a match, which don't count: {between(absent, '', '').strip()}."]


def record_section(record: Record | None) -> list[str]:
    """What the network was trained with, option by option."""
    if record is None:
        return []
    rows = [
        (name, value_words(value)) for name, value in flatten(record.get("options", {})).items()
    ]
    for name, code in record.get("code", {}).items():
        rows.append((f"code of {name}", f"{code['name']}, {code['sha256'][:16]}"))
    facts = {
        "network": record.get("architecture"),
        "number format": record.get("precision"),
        "processes": record.get("ranks"),
        "training data's hash": (record.get("data_hash") or "")[:16],
        "hash of the start": (record.get("start_hash") or "none")[:16],
        "hash of the options": record.get("options_hash", "")[:16],
        "commit": record.get("commit"),
        "versions": record.get("versions"),
    }
    rows += [(name, value_words(value)) for name, value in facts.items() if value is not None]
    rows += [("**changed**", change) for change in record.get("changes", [])]
    return ["## What it was trained with", "", markdown(["Option", "Value"], rows, words=2)]


def caption_of(report: Report, metrics: Sequence[str] = ()) -> str:
    """What a report's numbers are in, and what they are means of, as a sentence.

    Args:
        metrics: those that are shown (default: all).
    """
    metrics = metrics or [*METRICS]
    count = len(next(iter(report.raw.values()))["rank1"]["trials"])
    if count == 1:
        return caption(metrics, "of one trial")
    if report.averaged:
        return caption(metrics, f"mean ± sample deviation over {count} models")
    return caption(metrics, f"mean ± deviation over {count} trials")


def averaged_words(report: Report) -> str:
    """What an average was taken over, as a sentence."""
    averaged = report.averaged or {}
    over = {"seed": "training seeds", "split": "splits, one model each"}
    parts = [
        f"{over[name]} ({', '.join(map(str, averaged['values'][name]))})"
        for name in averaged["over"]
    ]
    return f"**Average of {averaged['reports']} reports** over {' and '.join(parts)}."


def _trial_section(report: Report) -> list[str]:
    if report.averaged:
        numbers, heads = report.averaged["labels"], "Model"
    else:
        numbers, heads = [str(number) for number in report.protocol.trials], "Trial"
    rows = []
    for name, table in report.raw.items():
        for i, number in enumerate(numbers):
            rows.append([number, name, *_trial_cells(table, i)])
            if name in report.reranked:
                again = _trial_cells(report.reranked[name], i)
                rows.append([number, f"{name}, re-ranked", *again])
    lines = [f"## Every {heads.lower()}", ""]
    lines.append(
        markdown([heads, "Test embedding", *(m.head for m in METRICS.values())], rows, words=2)
    )
    if report.counts and not report.averaged:
        counts = report.counts
        rows = [
            [number, *(f"{counts[key][i]:,}" for key in
                       ("queries", "without_match", "identities", "gallery"))]
            for i, number in enumerate(numbers)
        ]  # fmt: skip
        columns = ["Trial", "Queries that count", "Without a match", "Identities", "Gallery images"]
        lines.append(markdown(columns, rows))
    return lines


def _trial_cells(numbers: Numbers, trial: int) -> list[str]:
    return value_cells({m: entry["trials"][trial] for m, entry in numbers.items()}, [*METRICS])


def _pair_section(report: Report) -> list[str]:
    pairs = next(iter(report.camera_pairs.values()), [])
    if len(pairs) < 2:
        return []
    lines = [
        "## Camera by camera",
        "",
        "Queries of one camera against the gallery images of one other, mean over the trials, "
        "Rank-1 / mAP. Pairs that the rule skips, or without a match, are empty.",
        "",
    ]
    for name, rows in report.camera_pairs.items():
        queries = sorted({row["query_camid"] for row in rows})
        galleries = sorted({row["gallery_camid"] for row in rows})
        cells = {
            (row["query_camid"], row["gallery_camid"]): (
                " / ".join(value_cells(row, ("rank1", "mean_ap")))
            )
            for row in rows
        }
        columns = [f"{name}: query camera", *(f"gallery camera {g}" for g in galleries)]
        lines.append(
            markdown(columns, [[str(q), *(cells.get((q, g), "") for g in galleries)]
                               for q in queries])
        )  # fmt: skip
    return lines


def _interval(metric: str, pair: Sequence[float]) -> str:
    return " to ".join(METRICS[metric].text(end) for end in pair)

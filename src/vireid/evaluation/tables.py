"""Reports as Markdown, CSV and LaTeX. Percent in print, fractions inside."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from vireid.evaluation.report import HEADS, METRICS, Numbers, Protocol, Report

Row = Sequence[str]

DATASET_WORDS = {"sysu": "SYSU-MM01", "regdb": "RegDB", "llcm": "LLCM", "folder": "own data"}
PROTOCOL_WORDS = {
    "dataset": "Data set",
    "synthetic": "Synthetic people",
    "synthetic_set": "Synthetic set",
    "part": "Identities",
    "rule": "Rule",
    "scope": "Search",
    "shots": "Shots",
    "direction": "Direction",
    "draw": "Gallery draw",
    "variant": "Variant",
    "trials": "Trials",
    "split": "RegDB split",
    "embeddings": "Test embeddings",
    "metric": "Metric",
    "tta": "Test-time augmentation",
    "preprocessing": "Preprocessing",
    "reranking": "Re-ranking",
    "method": "Method",
    "arch": "Backbone",
    "trained_on": "Trained on",
    "epoch": "Epoch",
    "epoch_choice": "Epoch chosen by",
    "seed": "Seed",
    "weights_hash": "Weights",
    "precision": "Precision",
    "commit": "Commit",
    "versions": "Versions",
}
TERMINAL = ("rank1", "rank10", "rank20", "mean_ap", "mean_inp")
_NO_CHOICE = {
    "shots": "whole gallery",
    "draw": "none: whole gallery",
    "split": "none",
    "synthetic_set": "none",
}


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def spread(entry: Mapping[str, Any]) -> str:
    """'54.75 ± 1.20'; without the deviation where there is one trial."""
    one = len(entry["trials"]) == 1
    return percent(entry["mean"]) + ("" if one else f" ± {percent(entry['std'])}")


def title(report: Report) -> str:
    """Method and data set, with the word that must not be missing."""
    protocol = report.protocol
    name = DATASET_WORDS.get(protocol.dataset, protocol.dataset)
    if protocol.synthetic:
        name = f"synthetic people in the layout of {name}"
    return f"{protocol.method or 'embeddings'} on {name}"


def report_rows(report: Report) -> tuple[Row, list[Row]]:
    """The numbers of one report, raw and re-ranked side by side, with chance below."""
    rows: list[Row] = []
    for name, numbers in report.raw.items():
        rows.append([name, *_cells(numbers)])
        if name in report.reranked:
            rows.append(["  re-ranked", *_cells(report.reranked[name])])
    if report.chance:
        by_chance = [percent(report.chance[m]) if m in report.chance else "" for m in METRICS]
        rows.append(["random order (expected)", *by_chance])
    return ["Test embedding", *HEADS.values()], rows


def terminal_rows(report: Report) -> list[Row]:
    """As `report_rows`, narrow: the metrics of `TERMINAL`, deviations of Rank-1 and mAP only."""
    rows: list[Row] = []
    for name, numbers in report.raw.items():
        rows.append([name, *terminal_cells(numbers)])
        if name in report.reranked:
            rows.append(["  re-ranked", *terminal_cells(report.reranked[name])])
    if report.chance:
        by_chance = [percent(report.chance[m]) if m in report.chance else "" for m in TERMINAL]
        rows.append(["chance", *by_chance])
    return rows


def terminal_cells(numbers: Numbers) -> list[str]:
    """One row of numbers, narrow."""
    return [
        spread(numbers[m]).replace(" ", "") if m in ("rank1", "mean_ap")
        else percent(numbers[m]["mean"])
        for m in TERMINAL
    ]  # fmt: skip


def report_markdown(report: Report) -> str:
    """The whole report for a reader."""
    protocol = report.protocol
    lines = [f"# {title(report)}", "", f"{protocol.search()}.", ""]
    if protocol.synthetic:
        lines += ["**All people are synthetic**; compare with numbers on the same set only.", ""]
    if report.averaged:
        lines += [averaged_words(report), ""]
    lines += [
        _percent_of(report),
        "",
        markdown(*report_rows(report)),
    ]
    if report.confidence:
        columns = ["Test embedding", "Rank-1", "mAP", "mINP"]
        rows = [
            [name, *(_interval(found[m]) for m in ("rank1", "mean_ap", "mean_inp"))]
            for name, found in report.confidence.items()
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
        markdown(["What", "Value"], _protocol_rows(protocol), words=2),
    ]
    lines += _trial_section(report) + _pair_section(report)
    if report.notes:
        lines += ["## Notes", "", *(f"- {note}" for note in report.notes), ""]
    return "\n".join(lines).rstrip() + "\n"


def _percent_of(report: Report) -> str:
    count = len(next(iter(report.raw.values()))["rank1"]["trials"])
    if count == 1:
        return "Percent, of one trial."
    return f"Percent, mean ± deviation over {count} {'models' if report.averaged else 'trials'}."


def averaged_words(report: Report) -> str:
    """What an average was taken over, as a sentence."""
    averaged = report.averaged or {}
    over = {"seed": "training seeds", "split": "RegDB's splits, one model each"}
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
    lines.append(markdown([heads, "Test embedding", *HEADS.values()], rows, words=2))
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
    return [percent(numbers[metric]["trials"][trial]) for metric in METRICS]


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
                f"{percent(row['rank1'])} / {percent(row['mean_ap'])}"
            )
            for row in rows
        }
        columns = [f"{name}: query camera", *(f"gallery camera {g}" for g in galleries)]
        lines.append(
            markdown(columns, [[str(q), *(cells.get((q, g), "") for g in galleries)]
                               for q in queries])
        )  # fmt: skip
    return lines


def _protocol_rows(protocol: Protocol) -> list[Row]:
    rows: list[Row] = []
    for key, words in PROTOCOL_WORDS.items():
        rows.append([words, protocol_value(protocol, key)])
    rows += [[key.replace("_", " "), _value(value)] for key, value in protocol.other.items()]
    return rows


def protocol_value(protocol: Protocol, key: str) -> str:
    """One field of a protocol in words."""
    value = getattr(protocol, key)
    if value is None:
        return _NO_CHOICE.get(key, "not stated")
    if key == "dataset":
        return DATASET_WORDS.get(value, value)
    if key == "direction":
        return value.replace("_", " ")
    if key == "weights_hash":
        return value[:16]
    return _value(value)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def _cells(numbers: Numbers) -> list[str]:
    return [spread(numbers[metric]) for metric in METRICS]


def _interval(pair: Sequence[float]) -> str:
    return f"{percent(pair[0])} to {percent(pair[1])}"


def markdown(columns: Row, rows: Sequence[Row], *, words: int = 1) -> str:
    """A Markdown table; the first `words` columns left, the others right."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join([" :-- "] * words + [" --: "] * (len(columns) - words)) + "|")
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def as_csv(columns: Row, rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def latex(columns: Row, rows: Sequence[Row], *, words: int, caption: str) -> str:
    """A booktabs table; the first `words` columns left, the others right."""
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        f"  \\caption{{{_escape(caption)}}}",
        "  \\centering",
        f"  \\begin{{tabular}}{{{'l' * words}{'r' * (len(columns) - words)}}}",
        "    \\toprule",
        "    " + " & ".join(map(_escape, columns)) + " \\\\",
        "    \\midrule",
        *("    " + " & ".join(map(_escape, row)) + " \\\\" for row in rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _escape(text: str) -> str:
    words = {sign: f"\\{sign}" for sign in "&%$#_{}"}
    words |= {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join((words | {"±": "$\\pm$"}).get(sign, sign) for sign in text)

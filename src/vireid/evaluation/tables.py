"""Tables as Markdown, CSV and LaTeX, and numbers as text: fractions become percent in print."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TypedDict

from vireid.console import count_text, harmless
from vireid.evaluation.measures import METRICS, units

Row = Sequence[str]


class Entry(TypedDict):
    """One metric of a report, as its `of` gives it."""

    mean: float
    std: float
    trials: list[float]


Numbers = dict[str, Entry]
"""Metric → its entry."""


def number_cells(numbers: Numbers) -> list[str]:
    """One row, a cell for each metric, with the deviation; empty for a metric that the report
    doesn't have."""
    return [spread(name, numbers[name]) if name in numbers else "" for name in METRICS]


def spread(metric: str, entry: Entry) -> str:
    """'54.75 ± 1.20'; without the deviation where there is one trial."""
    text = METRICS[metric].text
    one = len(entry["trials"]) == 1
    return text(entry["mean"]) + ("" if one else f" ± {text(entry['std'])}")


def value_cells(values: Mapping[str, float], metrics: Sequence[str]) -> list[str]:
    """One row of values without deviations, empty where a metric is absent."""
    return [METRICS[m].text(values[m]) if m in values else "" for m in metrics]


def caption(metrics: Sequence[str], means: str = "mean ± deviation") -> str:
    """What the numbers of some metrics are in, and what they are means of, as a sentence."""
    words = f"{units(metrics)}, {means}."
    return words[:1].upper() + words[1:]


def counted(counts: Mapping[str, Sequence[int]]) -> str:
    """How many a report's numbers are of, from its `counts`: '4 people, 32 queries, 16 gallery
    images a draw.'; "" for an average, which has none."""
    if not counts or not all(counts.values()):
        return ""
    words = {"identities": ("person", "people"), "queries": ("query", "queries"),
             "gallery": ("gallery image", "gallery images")}  # fmt: skip
    said = ", ".join(between(counts[key], *both) for key, both in words.items())
    return f"{said} a draw." if len(counts["gallery"]) > 1 else f"{said}."


def between(counts: Sequence[int], one: str, many: str) -> str:
    """'1 query', or '10 to 12 queries' where the trials differ."""
    low, high = min(counts), max(counts)
    return count_text(high, one, many) if low == high else f"{low:,} to {high:,} {many}"


def markdown(columns: Row, rows: Sequence[Row], *, words: int = 1) -> str:
    """A Markdown table; the first `words` columns left, the others right."""
    lines = ["| " + " | ".join(map(_cell, columns)) + " |"]
    lines.append("|" + "|".join([" :-- "] * words + [" --: "] * (len(columns) - words)) + "|")
    lines += ["| " + " | ".join(map(_cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """A cell of a Markdown table; of HTML only our own mark for the second best stays."""
    return re.sub("<(?!/?u>)", "&lt;", one_line(text)).replace("|", "\\|")


def one_line(text: str) -> str:
    """Other people's text within a line of a file: no line ends in it, nothing that a terminal
    obeys."""
    return harmless(" ".join(text.splitlines()))


def latex(columns: Row, rows: Sequence[Row], *, words: int, caption: str) -> str:
    """A booktabs table; the first `words` columns left, the others right."""
    body = [[latex_text(cell) for cell in row] for row in rows]
    return latex_table([latex_text(c) for c in columns], body, words=words, caption=caption)


def latex_table(
    columns: Row, rows: Sequence[Row], *, words: int, caption: str, above: Sequence[str] = ()
) -> str:
    """As `latex`, of heads and cells that are LaTeX already; `above` are lines over the heads."""
    lines = [
        "% needs \\usepackage{booktabs}",
        "\\begin{table}",
        f"  \\caption{{{latex_text(caption)}}}",
        "  \\centering",
        f"  \\begin{{tabular}}{{{'l' * words}{'r' * (len(columns) - words)}}}",
        "    \\toprule",
        *(f"    {line}" for line in above),
        "    " + " & ".join(columns) + " \\\\",
        "    \\midrule",
        *("    " + " & ".join(row) + " \\\\" for row in rows),
        "    \\bottomrule",
        "  \\end{tabular}",
        "\\end{table}",
    ]
    return "\n".join(lines) + "\n"


def latex_text(text: str) -> str:
    """Text in which LaTeX's own signs mean themselves."""
    words = {sign: f"\\{sign}" for sign in "&%$#_{}"}
    words |= {"\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"}
    return "".join((words | {"±": "$\\pm$"}).get(sign, sign) for sign in one_line(text))

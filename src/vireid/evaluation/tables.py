"""Tables as Markdown, CSV and LaTeX, and numbers as text: fractions become percent in print."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vireid.evaluation.measures import METRICS, units

Row = Sequence[str]
# metric → {"mean", "std", "trials"}, as the metric's `of` gives them
Numbers = dict[str, dict[str, Any]]


def number_cells(numbers: Numbers) -> list[str]:
    """One row, a cell for each metric, with the deviation; empty for a metric that the report
    doesn't have."""
    return [spread(name, numbers[name]) if name in numbers else "" for name in METRICS]


def spread(metric: str, entry: Mapping[str, Any]) -> str:
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


def markdown(columns: Row, rows: Sequence[Row], *, words: int = 1) -> str:
    """A Markdown table; the first `words` columns left, the others right."""
    lines = ["| " + " | ".join(columns) + " |"]
    lines.append("|" + "|".join([" :-- "] * words + [" --: "] * (len(columns) - words)) + "|")
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


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

"""Tables as Markdown, CSV and LaTeX, and numbers as text: percent in print, fractions inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vireid.evaluation.measures import METRICS

Row = Sequence[str]
# metric → {"mean", "std", "trials"}; fractions
Numbers = dict[str, dict[str, Any]]


def number_cells(numbers: Numbers) -> list[str]:
    """One row, a cell for each metric, with the deviation; empty for a metric that the report
    doesn't have."""
    return [spread(name, numbers[name]) if name in numbers else "" for name in METRICS]


def spread(metric: str, entry: Mapping[str, Any]) -> str:
    """'54.75 ± 1.20'; without the deviation where there is one trial."""
    percent = METRICS[metric].percent
    one = len(entry["trials"]) == 1
    return percent(entry["mean"]) + ("" if one else f" ± {percent(entry['std'])}")


def percent_cells(values: Mapping[str, float], metrics: Sequence[str]) -> list[str]:
    """One row of fractions in percent, empty where a metric is absent."""
    return [METRICS[m].percent(values[m]) if m in values else "" for m in metrics]


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

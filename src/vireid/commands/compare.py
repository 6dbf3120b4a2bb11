"""compare: whether one way of training is better than another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.commands.common import next_step, suggest
from vireid.commands.report import load_reports
from vireid.console import quoted, results
from vireid.files import check_folder
from vireid.types import InputError, shown

if TYPE_CHECKING:
    from vireid.evaluation import Report


def compare(
    reports: tuple[Path, ...], /, *, with_: tuple[Path, ...], out: Path | None = None
) -> int:
    """Say whether one way of training is better than another, by runs paired by seed and start.

    Printed are the difference of every pair, their mean with Student's 95 % interval, the exact
    sign-flip p-value, and a bootstrap over query identities. With fewer than six pairs nothing
    can be claimed.

    Args:
        reports: report.json files, folders that hold one, runs with all their tests, or sweeps of
            one row with all their runs.
        with_: What to compare them with, named likewise. Each side is one way of training.
        out: Folder for compare.md, compare.json and differences.png (default: print only).
    """
    from vireid.evaluation.paired import compare_paired, write_paired

    if not reports:
        raise InputError("Name runs to compare before --with, and others after it.")
    if out is not None:
        check_folder(out, "the comparison")
    comparisons = compare_paired(_side(reports), _side(with_))
    for comparison in comparisons:
        results.print(comparison.to_table())
        results.print(comparison.differing(), markup=False, highlight=False)
        for sentence in comparison.sentences():
            results.print(f"- {sentence}", markup=False, highlight=False)
    if out is None:
        suggest("the same with --out DIR writes Markdown, JSON and a figure.")
        return 0
    from vireid.figures import paired_differences, save_figure

    write_paired(comparisons, out)
    save_figure(paired_differences(comparisons), out / "differences.png")
    next_step(f"{out} (compare.md, compare.json, differences.png)")
    return 0


def _side(paths: Sequence[Path]) -> list[Report]:
    """The reports of one side.

    Raises:
        InputError: as `load_reports`; also a sweep of several rows.
    """
    from vireid.sweep import rows_of

    for path in paths:
        if len(rows := rows_of(path)) > 1:
            (row, runs), *others = rows.items()
            raise InputError(
                f"'{path}' is a sweep of {len(rows)} rows, but a side is one way of training. Name "
                f"the runs of one row, which are {' '.join(map(quoted, runs))} for {shown(row)}; "
                f"the other rows are {', '.join(shown(other) for other, _ in others)}."
            )
    return load_reports(paths)

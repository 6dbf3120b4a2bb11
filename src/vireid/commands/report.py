"""report: several reports side by side, or their average."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step, suggest
from vireid.console import results
from vireid.files import check_folder
from vireid.types import InputError


def report(reports: tuple[Path, ...], /, *, out: Path | None = None, average: bool = False) -> int:
    """Compare reports in one table, or average the seeds of one experiment.

    Args:
        reports: report.json files, folders that hold one, or runs with all their tests.
        out: Folder for comparison.md, .csv and .tex, and the average's report.json (default:
            print only).
        average: Average reports that differ only in the seed (or in the split, as RegDB's trials
            do); any other difference is an error that names it.
    """
    from vireid.evaluation import Report, average_reports, compare

    if not reports:
        raise InputError("Name at least one report.json, as `vireid test` writes it.")
    if out is not None:
        check_folder(out, "the tables")
    loaded = [Report.load(file) for path in reports for file in _files(path)]
    mean = average_reports(loaded) if average else None
    comparison = compare([mean] if mean else loaded)
    results.print(comparison.to_table())
    if out is None:
        suggest("the same with --out DIR writes Markdown, CSV and LaTeX tables.")
        return 0
    if mean:
        mean.write(out)
    comparison.write(out)
    next_step(f"{out} (comparison.md, .csv, .tex{', report.json' if mean else ''})")
    return 0


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    if (path / "report.json").is_file():
        return [path / "report.json"]
    files = sorted(path.glob("test/*/report.json"))
    if not files:
        raise InputError(
            f"'{path}' holds no report.json, nor tests of a run. `vireid test` writes them."
        )
    return files

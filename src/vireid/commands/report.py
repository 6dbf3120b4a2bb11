"""report: several reports side by side, or their average."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.commands.common import next_step, suggest
from vireid.console import around, held_in, path_meant, quoted, results, say
from vireid.files import check_folder
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.evaluation import Report

_NAMED = 5  # folders that a message lists


def report(
    reports: tuple[Path, ...],
    /,
    *,
    out: Path | None = None,
    average: bool = False,
    embedding: str | None = None,
    metrics: tuple[str, ...] = (),
) -> int:
    """Compare reports in one table, or average the seeds of one experiment.

    Args:
        reports: report.json files, folders that hold one, runs with all their tests, or sweeps
            with all their runs.
        out: Folder for comparison.md, .csv and .tex, paper.md and .tex (methods by searches, seeds
            averaged, best in bold), and the average's report.json (default: print only).
        average: Average reports that differ only in the seed (or in the split, as RegDB's trials
            do); any other difference is an error that names it.
        embedding: Test embedding in paper.md and .tex (default: embedding); with ", re-ranked"
            behind its name, the numbers after re-ranking.
        metrics: Metrics in paper.md and .tex, such as rank1 mean_ap (default: these two).
    """
    from vireid.evaluation import average_reports, compare, paper_table

    if not reports:
        raise InputError("Name at least one report.json, as `vireid test` writes it.")
    if out is not None:
        check_folder(out, "the tables")
    elif embedding or metrics:
        raise InputError("`embedding` and `metrics` choose what paper.md shows; give `out` too.")
    loaded = load_reports(reports)
    mean = average_reports(loaded) if average else None
    if mean and out:
        _refuse_other_report(mean, out)
    shown = [mean] if mean else loaded
    comparison = compare(shown)
    paper, why = None, ""
    try:
        paper = paper_table(shown, embedding=embedding, metrics=metrics) if out else None
    except InputError as error:
        if embedding or metrics:
            raise
        why = f"note: paper.md and .tex are left out: {error}"
    results.print(comparison.to_table())
    if out is None:
        suggest("the same with --out DIR writes Markdown, CSV and LaTeX tables.")
        return 0
    if mean:
        mean.write(out)
    comparison.write(out)
    names = ["comparison.md, .csv, .tex", *(["report.json"] if mean else [])]
    if paper:
        paper.write(out)
        names.append("paper.md, .tex")
        if not embedding and any(one.reranked for one in shown):
            say(
                "note: paper.md and .tex show the numbers without re-ranking; those after it need "
                "`embedding`, such as 'embedding, re-ranked'."
            )
    else:
        say(why)
    next_step(f"{out} ({', '.join(names)})")
    return 0


def _refuse_other_report(mean: Report, out: Path) -> None:
    """Keep a report that isn't an earlier one of the same average.

    Raises:
        InputError: `out` holds such a report; what differs is named.
    """
    from vireid.evaluation import Report
    from vireid.evaluation.unlike import differences, joined

    if not (out / "report.json").is_file():
        return
    there = Report.load(out / "report.json")
    if found := differences(there, mean):
        raise InputError(
            f"'{out}' holds the report of another question: they differ in {joined(found)}. It is "
            "kept; name another folder by `out`."
        )


def load_reports(paths: Sequence[Path]) -> list[Report]:
    """The reports that the words of a command name: files, folders, runs with all their tests, or
    sweeps with all their runs.

    Raises:
        InputError: one of them is none, or a report is named twice.
    """
    from vireid.evaluation import Report

    files: dict[Path, Path] = {}
    for file in (file for path in paths for file in _files(path)):
        if file.resolve() in files:
            raise InputError(f"'{file}' is named twice. Name each report once.")
        files[file.resolve()] = file
    return [Report.load(file) for file in files.values()]


def _files(path: Path) -> list[Path]:
    if not path.exists():
        raise InputError(
            f"There is no folder or file '{path}'.{path_meant(path)} Give report.json files, or "
            "folders of tested runs."
        )
    if not path.is_dir():
        return [path]
    if files := _files_in(path):
        return files
    if held := held_in(path, _holds_reports):
        every = len(held) == len(held_in(path, Path.is_dir))
        names = f"{quoted(path)}/*" if every else " ".join(map(quoted, held[:_NAMED]))
        more = " …" if not every and len(held) > _NAMED else ""
        raise InputError(
            f"'{path}' is no run or sweep with reports itself; it holds {len(held)} of them. Name "
            f"what it holds: {names}{more}"
        )
    run = around(path, _holds_reports)
    meant = f" Did you mean '{run}', which it lies in?" if run else ""
    raise InputError(
        f"'{path}' holds no report.json, nor tests of a run or of a sweep's runs.{meant} "
        "`vireid test` writes them."
    )


def _files_in(folder: Path) -> list[Path]:
    """The reports in a folder: its own, of a run's tests, or of all runs of a sweep."""
    from vireid.sweep import runs_of
    from vireid.testing import report_files

    if (folder / "report.json").is_file():
        return [folder / "report.json"]
    return [file for run in runs_of(folder) or [folder] for file in report_files(run)]


def _holds_reports(place: Path) -> bool:
    try:
        return place.is_dir() and bool(_files_in(place))
    except InputError:  # a sweep whose runs aren't there
        return False

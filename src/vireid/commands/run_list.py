"""info of a folder of runs: which there are, as a run's folder is made in one of many."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import is_run, print_json, suggest
from vireid.console import count_text, held_in, quoted, results, say, table
from vireid.testing import TRIALS, report_files
from vireid.types import InputError

_UNREADABLE = "unreadable"
_COLUMNS = ("method", "data set", "recipe", "seed", "state")


def show_runs(folder: Path, *, json: bool) -> bool:
    """List the runs that a folder holds, or that a sweep has begun; whether there are any."""
    from vireid.sweep import STATE, runs_of

    sweeps: list[Path] = []
    if not (runs := runs_of(folder)):
        runs = held_in(folder, is_run)
        sweeps = held_in(folder, lambda inside: (inside / STATE).is_file())
    found = [{"run": str(run), **_facts(run), "reports": len(report_files(run))} for run in runs]
    if not sweeps and all(one["state"] == _UNREADABLE for one in found):
        return False
    if json:
        print_json([*found, *({"sweep": str(s), "runs": len(runs_of(s))} for s in sweeps)])
        return True
    for sweep in sweeps:
        say(f"{quoted(sweep)} is a sweep of {count_text(len(runs_of(sweep)), 'run', 'runs')}.")
    if not found:
        suggest(f"vireid info {quoted(sweeps[0])}")
        return True
    rows = [
        [Path(str(one["run"])).name, *(one.get(name, "") for name in _COLUMNS), one["reports"]]
        for one in found
    ]
    title = f"{count_text(len(runs), 'run', 'runs')} in {folder}"
    results.print(table(title, ["run", *_COLUMNS, "reports"], rows))
    for one in found:
        if "error" in one:
            say(f"note: {one['error']}")
    readable = [one["run"] for one in found if "error" not in one]
    if readable:
        suggest(f"vireid info {quoted(readable[0])}   # about one of them")
    return True


def _facts(run: Path) -> dict[str, str]:
    from vireid.training.checkpoint import describe_briefly

    if (run / TRIALS).is_file():
        return {"state": "one run a split"}
    try:
        return describe_briefly(run)
    except InputError as error:
        return {"state": _UNREADABLE, "error": str(error)}

"""sweep: an experiment of rows and seeds from one file."""

from __future__ import annotations

import re
from pathlib import Path

from vireid.commands.common import going_on, next_step, suggest
from vireid.console import results, say, warn
from vireid.files import check_folder
from vireid.problems import Problems
from vireid.types import InputError


@going_on()
def sweep(
    file: Path,
    /,
    *,
    out: Path | None = None,
    merge: tuple[Path, ...] = (),
    deadline: float | None = None,
    code: tuple[str, ...] = (),
    gpus: tuple[int, ...] = (),
    device: str = "auto",
    jobs: int = 1,
    plan: bool = False,
) -> int:
    """Train and test rows times seeds, one process per GPU, and fill one table while it runs.

    The file (TOML or JSON) has `seeds`, `base` (options of every run), `rows` (name and options of
    each), `grid` (option and values), `test` (options of `vireid test`) and `baseline` (the row
    that the others are compared with). The same command goes on where it was stopped.

    Args:
        file: The experiment; docs/experiments.md explains it.
        out: Folder of runs and tables (default: runs/NAME, NAME being the file's).
        merge: Runs, or folders of runs, that are used where options, seed, start and data are the
            same.
        deadline: Seconds after which no run is begun, and those running save themselves.
        code: Code of your own that the file may name (my.py:MyMethod): a method, a data set …
        gpus: GPUs to use, by number (default: all).
        device: auto (all GPUs, or the CPU), or cpu.
        jobs: Runs at a time on each GPU or CPU.
        plan: Print the runs that would be made, and exit.
    """
    from vireid.runtime.signals import StopRequest, stop_on_signals
    from vireid.sweep import STATE, read_sweep
    from vireid.sweep import merge as take
    from vireid.sweep_run import check_here, run_sweep

    problems = Problems()
    with problems:
        if jobs < 1:
            raise InputError(f"`jobs` is {jobs}; at least 1 was expected.")
    with problems:
        if deadline is not None and deadline <= 0:
            raise InputError(f"`deadline` is {deadline:g} seconds; more than 0 was expected.")
    with problems:
        found = read_sweep(file, out, code)
        check_folder(found.folder, "the sweep's runs and tables")
        if (found.folder / "config.json").is_file():
            raise InputError(
                f"'{found.folder}' is a run's folder; one for a sweep's runs and tables was "
                "expected. Name another one with --out."
            )
    problems.tell()
    if merge:
        say(f"{take(found, merge)} of {len(found.jobs)} runs are taken from elsewhere.")
    if plan:
        for job in found.jobs:
            results.print(f"{job.name}: {job.folder}", markup=False, highlight=False)
        try:  # it may be for another machine
            check_here(found, _devices(gpus, device))
        except InputError as error:
            warn(str(error))
        return 0
    stop = StopRequest()
    with stop_on_signals(stop):
        run_sweep(
            found,
            _devices(gpus, device) * jobs,
            deadline=float("inf") if deadline is None else deadline,
            stop=stop,
        )
    if table := found.table():
        results.print(table, markup=False, highlight=False)
    next_step(f"{found.folder} ({', '.join([*found.written, STATE])})")
    missing: dict[str, list[str]] = {}
    for job in found.jobs:
        if job.state != "done":  # the rest of a state was told when the run ended
            missing.setdefault(re.split("[:;]", job.state)[0], []).append(job.name)
    for state, names in missing.items():
        say(f"missing: {'; '.join(names)}: {state}")
    if not missing:
        return 0
    how = "the same command goes on with what is missing."
    if any(state.startswith("failed") for state in missing):
        how = f"correct what failed ({found.folder / 'logs'}); then {how}"
    if stop.signal is not None:
        raise stop.interruption(f"Next: {how}")
    suggest(how)
    return 1


def _devices(gpus: tuple[int, ...], device: str) -> list[int | None]:
    from vireid.runtime.device import resolve_device
    from vireid.runtime.jobs import devices

    if device not in ("auto", "cpu"):
        raise InputError(f"`device` is {device}; auto or cpu was expected. Choose GPUs by `gpus`.")
    for gpu in gpus:
        resolve_device(gpu, "auto")  # there is such a GPU
    if gpus:
        return [devices()[gpu] for gpu in gpus]
    return [None] if device == "cpu" else devices()

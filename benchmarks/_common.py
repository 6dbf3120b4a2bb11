"""What every benchmark needs: the machine in words, medians, and a dated result file.

A result is `benchmarks/results/NAME-YYYY-MM-DD-MACHINE.json` and a table beside it (`.md`).
With the environment variable OUT set, both go to that folder instead.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
BUSY = "The machine was busy"  # how a note on that begins
NUMBERS = re.compile(r"\[\n\s+(-?\d[^\]\[{}\"]*?)\n\s+\]")  # a list of nothing but numbers
PACKAGES = ("vireid", "torch", "torchvision", "timm", "numpy", "scipy", "numba", "pillow",
            "opencv-python-headless", "faiss-cpu", "onnx", "onnxruntime")  # fmt: skip

# `python -m vireid` in a child runs this checkout, installed or not.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])]
)


def hardware() -> dict[str, Any]:
    """The machine: processor, usable cores, threads of torch, memory, GPUs, system."""
    gpus: list[str] = []
    threads = None
    try:
        import torch

        threads = torch.get_num_threads()
        gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    except ImportError:
        pass  # a benchmark of a part without torch; its versions say so
    if hasattr(os, "sched_getaffinity"):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return {
        "cpu": _cpu_name(),
        "cores": cores,
        "torch_threads": threads,
        "memory_gib": _memory_gib(),
        "gpus": gpus,
        "load_1min": round(os.getloadavg()[0], 2),
        "system": f"{platform.system()} {platform.release()}",
    }


def hardware_line(machine: Mapping[str, Any] | None = None) -> str:
    """`hardware()` as one line for a table's head."""
    machine = machine or hardware()
    parts = [f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']} GiB"]
    if machine["gpus"]:
        names = sorted(set(machine["gpus"]))
        parts += [f"{machine['gpus'].count(name)} x {name}" for name in names]
    parts.append(f"load {machine['load_1min']} at the end")
    return "; ".join(parts)


def versions() -> dict[str, str]:
    """Python's version and those of the packages that matter, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    """The commit that ran, with '+changes' if tracked files of the package differ from it.

    An exported copy of a commit inside another checkout says so itself, by VIREID_COMMIT.
    """
    if named := os.environ.get("VIREID_COMMIT"):
        return named

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        paths = ("src", "benchmarks", ":!benchmarks/results")
        changed = git("status", "--porcelain", "--untracked-files=no", "--", *paths)
        return git("rev-parse", "--short=12", "HEAD") + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def median_time(fn: Callable[[], Any], repeats: int = 5, warmup: int = 1) -> float:
    """Median seconds of `repeats` calls after `warmup` calls that don't count. A function that
    works on a GPU has to wait for it itself."""
    for _ in range(warmup):
        fn()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fn()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def log_lines(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log.jsonl, which may still be written; a line cut off is left out."""
    try:
        texts = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    lines = []
    for text in texts:
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines


def steps_done(run: Path) -> int:
    """The last step in a run's log, which has a line every `--log-every` steps and each epoch."""
    lines = log_lines(run)
    return lines[-1]["global_step"] if lines else 0


def result_path(name: str) -> Path:
    """Where today's result of a benchmark on this machine stands; its folder is made."""
    folder = Path(os.environ.get("OUT") or ROOT / "benchmarks" / "results")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}-{datetime.date.today().isoformat()}-{_slug(hardware())}.json"


def record(
    name: str,
    results: Mapping[str, Any],
    *,
    command: str | None = None,
    table: Sequence[Mapping[str, Any]] | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write a dated result with hardware, versions, commit and command; return the JSON's path.

    Args:
        name: of the benchmark ("evaluation").
        results: the numbers, as JSON values; say units in the names ("seconds", "img_per_s").
        command: what was typed; taken from `sys.argv` if absent.
        table: rows for the Markdown table (the first row's keys are the columns); without it
            the table lists `results`.
        notes: sentences under the table.
    """
    machine = hardware()
    if machine["load_1min"] > 1.5 * machine["cores"]:
        notes = [*notes, f"{BUSY} with other work (load {machine['load_1min']} on "
                         f"{machine['cores']} cores): times are too long and vary."]  # fmt: skip
    date = datetime.date.today().isoformat()
    path = result_path(name)
    command = command or _command()
    whole = {
        "name": name,
        "date": date,
        "hardware": machine,
        "versions": versions(),
        "commit": commit(),
        "command": command,
        "results": dict(results),
        "notes": list(notes),
    }
    rows = table or [{"what": key, "value": value} for key, value in results.items()]
    write_result(path, whole, rows)
    return path


def write_result(path: Path, whole: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write a result file, and its table beside it.

    Args:
        whole: name, date, hardware, versions, commit, command, results and notes.
        rows: of the table.
    """
    text = json.dumps(whole, indent=2, ensure_ascii=False)
    # a curve of 500 losses is one line, not 500: half the size of such a file
    text = NUMBERS.sub(lambda found: f"[{' '.join(found[1].split())}]", text)
    path.write_text(text + "\n", encoding="utf-8")
    lines = [
        f"# {whole['name']}, {whole['date']}",
        "",
        f"{hardware_line(whole['hardware'])}. Commit {whole['commit']}. "
        f"Python {whole['versions']['python']}, torch {whole['versions'].get('torch', '-')}, "
        f"NumPy {whole['versions'].get('numpy', '-')}.",
        "",
        f"Command: `{whole['command']}`",
        "",
        markdown(rows),
        *[f"- {note}" for note in whole["notes"]],
    ]
    path.with_suffix(".md").write_text("\n".join(lines).rstrip() + "\n", encoding="utf-8")


def markdown(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as a Markdown table; floats with four digits."""
    columns = list(rows[0])

    def cell(value: Any) -> str:
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(cell(row.get(c, "")) for c in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _command() -> str:
    script = Path(sys.argv[0])
    if script.is_absolute() and script.is_relative_to(ROOT):
        script = script.relative_to(ROOT)
    return shlex.join(["python", str(script), *sys.argv[1:]])


def _cpu_name() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found.group(1).strip()
    except OSError:
        pass  # not Linux; the general name has to do
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError, AttributeError):
        return None


def _slug(machine: Mapping[str, Any]) -> str:
    """A short name of the machine for a file name: its GPUs if it has any, else its processor."""
    name = machine["cpu"]
    if machine["gpus"]:
        count = len(machine["gpus"])
        name = (f"{count}x-" if count > 1 else "") + machine["gpus"][0].replace("NVIDIA", "")
    name = re.sub(r"\((r|tm)\)|cpu|processor|@.*", " ", name.lower())
    return "-".join(re.findall(r"[a-z0-9]+", name))[:40]


class StackSampler:
    """Where each thread of this process is, looked at 100 times a second.

    Attributes:
        seen: thread → what it was doing (innermost line in this repository, and what that line
            calls) → times seen.
    """

    def __init__(self) -> None:
        self.seen: dict[str, Counter[str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, name="sampler", daemon=True)

    def _look(self) -> None:
        while not self._stop.wait(0.01):
            names = {thread.ident: thread.name for thread in threading.enumerate()}
            for ident, frame in sys._current_frames().items():
                if names.get(ident, "sampler") != "sampler":
                    self.seen.setdefault(names[ident], Counter())[_place(frame)] += 1

    def shares(self, most: int = 6) -> dict[str, dict[str, float]]:
        """By thread, the commonest places and their share of the looks, in percent."""
        return {
            name: {
                place: round(100 * times / counts.total(), 1)
                for place, times in counts.most_common(most)
            }
            for name, counts in sorted(self.seen.items())
        }

    def __enter__(self) -> StackSampler:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def _place(frame: FrameType) -> str:
    inner = frame.f_code.co_name
    at: FrameType | None = frame
    while at is not None and not at.f_code.co_filename.startswith(str(ROOT / "src")):
        at = at.f_back
    if at is None:
        return inner
    where = f"{Path(at.f_code.co_filename).name}:{at.f_lineno} {at.f_code.co_name}"
    return where if at is frame else f"{where} > {inner}"

"""benchmarks/lease.py: its commands, and that a machine is used until its time is up."""

from __future__ import annotations

import importlib
import json
import time
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def lease(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("lease")


def test_every_command_of_a_lease_is_one_that_its_script_takes(
    lease: ModuleType, tmp_path: Path
) -> None:
    """Names are given once, as each is a log and a result, and what is waited for is made."""
    prepared, tasks = lease.prepared(tmp_path), lease.tasks(tmp_path, tmp_path)
    names = [task.name for task in prepared + tasks]
    assert len(set(names)) == len(names)
    made = {tmp_path / "v1-verified.log", *(task.makes for task in prepared + tasks)}
    made.add(tmp_path / "starts" / f"start-{lease.SEED}.json")
    for task in prepared + tasks:
        assert made.issuperset(task.needs), task.name
        script, *words = [word.replace("LEFT", "99") for word in task.command]
        asked = importlib.import_module(Path(script).stem).arguments(words)
        if script.endswith("rates.py"):
            importlib.import_module("methods").arguments(["chosen.json", *asked[1]])
            continue
        assert all(path.is_file() for path in getattr(asked, "merge", []))


def python(lease: ModuleType, tmp_path: Path, name: str, text: str, **more: object) -> object:
    """A task that runs these lines."""
    (tmp_path / f"{name}.py").write_text(text)
    return lease.Task(name, [str(tmp_path / f"{name}.py"), "LEFT"], **more)


def test_gpus_take_what_is_ready_in_order_and_end_with_the_lease(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failure hinders nothing else, what is too long isn't begun, and what runs too long is ended
    with its children."""
    monkeypatch.setattr(lease, "GRACE", 0.5)
    start, alive = tmp_path / "starts" / "start-0.json", tmp_path / "alive"
    start.parent.mkdir()
    child = (
        f"import time, pathlib\nwhile True: pathlib.Path({str(alive)!r}).touch(); time.sleep(.05)"
    )
    endless = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {child!r}])"
    seen = "import os, sys; print(sys.argv[1], os.environ.get('CUDA_VISIBLE_DEVICES'))"
    task = lambda *words, **more: python(lease, tmp_path, *words, **more)  # noqa: E731
    made = [task("starts", f"open({str(start)!r}, 'w')")]
    queue = [
        task("waits", seen, needs=(start,)),
        task("fails", "raise SystemExit(3)"),
        task("whole", seen, gpus=True, needs=(start,)),
        task("too-long", seen, seconds=1000.0),
        task("never", seen, needs=(tmp_path / "nothing",)),
        task("endless", endless),
    ]
    monkeypatch.setattr(lease, "prepared", lambda work: made)
    monkeypatch.setattr(lease, "tasks", lambda work, out: queue)
    began = time.monotonic()
    lease.Lease(tmp_path, tmp_path, 4.0).spend([3, 5])
    assert time.monotonic() - began < 8
    said = (tmp_path / "lease.log").read_text()
    assert (tmp_path / "waits.log").read_text().split()[1] in ("3", "5")
    for sentence in ("waits ended with 0", "fails ended with 3", "endless ended with -15",
                     "too-long was not begun", "never was not begun", "all done"):  # fmt: skip
        assert sentence in said, said
    last = alive.stat().st_mtime_ns
    time.sleep(0.2)
    assert alive.stat().st_mtime_ns == last, "the child of a task outlived it"


def test_the_last_task_has_all_gpus(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = "import os; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    monkeypatch.setattr(lease, "prepared", lambda work: [])
    whole = python(lease, tmp_path, "whole", seen, gpus=True)
    one = python(lease, tmp_path, "one", seen, makes=tmp_path / "made")
    two = python(lease, tmp_path, "two", seen, needs=(tmp_path / "made",))
    never = python(lease, tmp_path, "never", seen, needs=(tmp_path / "nothing",))
    monkeypatch.setattr(lease, "tasks", lambda work, out: [whole, two, one, never])
    began = time.monotonic()
    lease.Lease(tmp_path, tmp_path, 60.0).spend([0, 1])
    assert time.monotonic() - began < 30, "nothing can make what the last one needs"
    assert (tmp_path / "whole.log").read_text() == "0,1\n"
    said = (tmp_path / "lease.log").read_text()
    assert said.index("one ended") < said.index("two begins") < said.index("whole begins")


def test_a_task_that_needs_a_gpu_alone_keeps_it(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until it ends; what is made from the beginning has one GPU too."""
    seen = "import os, sys; print(os.environ['CUDA_VISIBLE_DEVICES'])"
    task = lambda *words, **more: python(lease, tmp_path, *words, **more)  # noqa: E731
    made = [task(f"made-{number}", seen) for number in range(3)]
    waits = f"{seen}\nimport time, pathlib\nwhile not pathlib.Path({str(tmp_path / 'ended')!r})"
    queue = [
        task("alone", f"{waits}.exists(): time.sleep(.05)", alone=True, makes=tmp_path / "free"),
        task("whole", seen, gpus=True, makes=tmp_path / "ended"),
        task("after", seen, gpus=True, needs=(tmp_path / "free",)),
    ]
    monkeypatch.setattr(lease, "prepared", lambda work: made)
    monkeypatch.setattr(lease, "tasks", lambda work, out: queue)
    lease.Lease(tmp_path, tmp_path, 60.0).spend([0, 1])
    had = {path.stem: path.read_text().strip() for path in tmp_path.glob("*.log")}
    assert [had[f"made-{number}"] for number in range(3)] == ["0", "1", "0"]
    assert {had["alone"], had["whole"]} == {"0", "1"} and had["after"] == "0,1"


def test_it_lists_its_tasks(
    lease: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lease.main(["--work", str(tmp_path), "--seconds", "9", "--list"])
    assert "resnet50-2: 600 s" in capsys.readouterr().out


def test_what_waits_for_a_failure_is_dropped(
    lease: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what waits for one that ended with a code that is as good; nor does it hold up others."""
    task = lambda *words, **more: python(lease, tmp_path, *words, **more)  # noqa: E731
    queue = [
        task("one", "raise SystemExit(1)", makes=tmp_path / "1", well=(0, 1)),
        task("two", "raise SystemExit(2)", makes=tmp_path / "2", well=(0, 1)),
        task("after-one", "", needs=(tmp_path / "1",)),
        task("after-two", "", needs=(tmp_path / "2",), makes=tmp_path / "3"),
        task("after-that", "", needs=(tmp_path / "3",)),
        task("slow", "import time; time.sleep(1.5)"),
        task("whole", "", gpus=True),
    ]
    monkeypatch.setattr(lease, "prepared", lambda work: [])
    monkeypatch.setattr(lease, "tasks", lambda work, out: queue)
    lease.Lease(tmp_path, tmp_path, 60.0).spend([0, 1])
    said = (tmp_path / "lease.log").read_text()
    for sentence in ("after-one ended with 0", "after-two was not begun",
                     "after-that was not begun", "whole ended with 0"):  # fmt: skip
        assert sentence in said, said
    assert said.index("whole begins") < said.index("slow ended")


def test_the_rate_that_is_tested_is_the_best_of_those_that_ended_with_every_seed(
    lease: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Rows of another sweep, of which `halo` became NaN with two of three seeds."""
    rates, asked = importlib.import_module("rates"), []
    monkeypatch.setattr(rates.methods, "main", lambda words: asked.append(words) or 0)
    rows = {"halo": {"lr": 0.2}, "mcl": {"lr": 0.1}, "agw": {"lr": 0.3}}
    (tmp_path / "few.json").write_text(json.dumps({"rows": rows, "base": {"select": "held-out"}}))
    monkeypatch.setattr(rates, "SWEEP", tmp_path / "few.json")
    names = str(ROOT / "benchmarks" / "results" / "mobilenetv2-[012]-2*.json")
    files = rates.found([names])
    row, scores = rates.chosen(files, [0, 1, 2])
    assert (row, {*scores}) == ("agw", {"agw", "mcl"}) and 84 < scores["agw"] < 86
    assert rates.chosen(files, [1])[1].keys() == rows.keys()
    with pytest.raises(rates.Unlike, match="seed 2 was not made"):
        rates.chosen(files[:2], [0, 1, 2])
    words = [names, "--of", "0,1,2", "--out", str(tmp_path), "--name", "x"]
    assert rates.main(words) == 0
    assert asked == [[str(tmp_path / "chosen.json"), "--name", "x"]]
    chosen = json.loads((tmp_path / "chosen.json").read_text())
    assert chosen["rows"] == {"halo": {"lr": 0.3}} and chosen["base"] == {}
    assert "out: halo, seed 0: failed" in capsys.readouterr().out
    assert rates.main([str(tmp_path / "none-*.json"), "--of", "2", "--out", str(tmp_path)]) == 2

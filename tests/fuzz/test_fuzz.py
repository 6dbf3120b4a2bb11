"""Odd files of every kind end in a sentence; what the fuzzer is good for is tested too.

`tools/fuzz.py` runs the same for as long as one likes, and repeats one input.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fuzz import harness, parsers
from fuzz.faults import FAULTS, PATCHES, Fault, Patch
from fuzz.targets import TARGETS

ROOT = Path(__file__).parent.parent.parent
SHORT = dict.fromkeys(TARGETS, 60) | {
    "weights": 10, "checkpoint": 12, "index_bytes": 12, "index_sql": 30, "mat": 12, "start": 12,
    "onnx": 20, "sweep": 20, "foreign": 30, "decoded": 30, "parts": 24, "tested": 20,
}  # fmt: skip
LONG = 10_000  # inputs over all targets


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=harness.memory_folder()) as path:
        yield Path(path)


def check(name: str, result: harness.Result) -> None:
    assert not result.bad, f"{name}: repeat one by tools/fuzz.py\n{harness.table({name: result})}"


def skip_unmeasured(kind: str) -> None:
    if kind == "MEMORY" and not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux says what memory one input took")


@pytest.mark.parametrize("name", TARGETS)
def test_odd_files(name: str, folder: Path) -> None:
    """The seeds are used; some odd ones and the first mutations are used or refused."""
    target = TARGETS[name](folder)
    result = harness.Result()
    with harness.silent():
        for number, value in harness.sample(target, SHORT[name]):
            harness.try_one(target, value, number, result)
    check(name, result)
    assert result.used >= len(target.seeds) and result.refused


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_many_odd_files(name: str, folder: Path) -> None:
    with harness.silent():
        result = harness.run(TARGETS[name](folder), seed=1, count=-(-LONG // len(TARGETS)))
    check(name, result)


@pytest.mark.long
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.target}-{fault.file}")
def test_planted_faults_are_found(fault: Fault, tmp_path: Path) -> None:
    copy = tmp_path / "vireid"
    shutil.copytree(ROOT / "src" / "vireid", copy, ignore=shutil.ignore_patterns("shipped"))
    file = copy / fault.file
    text = file.read_text(encoding="utf-8")
    assert text.count(fault.before) == 1, "the fault's text is no longer in the file"
    file.write_text(text.replace(fault.before, fault.after), encoding="utf-8")
    words = [sys.executable, ROOT / "tools" / "fuzz.py", "--target", fault.target, "--seed", "1"]
    done = subprocess.run(
        [*words, "--each", "500", "--stop"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "x " in done.stdout, done.stdout + done.stderr


def test_every_module_that_reads_a_file_is_tried_or_explained() -> None:
    found = parsers.readers()
    assert found - parsers.PARSERS.keys() == parsers.OTHERS.keys()
    assert all((parsers.PACKAGE / file).is_file() for file in parsers.PARSERS)


def test_planted_faults_stand_in_the_files() -> None:
    """Else the long test would only then say so."""
    assert len(FAULTS) >= 10 <= len(PATCHES)
    for fault in FAULTS:
        text = (ROOT / "src" / "vireid" / fault.file).read_text(encoding="utf-8")
        assert text.count(fault.before) == 1, fault


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: f"{patch.target}-{patch.where}")
def test_planted_patches_are_found(
    patch: Patch, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skip_unmeasured(patch.kind)
    target = TARGETS[patch.target](folder)
    monkeypatch.setattr(f"vireid.{patch.where}", patch.instead)
    monkeypatch.setattr(harness, "SECONDS", 1)
    monkeypatch.setattr(harness, "MEMORY", 2**27)
    with harness.silent():
        result = harness.run(target, count=300, stop=True)
    assert any(kind.startswith(patch.kind) for kind in result.findings), result


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (lambda: 1 / 0, "ZeroDivisionError at test_fuzz.py"),
        (lambda: exec("raise SystemExit"), "SystemExit at"),
        (lambda: harness.wait_for_ever(), "HANG"),
        (lambda: harness.fill_memory(), "MEMORY"),
        (lambda: harness.refuse("x" * 9000), "LONG MESSAGE"),
    ],
)
def test_what_is_a_finding(act, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_unmeasured(kind)
    monkeypatch.setattr(harness, "SECONDS", 1)
    monkeypatch.setattr(harness, "MEMORY", 2**27)
    target = TARGETS["report"](folder)
    monkeypatch.setattr(target, "use", lambda value: act())
    result = harness.Result()
    harness.try_one(target, None, len(target.seeds), result)
    assert any(found.startswith(kind) for found in result.findings)


def test_one_input_again(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("fuzz_tool", ROOT / "tools" / "fuzz.py")
    assert spec and spec.loader
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    assert tool.main(["--target", "report", "--each", "20", "--seed", "3"]) == 0
    assert tool.main(["--target", "report", "--input", "0", "--seed", "3"]) == 0

"""One process at a time: others wait, a killed one holds nothing, what can't be locked is open."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from vireid.locks import alone

HOLD = """
import sys, time
from pathlib import Path
from vireid.locks import alone

path, log, seconds = Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3])
with alone(path):
    with log.open("a") as file:
        file.write("in ")
    time.sleep(seconds)
    with log.open("a") as file:
        file.write("out ")
"""


def holder(path: Path, log: Path, seconds: float) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", HOLD, str(path), str(log), str(seconds)])


def wait_for(log: Path) -> None:
    for _ in range(1000):
        if log.exists() and "in" in log.read_text():
            return
        time.sleep(0.02)
    raise AssertionError("nobody got in")


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked so")
def test_processes_take_turns(tmp_path: Path) -> None:
    log = tmp_path / "log"
    running = [holder(tmp_path / "a" / "lock", log, 0.1) for _ in range(3)]
    assert [process.wait() for process in running] == [0, 0, 0]
    assert log.read_text() == "in out " * 3


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked so")
def test_who_waits_is_told_and_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    path, log = tmp_path / "lock", tmp_path / "log"
    process = holder(path, log, 600)
    wait_for(log)
    told = []

    def waiting() -> None:
        told.append("waiting")
        process.kill()

    with alone(path, waiting):
        assert told == ["waiting"]
    process.wait()
    with alone(path, waiting):
        assert told == ["waiting"]


@pytest.mark.skipif(sys.platform == "win32", reason="files can't be locked so")
def test_nobody_waits_longer_than_asked(tmp_path: Path) -> None:
    path, log = tmp_path / "lock", tmp_path / "log"
    process = holder(path, log, 600)
    wait_for(log)
    began = time.monotonic()
    with alone(path, most=0.1) as held:
        assert not held and process.poll() is None and 0.1 < time.monotonic() - began < 60
    with alone(path, process.kill, most=600):  # has it as soon as it is there
        process.wait()
    assert time.monotonic() - began < 60
    with alone(path, lambda: pytest.fail("the lock was kept"), most=600) as held:
        assert held


def test_a_place_that_cannot_be_locked_is_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with alone(tmp_path / "file" / "lock") as held:
        assert not held


def test_what_fails_inside_is_not_swallowed(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="mine"), alone(tmp_path / "lock"):
        raise OSError("mine")

"""SIGKILL at the worst moments, in own child processes: the resumed run equals the undisturbed."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from training_kit import run, tiny_options

from vireid import checkpoint

KIT = Path(__file__).parent / "training_kit.py"
WORDS = {"method": "mcl", "checkpoint_steps": 3, "keep": 2}


def child(folder: Path, **words: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "VIREID_DATA": ""}
    return subprocess.Popen([sys.executable, str(KIT), str(folder), json.dumps(WORDS | words)],
                            env=environment, stderr=subprocess.PIPE, text=True,
                            stdout=subprocess.DEVNULL)  # fmt: skip


def kill_when(process: subprocess.Popen[str], moment: Callable[[], bool]) -> bool:
    """Kill as soon as `moment` is true; False if the process ended before."""
    while process.poll() is None:
        if moment():
            process.send_signal(signal.SIGKILL)
            process.wait()
            return True
        time.sleep(0.001)
    return False


def steps_done(folder: Path) -> int:
    path = folder / "log.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def saving(folder: Path, epoch: int) -> bool:
    """A checkpoint of `epoch` is being written just now."""
    return any((folder / "checkpoints").glob(f".epoch-{epoch:04d}*.pt.*.tmp"))


def undisturbed(folder: Path) -> str:
    torch.set_num_threads(1)
    words = dict(WORDS)
    run(folder, tiny_options(**words))
    return checkpoint.read_weights(folder)[1]["weights_hash"]


def finish(folder: Path) -> str:
    process = child(folder, resume=True)
    _, words = process.communicate(timeout=300)
    assert process.returncode == 0, words
    return checkpoint.read_weights(folder)[1]["weights_hash"]


def test_three_kills(tmp_path: Path) -> None:
    """In the middle of the first epoch, while saving, in the middle of the third epoch."""
    folder = tmp_path / "killed"
    assert kill_when(child(folder), lambda: steps_done(folder) >= 2)
    assert kill_when(child(folder, resume=True), lambda: saving(folder, 2))
    assert kill_when(child(folder, resume=True), lambda: steps_done(folder) >= 2 * 4 + 2)
    assert finish(folder) == undisturbed(tmp_path / "whole")
    assert not list(folder.glob("weights.safetensors.*"))


@pytest.mark.long
def test_thirty_random_kills(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "whole")
    generator = random.Random(20)
    kills, attempt = 0, 0
    while kills < 30:
        attempt += 1
        folder = tmp_path / f"run{attempt}"
        resume = False
        for _ in range(4):
            process = child(folder, resume=resume)
            target = steps_done(folder) + generator.randint(1, 6)
            delay = generator.random() * 0.4

            def moment(folder: Path = folder, target: int = target, delay: float = delay) -> bool:
                if steps_done(folder) < target:
                    return False
                time.sleep(delay)
                return True

            killed = kill_when(process, moment)
            kills += killed
            resume = resume or (folder / "config.json").exists()
            if not killed:
                break
        assert finish(folder) == expected, f"after attempt {attempt}"

"""SIGKILL at the worst moments, in own processes: the resumed run equals the undisturbed one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
import torch
from training_kit import run, start, tiny_options

from vireid import weights

# A network whose steps and checkpoints take long enough to be killed within.
WORDS = {
    "method": "mcl",
    "arch": "resnet10t",
    "recipe": {"epochs": 4},
    "checkpoint_steps": 3,
    "keep": 2,
}


def train(folder: Path, **words: object) -> BaseProcess:
    return start(folder, folder.with_suffix(".log"), **WORDS, **words)


def kill_when(process: BaseProcess, moment: Callable[[], bool]) -> bool:
    """Kill as soon as `moment` is true; False if the process ended before."""
    while process.is_alive():
        if moment():
            process.kill()
            process.join()
            return True
        time.sleep(0.001)
    return False


def steps_done(folder: Path) -> int:
    """Lines of the log: one for each step."""
    path = folder / "log.jsonl"
    return len(path.read_text().splitlines()) if path.exists() else 0


def saving(folder: Path, epoch: int) -> bool:
    """A checkpoint of `epoch` is being written just now."""
    return any((folder / "checkpoints").glob(f".epoch-{epoch:04d}*.pt.*.tmp"))


def undisturbed(folder: Path) -> str:
    torch.set_num_threads(1)
    run(folder, tiny_options(**WORDS))
    return weights.read_weights(folder)[1]["weights_hash"]


def finish(folder: Path) -> str:
    process = train(folder, resume=True)
    process.join(300)
    assert process.exitcode == 0, folder.with_suffix(".log").read_text()
    return weights.read_weights(folder)[1]["weights_hash"]


def test_three_kills(tmp_path: Path) -> None:
    """In the middle of the first epoch, while saving, in the middle of the third epoch."""
    folder = tmp_path / "killed"
    assert kill_when(train(folder), lambda: steps_done(folder) >= 2)
    assert kill_when(train(folder, resume=True), lambda: saving(folder, 2))
    assert kill_when(train(folder, resume=True), lambda: steps_done(folder) >= 2 * 4 + 2)
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
        for _ in range(5):
            process = train(folder, resume=(folder / "config.json").exists())
            target = steps_done(folder) + generator.randint(1, 6)
            delay = generator.random() * 0.4

            def moment(folder: Path = folder, target: int = target, delay: float = delay) -> bool:
                if steps_done(folder) < target:
                    return False
                time.sleep(delay)
                return True

            if not kill_when(process, moment):
                break
            kills += 1
        assert finish(folder) == expected, f"after attempt {attempt}"

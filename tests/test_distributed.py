"""Two processes on the CPU (gloo): one run, one file, one end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from training_kit import tiny_data

from vireid import checkpoint
from vireid.embed import load, load_embeddings
from vireid.engine.journal import read_log

KIT = Path(__file__).parent / "training_kit.py"
WORDS = {"method": "mcl", "recipe": {"epochs": 2}}


def two(folder: Path, **words: object) -> list[subprocess.Popen[str]]:
    """The two processes that torchrun would start."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = []
    for rank in range(2):
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2",
            "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        }  # fmt: skip
        processes.append(
            subprocess.Popen([sys.executable, str(KIT), str(folder), json.dumps(WORDS | words)],
                             env=environment, stderr=subprocess.PIPE, text=True))  # fmt: skip
    return processes


def ended(processes: list[subprocess.Popen[str]]) -> None:
    for process in processes:
        _, words = process.communicate(timeout=300)
        assert process.returncode == 0, words


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two ranks, with embeddings made by two ranks."""
    folder = tmp_path_factory.mktemp("two") / "whole"
    ended(two(folder, embed=True))
    return folder


def test_two_ranks_write_one_run(whole: Path) -> None:
    epochs = [line for line in read_log(whole / "log.jsonl") if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [0, 1]
    state, _, _ = checkpoint.load_latest(whole / "checkpoints")
    assert len(state["ranks"]) == 2
    assert not torch.equal(state["ranks"][0]["random"], state["ranks"][1]["random"])


def test_embeddings_are_those_of_one_process(whole: Path) -> None:
    torch.set_num_threads(1)
    dataset, store = tiny_data()
    alone = load(whole, device="cpu").embed_store(
        store, dataset, np.arange(len(dataset.samples)), batch_size=8
    )
    shared = load_embeddings(whole / "embeddings.safetensors")
    assert shared.paths == list(alone.paths)
    for name in alone.vectors:
        assert np.array_equal(alone.vectors[name], shared.vectors[name])


def test_a_killed_rank_ends_both_and_the_run_resumes(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "killed"
    first, second = two(folder)
    while not (folder / "checkpoints" / "epoch-0001-step-000000.pt").exists():
        assert first.poll() is None, first.communicate()[1]
        time.sleep(0.01)
    second.send_signal(signal.SIGKILL)
    start = time.monotonic()
    _, words = first.communicate(timeout=60)
    assert time.monotonic() - start < 60 and first.returncode != 0
    assert "A process of this run is lost" in words and "--resume" in words
    second.communicate()
    ended(two(folder, resume=True))
    expected = checkpoint.read_weights(whole)[1]["weights_hash"]
    assert checkpoint.read_weights(folder)[1]["weights_hash"] == expected

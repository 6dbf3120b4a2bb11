"""Several processes: one run, one file, one end. On the CPU (gloo), and on GPUs if there are."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from multiprocessing.process import BaseProcess
from pathlib import Path

import command_kit
import forks
import numpy as np
import pytest
import torch
from command_kit import TINY, tiny_config
from training_kit import run, start, tiny_data, tiny_options

from vireid import weights
from vireid.cli import main
from vireid.embed import load, load_embeddings
from vireid.training import checkpoint
from vireid.training.journal import read_log

# A network whose steps take long enough to be killed between them.
WORDS = {"method": "mcl", "arch": "resnet10t", "recipe": {"epochs": 2}}


def on_gpus(count: int, *more: object) -> object:
    """A test's parameters, `more` and so many ranks, each with a GPU of its own."""
    lacks = torch.cuda.device_count() < count
    mark = pytest.mark.skipif(lacks, reason=f"needs {count} CUDA GPUs")
    return pytest.param(*more, count, marks=mark)


def ranks(folder: Path, count: int = 2, **words: object) -> list[BaseProcess]:
    """The processes of a run that torchrun would start."""
    return [
        start(folder, said(folder, rank), environment, **(WORDS | words))
        for rank, environment in enumerate(environments(count))
    ]


def environments(count: int) -> list[dict[str, str]]:
    """What torchrun tells each of its processes."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    common = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
    }
    return [common | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def said(folder: Path, rank: int) -> Path:
    """Where a rank's words go."""
    return folder.with_name(f"{folder.name}-{rank}.log")


def ended(folder: Path, processes: list[BaseProcess]) -> None:
    for rank, process in enumerate(processes):
        process.join(300)
        assert process.exitcode == 0, said(folder, rank).read_text()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run of two ranks, with embeddings made by two ranks."""
    folder = tmp_path_factory.mktemp("two") / "whole"
    ended(folder, ranks(folder, embed=True))
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


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.long)])
def test_a_killed_rank_ends_all_and_the_run_resumes(
    whole: Path, tmp_path: Path, count: int
) -> None:
    folder, words = tmp_path / "killed", {}
    if count == 4:
        words = {"recipe": WORDS["recipe"] | {"pids_per_batch": 8}, "num_pids": 8}
        whole = tmp_path / "whole"
        ended(whole, ranks(whole, count, **words))
    processes = ranks(folder, count, **words)
    while not (folder / "checkpoints" / "epoch-0001-step-000000.pt").exists():
        assert processes[0].is_alive(), said(folder, 0).read_text()
        time.sleep(0.01)
    processes.pop(1).kill()
    for process in processes:
        process.join(60)
        assert process.exitcode not in (None, 0)
    text = said(folder, 0).read_text()
    assert "A process of this run is lost" in text and "--resume" in text
    ended(folder, ranks(folder, count, resume=True, **words))
    expected = weights.read_weights(whole)[1]["weights_hash"]
    assert weights.read_weights(folder)[1]["weights_hash"] == expected


# Centers gather over each rank's own rows, so they are off.
EARLY = {"discriminator_step": "before", "identity_centers": False, "camera_centers": False}


@pytest.mark.parametrize("count, method, own", [(2, "mcl", EARLY), (4, "base", {})])
def test_synchronised_ranks_learn_what_one_process_learns(
    tmp_path: Path, count: int, method: str, own: dict[str, object]
) -> None:
    """With batch norm and triplet over all ranks, ranks with a part of a batch each are one, also
    where a group steps before the backward pass."""
    words = {
        "method": method,
        "arch": "test_resnet",
        "recipe": {"epochs": 1, "pids_per_batch": 2 * count},
        "method_options": own,
    }
    shared = {**words, "sync_bn": True, "gather": True, "num_pids": 24}
    ended(tmp_path / "ranks", ranks(tmp_path / "ranks", count, **shared))
    torch.set_num_threads(1)
    run(tmp_path / "one", tiny_options(**words), num_pids=24)
    one, several = (
        [line["losses"] for line in read_log(tmp_path / name / "log.jsonl") if line["step"] < 4]
        for name in ("one", "ranks")
    )
    assert len(one) == 3
    for alone, shared, near in zip(one, several, (1e-5, 1e-4, 1e-3)):  # rounding grows by the step
        assert shared == pytest.approx(alone, rel=near)


def elastic(
    folder: Path, root: Path, log: Path, *words: object, epochs: int = 5, count: int = 2
) -> subprocess.Popen[bytes]:
    """`torchrun --max-restarts 2 … vireid train`, as a user types it once."""
    recipe = {**TINY["recipe"], "epochs": epochs, "pids_per_batch": 2 * count}
    config = tiny_config(folder.parent, recipe=recipe)
    train = ["torch.distributed.run", "--standalone", f"--nproc-per-node={count}",
             "--max-restarts=2", "-m", "--", "vireid", "train", "--config", config,
             "--data-root", root, "--run", folder, *words]  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, train)],
        stdout=subprocess.DEVNULL,
        stderr=log.open("wb"),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def workers(launcher: subprocess.Popen[bytes]) -> dict[int, int]:
    """Process numbers of torchrun's workers, by rank."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            variables = (stat.parent / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # ended meanwhile
        if parent == launcher.pid:
            pid = int(stat.parent.name)
            found |= {int(v[5:]): pid for v in variables if v.startswith(b"RANK=")}
    return found


def kill_second_and_wait(launcher: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    """Kill the second rank once there is a checkpoint; the restarted command must end well."""
    try:
        while not [*folder.glob("checkpoints/epoch-0001-*.pt")]:
            assert launcher.poll() is None, log.read_text()
            time.sleep(0.02)
        os.kill(workers(launcher)[1], signal.SIGKILL)
        assert launcher.wait(240) == 0, log.read_text()
    finally:
        if launcher.poll() is None:
            launcher.terminate()  # ends its workers too
            launcher.wait(60)
    assert "Resuming from epoch-0" in log.read_text()


@pytest.mark.skipif(sys.platform != "linux", reason="finds torchrun's workers in /proc")
@pytest.mark.long
def test_torchrun_restarts_the_same_command_and_it_goes_on(sysu_root: Path, tmp_path: Path) -> None:
    log, folder = tmp_path / "elastic.log", tmp_path / "run"
    kill_second_and_wait(elastic(folder, sysu_root, log, "--device", "cpu"), folder, log)
    epochs = [line for line in read_log(folder / "log.jsonl") if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [0, 1, 2, 3, 4]
    assert weights.read_weights(folder)[1]["epoch"] == 5


@pytest.mark.parametrize(
    "engine, count", [on_gpus(count, engine) for engine in ("eager", "graph") for count in (2, 4)]
)
def test_a_killed_gpu_rank_leaves_weights_equal_bit_for_bit(
    sysu_root: Path, tmp_path: Path, engine: str, count: int
) -> None:
    log = tmp_path / "elastic.log"
    words = ("--device", "cuda", "--engine", engine, "--deterministic", "--keep", 99)
    whole = elastic(tmp_path / "whole", sysu_root, log, *words, epochs=60, count=count)
    assert whole.wait(240) == 0, log.read_text()
    killed = elastic(tmp_path / "killed", sysu_root, log, *words, epochs=60, count=count)
    kill_second_and_wait(killed, tmp_path / "killed", log)
    hashes = [
        weights.read_weights(tmp_path / name)[1]["weights_hash"] for name in ("whole", "killed")
    ]
    assert hashes[0] == hashes[1]


@pytest.mark.parametrize("device, count", [("cpu", 3), on_gpus(2, "cuda"), on_gpus(4, "cuda")])
def test_embed_and_test_write_the_same_files_for_one_rank_and_several(
    sysu_root: Path, tmp_path: Path, device: str, count: int
) -> None:
    torch.set_num_threads(1)
    weights = tmp_path / "run"
    assert command_kit.train(weights, sysu_root) == 0
    for name in ("one", "several"):
        for words in (
            # 144 batches, which are five parts: each of three ranks has one at least
            ("embed", "--weights", weights, "--images", sysu_root, "--modality", "visible",
             "--batch-size", 1, "--device", device, "--out", tmp_path / f"{name}.safetensors"),
            ("test", "--resume", weights, "--device", device, "--out", tmp_path / name),
        ):  # fmt: skip
            if name == "one":
                assert command_kit.run(*words) == 0
            else:
                log = tmp_path / words[0]
                ended(log, [
                    forks.start(said(log, rank), main, [*map(str, words)], **environment)
                    for rank, environment in enumerate(environments(count))
                ])  # fmt: skip
    files = ["one.safetensors", "one/report.json", "one/report.md"]
    for file in files:
        other = tmp_path / file.replace("one", "several")
        assert (tmp_path / file).read_bytes() == other.read_bytes(), file

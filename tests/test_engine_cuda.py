"""On a CUDA GPU: every engine is the same step. Skipped elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from training_kit import run, tiny_data, tiny_options

from vireid import checkpoint
from vireid.bench import StepBench
from vireid.embed import Embedder

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def losses(steps: int = 6, **options) -> np.ndarray:
    dataset, store = tiny_data()
    bench = StepBench(dataset, store, arch="resnet18", recipe="scratch", pids_per_batch=4,
                      images_per_pid=2, lr=0.001, **options)  # fmt: skip
    try:
        return np.array(bench.losses(steps))
    finally:
        bench.close()


@pytest.mark.parametrize("method", ["base", "agw", "mcl"])
def test_graph_equals_eager_in_float32(method: str) -> None:
    eager = losses(engine="eager", precision="float32", method=method)
    graph = losses(engine="graph", precision="float32", method=method)
    np.testing.assert_allclose(graph, eager, rtol=2e-3)


def test_ddag_with_dropout_is_captured() -> None:
    assert np.isfinite(losses(engine="graph", method="ddag")).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_near(precision: str) -> None:
    exact = losses(3, engine="eager", precision="float32")
    near = losses(3, engine="graph", precision=precision)
    np.testing.assert_allclose(near, exact, rtol=0.1)


def test_host_store_feeds_the_graph_the_same_pictures() -> None:
    device = losses(engine="graph", where="device", precision="float32")
    host = losses(engine="graph", where="host", precision="float32")
    np.testing.assert_allclose(host, device, rtol=2e-3)


@pytest.mark.parametrize("engine", ["eager", "graph"])
def test_deterministic_resume_is_equal_bit_for_bit(tmp_path: Path, engine: str) -> None:
    words = {"device": "cuda:0", "engine": engine, "deterministic": True, "checkpoint_steps": 3,
             "keep": 99}  # fmt: skip
    try:
        run(tmp_path / "whole", tiny_options("ddag", **words))
        run(tmp_path / "parts", tiny_options("ddag", **words))
        for path in checkpoint.list_checkpoints(tmp_path / "parts" / "checkpoints"):
            if path.name > "epoch-0002-step-000003.pt":
                path.unlink()
        (tmp_path / "parts" / "weights.safetensors").unlink()
        run(tmp_path / "parts", tiny_options("ddag", **words), resume=True)
    finally:
        torch.use_deterministic_algorithms(False)
    hashes = [checkpoint.read_weights(tmp_path / n)[1]["weights_hash"] for n in ("whole", "parts")]
    assert hashes[0] == hashes[1]


def test_compiled_extraction_equals_eager() -> None:
    dataset, store = tiny_data()
    bench = StepBench(dataset, store, arch="resnet18", engine="eager", pids_per_batch=4,
                      images_per_pid=2)  # fmt: skip
    rows = np.arange(len(dataset))
    found = [
        Embedder(bench.method, {"size": list(store.size)}, device="cuda:0", compiled=compiled,
                 precision="float32").embed_store(store, dataset, rows, batch_size=16)
        for compiled in (False, True)
    ]  # fmt: skip
    np.testing.assert_allclose(found[0].embedding, found[1].embedding, atol=1e-4)

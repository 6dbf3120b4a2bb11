"""On a CUDA GPU: every engine is the same step. Skipped elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from training_kit import SIZE, run, tiny_data, tiny_options

import vireid.embed.job as job
from vireid import weights
from vireid.bench import StepBench
from vireid.embed import Embedder, embed_files, load_embeddings
from vireid.embed.copying import pinned
from vireid.methods import Method
from vireid.training import checkpoint
from vireid.types import Modality

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")


def bench_of(**options) -> StepBench:
    dataset, store = tiny_data()
    return StepBench(dataset, store, arch="resnet18", recipe="scratch", pids_per_batch=4,
                     images_per_pid=2, lr=0.001, **options)  # fmt: skip


def losses(steps: int = 6, **options) -> np.ndarray:
    bench = bench_of(**options)
    try:
        return np.array(bench.losses(steps))
    finally:
        bench.close()


def averaged(steps: int, **options) -> torch.Tensor:
    """The averaged parameters after so many steps, in one vector."""
    bench = bench_of(**options)
    try:
        bench.advance(steps)
        assert bench.run.step.average.step == steps
        state = bench.run.step.average.state()
        names = [name for name, _ in bench.run.method.named_parameters()]
        return torch.cat([state[name].flatten() for name in names]).cpu()
    finally:
        bench.close()


@pytest.mark.parametrize("kernels", ["own", "mixed", "compiled", "eager"])
@pytest.mark.parametrize("method", ["base", "agw", "mcl"])
def test_graph_equals_eager_in_float32(method: str, kernels: str) -> None:
    eager = losses(engine="eager", precision="float32", method=method)
    graph = losses(engine="graph", kernels=kernels, precision="float32", method=method)
    np.testing.assert_allclose(graph, eager, rtol=2e-3)


@pytest.mark.parametrize("kernels", ["own", "mixed"])
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("caj", {"augment": "caj"}),
        ("dns", {}),
        ("deen", {}),
        ("rle", {"stripes": 2}),
        ("halo", {"augment": "halo"}),
    ],
)
def test_later_methods_are_captured(
    method: str, options: dict[str, Any], kernels: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CAJ's three streams and DEEN's three times the rows; without dropout, which draws anew."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    words = {"precision": "float32", "method": method, **options}
    np.testing.assert_allclose(
        losses(engine="graph", kernels=kernels, **words),
        losses(engine="eager", **words),
        rtol=5e-3,
    )


def test_the_published_order_is_captured() -> None:
    """Over compiled and over eager kernels the discriminator steps before the backward pass."""

    def of(**options: str) -> np.ndarray:
        """Four steps in which the order weighs much."""
        return losses(4, method="mcl", precision="float32", discriminator_lr=5.0,
                      confusion_weight=30.0, **options)  # fmt: skip

    eager = of(engine="eager", discriminator_step="before")
    for engine in ("graph", "compiled"):
        np.testing.assert_allclose(of(engine=engine, discriminator_step="before"), eager, rtol=5e-3)
    other = of(engine="eager", discriminator_step="after")
    assert (np.abs(other / eager - 1)[1:] > 3e-2).all()


def test_clipping_and_averaging_are_captured() -> None:
    words = {"precision": "float32", "clip_norm": 1.0, "ema": 0.9, "optim": "adamw"}
    np.testing.assert_allclose(
        losses(engine="graph", **words), losses(engine="eager", **words), rtol=2e-3
    )
    # Losses don't know the average. Where a gradient is almost 0, its sign decides AdamW's step.
    start, eager = (averaged(steps, engine="eager", **words) for steps in (0, 6))
    graph = averaged(6, engine="graph", **words)
    assert (graph - eager).norm() < 0.2 * (eager - start).norm()


@pytest.mark.parametrize("preset", ["caj", "dns", "rle-grey"])
def test_augmentation_of_later_methods_is_captured(preset: str) -> None:
    eager = losses(engine="eager", precision="float32", augment=preset)
    graph = losses(engine="graph", precision="float32", augment=preset)
    np.testing.assert_allclose(graph, eager, rtol=2e-3)


def test_ddag_with_dropout_is_captured() -> None:
    assert np.isfinite(losses(engine="graph", method="ddag")).all()


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_low_precision_is_near(precision: str) -> None:
    exact = losses(3, engine="eager", precision="float32")
    near = losses(3, engine="graph", precision=precision)
    np.testing.assert_allclose(near, exact, rtol=0.1)


def test_host_store_feeds_the_graph_the_same_images() -> None:
    device = losses(engine="graph", store="device", precision="float32")
    host = losses(engine="graph", store="host", precision="float32")
    np.testing.assert_allclose(host, device, rtol=2e-3)


@pytest.mark.parametrize(
    ("engine", "method"),
    [("eager", "ddag"), ("graph", "ddag"), ("graph", "dns"), ("graph", "deen")],
)
def test_deterministic_resume_is_equal_bit_for_bit(
    tmp_path: Path, engine: str, method: str
) -> None:
    words = {"device": "cuda:0", "engine": engine, "deterministic": True, "checkpoint_steps": 3,
             "keep": 99}  # fmt: skip
    try:
        run(tmp_path / "whole", tiny_options(method, **words))
        run(tmp_path / "parts", tiny_options(method, **words))
        for path in checkpoint.list_checkpoints(tmp_path / "parts" / "checkpoints"):
            if path.name > "epoch-0002-step-000003.pt":
                path.unlink()
        (tmp_path / "parts" / "weights.safetensors").unlink()
        run(tmp_path / "parts", tiny_options(method, **words), resume=True)
    finally:
        torch.use_deterministic_algorithms(False)
    hashes = [weights.read_weights(tmp_path / n)[1]["weights_hash"] for n in ("whole", "parts")]
    assert hashes[0] == hashes[1]


@pytest.fixture(scope="module")
def method() -> Iterator[Method]:
    dataset, store = tiny_data()
    bench = StepBench(dataset, store, arch="resnet18", engine="eager", pids_per_batch=4,
                      images_per_pid=2)  # fmt: skip
    yield bench.run.method
    bench.close()


def embedder(method: Method, *, compiled: bool) -> Embedder:
    return Embedder(method, {"size": list(SIZE)}, device="cuda:0", compiled=compiled,
                    precision="float32")  # fmt: skip


@pytest.mark.parametrize("tta", ["none", "flip"])
def test_recorded_extraction_equals_eager(method: Method, tta: str) -> None:
    dataset, store = tiny_data()
    recorded, eager = (embedder(method, compiled=compiled) for compiled in (True, False))
    for batch_size, rows in [(16, np.arange(len(dataset))), (8, np.arange(5, len(dataset), 2))]:
        found, exact = (
            one.embed_store(store, dataset, rows, batch_size=batch_size, tta=tta)
            for one in (recorded, eager)
        )
        for name, vectors in exact.vectors.items():
            np.testing.assert_allclose(found.vectors[name], vectors, atol=1e-4)
    assert set(recorded.forward._recorded) == {0, 8}


def test_a_method_that_looks_at_values_is_embedded(
    method: Method, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, store = tiny_data()
    rows = np.arange(len(dataset))
    exact = embedder(method, compiled=False).embed_store(store, dataset, rows, batch_size=16)
    plain = method.embed

    def looking(image, num_visible):
        found = plain(image, num_visible)
        found["embedding"].sum().item()  # a host that looks can't be recorded
        return found

    monkeypatch.setattr(method, "embed", looking)
    looked = embedder(method, compiled=True).embed_store(store, dataset, rows, batch_size=16)
    np.testing.assert_allclose(looked.embedding, exact.embedding, atol=1e-4)
    assert "can't be recorded" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("pins", [True, False])
def test_files_through_the_ring_equal_images_in_memory(
    method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pins: bool
) -> None:
    """Small batches, so that the ring is used again and again."""
    if not pins:
        monkeypatch.setattr(job, "pinned", lambda pixels, device: nullcontext())
    generator = np.random.default_rng(0)
    images = generator.integers(0, 255, (203, *SIZE, 3), np.uint8)
    (tmp_path / "images").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "images" / f"{number:03d}.png")
    one = embedder(method, compiled=True)
    done = embed_files(one, tmp_path / "images", tmp_path / "out", modality=Modality.VISIBLE,
                       batch_size=8, dtype="float32", workers=4)  # fmt: skip
    assert done.count == len(images)
    exact = embedder(method, compiled=False).embed(images, "visible", batch_size=8)
    for name, vectors in load_embeddings(tmp_path / "out").vectors.items():
        np.testing.assert_allclose(vectors, exact.vectors[name], atol=1e-4)


def test_memory_that_cannot_be_pinned_does_no_harm() -> None:
    pixels = np.zeros((4, *SIZE, 3), np.uint8)
    device = torch.device("cuda:0")
    with pinned(pixels, device):
        assert torch.from_numpy(pixels[1:3]).is_pinned()
        with pinned(pixels, device):  # twice is refused, without harm
            assert float(torch.ones(3, device=device).sum()) == 3
        assert torch.from_numpy(pixels[1:3]).is_pinned()
    assert not torch.from_numpy(pixels[1:3]).is_pinned()

"""Batches with more visible rows than infrared ones, from the plan to the loss."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from training_kit import SIZE, run, tiny_data, tiny_options

from vireid import weights
from vireid.bench import StepBench
from vireid.methods.recipes import AUGMENTATIONS
from vireid.training import checkpoint


@pytest.mark.parametrize("store", ["auto", "host"])
def test_a_step_sees_every_visible_image_twice(store: str) -> None:
    dataset, images_of = tiny_data()
    bench = StepBench(dataset, images_of, device="cpu", method="base", arch="test_resnet",
                      recipe="scratch", augment="caj", pids_per_batch=4, images_per_pid=2,
                      store=store)  # fmt: skip
    data, seen = bench.run.data, {}
    forward = bench.run.method.forward
    bench.run.method.forward = lambda batch: (seen.update(batch=batch), forward(batch))[1]
    bench.advance(2)
    batch, plan = seen["batch"], data.plan(0, bench.run.optimisers)
    rows = plan.positions[1]
    assert (batch.num_visible, data.batch, data.total_batch) == (16, 24, 24)
    assert batch.modality.tolist() == [0] * 16 + [1] * 8
    assert np.array_equal(rows[:8], rows[8:16])
    labels = batch.pid_label.reshape(3, 8)
    assert torch.equal(labels[0], labels[1]) and torch.equal(labels[0], labels[2])
    images = torch.from_numpy(images_of.images[data.rows[rows]])
    assert torch.equal(batch.image, data.augment(images, torch.from_numpy(plan.draws[1])))
    assert batch.image.shape == (24, 3, *SIZE)
    first, second = batch.image[:8], batch.image[8:16]
    assert (first - second).abs().amax((1, 2, 3)).min() > 0.01  # augmented independently
    assert all(torch.equal(one[0], one[2]) for one in second)  # one channel thrice
    bench.close()


@pytest.mark.long
def test_a_resumed_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    """With two views, both erasings, mixtures and radical rectangles."""
    both = replace(AUGMENTATIONS["caj"], mix=0.5, radical=0.5, early_erase=0.5)
    words = {"recipe": {"augment": both}, "checkpoint_steps": 3, "keep": 99}
    for name in ("whole", "parts"):
        run(tmp_path / name, tiny_options("mcl", **words))
    for path in checkpoint.list_checkpoints(tmp_path / "parts" / "checkpoints"):
        if path.name > "epoch-0001-step-000003.pt":
            path.unlink()
    (tmp_path / "parts" / "weights.safetensors").unlink()
    run(tmp_path / "parts", tiny_options("mcl", **words), resume=True)
    hashes = [weights.read_weights(tmp_path / n)[1]["weights_hash"] for n in ("whole", "parts")]
    assert hashes[0] == hashes[1]

"""CAJ, DNS, DEEN, RLE and halo learn synthetic people, each with its own augmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vireid.bench import StepBench
from vireid.data import load_dataset, prepare
from vireid.synthetic import write_dataset

SIZE = (96, 32)  # high enough for three stripes


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("people") / "sysu"
    write_dataset(root, identities=14, test_identities=2, images=2, workers=1, progress=False)
    return root


@pytest.mark.long
@pytest.mark.parametrize("method", ["caj", "dns", "deen", "rle", "halo"])
def test_the_loss_falls_in_300_steps(method: str, people: Path) -> None:
    dataset = load_dataset("sysu", people)
    store = prepare(dataset, size=SIZE, workers=1)
    bench = StepBench(dataset, store, device="cpu", method=method, augment=method,
                      arch="resnet10t", recipe="scratch", epochs=100, pids_per_batch=4,
                      images_per_pid=2)  # fmt: skip
    losses = np.array(bench.losses(300))
    bench.close()
    assert np.isfinite(losses).all()
    assert losses[-30:].mean() < 0.8 * losses[:30].mean()

"""Losses and their gradients equal those of the published code.

`tests/golden/losses.npz` holds the smallest cases. Where VIREID_GOLDEN names a folder with the
full file (2048-d, 64 rows, 395 centers), that is read too.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from vireid.losses import (
    CenterAggregationLoss,
    HardTripletLoss,
    WeightedTripletLoss,
    confusion_loss,
    discriminator_loss,
    frozen_logits,
)
from vireid.models import ModalityDiscriminator

FILE = Path(__file__).parent.parent / "golden" / "losses.npz"
FULL = Path(os.environ.get("VIREID_GOLDEN", "")) / "losses.npz"
TRIPLETS = {
    "weighted_triplet": lambda: WeightedTripletLoss("published"),
    "hard_triplet_margin_0.3": lambda: HardTripletLoss(0.3),
}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FILE))


def close(ours: torch.Tensor | None, theirs: np.ndarray) -> bool:
    assert ours is not None
    difference = np.abs(ours.detach().numpy() - theirs).max()
    return difference <= 1e-5 * max(np.abs(theirs).max(), 1e-30)


def check_triplets(golden: dict[str, np.ndarray], case: str, dtype: torch.dtype) -> None:
    for name, make in TRIPLETS.items():
        features = torch.tensor(golden[f"{case}/features"], dtype=dtype, requires_grad=True)
        value = make()(features, torch.tensor(golden[f"{case}/pids"]))
        value.backward()
        assert close(value, golden[f"{case}/{name}"])
        assert close(features.grad, golden[f"{case}/{name}_grad"])


def check_centers(golden: dict[str, np.ndarray], case: str, fixed_count: int | None) -> None:
    for which, column in (("id", "pids"), ("cam", "camids")):
        centers = torch.tensor(golden[f"{case}/{which}_centers"]).double()
        for rho in (4500, 100):
            count = fixed_count if which == "id" else None
            loss = CenterAggregationLoss(*centers.shape, rho=rho, fixed_count=count).double()
            loss.centers.data.copy_(centers)
            features = torch.tensor(golden[f"{case}/features"]).double().requires_grad_()
            value = loss(features, torch.tensor(golden[f"{case}/{column}"]))
            value.backward()
            name = f"{case}/mcca_{which}_rho{rho}"
            assert close(value, golden[name])
            if f"{name}_grad" in golden:
                assert close(features.grad, golden[f"{name}_grad"])
                assert close(loss.centers.grad, golden[f"{name}_center_grad"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_triplets(golden: dict[str, np.ndarray], dtype: torch.dtype) -> None:
    check_triplets(golden, "batch32_small", dtype)


@pytest.mark.parametrize("fixed_count", [None, 8])
def test_center_aggregation(golden: dict[str, np.ndarray], fixed_count: int | None) -> None:
    check_centers(golden, "batch32_small", fixed_count)


def test_frozen_centers_are_the_same_function(golden: dict[str, np.ndarray]) -> None:
    centers = torch.tensor(golden["batch32_small/id_centers"]).double()
    loss = CenterAggregationLoss(*centers.shape, centers="frozen").double()
    loss.centers.copy_(centers)
    assert list(loss.parameters()) == []
    features = torch.tensor(golden["batch32_small/features"]).double().requires_grad_()
    value = loss(features, torch.tensor(golden["batch32_small/pids"]))
    value.backward()
    assert close(value, golden["batch32_small/mcca_id_rho4500"])
    assert close(features.grad, golden["batch32_small/mcca_id_rho4500_grad"])


def test_confusion(golden: dict[str, np.ndarray]) -> None:
    discriminator = ModalityDiscriminator(256).double()
    prefix = "confusion/discriminator."
    stored = {
        key.removeprefix(prefix): torch.tensor(value).double()
        for key, value in golden.items()
        if key.startswith(prefix)
    }
    discriminator.load_state_dict(stored | {"bn.num_batches_tracked": torch.tensor(0)})
    features = torch.tensor(golden["confusion/features"]).double().requires_grad_()
    modality = torch.arange(64) // 32
    frozen = frozen_logits(discriminator, features)
    logits = discriminator(features.detach())
    assert close(logits, golden["confusion/discriminator_logits"])
    assert close(discriminator_loss(logits, modality), golden["confusion/discriminator_loss"])
    value = confusion_loss(frozen)
    value.backward()
    assert close(value, golden["confusion/confusion_loss"])
    assert close(features.grad, golden["confusion/confusion_loss_grad"])
    assert all(parameter.grad is None for parameter in discriminator.parameters())


@pytest.mark.skipif(not FULL.is_file(), reason="VIREID_GOLDEN names no folder with losses.npz")
@pytest.mark.parametrize("case", ["batch64_bn", "batch64_pool", "batch32_small"])
def test_full_golden_file(case: str) -> None:
    full = dict(np.load(FULL))
    check_triplets(full, case, torch.float64)
    check_centers(full, case, None)

"""Losses of CAJ, DNS, DEEN and MCJA against the published code's own numbers, and their traps."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vireid.losses import (
    CenterPairLoss,
    CircleLoss,
    CrossModalityRetrievalLoss,
    DomainAlignmentLoss,
    SquaredTripletLoss,
    WeightedTripletLoss,
    branch_overlap,
    maximum_mean_discrepancy,
)
from vireid.types import InputError

GOLDEN = Path(__file__).parent.parent / "golden"


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a golden file that belong to losses."""
    with np.load(GOLDEN / f"{name}.npz") as file:
        parts = ("triplet/", "circle/", "mmd/", "da/", "cpm/", "step/", "cmr/")
        return {key: file[key] for key in file.files if key.startswith(parts)}


def cases(name: str, part: str) -> list[str]:
    keys = [key.split("/") for key in golden(name) if key.startswith(f"{part}/")]
    return sorted({key[1] for key in keys})


def tensor(name: str, key: str) -> Tensor:
    value = torch.from_numpy(golden(name)[key].copy())
    return value.double() if value.is_floating_point() else value


def check(
    loss: Callable[..., Tensor], inputs: list[Tensor], value: np.ndarray, grads: list[np.ndarray]
) -> None:
    """The value to 1e-8 (tiny ones to 1e-12), gradients to 1e-7 of their largest entry."""
    inputs = [x.clone().requires_grad_() for x in inputs]
    found = loss(*inputs)
    assert float(found.detach()) == pytest.approx(float(value), rel=1e-8, abs=1e-12)
    found.backward()
    for x, expected in zip(inputs, grads, strict=True):
        assert x.grad is not None
        scale = np.abs(expected).max()
        np.testing.assert_allclose(x.grad.numpy(), expected, rtol=0, atol=1e-7 * scale + 1e-12)


def differs(loss: Callable[..., Tensor], inputs: list[Tensor], value: np.ndarray) -> bool:
    return abs(float(loss(*inputs).detach()) / float(value) - 1) > 1e-5


def rows_of(case: str) -> tuple[Tensor, Tensor]:
    return tensor("caj", f"triplet/{case}/features"), tensor("caj", f"triplet/{case}/pids")


@pytest.mark.parametrize("alpha, gamma", [(1, 1), (2, 1), (1, 2)])
@pytest.mark.parametrize("case", cases("caj", "triplet"))
def test_squared_triplet(case: str, alpha: int, gamma: int) -> None:
    features, pids = (
        tensor("caj", f"triplet/{case}/features"),
        tensor("caj", f"triplet/{case}/pids"),
    )
    key = f"triplet/{case}/alpha{alpha}_gamma{gamma}_square1"
    loss = SquaredTripletLoss(alpha, gamma, limit=88, arithmetic="published")
    grad = golden("caj")[f"{key}_features_grad"]
    check(lambda x: loss(x, pids), [features], golden("caj")[key], [grad])


@pytest.mark.parametrize("case", cases("caj", "triplet"))
def test_without_the_square_it_is_the_weighted_triplet(case: str) -> None:
    features, pids = (
        tensor("caj", f"triplet/{case}/features"),
        tensor("caj", f"triplet/{case}/pids"),
    )
    key = f"triplet/{case}/alpha1_gamma1_square0"
    grad = golden("caj")[f"{key}_features_grad"]
    loss = WeightedTripletLoss("published")
    check(lambda x: loss(x, pids), [features], golden("caj")[key], [grad])


def test_squared_triplet_fades_as_published_and_not_by_default() -> None:
    features, pids = rows_of("faded")
    for loss, gradient in (
        (SquaredTripletLoss(limit=88, arithmetic="published"), False),
        (SquaredTripletLoss(), True),
    ):
        x = features.clone().requires_grad_()
        loss(x, pids).backward()
        assert x.grad is not None and bool(x.grad.abs().max() > 0) == gradient


@pytest.mark.parametrize("case", cases("dns", "circle"))
def test_circle(case: str) -> None:
    file = golden("dns")
    features, pids = tensor("dns", f"circle/{case}/features"), tensor("dns", f"circle/{case}/pids")
    keys = [k for k in file if k.startswith(f"circle/{case}/margin") and not k.endswith("grad")]
    assert keys
    for key in keys:
        margin, gamma = (float(w.lstrip("margin")) for w in key.split("/")[-1].split("_"))
        loss = CircleLoss(margin, gamma)
        check(
            lambda x, loss=loss: loss(x, pids),
            [features],
            file[key],
            [file[f"{key}_features_grad"]],
        )
    assert differs(lambda x: CircleLoss(margin, gamma)(x, pids) / len(x), [features], file[key])


def test_discrepancy_and_alignment() -> None:
    file = golden("dns")
    a, b = tensor("dns", "mmd/source"), tensor("dns", "mmd/target")
    grads = [file["mmd/value_source_grad"], file["mmd/value_target_grad"]]
    check(maximum_mean_discrepancy, [a, b], file["mmd/value"], grads)
    pooled, projected = tensor("dns", "da/z"), tensor("dns", "da/z_hat")
    grads = [file["da/value_z_grad"], file["da/value_z_hat_grad"]]
    value = file["da/value"]
    check(lambda x, y: DomainAlignmentLoss()(x, y, 12), [pooled, projected], value, grads)
    swapped = DomainAlignmentLoss(inter=0.05, intra=0.45)
    assert differs(lambda x, y: swapped(x, y, 12), [pooled, projected], value)


@pytest.mark.parametrize("case", cases("deen", "cpm"))
def test_center_pairs(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = golden("deen")
    rows = tensor("deen", f"cpm/{case}/features")
    quarter = len(rows) // 4
    labels = tensor("deen", f"cpm/{case}/labels")
    pids = labels[: 2 * quarter]

    def loss(rows: Tensor) -> Tensor:
        return CenterPairLoss()(rows[: 2 * quarter], rows[2 * quarter :], pids, quarter)

    value, grad = (file[f"cpm/{case}/value{end}"] for end in ("", "_features_grad"))
    check(loss, [rows], value, [grad])
    # The mutant lets the distance to a center's own modality move.
    monkeypatch.setattr(Tensor, "detach", lambda x: x)
    moving = rows.clone().requires_grad_()
    loss(moving).backward()
    assert moving.grad is not None
    assert np.abs(moving.grad.numpy() - grad).max() > 1e-4 * np.abs(grad).max()


def test_branches_overlap_by_the_rows_of_all_branches() -> None:
    first, second = torch.randn(8, 5), torch.randn(8, 5)
    expected = sum(float(a @ b) for a, b in zip(first, second)) / 24
    assert float(branch_overlap(first, second)) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("case", cases("mcja", "cmr"))
def test_retrieval(case: str) -> None:
    file = golden("mcja")
    rows = tensor("mcja", f"cmr/{case}/embeddings")
    pids, modality = tensor("mcja", f"cmr/{case}/pids"), tensor("mcja", f"cmr/{case}/modality")
    grad = file[f"cmr/{case}/value_embeddings_grad"]
    check(lambda x: CrossModalityRetrievalLoss()(x, pids, modality), [rows],
          file[f"cmr/{case}/value"], [grad])  # fmt: skip


def test_retrieval_refuses_small_galleries() -> None:
    modality = torch.tensor([0, 0, 0, 0, 0, 1, 1, 1])
    with pytest.raises(InputError, match="gallery of 3 images; with fewer than 4"):
        CrossModalityRetrievalLoss()(torch.randn(8, 4), torch.zeros(8), modality)


@pytest.mark.parametrize(
    "build",
    [
        lambda: SquaredTripletLoss(limit=0),
        lambda: CircleLoss(margin=1.5),
        lambda: DomainAlignmentLoss(inter=-1),
        lambda: CenterPairLoss(margin=-0.1),
        lambda: maximum_mean_discrepancy(torch.zeros(2, 2), torch.zeros(2, 2), kernels=0),
    ],
)
def test_impossible_values(build: Callable[[], nn.Module]) -> None:
    with pytest.raises(InputError):
        build()

"""Vectorised losses equal loops written from their definitions; gradients are checked."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from vireid.losses import (
    CenterAggregationLoss,
    HardTripletLoss,
    WeightedTripletLoss,
    confusion_loss,
    discriminator_loss,
    frozen_logits,
)
from vireid.models import ModalityDiscriminator
from vireid.types import InputError

PIDS = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1, 2, 2])


def features(scale: float = 1.0, dim: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return scale * torch.randn(len(PIDS), dim, generator=generator, dtype=torch.float64)


def softplus(value: float) -> float:
    return max(value, 0.0) + math.log1p(math.exp(-abs(value)))


def naive_weighted(x: Tensor, pids: Tensor, published: bool) -> float:
    total = 0.0
    for i in range(len(x)):
        distance = [max(float((x[i] - x[j]).norm()), 1e-6) for j in range(len(x))]
        near = [d for d, pid in zip(distance, pids) if pid == pids[i]]
        far = [d for d, pid in zip(distance, pids) if pid != pids[i]]
        if published:
            e_near = [math.exp(d - max(near)) for d in near]
            e_far = [math.exp(-d) for d in far]
            extra = 1e-6
        else:
            e_near = [math.exp(d - max(near)) for d in near]
            e_far = [math.exp(min(far) - d) for d in far] if far else []
            extra = 0.0
        positive = sum(e * d for e, d in zip(e_near, near)) / (sum(e_near) + extra)
        negative = sum(e * d for e, d in zip(e_far, far)) / (sum(e_far) + extra) if far else 0.0
        total += softplus(positive - negative)
    return total / len(x)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize("arithmetic", ["exact", "published"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weighted_triplet(scale: float, arithmetic: str, dtype: torch.dtype) -> None:
    x = features(scale)
    value = WeightedTripletLoss(arithmetic)(x.to(dtype), PIDS)  # type: ignore[arg-type]
    naive = naive_weighted(x, PIDS, arithmetic == "published")
    assert float(value) == pytest.approx(naive, rel=1e-5 if dtype == torch.float32 else 1e-9)


def test_published_arithmetic_loses_its_negatives_at_large_distances() -> None:
    """The quirk: all distances far above 22, and the loss is the positive pull alone."""
    x = features(50.0)
    exact = WeightedTripletLoss("exact")(x, PIDS)
    published = WeightedTripletLoss("published")(x, PIDS)
    assert published > 2 * exact
    assert float(published) > 50


def test_hard_triplet() -> None:
    x = features()
    total = 0.0
    for i in range(len(x)):
        distance = (x[i] - x).norm(dim=1)
        farthest = distance[PIDS[i] == PIDS].max()
        nearest = distance[PIDS[i] != PIDS].min()
        total += max(float(farthest - nearest) + 0.3, 0.0)
    assert float(HardTripletLoss()(x, PIDS)) == pytest.approx(total / len(x), rel=1e-9)


@pytest.mark.parametrize("loss", [HardTripletLoss(), WeightedTripletLoss()])
def test_one_identity_alone_is_finite(loss: Callable) -> None:
    x = features().requires_grad_()
    value = loss(x, torch.zeros(len(x), dtype=torch.int64))
    value.backward()
    assert torch.isfinite(value)
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_identical_rows_have_finite_gradients() -> None:
    x = torch.ones(len(PIDS), 4, requires_grad=True)
    for loss in (HardTripletLoss(), WeightedTripletLoss(), WeightedTripletLoss("published")):
        value = loss(x, PIDS)
        (gradient,) = torch.autograd.grad(value, x)
        assert torch.isfinite(value) and torch.isfinite(gradient).all()


@pytest.mark.parametrize("rho", [4500.0, 10.0])
@pytest.mark.parametrize("fixed_count", [None, 8])
def test_center_aggregation(rho: float, fixed_count: int | None) -> None:
    torch.manual_seed(1)
    loss = CenterAggregationLoss(5, 6, rho=rho, sigma=2.0, fixed_count=fixed_count).double()
    x, centers = features(2.0), loss.centers.detach()
    distance = [float((z - centers[y]).square().sum()) for z, y in zip(x, PIDS)]
    nearest = 0.0
    for k in PIDS.unique():
        own = [d for d, y in zip(distance, PIDS) if y == k]
        nearest += (fixed_count or len(own)) * min(own)
    pull = max(sum(distance) / len(x) - nearest / len(x) - 2.0, 0.0)
    gaps = [
        min(float((centers[y] - centers[k]).square().sum()) for k in range(5) if k != y)
        for y in PIDS
    ]
    push = max(rho - sum(gaps) / len(gaps), 0.0)
    assert float(loss(x, PIDS).detach()) == pytest.approx(pull + push, rel=1e-9)


def test_push_is_precise_when_centers_come_close() -> None:
    """Far from the origin, float32 squared norms would drown the distance."""
    loss = CenterAggregationLoss(2, 64, rho=10.0, sigma=1e6)
    with torch.no_grad():
        loss.centers.fill_(300.0)
        loss.centers[1, 0] += 0.5
    value = loss(torch.zeros(2, 64), torch.tensor([0, 1]))
    assert float(value.detach()) == pytest.approx(10 - 0.25, abs=1e-6)


def test_confusion_is_least_when_nothing_can_be_told() -> None:
    assert float(confusion_loss(torch.zeros(4, 2))) == pytest.approx(math.log(2))
    assert float(confusion_loss(torch.tensor([[3.0, -1.0]]))) > math.log(2)


def test_one_step_counts_once_in_the_running_statistics() -> None:
    discriminator = ModalityDiscriminator(6).double()
    frozen_logits(discriminator, features())
    assert int(discriminator.bn.num_batches_tracked) == 0
    assert torch.equal(discriminator.bn.running_mean, torch.zeros(2).double())


def gradcheck(function: Callable[..., Tensor], *inputs: Tensor) -> bool:
    return torch.autograd.gradcheck(function, inputs)


def test_gradients() -> None:
    torch.manual_seed(0)
    x = features(2.0).requires_grad_()
    for loss in (
        HardTripletLoss(),
        WeightedTripletLoss("exact"),
        WeightedTripletLoss("published"),
        CenterAggregationLoss(5, 6, sigma=0.5, centers="frozen").double(),
    ):
        assert gradcheck(lambda f, loss=loss: loss(f, PIDS), x)
    learned = CenterAggregationLoss(5, 6, sigma=0.5).double()

    def with_centers(f: Tensor, centers: Tensor) -> Tensor:
        return torch.func.functional_call(learned, {"centers": centers}, (f, PIDS))

    assert gradcheck(with_centers, x, learned.centers)
    discriminator = ModalityDiscriminator(6, 4).double()
    modality = torch.arange(len(x)) % 2
    assert gradcheck(lambda f: confusion_loss(frozen_logits(discriminator, f)), x)
    logits = torch.randn(8, 2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(lambda z: discriminator_loss(z, modality[:8]), logits)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_reach_inside(dtype: torch.dtype) -> None:
    x = features().to(torch.bfloat16)
    plain = WeightedTripletLoss()(x.float(), PIDS)
    with torch.autocast("cpu", dtype=dtype):
        value = WeightedTripletLoss()(x, PIDS)
    assert value.dtype == torch.float32
    assert torch.equal(value, plain)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: HardTripletLoss(-1), "must not be negative"),
        (lambda: WeightedTripletLoss("other"), "'exact' or 'published'"),  # type: ignore[arg-type]
        (lambda: CenterAggregationLoss(1, 4), "at least 2"),
        (lambda: CenterAggregationLoss(3, 4, rho=-1.0), "rho .* must not be negative"),
        (lambda: CenterAggregationLoss(3, 4, centers="x"), "'learned' or 'frozen'"),  # type: ignore[arg-type]
        (lambda: CenterAggregationLoss(3, 4, fixed_count=0), "at least 1"),
    ],
)
def test_wrong_options_get_a_sentence(make: Callable, words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()

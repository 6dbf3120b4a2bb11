"""The layers on our own kernels are the plain layers: values, gradients, running statistics."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from triton_kit import quicken

pytest.importorskip("triton", reason="our kernels need Triton")
from vireid.models.fused_shift import TILE
from vireid.models.fusing import fuse, plain
from vireid.models.layers import AveragePool, GeneralisedMean, NonLocal
from vireid.models.shift import HeterogeneousShift

quicken()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter takes milliseconds for each."""
    monkeypatch.setattr("vireid.models.fused_layers.FEW", {"PARTS": 64, "COLUMNS": 64})


def fused(layer: nn.Module) -> nn.Module:
    """A copy of a layer, on our kernels."""
    network = nn.Sequential(copy.deepcopy(layer)).to(DEVICE)
    fuse(network)
    assert type(network[0]) is not type(layer)
    return network[0]


def nonlocal_block(channels: int = 80, width: int = 1) -> NonLocal:
    """A block whose every parameter and buffer counts."""
    torch.manual_seed(0)
    block = NonLocal(channels, width)
    for tensor in (block.bn.weight, block.bn.bias, block.w.bias, block.bn.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(block.bn.running_var, 0.5, 2.0)
    return block


def a_map(size: tuple[int, ...] = (2, 80, 3, 2), mean: float = 0.5) -> Tensor:
    torch.manual_seed(1)
    x = (torch.randn(size) + mean).contiguous(memory_format=torch.channels_last)
    return x.to(DEVICE)


def assert_near(ours: Tensor | None, theirs: Tensor | None, name: str, close: float) -> None:
    assert ours is not None and theirs is not None, name
    assert ours.shape == theirs.shape, name
    away = (ours.double() - theirs.double()).norm() / theirs.double().norm()
    assert away < close, f"{name}: {away}"


def compare(layer: nn.Module, x: Tensor, close: float = 1e-5, times: int = 1) -> nn.Module:
    """Hold the fused layer against the plain one in float64.

    Args:
        times: how often the result is used; more than once, from its `again`.

    Returns:
        The fused layer, after its step.
    """
    ours, theirs = fused(layer), copy.deepcopy(layer).to(DEVICE).double()
    x = x.clone().requires_grad_()
    exact = x.detach().double().requires_grad_()
    out, expected = ours(x), theirs(exact)
    direction = torch.linspace(-1, 1, out.numel(), device=DEVICE).view_as(out).sin()
    directions = [direction, direction.cos()][:times]
    uses = [out, getattr(out, "again", out)]
    total = sum(
        ((use * way.to(out.dtype)).float().sum() for use, way in zip(uses, directions)),
        torch.zeros((), device=DEVICE),
    )
    total.backward()
    (expected * sum(way.to(out.dtype).double() for way in directions)).sum().backward()
    assert_near(out, expected, "output", close)
    assert x.grad is not None and x.grad.dtype == x.dtype
    assert_near(x.grad, exact.grad, "input", close)
    for name, parameter in ours.named_parameters():
        other = theirs.get_parameter(name)
        if other.requires_grad:
            assert_near(parameter.grad, other.grad, name, close)
        else:
            assert parameter.grad is None, name
    for name, buffer in ours.named_buffers():
        assert_near(buffer, theirs.get_buffer(name), name, close)
    return ours


def test_nonlocal_of_one_channel() -> None:
    compare(nonlocal_block(32), a_map((2, 32, 6, 5), mean=2.0))


def test_nonlocal_of_many_tiles_whose_result_is_used_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vireid.models.fused_layers.PARTS", 2)
    compare(nonlocal_block(), a_map((3, 80, 6, 5)), times=2)


def test_nonlocal_in_bfloat16() -> None:
    x = a_map((2, 16, 3, 2)).bfloat16()
    assert compare(nonlocal_block(16), x, close=0.01)(x).dtype == torch.bfloat16


def test_nonlocal_starts_as_the_identity() -> None:
    x = a_map((1, 16, 2, 2)).requires_grad_()
    y = fused(NonLocal(16, 1))(x)
    y.sum().backward()
    assert torch.equal(y, x)
    assert torch.equal(x.grad, torch.ones_like(x))


def test_nonlocal_outside_training_is_the_plain_block() -> None:
    block = nonlocal_block().to(DEVICE).eval()
    ours = fused(block)
    assert torch.equal(ours(a_map()), block(a_map()))
    assert int(ours.bn.num_batches_tracked) == 0
    plain(ours)
    assert type(ours) is NonLocal


def test_a_block_that_the_kernels_dont_compute_stays() -> None:
    wide, across = nonlocal_block(80, 2), nonlocal_block()
    across = nn.SyncBatchNorm.convert_sync_batchnorm(across)
    fuse(nn.Sequential(wide, across))
    assert type(wide) is NonLocal and type(across) is NonLocal


def test_a_map_in_float64_takes_the_plain_way() -> None:
    for layer in (nonlocal_block(), GeneralisedMean()):
        ours, theirs = fused(layer).double(), layer.to(DEVICE).double()
        assert torch.equal(ours(a_map().double().abs()), theirs(a_map().double().abs()))


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (GeneralisedMean(), torch.float32),
        (GeneralisedMean(signed=True), torch.float32),
        (GeneralisedMean(), torch.float16),
        (AveragePool(), torch.float32),
    ],
)
def test_pooling(layer: nn.Module, kind: torch.dtype) -> None:
    x = a_map((2, 80, 7, 5))
    x = x if getattr(layer, "signed", True) else x.relu()
    x[0, 0] = 0  # a channel that saw nothing
    compare(layer, x.to(kind), close=1e-5 if kind is torch.float32 else 1e-3)


def test_pooling_of_a_map_that_lies_channels_first() -> None:
    compare(GeneralisedMean(), a_map((2, 32, 3, 2)).relu().contiguous())


def shift_block(channels: int = 40) -> HeterogeneousShift:
    """A shift whose every parameter counts."""
    torch.manual_seed(0)
    block = HeterogeneousShift(channels)
    norm = block.channel_attention[1]
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        nn.init.normal_(tensor)
    nn.init.uniform_(norm.running_var, 0.5, 2.0)
    return block


@pytest.mark.parametrize(
    ("size", "kind"),
    [
        ((3, 40, 6, 3), torch.float32),
        ((2, 40, 5, 8), torch.float32),
        ((2, 8, 33, 1), torch.float32),  # more rows, then more columns, than the smallest tiles
        ((2, 8, 1, 17), torch.float32),
        ((3, 40, 6, 3), torch.float16),
    ],
)
def test_shift(size: tuple[int, ...], kind: torch.dtype) -> None:
    """Many places are 0 after a ReLU, and share the gradient of the largest value."""
    x = a_map(size).relu()
    x[0, 0] = 0
    close = 1e-5 if kind is torch.float32 else 5e-3
    compare(shift_block(size[1]).to(kind), x.to(kind), close=close)


def test_shift_of_a_map_that_lies_channels_first() -> None:
    compare(shift_block(16), a_map((2, 16, 3, 2)).contiguous())


def test_shift_of_many_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TILE, "NUMBERS", 4 * 16)
    compare(shift_block(), a_map((2, 40, 6, 3)))


def test_shift_of_a_map_of_too_many_places_takes_the_plain_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("vireid.models.fused_shift._MOST", 5)
    block, x = shift_block().to(DEVICE), a_map((2, 40, 6, 3))
    ours = fused(block)
    assert torch.equal(ours(x), block(x))


def test_shift_in_evaluation() -> None:
    block, x = shift_block().to(DEVICE).eval(), a_map((2, 40, 6, 3))
    with torch.no_grad():
        assert_near(fused(block)(x), block(x), "output", 1e-6)
    assert torch.equal(fused(block)(x), block(x))  # with gradients, the plain way


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_that_are_none_spread_in_a_shift_as_in_the_plain_one(
    value: float, training: bool
) -> None:
    block, x = shift_block(16).to(DEVICE).train(training), a_map((2, 16, 4, 3))
    x[0, 3, 1, 2] = value
    ours = fused(block)
    with torch.set_grad_enabled(training):
        assert torch.equal(ours(x).isfinite(), block(x).isfinite())

"""Kernels of batch norm with what follows it, in Triton's interpreter, beside PyTorch's own."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from timm.models.resnet import BasicBlock, Bottleneck, downsample_avg
from torch import Tensor, nn
from triton_kit import quicken

pytest.importorskip("triton", reason="our kernels need Triton")
from vireid.data.augment import normalise
from vireid.models import fused, fused_stem
from vireid.models.fusing import fits, fuse, plain, why_not
from vireid.models.layers import GeneralisedMean, NonLocal
from vireid.models.shift import HeterogeneousShift

quicken()

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def norm(channels: int) -> nn.BatchNorm2d:
    made = nn.BatchNorm2d(channels)
    nn.init.normal_(made.weight, 1, 0.3)
    nn.init.normal_(made.bias, 0, 0.3)
    return made.to(DEVICE)


def maps(channels: int, size: tuple[int, int], dtype: torch.dtype) -> Tensor:
    """Far from 0, as the inputs of a norm may be."""
    x = torch.randn(3, channels, *size) * 2 + 30
    return x.to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


Pair = tuple[Callable[..., Tensor], Callable[..., Tensor], int]
PAIRS: dict[str, Pair] = {
    "ReLU": (lambda a, b, x: F.relu(a(x)), lambda a, b, x: fused.norm_relu(a, x), 1),
    "sum": (
        lambda a, b, x, y: F.relu(a(x) + y - 30),
        lambda a, b, x, y: fused.norm_add_relu(a, x, y - 30),
        2,
    ),
    "two norms": (
        lambda a, b, x, y: F.relu(a(x) + b(y)),
        lambda a, b, x, y: fused.norm_add_relu(a, x, y, b),
        2,
    ),
    "pooling": (
        lambda a, b, x: F.max_pool2d(F.relu(a(x)), 3, 2, 1),
        lambda a, b, x: fused.norm_relu_pool(a, x),
        1,
    ),
}


def everything(run: Callable[..., Tensor], norms: list[nn.BatchNorm2d], *inputs: Tensor) -> dict:
    """Output, gradients and running statistics, where the output is used twice."""
    norms = copy.deepcopy(norms)
    inputs = tuple(x.clone().requires_grad_() for x in inputs)
    y = run(*norms, *inputs)
    weights = torch.linspace(-1, 1, y.numel(), device=DEVICE).view_as(y)
    total = (y * weights).sum() + (getattr(y, "again", y) * weights.sin()).sum()
    total.backward()
    found = {"output": y.detach()}
    found |= {f"input {n}": x.grad for n, x in enumerate(inputs)}
    for n, module in enumerate(norms):
        found |= {f"norm {n} {name}": p.grad for name, p in module.named_parameters()}
        found |= {f"norm {n} {name}": b for name, b in module.named_buffers()}
    return {name: value.double() for name, value in found.items() if value is not None}


@pytest.mark.parametrize("channels, size", [(80, (6, 5)), (32, (9, 7))])  # no whole tiles
@pytest.mark.parametrize("name", PAIRS)
def test_equals_pytorch(name: str, channels: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    theirs, ours, count = PAIRS[name]
    norms = [norm(channels), norm(channels)]
    inputs = [maps(channels, size, torch.float32) for _ in range(count)]
    wanted, found = everything(theirs, norms, *inputs), everything(ours, norms, *inputs)
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert (found[key] - value).norm() <= 2e-5 * value.norm(), key


@pytest.mark.parametrize("rows, parts", [(4, 528), (16, 3)])
def test_sums_are_cut_in_any_way(rows: int, parts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """71 parts of one tile, and 3 of several, in float16 against float64."""
    torch.manual_seed(0)
    monkeypatch.setattr(fused, "PARTS", parts)
    monkeypatch.setattr(fused, "SUMS", fused.SUMS | {"ROWS": rows})
    monkeypatch.setattr(fused, "FEW", fused.FEW | {"PARTS": 32})
    x = maps(16, (8, 12), torch.float16)
    assert fused._Matrix(x).parts == (72 if parts == 528 else 3)
    theirs, ours, _ = PAIRS["ReLU"]
    norms = [norm(16), norm(16)]
    found = everything(ours, norms, x)
    wanted = everything(theirs, [module.double() for module in norms], x.double())
    assert (found["output"] - wanted["output"]).abs().max() <= 2**-11 * wanted["output"].max()
    for key in ("norm 0 running_mean", "norm 0 running_var", "norm 0 weight", "norm 0 bias"):
        assert (found[key] - wanted[key]).norm() <= 1e-3 * wanted[key].norm(), key


@pytest.mark.parametrize("size", [(18, 10), (11, 13)])
def test_the_first_convolution(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tiles and parts, even and odd sizes, fewer channels than a power of two."""
    torch.manual_seed(0)
    monkeypatch.setattr(fused_stem, "FORWARD", {"ROWS": 64})
    monkeypatch.setattr(fused_stem, "BACKWARD", {"ROWS": 32})
    monkeypatch.setattr(fused_stem, "PARTS", 3)
    layer = nn.Conv2d(3, 24, 7, 2, 3, bias=False).to(DEVICE, memory_format=torch.channels_last)
    image = torch.randn(2, 3, *size, device=DEVICE)
    with torch.autocast(DEVICE, torch.float16):
        y = fused_stem.convolve(layer, image)
    assert type(y.grad_fn).__name__ == "ConvolutionBackward"
    gradient = torch.randn_like(y)
    (found,) = torch.autograd.grad(y, layer.weight, gradient)
    weight = layer.weight.detach().half().double().requires_grad_()
    wanted = F.conv2d(image.half().double(), weight, stride=2, padding=3)
    assert y.dtype == torch.float16 and y.is_contiguous(memory_format=torch.channels_last)
    assert ((y - wanted).abs() <= 2**-11 * wanted.abs() + 1e-5).all()
    (expected,) = torch.autograd.grad(wanted, weight, gradient.double())
    assert (found - expected).norm() <= 1e-5 * expected.norm()


def test_the_first_convolution_is_pytorchs_where_ours_does_not_fit() -> None:
    """In float32, where the image needs a gradient, and of another shape."""
    torch.manual_seed(0)
    layer, image = nn.Conv2d(3, 16, 7, 2, 3, bias=False), torch.randn(2, 3, 8, 8)
    assert torch.equal(fused_stem.convolve(layer, image), layer(image))
    small = nn.Conv2d(3, 16, 3, 2, 1, bias=False)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fused_stem.convolve(small, image), small(image))
        image.requires_grad_()
        (found,) = torch.autograd.grad(fused_stem.convolve(layer, image).sum(), image)
    assert found.shape == image.shape


def test_images_as_the_network_takes_them() -> None:
    torch.manual_seed(0)
    images = torch.randint(256, (3, 33, 20, 3), dtype=torch.uint8, device=DEVICE)
    statistics = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    for dtype, close in ((torch.float32, 1e-6), (torch.float16, 2**-10)):
        found = fused_stem.normalise(images, *statistics, dtype)
        wanted = normalise(images, *statistics)
        assert found.dtype == dtype and found.is_contiguous(memory_format=torch.channels_last)
        assert ((found - wanted).abs() <= close * wanted.abs() + 1e-6).all()


def test_the_first_convolution_in_evaluation() -> None:
    torch.manual_seed(0)
    stem = a_stem()
    stem[0] = nn.Conv2d(3, 16, 7, 2, 3, bias=False)
    stem.eval().to(DEVICE)
    ours = nn.Sequential(copy.deepcopy(stem))
    fuse(ours, training=False)
    image = torch.randn(2, 3, 18, 10, device=DEVICE)
    with torch.no_grad(), torch.autocast(DEVICE, torch.float16):
        found = ours(image.half())
    with torch.no_grad():
        wanted = stem.double()(image.double())
    assert found.dtype == torch.float16
    assert (found - wanted).norm() <= 2e-3 * wanted.norm()


def test_weights_are_cast_and_their_gradients_back() -> None:
    torch.manual_seed(0)
    weights = [
        torch.randn(5000, device=DEVICE),  # more than one program's
        torch.randn(8, 6, 3, 3, device=DEVICE).contiguous(memory_format=torch.channels_last),
        torch.randn(7, device=DEVICE),
    ]
    for weight in weights:
        weight.requires_grad_()
    cast = fused.Cast.apply(torch.float16, *weights)
    gradients = [torch.randn_like(x) for x in cast]
    gradients[0] = torch.randn(1, device=DEVICE).half().expand(5000)
    found = torch.autograd.grad(cast, weights, gradients)
    for weight, x, gradient, dweight in zip(weights, cast, gradients, found):
        assert torch.equal(x, weight.half()) and x.stride() == weight.stride()
        assert torch.equal(dweight, gradient.float())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_are_none_stay_so(value: float, training: bool) -> None:
    """A diverged network must not look like one that learns, nor overflow in float16 go unseen."""
    torch.manual_seed(0)
    network = nn.Sequential(a_stem(), BasicBlock(16, 16), GeneralisedMean(signed=True)).to(DEVICE)
    ours = copy.deepcopy(network.train(training))
    fuse(ours)
    image = torch.randn(2, 3, 4, 4, device=DEVICE)
    image[0, 0, 1, 2] = value
    found = []
    for run in (network, ours):
        with torch.set_grad_enabled(training):
            y = run(image)
            if training:
                y.sum().backward()
        gradients = [p.grad for p in run.parameters() if p.grad is not None]
        found.append([y.isfinite(), *(gradient.isfinite() for gradient in gradients)])
    (expected, *theirs), (output, *mine) = found
    assert not expected.all() and torch.equal(output, expected)
    for theirs_of_one, mine_of_one in zip(theirs, mine, strict=True):
        assert theirs_of_one.all() or not mine_of_one.all()


def test_a_block_with_frozen_statistics_takes_the_plain_way() -> None:
    torch.manual_seed(0)
    block = BasicBlock(16, 16).to(DEVICE)
    nn.init.ones_(block.bn2.weight)
    block.bn1.eval()
    ours = copy.deepcopy(block)
    fuse(ours)
    x = torch.randn(2, 16, 4, 3, device=DEVICE)
    for run in (block, ours):
        run(x).square().sum().backward()
    for mine, theirs in zip(ours.parameters(), block.parameters()):
        assert torch.equal(mine.grad, theirs.grad)


def test_a_second_gradient_is_refused() -> None:
    x = maps(16, (4, 3), torch.float32).requires_grad_()
    loss = fused.norm_relu(norm(16), x).square().sum()
    (gradient,) = torch.autograd.grad(loss, x, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.square().sum().backward()


def a_stem() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(3, 2, 1)
    )


LAYERS: dict[str, Callable[[], nn.Module]] = {
    "block": lambda: BasicBlock(16, 16),
    "stem": a_stem,
    "non-local": lambda: NonLocal(16, 1),
    "shift": lambda: HeterogeneousShift(16),
}


class _Conv2d(nn.Conv2d):
    pass


class _BatchNorm2d(nn.BatchNorm2d):
    pass


def _listen(part: nn.Module) -> None:
    part.register_forward_hook(lambda *_: None)


def _forget(part: nn.Module) -> None:
    part.momentum = None


@pytest.mark.parametrize("name", LAYERS)
def test_what_else_listens_or_computes_stays_plain(name: str) -> None:
    kind = type(LAYERS[name]())
    changes: list[tuple[type[nn.Module], Callable[[Any], Any]]] = [
        (nn.Conv2d, _listen),
        (nn.BatchNorm2d, _listen),
        (nn.BatchNorm2d, _forget),
        (nn.Conv2d, lambda part: setattr(part, "__class__", _Conv2d)),
        (nn.BatchNorm2d, lambda part: setattr(part, "__class__", _BatchNorm2d)),
    ]
    for which, change in changes:
        for number in range(sum(isinstance(part, which) for part in LAYERS[name]().modules())):
            layer = LAYERS[name]()
            change([part for part in layer.modules() if isinstance(part, which)][number])
            if name == "block":
                assert not fits(layer)
            fuse(nn.Sequential(layer))
            assert type(layer) is kind, (which, change, number)
    layer = LAYERS[name]()
    _listen(layer)  # which our kernels' class calls too
    fuse(nn.Sequential(layer))
    assert type(layer) is not kind


def test_fusing_goes_back() -> None:
    block = nn.Sequential(BasicBlock(16, 16))
    fuse(block)
    assert fits(block)
    plain(block)
    assert type(block[0]) is BasicBlock and not hasattr(block[0], "fused_training")
    assert why_not(torch.device(DEVICE)) == ""


@pytest.mark.parametrize("kind", [BasicBlock, Bottleneck])
def test_blocks_give_the_same_and_go_back(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    wide = 8 * kind.expansion
    first = kind(16, 8, stride=2, downsample=downsample_avg(16, wide, 1, stride=2))
    block = nn.Sequential(first, kind(wide, 8)).to(DEVICE, memory_format=torch.channels_last)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1, 0.3)
    assert fits(block.train())
    kinds = [type(module) for module in block.modules()]
    ours = copy.deepcopy(block)
    fuse(ours)
    assert {type(m).__name__ for m in ours} == {f"Fused{kind.__name__}"}
    x = torch.randn(3, 16, 6, 4, device=DEVICE).contiguous(memory_format=torch.channels_last)
    found = []
    for run in (block, ours):
        image = x.clone().requires_grad_()
        y = run(image)
        y.square().mean().backward()
        gradients = [p.grad for p in run.parameters()]
        found.append([y.detach(), image.grad, *gradients, *run.buffers()])
    for value, wanted in zip(found[1], found[0]):
        assert (value.double() - wanted).norm() <= 1e-4 * wanted.double().norm()
    image = x.clone().requires_grad_()
    with torch.no_grad():
        evaluated = ours.eval()(x)
    with_gradient = ours(image)
    plain(ours)
    assert torch.equal(ours(x), with_gradient) and with_gradient.requires_grad
    torch.testing.assert_close(evaluated, with_gradient)
    assert [type(module) for module in ours.modules()] == kinds


def test_weights_are_cast_at_once() -> None:
    """Under autocast: PyTorch's block, whose roundings in between are others, is not far."""
    torch.manual_seed(0)
    block = Bottleneck(16, 8, downsample=downsample_avg(16, 32, 1)).to(DEVICE)
    ours = copy.deepcopy(block)
    fuse(ours)
    x, found = torch.randn(4, 16, 6, 6, device=DEVICE), []
    for run in (block, ours):
        with torch.autocast(DEVICE, torch.bfloat16):
            y = run(x)
        assert y.dtype == torch.bfloat16
        y.float().square().mean().backward()
        found.append([p.grad for p in run.parameters()])
    assert all(gradient.dtype == torch.float32 for gradient in found[1])
    for value, wanted in zip(found[1], found[0]):
        assert (value - wanted).norm() <= 0.1 * wanted.norm()


def test_an_evaluation_changes_nothing_about_training() -> None:
    """An eager training whose network was fused for an evaluation goes on with PyTorch's passes."""
    block = BasicBlock(16, 16).to(DEVICE)
    x = torch.randn(2, 16, 4, 4, device=DEVICE)
    wanted = copy.deepcopy(block)(x)
    fuse(block, training=False)
    assert torch.equal(block(x), wanted)
    fuse(block)
    assert not torch.equal(block(x), wanted)  # other sums
    fuse(block, training=False)  # the evaluation of a training on our kernels
    assert block.fused_training


@pytest.mark.parametrize("words", [
    {"attn_layer": "se"}, {"aa_layer": nn.AvgPool2d, "stride": 2}, {"act_layer": nn.SiLU},
    {"norm_layer": nn.SyncBatchNorm}, {"drop_path": nn.Dropout()},
])  # fmt: skip
def test_what_the_kernels_do_not_compute_stays(words: dict[str, Any]) -> None:
    assert fits(Bottleneck(32, 8)) and fits(Bottleneck(32, 8, cardinality=4))
    assert not fits(Bottleneck(32, 8, **words))

"""An experiment: embedding with batch norms folded into convolutions, in cuDNN's fused kernels.

    python benchmarks/folded.py [--method mcl] [--arch resnet50] [--batch 256] [--dtype float16]

In evaluation a batch norm is a factor and a shift, so it goes into the weights of the convolution
before it; cuDNN adds the shift and the shortcut and takes the ReLU in the convolution's own kernel.
Beside the package's way: images a second through the network alone, each replayed as one graph, and
how far the vectors are from float32's. The weights are random, with running statistics of noise.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch
from _common import record
from kernels import milliseconds
from timm.models.resnet import BasicBlock, Bottleneck
from torch import Tensor, nn
from torch.nn import functional

from vireid.methods import Sizes, build_method, method_class
from vireid.models.fusing import fuse, plain


def folded(layer: nn.Conv2d, norm: nn.BatchNorm2d, dtype: torch.dtype) -> tuple[Any, ...]:
    """What cuDNN's fused convolution takes: weight, shift, stride, padding, dilation, groups."""
    assert norm.running_var is not None and norm.running_mean is not None
    factor = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = (layer.weight * factor[:, None, None, None]).to(dtype)
    shift = (norm.bias - norm.running_mean * factor).to(dtype)
    weight = weight.contiguous(memory_format=torch.channels_last)
    return weight, shift, layer.stride, layer.padding, layer.dilation, layer.groups


def with_relu(x: Tensor, given: tuple[Any, ...], shortcut: Tensor | None = None) -> Tensor:
    weight, shift, stride, padding, dilation, groups = given
    if not x.is_cuda:  # the same, to try this script out
        y = functional.conv2d(x, *given)
        return functional.relu(y if shortcut is None else y + shortcut)
    if shortcut is None:
        return torch.cudnn_convolution_relu(x, weight, shift, stride, padding, dilation, groups)
    return torch.cudnn_convolution_add_relu(
        x, weight, shortcut, 1.0, shift, stride, padding, dilation, groups
    )


def block_forward(block: Any, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    pairs = [(block.conv1, block.bn1), (block.conv2, block.bn2)]
    pairs += [(block.conv3, block.bn3)] if isinstance(block, Bottleneck) else []
    *before, last = [folded(layer, norm, dtype) for layer, norm in pairs]
    shortcut = None if block.downsample is None else folded(*list(block.downsample)[-2:], dtype)

    def forward(x: Tensor) -> Tensor:
        y = x
        for given in before:
            y = with_relu(y, given)
        return with_relu(y, last, x if shortcut is None else functional.conv2d(x, *shortcut))

    return forward


def stem_forward(stem: Any, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    given = folded(stem[0], stem[1], dtype)
    return lambda x: stem[3](with_relu(x.to(dtype), given))


def fold(method: nn.Module, dtype: torch.dtype) -> None:
    """Let blocks and stems of a method's network run so."""
    for module in method.modules():
        if isinstance(module, BasicBlock | Bottleneck):
            module.forward = block_forward(module, dtype)  # type: ignore[method-assign]
        elif isinstance(module, nn.Sequential) and isinstance(module[-1], nn.MaxPool2d):
            module.forward = stem_forward(module, dtype)  # type: ignore[method-assign]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--dtype", default="float16")
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    args = parser.parse_args()
    cuda = torch.cuda.is_available()
    device, dtype = torch.device("cuda" if cuda else "cpu"), getattr(torch, args.dtype)
    torch.backends.cudnn.benchmark = True
    torch.manual_seed(0)
    model = method_class(args.method).model_defaults(args.arch, "none")
    method = build_method(args.method, model, Sizes(num_pids=64, num_cameras=6)).to(device)
    image = torch.randn(args.batch, 3, *args.size, device=device)
    image = image.contiguous(memory_format=torch.channels_last)
    method.to(memory_format=torch.channels_last)
    with torch.no_grad():
        method.train().model(image, args.batch // 2)  # moves the running statistics
    method.eval()
    rows: list[dict[str, Any]] = []
    exact: dict[str, Tensor] = {}

    def row(name: str, low: bool) -> None:
        def run() -> dict[str, Tensor]:
            with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=low):
                return method.embed(image, args.batch)

        found = {name: value.float() for name, value in run().items()}
        exact.update({} if low else found)
        away = {
            f"{which}, smallest cosine": round(
                float(functional.cosine_similarity(value, exact[which]).min()), 7
            )
            for which, value in found.items()
        }
        ms = milliseconds(run) if cuda else float("nan")
        rows.append({"way": name, "ms": round(ms, 3), "img/s": round(1e3 * args.batch / ms), **away}
                    if cuda else {"way": name, **away})  # fmt: skip
        print(rows[-1], flush=True)

    row("PyTorch, float32", low=False)
    row(f"PyTorch, {args.dtype}", low=True)
    if cuda:
        fuse(method, training=False)
        row(f"own kernels, {args.dtype}", low=True)
        plain(method)
    fold(method, dtype)
    row(f"folded, {args.dtype}", low=True)
    record("folded", {"rows": rows}, table=rows)


if __name__ == "__main__":
    main()

"""Gradients as means over the ranks, bucket by bucket, beside the backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vireid.runtime.precision import Precision
from vireid.runtime.ranks import World, lost_ranks_as_sentence

BUCKET = 10_000_000  # bytes of gradients that travel together
PIECE = 62_000_000  # bytes of weights in a compiled piece: ResNet-50's last stage and head


def bucket_bytes(world: World, precision: Precision) -> int | None:
    """Bytes of gradients that travel and are stepped together; None for all.

    Scaled gradients are stepped all or none, so they stay together."""
    return BUCKET if world.size > 1 and not precision.scaled else None


def buckets(parameters: Iterable[nn.Parameter], size: int) -> list[list[nn.Parameter]]:
    """Trainable parameters whose gradients travel together, in the order in which they leave.

    Args:
        parameters: in the order in which the forward pass uses them.
        size: bytes after which a bucket is full.
    """
    groups: list[list[nn.Parameter]] = []
    filled = size
    for parameter in reversed([p for p in parameters if p.requires_grad]):
        if filled >= size:
            groups.append([])
            filled = 0
        groups[-1].append(parameter)
        filled += parameter.numel() * parameter.element_size()
    for bucket in groups:
        # Odd sizes last: after one, no gradient could be read 16 bytes at a time.
        bucket.sort(key=lambda p: p.numel() % 4 != 0)
    return groups


class GradientMean:
    """Averages gradients over the ranks while the backward pass makes more of them, in a way that
    can be part of a captured graph.

    As soon as the gradients of a bucket are there, they are copied together and sent off. They
    then are views of what travels, so nothing is copied back.

    Attributes:
        buckets: see `buckets`.
        travelling: numbers of buckets, their gradients, and what to wait for.
    """

    def __init__(self, buckets: Sequence[Sequence[nn.Parameter]], world: World) -> None:
        self.buckets, self.world = buckets, world
        self.travelling: list[tuple[int, Tensor, dist.Work]] = []
        self._missing: list[set[nn.Parameter]] | None = None  # None outside of `backward`
        self._sent = 0
        self._bucket_of = {p: number for number, bucket in enumerate(buckets) for p in bucket}
        self._hooks = [
            parameter.register_post_accumulate_grad_hook(self._arrived)
            for parameter in (self._bucket_of if world.size > 1 else ())
        ]

    def backward(self, loss: Tensor) -> None:
        """Run the backward pass and send gradients off.

        Buckets leave in one order, which is the same on all ranks."""
        if self.world.size == 1:
            loss.backward()
            return
        self._missing, self._sent = [set(bucket) for bucket in self.buckets], 0
        self.travelling.clear()  # of an attempt that failed
        try:
            loss.backward()
        finally:
            self._missing = None
        while self._sent < len(self.buckets):  # with gradients that nothing asked for
            self._send()

    def close(self) -> None:
        """Take the hooks off the weights, which would keep each other in memory."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()

    def arrivals(self) -> Iterator[int]:
        """The buckets, each as soon as every `.grad` in it is its mean over the ranks."""
        if self.world.size == 1:
            yield from range(len(self.buckets))
        while self.travelling:
            number, flat, work = self.travelling.pop(0)
            with lost_ranks_as_sentence():
                work.wait()  # on a GPU: the stream waits, not the host
            if not self._averages:
                flat /= self.world.size
            yield number

    @property
    def _averages(self) -> bool:
        return self.world.device.type == "cuda"  # gloo only adds

    def _arrived(self, parameter: nn.Parameter) -> None:
        if self._missing is None:
            return
        self._missing[self._bucket_of[parameter]].discard(parameter)
        while self._sent < len(self.buckets) and not self._missing[self._sent]:
            self._send()

    @torch.no_grad()
    def _send(self) -> None:
        """Send the next bucket."""
        number = self._sent
        self._sent += 1
        owners = [p for p in self.buckets[number] if p.grad is not None]
        if not owners:
            return
        gradients = [_dense(p.grad) for p in owners if p.grad is not None]
        flat = gradients[0].new_empty(sum(g.numel() for g in gradients))
        parts, offset = [], 0
        for gradient in gradients:
            parts.append(flat.as_strided(gradient.shape, gradient.stride(), offset))
            offset += gradient.numel()
        # Unlike torch.cat, which starts as many blocks for the smallest as for the largest one.
        torch._foreach_copy_(parts, gradients)
        for parameter, part in zip(owners, parts):
            parameter.grad = part
        operation = dist.ReduceOp.AVG if self._averages else dist.ReduceOp.SUM
        with lost_ranks_as_sentence():
            work = dist.all_reduce(flat, op=operation, async_op=True)
        self.travelling.append((number, flat, work))


def _dense(gradient: Tensor) -> Tensor:
    """The gradient, in whatever order of dimensions, without gaps or repetitions in memory."""
    steps = zip(gradient.shape, gradient.stride())
    extent = 1 + sum((size - 1) * stride for size, stride in steps)
    return gradient if extent == gradient.numel() else gradient.contiguous()

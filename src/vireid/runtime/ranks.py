"""Many processes as one run: who is who, rows of all ranks, and what happens if one dies.

Started by `torchrun`; without its environment variables a run is a world of one.
"""

from __future__ import annotations

import atexit
import datetime
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from vireid.runtime.device import resolve_device, torchrun_size
from vireid.runtime.heartbeat import Heartbeat, RankLost
from vireid.types import InputError

log = logging.getLogger(__name__)
START = datetime.timedelta(minutes=5)
COLLECTIVE = datetime.timedelta(minutes=30)  # the heartbeat ends a job long before


class World:
    """The processes of one run.

    Attributes:
        rank, size: this process among all.
        local_rank: this process among those of its host.
        device: where this process computes.
    """

    def __init__(self, rank: int, size: int, local_rank: int, device: torch.device) -> None:
        self.rank, self.size, self.local_rank, self.device = rank, size, local_rank, device
        self.heartbeat: Heartbeat | None = None

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether `flag` is set on any rank (on the host; doesn't wait for the device)."""
        if self.size == 1:
            return flag
        value = torch.tensor([int(flag)])
        with lost_ranks_as_sentence():
            dist.all_reduce(value, op=dist.ReduceOp.MAX)
        return bool(value.item())

    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value`, in the order of ranks, on every rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        with lost_ranks_as_sentence():
            dist.all_gather_object(values, value)
        return values

    def mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace each floating tensor by its mean over the ranks, in place."""
        if self.size == 1:
            return
        with lost_ranks_as_sentence(), torch.no_grad():
            for tensor in tensors:
                if tensor.is_floating_point():
                    value = tensor.contiguous()
                    dist.all_reduce(value)
                    tensor.copy_(value / self.size)

    def barrier(self) -> None:
        self.any(False)

    def fail(self) -> None:
        """This process ends with an error; tell the others when it does."""
        if self.heartbeat is not None:
            self.heartbeat.fail()

    def leave(self) -> None:
        """Leave the process group; called when the process ends."""
        if self.heartbeat is not None:
            self.heartbeat.close()
            self.heartbeat = None
        if self.size > 1 and dist.is_initialized():
            dist.destroy_process_group()


@contextmanager
def lost_ranks_as_sentence() -> Iterator[None]:
    """Turn a failed collective into `RankLost`."""
    try:
        yield
    except dist.DistError as error:
        raise RankLost(str(error).splitlines()[0]) from error
    except RuntimeError as error:
        signs = ("connection", "peer", "timed out", "timeout", "gloo", "nccl", "socket")
        if any(sign in str(error).lower() for sign in signs):
            raise RankLost(str(error).splitlines()[0]) from error
        raise


_joined: World | None = None


def join(device: str = "auto") -> World:
    """Join the run that torchrun's environment describes, or be a run of one.

    A process joins once; later calls return the same ranks. It leaves when it ends.

    Args:
        device: see `vireid.runtime.device.resolve_device`.

    Raises:
        InputError: the other processes didn't come within five minutes, or a GPU isn't there.
    """
    global _joined
    rank, size = int(os.environ.get("RANK", "0")), torchrun_size()
    local_rank = int(os.environ.get("LOCAL_RANK", "0")) if size > 1 else 0
    picked = torch.device(resolve_device(None, device))
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    if size == 1:
        return World(0, 1, 0, picked)
    if _joined is not None:
        if picked.type != _joined.device.type:
            raise InputError(
                f"The processes of this run joined on {_joined.device.type} and can't switch to "
                f"{picked.type}. Run another command for that."
            )
        return _joined
    world = World(rank, size, local_rank, picked)
    try:
        store, _, _ = next(iter(dist.rendezvous("env://", timeout=START)))
        store.set_timeout(START)
        # After an elastic restart torchrun's store still holds the dead processes' entries.
        start = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if picked.type == "cuda" else "gloo",
            store=dist.PrefixStore(f"vireid/{start}", store),
            rank=rank,
            world_size=size,
            timeout=COLLECTIVE,
        )
        world.heartbeat = Heartbeat(dist.PrefixStore(f"life/{start}", store), rank, size)
    except (RuntimeError, dist.DistError) as error:
        raise InputError(
            f"The {size} processes of this run could not find each other at "
            f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}: {error}. "
            "Check that the first host's port is free and reachable."
        ) from error
    _joined = world
    atexit.register(world.leave)
    return world


def _gathered(rows: Tensor) -> Tensor:
    parts = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, rows.contiguous())
    return torch.cat(parts)


class _Gather(torch.autograd.Function):
    """Rows of all ranks; the gradient of a rank's rows is the sum of what all ranks ask."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        ctx.count = len(rows)
        return _gathered(rows)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        whole = gradients[0].contiguous()
        dist.all_reduce(whole)
        return whole[dist.get_rank() * ctx.count :][: ctx.count]


def gather_rows(rows: Tensor) -> Tensor:
    """Rows of all ranks, (B, …) → (ranks · B, …), passing gradients.

    Every rank then computes the same loss over the whole batch; averaging the gradients over
    the ranks gives that loss's gradient."""
    return _Gather.apply(rows) if rows.requires_grad else _gathered(rows)

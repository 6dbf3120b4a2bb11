"""Device work recorded once and replayed whole: the host launches one thing instead of hundreds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

WARM_UP = 3
Result = TypeVar("Result")


def warm_up(run: Callable[[], object], device: torch.device) -> None:
    """Run it a few times beside the current stream: compilers and libraries choose their kernels
    and make their workspaces, which they can't do while they are recorded."""
    side = torch.cuda.Stream(device)
    side.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(side):
        for _ in range(WARM_UP):
            run()
    torch.cuda.current_stream(device).wait_stream(side)
    torch.cuda.synchronize(device)


def capture(run: Callable[[], Result], device: torch.device) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Record `run`; the graph's `replay` does it again, on the same addresses.

    Args:
        run: launches work only: it looks at no value on the device, and has been warmed up.

    Returns:
        The graph, and what `run` returned: tensors that each replay fills again.
    """
    graph = torch.cuda.CUDAGraph()
    # Other threads may go on using the device meanwhile, as those that copy images do.
    with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
        result = run()
    torch.cuda.synchronize(device)
    return graph, result

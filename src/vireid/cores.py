"""How many threads this process may use without fighting itself."""

from __future__ import annotations

import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may run on: its affinity, cut by a container's CPU quota.

    A quota doesn't show in the affinity, and as many threads as the host has cores, on a quota
    of two, is how CPU inference usually collapses."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        if quota != "max":
            cores = min(cores or 1, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass  # no such file outside Linux containers
    return cores or 1


def sensible_threads(ranks_here: int = 1) -> int:
    """Threads for PyTorch in each of `ranks_here` processes on this machine; an explicit
    OMP_NUM_THREADS wins."""
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads.isdigit() and int(threads) > 0:
        return int(threads)
    return max(1, usable_cores() // max(1, ranks_here))

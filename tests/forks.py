"""Processes that are forked of a server which has PyTorch imported already, seconds of work each.

Where the system has no fork (Windows), they start afresh and do the same.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOADED = [
    "vireid.training.trainer",
    "vireid.bench.workload",
    "vireid.embed.storage",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
]


def start(
    log: Path, function: Callable[..., object], *arguments: Any, **environment: str
) -> BaseProcess:
    """Call a module's function in a process of its own, on one thread; what it says goes to the
    file `log`, and an error or an exit code is the process's."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
    else:
        context = multiprocessing.get_context("spawn")
    process = context.Process(target=_child, args=(log, function, arguments, environment))
    process.start()
    return process


def _child(
    log: Path, function: Callable[..., object], arguments: tuple, environment: dict[str, str]
) -> None:
    import torch

    os.environ.update(environment)
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    torch.set_num_threads(1)
    function(*arguments)

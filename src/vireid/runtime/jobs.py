"""Jobs on the devices of one machine, one at a time on each; each is a process that can be told to
stop."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from vireid.types import InputError, shown

T = TypeVar("T")
_LAST_LINES = 3  # of a job's log that are told where it failed
NO_TIME = "no time was left"
INTERRUPTED = "interrupted before its turn"
NOT_BEGUN = (NO_TIME, INTERRUPTED)  # how jobs end that this call never began
_GRACE = 60.0  # seconds that a job has to save itself when it is stopped


def devices() -> list[int | None]:
    """Numbers of the GPUs that this process may use, as the driver counts them; None, for the CPU,
    where there is none.

    Raises:
        InputError: $CUDA_VISIBLE_DEVICES names them otherwise than by numbers.
    """
    import torch

    if not torch.cuda.is_available():
        return [None]
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        try:
            return [int(number) for number in named.split(",")]
        except ValueError:
            raise InputError(
                f"CUDA_VISIBLE_DEVICES is {shown(named)}; numbers such as 0,1 were expected. Set "
                "it so for this command."
            ) from None
    return [*range(torch.cuda.device_count())]


class Stopped(Exception):
    """A job was ended because all are; it can go on later."""


def run_all(
    jobs: Sequence[T],
    make: Callable[[T, int | None], object],
    devices: Sequence[int | None],
    *,
    after: Callable[[T, str, float], object],
    deadline: float = float("inf"),
    estimate: float = 0.0,
    stop: threading.Event | None = None,
) -> None:
    """Make jobs, one at a time on each device, in their order.

    Args:
        make: does one, on a GPU by its number, or None for the CPU. It has to watch `stop`, and
            raises `Stopped` where that ended it; any other exception is a failure.
        after: told of each job how it ended ("done", one of `NOT_BEGUN`, or why not) and the
            seconds that it took; called by one thread at a time.
        deadline: seconds after which `stop` is set; a job that would not end before is not begun,
            going by the longest until then.
        estimate: seconds a job, before any is known.
    """
    began, stop = time.monotonic(), stop or threading.Event()
    work: queue.Queue[T] = queue.Queue()
    for job in jobs:
        work.put(job)
    lock, known, longest = threading.Lock(), False, estimate

    def left() -> T | None:
        with contextlib.suppress(queue.Empty):
            return work.get_nowait()
        return None

    def worker(device: int | None) -> None:
        nonlocal known, longest
        while (job := left()) is not None:
            start, state = time.monotonic(), "done"
            if start - began + 1.05 * longest > deadline:
                state = NO_TIME
            elif stop.is_set():
                state = INTERRUPTED
            else:
                try:
                    make(job, device)
                except Stopped:
                    state = "stopped; it goes on with the next call"
                except Exception as error:  # the other jobs go on
                    state = f"failed: {error}"
            seconds = time.monotonic() - start
            with lock:
                if state == "done":
                    longest, known = max(longest if known else 0.0, seconds), True
                after(job, state, seconds)

    threads = [threading.Thread(target=worker, args=(device,)) for device in devices]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(0.2)
            if time.monotonic() - began > deadline:
                stop.set()


def call(command: Sequence[str], log: Path, device: int | None, stop: threading.Event) -> None:
    """Run a command in a process of its own, which is told to end in good order with `stop`.

    Args:
        log: gets what it prints, behind what is there.
        device: the GPU that it sees, by number; None for all.

    Raises:
        RuntimeError: it failed; the last lines that it printed.
        Stopped: it was told to stop, and hadn't reached its end.
    """
    if stop.is_set():
        raise Stopped
    environment = {**os.environ, "NO_COLOR": "1"}
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(device)
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        begin = out.tell()
        process = subprocess.Popen(
            command, stdout=out, stderr=out, env=environment, start_new_session=True
        )
        asked = 0.0
        while process.poll() is None:
            time.sleep(0.1)
            if stop.is_set() and not asked:
                asked = time.monotonic()
                process.send_signal(signal.SIGTERM)
            if asked and time.monotonic() - asked > _GRACE:
                process.kill()
    if asked and process.returncode:
        raise Stopped
    if process.returncode:
        text = log.read_bytes()[begin:].decode("utf-8", "replace")
        last = " ".join(" ".join(text.strip().splitlines()[-_LAST_LINES:]).split())
        words = " ".join([word for word in command[1:5] if word != "-P"][:3])
        raise RuntimeError(f"`{words}` ended with code {process.returncode}: {last}")

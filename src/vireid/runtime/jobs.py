"""Jobs on the devices of one machine, one at a time on each; each is a process that can be told to
stop."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from vireid.runtime.provenance import package_hash, versions
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


class Standby:
    """Processes that get ready to run a command while the one before runs on their device, so that
    it waits for no import.

    Where none is ready, or what it imported has changed since, `call` starts the command as usual.
    """

    def __init__(self, command: Sequence[str], ready: Sequence[str], calls: int) -> None:
        """
        Args:
            command: what the commands begin with.
            ready: what starts such a process. It gets ready, reads a line of JSON (the words that
                follow `command`, and a file that it appends what it prints to), and runs it. Where
                there is no such line, it ends.
            calls: of `call` that are to come; no process is started that isn't needed for them.
        """
        self._command, self._ready, self._left = [*command], [*ready], calls
        self._waiting: list[_Waiting] = []
        self._lock = threading.Lock()

    def take(
        self, command: Sequence[str], log: Path, device: int | None
    ) -> subprocess.Popen[bytes] | None:
        """A process that runs `command`, or None where none is ready for it."""
        with self._lock:
            self._left -= 1
            found = next((one for one in self._waiting if one.device == device), None)
            if found is None:
                return None
            self._waiting.remove(found)
        count, pipe = len(self._command), found.process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError):  # it has ended, or a file is being written
            if found.code == _code() and [*command[:count]] == self._command:
                asked = json.dumps([[*command[count:]], str(log.absolute())])
                with pipe:
                    pipe.write(f"{asked}\n".encode())
                return found.process
        _end(found.process)
        return None

    def prepare(self, device: int | None) -> None:
        """Start a process for the next command on a device, if there is to be one."""
        with self._lock, contextlib.suppress(OSError):  # as above, or there is no memory for it
            if len(self._waiting) < self._left:
                code = _code()  # before it is imported
                process = subprocess.Popen(
                    self._ready, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL, env=_environment(device), start_new_session=True,
                )  # fmt: skip
                self._waiting.append(_Waiting(device, code, process))

    def close(self) -> None:
        """End the processes that were not needed."""
        with self._lock:
            self._left = 0
            while self._waiting:
                _end(self._waiting.pop().process)


class _Waiting(NamedTuple):
    """A process that waits, and the code that it imported."""

    device: int | None
    code: tuple[str, dict[str, str]]
    process: subprocess.Popen[bytes]


def _code() -> tuple[str, dict[str, str]]:
    """What the files hold that a process imports which starts now."""
    return package_hash.__wrapped__(), versions()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # it has nothing to save
    process.wait()
    assert process.stdin is not None
    process.stdin.close()


def _environment(device: int | None) -> dict[str, str]:
    environment = {**os.environ, "NO_COLOR": "1"}
    if device is not None:
        environment["CUDA_VISIBLE_DEVICES"] = str(device)
    return environment


def call(
    command: Sequence[str],
    log: Path,
    device: int | None,
    stop: threading.Event,
    standby: Standby | None = None,
) -> None:
    """Run a command in a process of its own, which is told to end in good order with `stop`.

    Args:
        log: gets what it prints, behind what is there.
        device: the GPU that it sees, by number; None for all.
        standby: has a process for it, perhaps, and makes one for the next call.

    Raises:
        RuntimeError: it failed; the last lines that it printed.
        Stopped: it was told to stop, and hadn't reached its end.
    """
    if stop.is_set():
        raise Stopped
    log.parent.mkdir(parents=True, exist_ok=True)
    with open(log, "ab") as out:
        begin = out.tell()
        process = standby and standby.take(command, log, device)
        process = process or subprocess.Popen(
            command, stdout=out, stderr=out, env=_environment(device), start_new_session=True
        )
        if standby is not None:
            standby.prepare(device)
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
        lines = text.strip().splitlines()[-_LAST_LINES:]
        told = [n for n, line in enumerate(lines) if line.startswith("vireid: ")]
        # the command's own sentence, where it ended with one, not what it had printed before
        last = " ".join(" ".join(lines[told[-1] if told else 0 :]).split())
        words = " ".join([word for word in command[1:5] if word != "-P"][:3])
        raise RuntimeError(f"`{words}` ended with code {process.returncode}: {last}")

"""Decoding processes that stay alive over a whole job and write into one ring of pixels."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue

import numpy as np

from vireid.cores import usable_cores
from vireid.data.decoding import decode
from vireid.types import InputError

CHUNK = 16  # images a task
IN_FLIGHT = 2  # tasks a process has, so that it never waits for the next one
LONG = 8000  # characters of a task; two such ones and their answers might fill the pipes both ways

Task = list[tuple[int, str]]  # row and file
Problems = list[tuple[int, str]]  # row and what is wrong


class DecodePool:
    """Decodes image files into rows of `pixels`, by a process a core.

    With one worker a thread decodes, without processes.

    Attributes:
        pixels: (rows, H, W, 3) uint8, memory-mapped.
    """

    def __init__(self, rows: int, size: tuple[int, int], workers: int | None = None) -> None:
        """Start the processes; they get ready while the caller does other things.

        Args:
            rows: of `pixels`.
            size: (height, width).
            workers: processes; None for one a core.

        Raises:
            InputError: there is no room for the pixels or the processes.
        """
        self.workers = workers or usable_cores()
        self._folder = tempfile.mkdtemp(prefix="vireid-", dir=_fast_folder(rows, size))
        self._tasks: SimpleQueue[tuple[Future[Problems], Task] | None] = SimpleQueue()
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        try:
            file = Path(self._folder) / "pixels"
            self.pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, *size, 3))
            target = {"file": str(file), "offset": 0, "shape": list(self.pixels.shape)}
            for _ in range(self.workers if self.workers > 1 else 0):
                self._processes.append(_start(json.dumps(target)))
        except OSError as error:
            self.close()
            raise InputError(
                f"Decoding by {self.workers} processes could not be started: {error}. Free some "
                "memory or try fewer workers."
            ) from error
        except BaseException:  # an interrupt, say
            self.close()
            raise
        serve: list[Callable[[], None]] = [partial(self._feed, one) for one in self._processes]
        self._threads = [
            threading.Thread(target=run, daemon=True) for run in serve or [self._decode]
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, rows: Sequence[int], files: Sequence[str | Path]) -> list[Future[Problems]]:
        """Decode `files` into `rows`; each future gives (row, what is wrong) of broken ones."""
        futures: list[Future[Problems]] = []
        for start in range(0, len(files), CHUNK):
            part = slice(start, start + CHUNK)
            task = [(int(row), str(file)) for row, file in zip(rows[part], files[part])]
            futures.append(Future())
            self._tasks.put((futures[-1], task))
        return futures

    def _feed(self, process: subprocess.Popen[str]) -> None:
        """Give a process its tasks and hand out its answers."""
        assert process.stdin is not None and process.stdout is not None
        sent: deque[tuple[Future[Problems], Task]] = deque()
        most, ended = IN_FLIGHT, False
        while sent or not ended:
            line = ""
            try:
                while len(sent) < most and not ended:
                    try:
                        item = self._tasks.get(block=not sent)
                    except Empty:
                        break
                    if item is None:
                        ended = True
                        continue
                    sent.append(item)
                    text = json.dumps(item[1])
                    if len(text) > LONG:
                        most = 1
                    process.stdin.write(text + "\n")
                    process.stdin.flush()
                line = process.stdout.readline() if sent else ""
            except (OSError, ValueError):  # its pipes are gone
                line = ""
            if line:
                answers = json.loads(line)
                sent.popleft()[0].set_result([(row, text) for row, text in answers if text])
                continue
            for future, task in sent:
                future.set_exception(
                    InputError(
                        f"A process that decodes images ended with code {process.wait()} near "
                        f"'{task[0][1]}'. The machine may be out of memory; try fewer workers."
                    )
                )
            sent.clear()

    def _decode(self) -> None:
        """Decode in this thread."""
        while (item := self._tasks.get()) is not None:
            future, task = item
            problems = []
            try:
                for row, file in task:
                    try:
                        self.pixels[row] = decode(file, self.pixels.shape[1:3])
                    except InputError as error:
                        problems.append((row, str(error)))
            except BaseException as error:  # told to who waits
                future.set_exception(error)
            else:
                future.set_result(problems)

    def close(self) -> None:
        """End the processes, at once, and give the memory back; more than once does no harm."""
        with contextlib.suppress(Empty):
            while (item := self._tasks.get(block=False)) is not None:
                item[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        for process in self._processes:
            process.kill()  # they hold nothing, and needn't end one after the other
        for thread in self._threads:
            thread.join()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what was never sent can't be flushed
                    if pipe is not None:
                        pipe.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _start(target: str) -> subprocess.Popen[str]:
    """A process that decodes into `target`."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        text=True,
        encoding="utf-8",
    )
    assert process.stdin is not None
    process.stdin.write(target + "\n")
    process.stdin.flush()
    return process


def _fast_folder(rows: int, size: tuple[int, int]) -> str | None:
    """Shared memory if the ring fits well into it, else the usual temporary folder."""
    shared = Path("/dev/shm")
    need = 2 * rows * size[0] * size[1] * 3
    if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > need:
        return str(shared)
    return None

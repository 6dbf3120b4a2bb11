"""Processes that decode images into one memory-mapped array.

Plain child processes over pipes: unlike multiprocessing they never import the user's main module,
and unlike fork they are safe beside threads and CUDA.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, NamedTuple, cast

import numpy as np

from vireid.cores import usable_cores
from vireid.data.decode_worker import Problems, Task, decode_task
from vireid.data.facts import UPRIGHT, Decoding
from vireid.types import InputError

CHUNK = 16  # images per task: long enough to hide the exchange, short enough to share out evenly
IN_FLIGHT = 2  # tasks that a process has, so that it never waits for the next one
FEW = 64  # images; for fewer, starting processes takes longer than decoding


class _Job(NamedTuple):
    """A task and who waits for it."""

    future: Future[Problems]
    task: Task

    def fail(self, code: int) -> None:
        self.future.set_exception(
            InputError(
                f"A process that decodes images ended with code {code} near '{self.task[0][1]}'. "
                "The machine may be out of memory; try fewer workers."
            )
        )


def worker_count(images: int, workers: int | None = None) -> int:
    """Processes that are worth starting for so many images; 1 means a thread instead.

    Args:
        images: to decode.
        workers: at most so many; None for one per core.
    """
    if images < FEW:
        return 1
    return min(workers or usable_cores(), -(-images // CHUNK))


class DecodePool:
    """Decodes image files into rows of `pixels`, by processes with one thread each to serve them.

    With one worker, or pixels that no other process can reach, threads decode instead.

    Attributes:
        pixels: (rows, H, W, 3) uint8.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        workers: int,
        handle: int | None = None,
        decoding: Decoding = UPRIGHT,
    ) -> None:
        """Start the processes; they get ready while the caller does other things.

        Args:
            pixels: (rows, H, W, 3) uint8; processes write into a `numpy.memmap` only.
            workers: processes.
            handle: descriptor of the file of `pixels`, if that has no name.
            decoding: of all images.

        Raises:
            InputError: the processes can't be started.
        """
        self.pixels, self._decoding = pixels, decoding
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()  # None: the pool is closed
        self._processes: list[subprocess.Popen[bytes]] = []
        self._servers: list[threading.Thread] = []
        self._alive = workers
        self._lock = threading.Lock()
        self._closed = False
        self._threads: ThreadPoolExecutor | None = None
        if workers == 1 or not isinstance(pixels, np.memmap):
            self._threads = ThreadPoolExecutor(workers, thread_name_prefix="vireid-decode")
            return
        target = {
            "file": str(pixels.filename) if handle is None else handle,
            "offset": pixels.offset,
            "shape": list(pixels.shape),
            "decoding": asdict(decoding),
        }
        try:
            for _ in range(workers):
                self._processes.append(_start(json.dumps(target), handle))
        except OSError as error:
            self.close()
            raise InputError(
                f"{workers} processes that decode images could not be started: {error}. Free some "
                "memory or try fewer workers."
            ) from error
        for process in self._processes:
            server = threading.Thread(
                target=self._serve, args=(process,), name="vireid-decode", daemon=True
            )
            self._servers.append(server)
            server.start()

    def submit(self, rows: Sequence[int], files: Sequence[str | Path]) -> list[Future[Problems]]:
        """Decode `files` into `rows`; each future gives what there is to say of some."""
        futures: list[Future[Problems]] = []
        for start in range(0, len(files), CHUNK):
            part = slice(start, start + CHUNK)
            task = [(int(row), str(file)) for row, file in zip(rows[part], files[part])]
            if self._threads is not None:
                futures.append(self._threads.submit(decode_task, self.pixels, task, self._decoding))
            else:
                futures.append(Future())
                self._jobs.put(_Job(futures[-1], task))
        return futures

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        """Give a process its tasks and hand out its answers, until it or the pool ends."""
        questions, answers = cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout)
        sent: deque[_Job] = deque()
        while not self._closed:
            # A second task only where there is one for each: the last ones are shared out evenly.
            while not sent or (len(sent) < IN_FLIGHT and self._jobs.qsize() >= self._alive):
                try:
                    job = self._jobs.get(block=not sent)
                except Empty:
                    break
                if job is None:
                    break
                sent.append(job)
                _tell(questions, json.dumps(job.task))
            try:
                problems = [
                    (int(row), None if what is None else str(what))
                    for row, what in json.loads(answers.readline())
                ]
            except (ValueError, TypeError):  # it has ended, or something else prints there
                process.kill()
                break
            sent.popleft().future.set_result(problems)
        code = process.wait()
        with self._lock:
            self._alive -= 1
            last = self._alive == 0
        for job in sent:
            if self._closed:
                job.future.cancel()
            else:
                job.fail(code)
        while last and not self._closed and (job := self._jobs.get()) is not None:
            job.fail(code)

    def close(self) -> None:
        """End the processes, at once, and forget their tasks; more than once does no harm."""
        self._closed = True
        if self._threads is not None:
            self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.kill()  # they hold nothing, and needn't end one after the other
            self._jobs.put(None)
        for server in self._servers:
            server.join()
        for process in self._processes:
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # what is left in it has no reader
                    cast(IO[bytes], pipe).close()
        with contextlib.suppress(Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    job.future.cancel()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _start(target: str, handle: int | None) -> subprocess.Popen[bytes]:
    """A process that decodes into `target` and inherits the file `handle`."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=() if handle is None else (handle,),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    _tell(cast(IO[bytes], process.stdin), target)
    return process


def _tell(questions: IO[bytes], line: str) -> None:
    """Write a line; that the process has ended will be seen by the end of its answers."""
    with contextlib.suppress(OSError):
        questions.write(line.encode() + b"\n")
        questions.flush()


def decode_into(
    out: np.ndarray,
    paths: Sequence[str | Path],
    rows: Sequence[int],
    *,
    workers: int | None = None,
    decoding: Decoding = UPRIGHT,
) -> Generator[tuple[int, str | None], None, None]:
    """Decode images into rows of an array, by processes where it is a memory-mapped file.

    Args:
        out: (N, H, W, 3) uint8. If it is a `numpy.memmap`, processes write into its file.
        paths: n image files.
        rows: n rows of `out`.
        workers: processes; None for one per core.
        decoding: of all images.

    Yields:
        (position in `paths`, None or a sentence on what is wrong), in order.
    """
    with DecodePool(out, worker_count(len(paths), workers), decoding=decoding) as pool:
        position = 0
        for future in pool.submit(rows, paths):
            problems = dict(future.result())
            for row in rows[position : position + CHUNK]:
                yield position, problems.get(int(row))
                position += 1

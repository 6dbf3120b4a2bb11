"""Processes that decode images into one memory-mapped array.

Plain child processes over pipes: unlike multiprocessing they never import the user's main module,
and unlike fork they are safe beside threads and CUDA.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vireid.cores import usable_cores
from vireid.data.decoding import decode
from vireid.types import InputError

CHUNK = 16  # images a task: long enough to hide the exchange, short enough to share out evenly
IN_FLIGHT = 2  # tasks a process has, so that it never waits for the next one
FEW = 64  # images; for fewer, starting processes takes longer than decoding
LONG = 8000  # characters of a task; two such ones and their answers might fill the pipes both ways

Task = list[tuple[int, str]]  # row and file
Problems = list[tuple[int, str]]  # row and what is wrong


@dataclass
class _Worker:
    """A process, the tasks it has, and the beginning of its next answer."""

    process: subprocess.Popen[bytes]
    sent: deque[tuple[Future[Problems], Task]] = field(default_factory=deque)
    rest: bytes = b""


class DecodePool:
    """Decodes image files into rows of `pixels`, by a process a core that one thread serves.

    With one worker a thread decodes, without processes.

    Attributes:
        pixels: (rows, H, W, 3) uint8.
        workers: processes.
    """

    def __init__(
        self, pixels: np.ndarray, workers: int | None = None, handle: int | None = None
    ) -> None:
        """Start the processes; they get ready while the caller does other things.

        Args:
            pixels: (rows, H, W, 3) uint8; a `numpy.memmap` where there are several workers.
            workers: processes; None for one a core.
            handle: descriptor of the file of `pixels`, if that has no name.

        Raises:
            InputError: the processes can't be started.
        """
        self.pixels, self.workers = pixels, workers or usable_cores()
        self._tasks: deque[tuple[Future[Problems], Task]] = deque()
        self._most = IN_FLIGHT
        self._workers: list[_Worker] = []
        self._alive: list[_Worker] = []
        self._thread: threading.Thread | None = None
        self._alone = ThreadPoolExecutor(1) if self.workers == 1 else None
        self._asleep, self._wake = os.pipe()
        if self._alone is not None:
            return
        assert isinstance(pixels, np.memmap)
        target = {
            "file": str(pixels.filename) if handle is None else handle,
            "offset": pixels.offset,
            "shape": list(pixels.shape),
        }
        inherited = () if handle is None else (handle,)
        try:
            for _ in range(self.workers):
                self._workers.append(_Worker(_start(json.dumps(target), inherited)))
        except OSError as error:
            self.close()
            raise InputError(
                f"Decoding by {self.workers} processes could not be started: {error}. Free some "
                "memory or try fewer workers."
            ) from error
        except BaseException:  # an interrupt, say
            self.close()
            raise
        self._alive = [*self._workers]
        self._thread = threading.Thread(target=self._serve, name="vireid-decode", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[int], files: Sequence[str | Path]) -> list[Future[Problems]]:
        """Decode `files` into `rows`; each future gives (row, what is wrong) of broken ones."""
        futures: list[Future[Problems]] = []
        for start in range(0, len(files), CHUNK):
            part = slice(start, start + CHUNK)
            task = [(int(row), str(file)) for row, file in zip(rows[part], files[part])]
            if self._alone is not None:
                futures.append(self._alone.submit(self._decode, task))
            else:
                futures.append(Future())
                self._tasks.append((futures[-1], task))
        if self._alone is None:
            os.write(self._wake, b"\n")
        return futures

    def _decode(self, task: Task) -> Problems:
        """Decode in this process."""
        problems = []
        for row, file in task:
            try:
                self.pixels[row] = decode(file, self.pixels.shape[1:3])
            except InputError as error:
                problems.append((row, str(error)))
        return problems

    def _serve(self) -> None:
        try:
            self._exchange()
        except Exception as error:  # a worker said something else than it should
            for queue in (self._tasks, *(worker.sent for worker in self._workers)):
                for future, _ in queue:
                    future.set_exception(error)

    def _exchange(self) -> None:
        """Give processes their tasks and hand out their answers, until the pool is closed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._asleep, selectors.EVENT_READ)
            for worker in self._workers:
                assert worker.process.stdout is not None
                selector.register(worker.process.stdout, selectors.EVENT_READ, worker)
            while True:
                for key, _ in selector.select():
                    content = os.read(key.fd, 1 << 16)
                    if key.data is not None:
                        if not content:
                            selector.unregister(key.fileobj)
                        self._hear(key.data, content)
                    elif not content:
                        return
                self._hand_out()

    def _hear(self, worker: _Worker, content: bytes) -> None:
        *lines, worker.rest = (worker.rest + content).split(b"\n")
        for line in lines:
            answers = json.loads(line)
            worker.sent.popleft()[0].set_result([(row, problem) for row, problem in answers])
        if not content:
            self._alive.remove(worker)
            self._fail(worker.sent, worker.process.wait())

    def _fail(self, tasks: deque[tuple[Future[Problems], Task]], code: int) -> None:
        while tasks:
            future, task = tasks.popleft()
            future.set_exception(
                InputError(
                    f"A process that decodes images ended with code {code} near '{task[0][1]}'. "
                    "The machine may be out of memory; try fewer workers."
                )
            )

    def _hand_out(self) -> None:
        if not self._alive:
            self._fail(self._tasks, self._workers[-1].process.wait())
        while self._tasks:
            worker = min(self._alive, key=lambda one: len(one.sent))
            if len(worker.sent) >= self._most:
                return
            worker.sent.append(self._tasks.popleft())
            line = json.dumps(worker.sent[-1][1]).encode() + b"\n"
            if len(line) > LONG:
                self._most = 1
            assert worker.process.stdin is not None
            with contextlib.suppress(OSError):  # it has ended, which its output will say
                _write_whole(worker.process.stdin.fileno(), line)

    def close(self) -> None:
        """End the processes, at once, and forget their tasks; more than once does no harm."""
        if self._wake < 0:
            return
        os.close(self._wake)
        self._wake = -1
        if self._alone is not None:
            self._alone.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.process.kill()  # they hold nothing, and needn't end one after the other
        if self._thread is not None:
            self._thread.join()
        os.close(self._asleep)
        for worker in self._workers:
            worker.process.wait()
            for pipe in (worker.process.stdin, worker.process.stdout):
                assert pipe is not None
                pipe.close()
            for future, _ in worker.sent:
                future.cancel()
        for future, _ in self._tasks:
            future.cancel()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _start(target: str, inherited: tuple[int, ...]) -> subprocess.Popen[bytes]:
    """A process that decodes into `target` and has some of this one's files."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        pass_fds=inherited,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended, which its output will say
        _write_whole(process.stdin.fileno(), target.encode() + b"\n")
    return process


def _write_whole(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def decode_into(
    out: np.ndarray, paths: Sequence[str | Path], rows: Sequence[int], *, workers: int | None = None
) -> Generator[tuple[int, str | None], None, None]:
    """Decode images into rows of an array, in parallel where it is a memory-mapped file.

    Args:
        out: (N, H, W, 3) uint8. If it is a `numpy.memmap`, processes write into its file.
        paths: n image files.
        rows: n rows of `out`.
        workers: processes; None for one a core.

    Yields:
        (position in `paths`, None or a sentence on what is wrong), as images are finished.
    """
    if len(paths) < FEW or not isinstance(out, np.memmap):
        workers = 1
    with DecodePool(out, workers) as pool:
        position = 0
        for future in pool.submit(rows, paths):
            problems = dict(future.result())
            for row in rows[position : position + CHUNK]:
                yield position, problems.get(int(row))
                position += 1

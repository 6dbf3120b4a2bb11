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
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, cast

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
    """A process, its pipes, the tasks it has, and the beginning of its next answer."""

    process: subprocess.Popen[bytes]
    questions: IO[bytes]
    answers: IO[bytes]
    sent: deque[tuple[Future[Problems], Task]] = field(default_factory=deque)
    rest: bytes = b""

    @classmethod
    def start(cls, target: str, inherited: Sequence[int]) -> _Worker:
        """A process that decodes into `target` and has some of this one's files."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            pass_fds=inherited,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        worker = cls(process, cast(IO[bytes], process.stdin), cast(IO[bytes], process.stdout))
        worker.tell(target)
        return worker

    def tell(self, line: str) -> None:
        """Write a line; that the process has ended will be seen by the end of its answers."""
        left = line.encode() + b"\n"
        with contextlib.suppress(OSError):
            while left:
                left = left[os.write(self.questions.fileno(), left) :]

    def hear(self, content: bytes) -> None:
        """Hand out the answers that `content` completes."""
        *lines, self.rest = (self.rest + content).split(b"\n")
        for line in lines:
            try:
                problems = [(int(row), str(problem)) for row, problem in json.loads(line)]
                future, _ = self.sent.popleft()
            except (ValueError, TypeError, IndexError):  # no answer: something else prints there
                self.process.kill()
                return
            future.set_result(problems)


def worker_count(images: int, workers: int | None = None) -> int:
    """Processes that so many images are worth; 1 means none but a thread.

    Args:
        images: to decode.
        workers: at most so many; None for one a core.
    """
    if images < FEW:
        return 1
    return min(workers or usable_cores(), -(-images // CHUNK))


class DecodePool:
    """Decodes image files into rows of `pixels`, by processes that one thread serves.

    With one worker, or pixels that are in no file, a thread decodes, without processes.

    Attributes:
        pixels: (rows, H, W, 3) uint8.
    """

    def __init__(self, pixels: np.ndarray, workers: int, handle: int | None = None) -> None:
        """Start the processes; they get ready while the caller does other things.

        Args:
            pixels: (rows, H, W, 3) uint8; processes write into a `numpy.memmap` only.
            workers: processes.
            handle: descriptor of the file of `pixels`, if that has no name.

        Raises:
            InputError: the processes can't be started.
        """
        self.pixels = pixels
        self._tasks: deque[tuple[Future[Problems], Task]] = deque()
        self._most = IN_FLIGHT
        self._workers: list[_Worker] = []
        self._alone: ThreadPoolExecutor | None = None
        self._closing = ExitStack()
        if workers == 1 or not isinstance(pixels, np.memmap):
            self._alone = ThreadPoolExecutor(1)
            self._closing.callback(self._alone.shutdown, cancel_futures=True)
            return
        target = {
            "file": str(pixels.filename) if handle is None else handle,
            "offset": pixels.offset,
            "shape": list(pixels.shape),
        }
        inherited = () if handle is None else (handle,)
        with ExitStack() as undo:
            undo.callback(self._end)
            try:
                for _ in range(workers):
                    self._workers.append(_Worker.start(json.dumps(target), inherited))
            except OSError as error:
                raise InputError(
                    f"Decoding by {workers} processes could not be started: {error}. Free some "
                    "memory or try fewer workers."
                ) from error
            asleep, self._wake = os.pipe()
            undo.callback(os.close, asleep)
            thread = threading.Thread(target=self._serve, args=(asleep,), name="vireid-decode")
            thread.daemon = True
            thread.start()
            undo.callback(thread.join)
            undo.callback(os.close, self._wake)
            undo.callback(self._kill)
            self._closing = undo.pop_all()

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

    def _serve(self, asleep: int) -> None:
        """Give processes their tasks and hand out their answers, until the pool is closed."""
        alive = [*self._workers]
        with selectors.DefaultSelector() as selector:
            selector.register(asleep, selectors.EVENT_READ)
            for worker in alive:
                selector.register(worker.answers, selectors.EVENT_READ, worker)
            while True:
                for key, _ in selector.select():
                    content, worker = os.read(key.fd, 1 << 16), key.data
                    if worker is None and not content:
                        return
                    if worker is not None and content:
                        worker.hear(content)
                    elif worker is not None:
                        selector.unregister(key.fileobj)
                        alive.remove(worker)
                        self._fail(worker.sent, worker.process.wait())
                if not alive:
                    self._fail(self._tasks, self._workers[-1].process.wait())
                self._hand_out(alive)

    def _fail(self, tasks: deque[tuple[Future[Problems], Task]], code: int) -> None:
        while tasks:
            future, task = tasks.popleft()
            future.set_exception(
                InputError(
                    f"A process that decodes images ended with code {code} near '{task[0][1]}'. "
                    "The machine may be out of memory; try fewer workers."
                )
            )

    def _hand_out(self, alive: list[_Worker]) -> None:
        while self._tasks and alive:
            worker = min(alive, key=lambda one: len(one.sent))
            if len(worker.sent) >= self._most:
                return
            worker.sent.append(self._tasks.popleft())
            line = json.dumps(worker.sent[-1][1])
            if len(line) > LONG:
                self._most = 1
            worker.tell(line)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.process.kill()  # they hold nothing, and needn't end one after the other

    def _end(self) -> None:
        self._kill()
        for worker in self._workers:
            worker.process.wait()
            worker.questions.close()
            worker.answers.close()
        for future, _ in (*self._tasks, *(one for worker in self._workers for one in worker.sent)):
            future.cancel()

    def close(self) -> None:
        """End the processes, at once, and forget their tasks; more than once does no harm."""
        self._closing.close()

    def __enter__(self) -> DecodePool:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


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
        (position in `paths`, None or a sentence on what is wrong), in order.
    """
    with DecodePool(out, worker_count(len(paths), workers)) as pool:
        position = 0
        for future in pool.submit(rows, paths):
            problems = dict(future.result())
            for row in rows[position : position + CHUNK]:
                yield position, problems.get(int(row))
                position += 1

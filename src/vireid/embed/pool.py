"""Decoding processes that stay alive over a whole job and write into one ring of pixels."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import numpy as np

from vireid.cores import usable_cores
from vireid.data.decoding import decode
from vireid.types import InputError

CHUNK = 16  # images a task


class DecodePool:
    """Decodes image files into rows of `pixels`, by a process a core.

    With one worker the calling thread's pool decodes itself, without processes.

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
        self._processes: list[subprocess.Popen[str]] = []
        self._idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        self._executor = ThreadPoolExecutor(self.workers, thread_name_prefix="vireid-decode")
        try:
            file = Path(self._folder) / "pixels"
            self.pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, *size, 3))
            target = {"file": str(file), "offset": 0, "shape": list(self.pixels.shape)}
            for _ in range(self.workers if self.workers > 1 else 0):
                self._start(json.dumps(target))
        except OSError as error:
            self.close()
            raise InputError(
                f"Decoding by {self.workers} processes could not be started: {error}. Free some "
                "memory or try fewer workers."
            ) from error
        except BaseException:  # an interrupt, say
            self.close()
            raise

    def submit(
        self, rows: Sequence[int], files: Sequence[Path]
    ) -> list[Future[list[tuple[int, str]]]]:
        """Decode `files` into `rows`; each future gives (row, what is wrong) of broken ones."""
        tasks = [(int(row), str(file)) for row, file in zip(rows, files)]
        return [
            self._executor.submit(self._decode, tasks[start : start + CHUNK])
            for start in range(0, len(tasks), CHUNK)
        ]

    def _start(self, target: str) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        self._processes.append(process)
        self._idle.put(process)
        assert process.stdin is not None
        process.stdin.write(target + "\n")
        process.stdin.flush()

    def _decode(self, tasks: list[tuple[int, str]]) -> list[tuple[int, str]]:
        if self.workers == 1:
            found = [(row, self._decode_here(row, file)) for row, file in tasks]
        else:
            process = self._idle.get()  # there are as many as threads
            try:
                found = self._exchange(process, tasks)
            finally:
                self._idle.put(process)
        return [(row, problem) for row, problem in found if problem is not None]

    def _exchange(
        self, process: subprocess.Popen[str], tasks: list[tuple[int, str]]
    ) -> list[tuple[int, str | None]]:
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(tasks) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            raise InputError(
                f"A process that decodes images ended with code {process.wait()} near "
                f"'{tasks[0][1]}'. The machine may be out of memory; try fewer workers."
            )
        return json.loads(line)

    def _decode_here(self, row: int, file: str) -> str | None:
        try:
            self.pixels[row] = decode(file, self.pixels.shape[1:3])
        except InputError as error:
            return str(error)
        return None

    def close(self) -> None:
        """End the processes, at once, and give the memory back; more than once does no harm."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in self._processes:
            process.kill()  # they hold nothing, and needn't end one after the other
        self._executor.shutdown()
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


def _fast_folder(rows: int, size: tuple[int, int]) -> str | None:
    """Shared memory if the ring fits well into it, else the usual temporary folder."""
    shared = Path("/dev/shm")
    need = 2 * rows * size[0] * size[1] * 3
    if os.access(shared, os.W_OK) and shutil.disk_usage(shared).free > need:
        return str(shared)
    return None

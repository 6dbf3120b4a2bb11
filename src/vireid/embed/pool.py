"""Decoding processes that stay alive over a whole job and write into one ring of pixels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

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
        self.workers = workers or usable_cores()
        self._folder = tempfile.mkdtemp(prefix="vireid-", dir=_fast_folder(rows, size))
        file = Path(self._folder) / "pixels"
        self.pixels = np.memmap(file, dtype=np.uint8, mode="w+", shape=(rows, *size, 3))
        self._target = json.dumps(
            {"file": str(file), "offset": 0, "shape": list(self.pixels.shape)}
        )
        self._local = threading.local()
        self._processes: list[subprocess.Popen[str]] = []
        self._executor = ThreadPoolExecutor(
            self.workers, thread_name_prefix="vireid-decode", initializer=self._start
        )

    def submit(
        self, rows: Sequence[int], files: Sequence[Path]
    ) -> list[Future[list[tuple[int, str | None]]]]:
        """Decode `files` into `rows`; each future gives (row, None or what is wrong)."""
        tasks = [(int(row), str(file)) for row, file in zip(rows, files)]
        return [
            self._executor.submit(self._decode, tasks[start : start + CHUNK])
            for start in range(0, len(tasks), CHUNK)
        ]

    def _start(self) -> None:
        if self.workers == 1:
            return
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        assert process.stdin is not None
        process.stdin.write(self._target + "\n")
        self._local.process = process
        self._processes.append(process)

    def _decode(self, tasks: list[tuple[int, str]]) -> list[tuple[int, str | None]]:
        if self.workers == 1:
            return [self._decode_here(*task) for task in tasks]
        process = self._local.process
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
        return [(row, problem) for row, problem in json.loads(line)]

    def _decode_here(self, row: int, file: str) -> tuple[int, str | None]:
        try:
            self.pixels[row] = decode(file, self.pixels.shape[1:3])
        except InputError as error:
            return row, str(error)
        return row, None

    def close(self) -> None:
        """End the processes and give the memory back."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for process in self._processes:
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()
            process.wait()
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

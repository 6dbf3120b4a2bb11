"""Decoding images as published, one by one or by a process a core."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from vireid.cores import usable_cores
from vireid.types import InputError

_CHUNK = 16  # images a task: long enough to hide the exchange, short enough to share out evenly
_FEW = 64  # below this, starting processes takes longer than decoding


# What Pillow's decoders raise on damaged files.
READ_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def decode(path: str | Path, size: tuple[int, int]) -> np.ndarray:
    """One image at the size of the network, exactly as the published preprocessing makes it.

    Args:
        path: an image file.
        size: (height, width).

    Returns:
        (H, W, 3) uint8: Pillow's decoding, converted to RGB, resized with the Lanczos filter.

    Raises:
        InputError: the file is missing, no image, truncated, or has 16 bits a pixel.
    """
    try:
        with Image.open(path) as image:
            if has_deep_pixels(image):
                raise InputError(
                    f"The image '{path}' has more than 8 bits a pixel (mode {image.mode}), which "
                    "has no one true conversion. Convert it to 8 bits first."
                )
            picture = image.convert("RGB")
        resized = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        return np.asarray(resized)
    except FileNotFoundError as error:
        raise InputError(f"There is no image '{path}'.") from error
    except READ_ERRORS as error:
        raise InputError(
            f"The image '{path}' cannot be read: {error}. It is broken or not an image; restore "
            "it, or leave broken images out with --skip-broken."
        ) from error


def has_deep_pixels(image: Image.Image) -> bool:
    """More than 8 bits a pixel and channel? Pillow would cut such values off at 255."""
    return image.mode.startswith(("I", "F"))


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
    workers = workers or usable_cores()
    if workers == 1 or len(paths) < _FEW or not isinstance(out, np.memmap):
        for position, (path, row) in enumerate(zip(paths, rows)):
            try:
                out[row] = decode(path, out.shape[1:3])
                yield position, None
            except InputError as error:
                yield position, str(error)
        return
    position_of = {int(row): position for position, row in enumerate(rows)}
    tasks = [(int(row), str(path)) for row, path in zip(rows, paths)]
    for row, problem in _in_processes(out, tasks, workers):
        yield position_of[row], problem


def _in_processes(
    out: np.memmap, tasks: list[tuple[int, str]], workers: int
) -> Generator[tuple[int, str | None], None, None]:
    """Plain child processes over pipes: unlike multiprocessing they never import the user's
    main module, and unlike fork they are safe beside threads and CUDA."""
    target = json.dumps({"file": str(out.filename), "offset": out.offset, "shape": list(out.shape)})
    chunks: queue.SimpleQueue[list[tuple[int, str]] | None] = queue.SimpleQueue()
    for start in range(0, len(tasks), _CHUNK):
        chunks.put(tasks[start : start + _CHUNK])
    workers = min(workers, -(-len(tasks) // _CHUNK))
    for _ in range(workers):
        chunks.put(None)
    answers: queue.SimpleQueue[list | Exception] = queue.SimpleQueue()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-P", "-m", "vireid.data.decode_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            encoding="utf-8",
        )
        for _ in range(workers)
    ]

    def feed(process: subprocess.Popen[str]) -> None:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None  # both are pipes
        try:
            stdin.write(target + "\n")
            while (chunk := chunks.get()) is not None:
                stdin.write(json.dumps(chunk) + "\n")
                stdin.flush()
                line = stdout.readline()
                if not line:
                    raise RuntimeError(f"ended with code {process.wait()} near '{chunk[0][1]}'")
                answers.put(json.loads(line))
            stdin.close()
        except (OSError, ValueError, RuntimeError) as error:
            answers.put(error)

    threads = [threading.Thread(target=feed, args=(p,), daemon=True) for p in processes]
    for thread in threads:
        thread.start()
    try:
        missing = len(tasks)
        while missing:
            answer = answers.get()
            if isinstance(answer, Exception):
                raise InputError(
                    f"A process that decodes images failed: {answer}. The machine may be out of "
                    "memory; try fewer workers (--workers 1)."
                ) from answer
            missing -= len(answer)
            yield from ((row, problem) for row, problem in answer)
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for thread in threads:
            thread.join()
        for process in processes:
            for pipe in (process.stdin, process.stdout):
                with contextlib.suppress(OSError):  # a killed process's pipe cannot be flushed
                    if pipe is not None:
                        pipe.close()

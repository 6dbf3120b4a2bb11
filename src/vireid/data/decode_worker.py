"""A process that decodes images into a shared file; started by `vireid.data.decode_pool`.

It reads one JSON line per task, `[[row, path], …]`, and answers with one line,
`[[row, what is wrong], …]` of those that are broken or, with null, not shaped like a person. The
first line says where the pixels go and how images are decoded.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from queue import SimpleQueue

import numpy as np

from vireid.data.decoding import is_person_shaped, read_image, resize
from vireid.data.facts import Decoding
from vireid.types import InputError

Task = list[tuple[int, str]]  # row and file
Problems = list[tuple[int, str | None]]
"""Row and what is wrong; None if it is only not shaped like a person."""


def decode_task(pixels: np.ndarray, task: Task, decoding: Decoding) -> Problems:
    """Decode files into rows of `pixels` (rows, H, W, 3)."""
    problems: Problems = []
    for row, file in task:
        try:
            image = read_image(file, decoding)
        except InputError as error:
            problems.append((row, str(error)))
            continue
        pixels[row] = resize(image, pixels.shape[1:3])
        if not is_person_shaped(*image.size):
            problems.append((row, None))
    return problems


def main() -> None:
    """Serve tasks from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    if hasattr(os, "nice"):
        os.nice(5)  # a worker per core: the parent, which feeds the device, goes first
    target = json.loads(sys.stdin.readline())
    with open(target["file"], "r+b") as file:  # a path or a descriptor
        out = np.memmap(
            file,
            dtype=np.uint8,
            mode="r+",
            offset=target["offset"],
            shape=tuple(target["shape"]),
        )
    decoding = Decoding(**target["decoding"])
    lines: SimpleQueue[str] = SimpleQueue()
    # Read at once, so that the parent never waits with a task while this waits with an answer.
    threading.Thread(target=_read, args=(lines,), daemon=True).start()
    for line in iter(lines.get, ""):
        try:
            sys.stdout.write(json.dumps(decode_task(out, json.loads(line), decoding)) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent was killed: nobody to tell
            os._exit(1)


def _read(lines: SimpleQueue[str]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put("")


if __name__ == "__main__":
    main()

"""A process that decodes images into a shared file; started by `vireid.data.decode_pool`.

It reads one JSON line a task, `[[row, path], …]`, and answers with one line,
`[[row, what is wrong], …]` of those that are broken. The first line says where the pixels go.
"""

from __future__ import annotations

import json
import os
import signal
import sys

import numpy as np

from vireid.data.decoding import decode
from vireid.types import InputError


def main() -> None:
    """Serve tasks from standard input until it ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    if hasattr(os, "nice"):
        os.nice(5)  # a worker a core: the parent, which feeds the device, goes first
    target = json.loads(sys.stdin.readline())
    with open(target["file"], "r+b") as file:  # a path or a descriptor
        out = np.memmap(
            file,
            dtype=np.uint8,
            mode="r+",
            offset=target["offset"],
            shape=tuple(target["shape"]),
        )
    for line in sys.stdin:
        problems: list[tuple[int, str]] = []
        for row, path in json.loads(line):
            try:
                out[row] = decode(path, out.shape[1:3])
            except InputError as error:
                problems.append((row, str(error)))
        try:
            sys.stdout.write(json.dumps(problems) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:  # the parent was killed: nobody to tell
            os._exit(1)


if __name__ == "__main__":
    main()

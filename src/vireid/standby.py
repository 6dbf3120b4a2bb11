"""A process that imports what a run needs, then waits to be told which run it is.

`vireid sweep` keeps one for each device while the run before is trained, so that the next one waits
for no import. Its words and the file that gets what it prints come as JSON on its standard input;
where that ends without any, so does the process. It never touches the GPU before.
"""

from __future__ import annotations

import importlib
import json
import os
import sys

from vireid.cli import begin, main
from vireid.runtime.process import own_process

# Of the commands and of what they import within functions; together they import all the rest.
NEEDED = (
    "vireid.commands.flags", "vireid.commands.train", "vireid.training.run",
    "vireid.commands.test", "vireid.testing.run", "vireid.embed.loading",
    "vireid.evaluation.evaluator", "matplotlib.figure",
)  # fmt: skip


def wait() -> None:
    """Import, wait, and become the command that is asked for."""
    begin()
    try:
        for name in NEEDED:
            importlib.import_module(name)
    except Exception:
        pass  # the command will meet it again, and has a log to tell it
    asked = sys.stdin.readline()
    if not asked:
        return
    words, log = json.loads(asked)
    nothing = os.open(os.devnull, os.O_RDONLY)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for new, old in ((nothing, 0), (out, 1), (out, 2)):
        os.dup2(new, old)
    sys.argv[1:] = words
    with own_process():
        main()


if __name__ == "__main__":
    wait()

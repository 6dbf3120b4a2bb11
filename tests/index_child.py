"""A process that changes an index and says so line by line, until it is killed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from index_helpers import SMALL, make, people, script

from vireid.index.local.index import LocalIndex


def say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def follow_script(folder: Path) -> None:
    index = make(folder, options=SMALL)
    say("made")
    for change, what in script():
        if change == "compact":
            index.compact()
        elif change == "remove":
            index.remove(paths=what)
        else:
            getattr(index, change)(what)
        say(change)


def repaint(folder: Path, waves: int) -> None:
    """Updates all entries at once, again and again; each wave has a pid of its own."""
    from index_helpers import changed

    with LocalIndex.open(folder, write=True, options=SMALL) as index:
        for wave in range(1, waves + 1):
            batch = people(60, seed=wave)
            index.update(changed(batch, pids=batch.pids * 0 + wave))
            if wave % 5 == 0:
                index.compact()
    say("done")


def hold(folder: Path) -> None:
    with LocalIndex.open(folder, write=True):
        say("held")
        sys.stdin.read()


def read_only(folder: Path) -> None:
    """Searches as somebody who may not write in the folder."""
    import os
    import tempfile

    from index_helpers import contents

    with tempfile.TemporaryDirectory() as other, make(Path(other) / "index") as index:
        index.add(people(10))
        contents(index, 10)  # loads what the other user may not be allowed to load
    if os.getuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    index = LocalIndex.open(folder)
    say(len(contents(index, 1000)), len(index.verify()), os.access(folder, os.W_OK))


def full_disk(folder: Path, limit: int) -> None:
    """Adds under a limit on file sizes, which the system answers like a full disk."""
    import resource
    import signal

    from vireid.types import InputError

    index = LocalIndex.open(folder, write=True)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        index.add(people(5000, first=1000))
    except InputError as error:
        say(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    say(len(index), len(index.verify()))
    index.add(people(10, first=1000))
    say(len(index), len(index.verify()))


if __name__ == "__main__":
    command, folder, *numbers = sys.argv[1:]
    {"script": follow_script, "repaint": repaint, "hold": hold, "read_only": read_only,
     "full_disk": full_disk}[command](Path(folder), *map(int, numbers))  # fmt: skip

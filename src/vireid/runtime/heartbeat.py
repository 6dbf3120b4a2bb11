"""Signs of life between the processes of one run."""

from __future__ import annotations

import datetime
import os
import threading
import time

import torch.distributed as dist

from vireid.console import console, say
from vireid.types import InputError

BEAT = 2.0  # seconds between signs of life
LOST = 40.0  # seconds of silence after which a rank counts as lost
GRACE = 5.0  # seconds that a rank has to end by itself after another one failed
DONE, FAILED = b"done", b"failed"


class RankLost(InputError):
    """Another process of this run died or can't be reached; the run can be resumed."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"A process of this run is lost: {what}. This process ends too. Run the same command "
            "with --resume RUN to go on from the newest checkpoint, if there is one (torchrun with "
            "--max-restarts does that by itself)."
        )


class Heartbeat:
    """Every rank gives a sign of life every few seconds over a connection of its own; a rank
    that is silent too long, or reports that it failed, ends this process with a sentence.

    A lost rank leaves the others waiting inside a collective (inside a captured graph, where no
    time limit of the library sees it), so the end has to come from another thread.
    """

    def __init__(self, meeting: dist.Store, rank: int, size: int) -> None:
        patience = datetime.timedelta(seconds=LOST)
        if rank == 0:
            self._store = dist.TCPStore(
                "0.0.0.0", 0, is_master=True, wait_for_workers=False, timeout=patience
            )
            meeting.set("heartbeat", str(self._store.port))
        else:
            port = int(meeting.get("heartbeat"))
            self._store = dist.TCPStore(
                os.environ["MASTER_ADDR"], port, is_master=False, timeout=patience
            )
        self._rank, self._size = rank, size
        self._stop = threading.Event()
        self._failed = False
        self._store.set(f"beat/{rank}", "0")
        self._thread = threading.Thread(target=self._run, name="vireid-heartbeat", daemon=True)
        self._thread.start()

    def fail(self) -> None:
        """Tell the others that this rank ends with an error."""
        self._failed = True

    def close(self) -> None:
        """Say goodbye. The first rank, which holds the connections, goes last."""
        self._stop.set()
        self._thread.join()
        try:
            last = FAILED if self._failed else DONE
            self._store.set(f"beat/{self._rank}", last.decode())
            start = time.monotonic()
            while self._rank == 0 and time.monotonic() - start < (GRACE if self._failed else LOST):
                beats = [self._beat(rank) for rank in range(1, self._size)]
                if all(beat in (DONE, FAILED) for beat in beats):
                    break
                time.sleep(0.05)
        except (RuntimeError, OSError):
            return  # the others are gone already; nobody waits for a goodbye

    def _beat(self, rank: int) -> bytes | None:
        key = f"beat/{rank}"
        return self._store.get(key) if self._store.check([key]) else None

    def _run(self) -> None:
        seen: dict[int, tuple[bytes | None, float]] = {}
        count = 0
        while not self._stop.wait(BEAT):
            count += 1
            try:
                self._store.set(f"beat/{self._rank}", str(count))
                for other in range(self._size):
                    if other != self._rank:
                        self._look(other, seen)
            except (RuntimeError, OSError):
                if not self._stop.wait(BEAT):  # unless this rank is just leaving too
                    self._end("rank 0 can't be reached")

    def _look(self, other: int, seen: dict[int, tuple[bytes | None, float]]) -> None:
        beat, now = self._beat(other), time.monotonic()
        if beat == DONE:
            return
        if other not in seen or seen[other][0] != beat:
            seen[other] = (beat, now)
        silent = now - seen[other][1]
        if beat == FAILED and silent > GRACE:
            self._end(f"rank {other} ended with an error")
        if silent > LOST:
            self._end(f"rank {other} was silent for {LOST:.0f} s")

    def _end(self, what: str) -> None:
        console.print("[bold red]vireid:[/] ", end="")
        say(str(RankLost(what)))
        os._exit(1)

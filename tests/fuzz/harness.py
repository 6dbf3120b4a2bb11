"""Running targets: one input at a time, with limits, and what is wrong about its end."""

from __future__ import annotations

import faulthandler
import logging
import os
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fuzz.targets import Target
from vireid.types import InputError

SECONDS = 20  # longer is a hang
LOST = 180  # seconds after which the process ends: compiled code that doesn't hear the alarm
MEMORY = 3 * 2**29  # bytes that an input may add; with Python and PyTorch they are 2 GiB
MOST = 8 * 2**30  # bytes that an input can't add: the system refuses more
LONGEST = 2000  # characters of a message that a person reads


class Hang(BaseException):
    """An input took too long."""


@dataclass
class Result:
    """What became of a target's inputs.

    Attributes:
        used, refused: how many were taken, and how many were refused by a sentence.
        findings: kind and place of an error → the inputs' numbers and its first message.
    """

    used: int = 0
    refused: int = 0
    findings: dict[str, tuple[list[int], str]] = field(default_factory=dict)

    @property
    def bad(self) -> int:
        return sum(len(numbers) for numbers, _ in self.findings.values())

    def note(self, number: int, kind: str, message: str) -> None:
        self.findings.setdefault(kind, ([], message[:400]))[0].append(number)


def inputs(target: Target, seed: int) -> Iterator[Any]:
    """The target's seeds as they are, its odd ones, then mutations without end."""
    yield from target.seeds
    yield from target.odd
    number = 0
    while True:
        r = random.Random(f"{target.name} {seed} {number}")
        yield target.mutate(r, target.seeds[number % len(target.seeds)])
        number += 1


def sample(target: Target, count: int) -> Iterator[tuple[int, Any]]:
    """At most `count` inputs with their numbers: the seeds, half of the others odd ones, spread
    over all of them, then the first mutations."""
    seeds, odd = len(target.seeds), len(target.odd)
    some = min(odd, max(0, count - seeds) // 2)
    numbers = [*range(seeds), *(seeds + n * odd // some for n in range(some))]
    numbers += range(seeds + odd, seeds + odd + count - len(numbers))
    wanted = set(numbers)
    for number, value in enumerate(inputs(target, 0)):
        if number in wanted:
            yield number, value
        if number >= numbers[-1]:
            return


def run(
    target: Target,
    *,
    seed: int = 0,
    count: int | None = None,
    seconds: float | None = None,
    stop: bool = False,
    began: Callable[[int], None] = lambda number: None,
) -> Result:
    """Try inputs until there are `count`, or for so many seconds (one at least); with `stop`
    until one is bad.
    `began` gets each one's number before it is tried."""
    result, start = Result(), time.monotonic()
    # what is the same each time has been tried by the tests
    first = 0 if seconds is None else len(target.seeds) + len(target.odd)
    for number, value in enumerate(inputs(target, seed)):
        if number < first:
            continue
        late = seconds is not None and number > first and time.monotonic() - start > seconds
        if late or number == count or (stop and result.bad):
            break
        began(number)
        try_one(target, value, number, result)
    return result


def try_one(target: Target, value: Any, number: int, result: Result) -> None:
    forget_peak()
    before = peak()
    try:
        with limits(), bounded_memory(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.use(value)
        result.used += 1
    except InputError as error:
        result.refused += 1
        if len(str(error)) > LONGEST:
            result.note(number, "LONG MESSAGE", str(error))
        if number < len(target.seeds):
            result.note(number, "SEED REFUSED", str(error))
    except Hang:
        result.note(number, "HANG", "")
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        result.note(number, f"{type(error).__name__} at {place(error)}", str(error))
    if (added := peak() - before) > MEMORY:
        result.note(number, "MEMORY", f"{added / 2**30:.1f} GiB")


def place(error: BaseException) -> str:
    """The innermost line of the package, or of the target where none is."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if f"{os.sep}vireid{os.sep}" in frame.filename]
    frame = (ours or frames)[-1]
    name = frame.filename.split(f"{os.sep}vireid{os.sep}")[-1].replace(os.sep, "/")
    return f"{Path(name).name if name.startswith('/') else name}:{frame.lineno}"


def peak() -> int:
    """Most memory that this process has had since `forget_peak`, in bytes (where the system can't
    forget, ever); 0 where it doesn't say."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(status.split("VmHWM:")[1].split()[0]) * 1024
    except (OSError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size if sys.platform == "darwin" else size * 1024


def forget_peak() -> None:
    """Let `peak` begin at what the process has now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@contextmanager
def bounded_memory() -> Iterator[None]:
    """Let allocations fail that would take a machine down, where the system can."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + MOST
    resource.setrlimit(resource.RLIMIT_AS, (most if hard < 0 else min(most, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def limits() -> Iterator[None]:
    """An alarm after `SECONDS`, where the system has one and this is the thread that gets it."""
    if not hasattr(signal, "setitimer") or threading.current_thread() != threading.main_thread():
        yield
        return

    began, rings = time.process_time(), 0

    def ring(*_: Any) -> None:
        nonlocal rings
        rings += 1
        # on a busy machine little of the time may have been ours
        if time.process_time() - began > SECONDS / 2 or rings == 6:
            raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS, SECONDS)
    faulthandler.dump_traceback_later(LOST, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def wait_for_ever() -> None:
    """A hang, for tests of this module."""
    while True:
        pass


def fill_memory() -> None:
    """More memory than is left, for tests of this module."""
    with suppress(MemoryError):
        bytearray(2 * MOST)
    assert b"x" * 2**28  # some of it all the same


def refuse(text: str) -> None:
    """A refusal, for tests of this module."""
    raise InputError(text)


def memory_folder() -> str | None:
    """A folder in memory, where files needn't reach a disk; None where there is none."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


@contextmanager
def silent() -> Iterator[None]:
    """No warnings of the library on the terminal."""
    logger = logging.getLogger("vireid")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def table(results: dict[str, Result]) -> str:
    """One line a target, then every finding."""
    lines = [f"{'target':14} {'inputs':>7} {'used':>6} {'refused':>8} {'findings':>9}"]
    total: Counter[str] = Counter()
    for name, one in results.items():
        count = one.used + one.refused + one.bad
        total.update(inputs=count, bad=one.bad)
        lines.append(f"{name:14} {count:7} {one.used:6} {one.refused:8} {one.bad:9}")
    lines.append(f"{'all':14} {total['inputs']:7} {'':6} {'':8} {total['bad']:9}")
    for name, one in results.items():
        for kind, (numbers, message) in sorted(
            one.findings.items(), key=lambda item: -len(item[1][0])
        ):
            lines.append(f"{name}: {len(numbers)} x {kind} (input {numbers[0]}): {message[:160]}")
    return "\n".join(lines)

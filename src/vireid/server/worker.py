"""The one thread that embeds and searches, with a short queue.

Searches that wait together are embedded together. When the queue is full the next one is refused
at once: a quick 503 is better than a slow one. Searches whose client has disconnected or whose
deadline has passed are dropped before they cost anything.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from vireid.index.entries import Filters, Hit
from vireid.index.searcher import Searcher, combine
from vireid.types import Modality

logger = logging.getLogger(__name__)

BATCH_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One search: by images of one person, or by an entry's vector.

    Attributes:
        row_id: the entry whose vector is the query, or None.
        pixels: otherwise, (n, H, W, 3) uint8 of the size the embedder takes.
        modality: the sensor of the query.
        top, filters: as in `Index.search`.
        itself: whether the entry may be among its own hits.
    """

    pixels: np.ndarray | None = None
    modality: Modality = Modality.VISIBLE
    row_id: int | None = None
    top: int = 20
    filters: Filters | None = None
    itself: bool = False

    @property
    def images(self) -> int:
        """How many have to be embedded, 1 at least."""
        return 1 if self.pixels is None else len(self.pixels)


class Found(NamedTuple):
    """What a job found.

    Attributes:
        hits: best first.
        notes: `Searcher.notes` on each upload.
    """

    hits: list[Hit]
    notes: list[list[str]]


class Busy(Exception):
    """The queue is full, or so long that an answer would come too late.

    Attributes:
        retry_after: seconds after which it is worth trying again.
    """

    def __init__(self, retry_after: float = 1.0) -> None:
        super().__init__("the queue is full")
        self.retry_after = retry_after


@dataclass(eq=False)
class _Task:
    job: Job
    done: asyncio.Future[Found]
    loop: asyncio.AbstractEventLoop

    def answer(self, found: Found | Exception) -> None:
        def settle() -> None:
            if self.done.done():
                return
            if isinstance(found, Exception):
                self.done.set_exception(found)
            else:
                self.done.set_result(found)

        try:
            self.loop.call_soon_threadsafe(settle)
        except RuntimeError:
            logger.info("an answer came after the server had stopped")


class SearchWorker:
    """Runs jobs in one thread, several at a time."""

    def __init__(
        self, searcher: Searcher, *, max_waiting: int, max_batch: int, max_wait_seconds: float
    ) -> None:
        self._searcher = searcher
        self._max_wait = max_wait_seconds
        self._job_seconds = 0.0  # moving average of the time per job
        self._running = 0
        self._max_batch = max_batch
        self._tasks: queue.Queue[_Task | None] = queue.Queue(maxsize=max_waiting)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="vireid-search", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """About how many jobs are waiting."""
        return self._tasks.qsize()

    def check(self) -> None:
        """Check whether a job would be accepted now.

        Raises:
            Busy: it would be refused.
        """
        wait = (self._tasks.qsize() + self._running) * self._job_seconds
        if self._closed.is_set() or self._tasks.full() or wait > self._max_wait:
            raise Busy(min(10.0, max(1.0, wait / 2)))

    async def run(self, job: Job) -> Found:
        """What a job finds; if the caller is cancelled, the job is dropped.

        Raises:
            Busy: the job is refused.
            InputError: the entry doesn't exist; it may have been removed.
        """
        loop = asyncio.get_running_loop()
        task = _Task(job, loop.create_future(), loop)
        self.check()
        try:
            self._tasks.put_nowait(task)
        except queue.Full as error:
            raise Busy from error
        return await task.done

    def close(self) -> None:
        """Stop after the current batch; waiting jobs are refused. Once is enough."""
        if self._closed.is_set():
            return
        self._closed.set()
        while True:
            try:
                task = self._tasks.get_nowait()
            except queue.Empty:
                break
            if task is not None:
                task.answer(Busy())
        self._tasks.put(None)
        self._thread.join(timeout=30)

    def _run(self) -> None:
        self._warm_up()
        while True:
            task = self._tasks.get()
            if task is None:
                return
            # A batch that takes longer than this delays its first job more than it helps the rest.
            fitting = BATCH_SECONDS / self._job_seconds if self._job_seconds else self._max_batch
            batch, images = [task], task.job.images
            while images < min(self._max_batch, fitting):
                try:
                    more = self._tasks.get_nowait()
                except queue.Empty:
                    break
                if more is None:
                    self._tasks.put(None)  # to stop after this batch
                    break
                batch.append(more)
                images += more.job.images
            pending = [task for task in batch if not task.done.done()]
            if pending:
                self._running = len(pending)
                started = time.perf_counter()
                self._process(pending)
                seconds = (time.perf_counter() - started) / len(pending)
                self._running = 0
                self._job_seconds += 0.2 * (seconds - self._job_seconds)

    def _warm_up(self) -> None:
        """Search with a black image, twice: the first user doesn't wait for one-time work, and the
        time of a job is measured."""
        height, width = self._searcher.embedder.size
        black = np.zeros((1, height, width, 3), dtype=np.uint8)
        try:
            for _ in range(2):
                if self._closed.is_set():
                    return
                started = time.perf_counter()
                (vector,) = self._searcher.embed(black, Modality.INFRARED)
                self._searcher.search_vectors(vector, top=1)
                self._searcher.notes(vector, Modality.INFRARED)
                self._job_seconds = time.perf_counter() - started
        except Exception as error:
            logger.error("the first search failed: %s", type(error).__name__)

    def _process(self, batch: list[_Task]) -> None:
        vectors: dict[_Task, np.ndarray] = {}  # (n, D) of each
        searcher = self._searcher
        for task in batch:
            if task.job.row_id is not None:
                with _failing([task]):
                    vectors[task] = searcher.index.vectors_of([task.job.row_id])
        uploads = [task for task in batch if task.job.row_id is None]
        for sensor, tasks in _groups(uploads, lambda job: job.modality):
            with _failing(tasks):
                pixels = np.concatenate([task.job.pixels for task in tasks])  # type: ignore[misc]
                ends = np.cumsum([task.job.images for task in tasks])[:-1]
                embedded = np.split(searcher.embed(pixels, sensor), ends)
                vectors.update(zip(tasks, embedded, strict=True))
        ready = [task for task in batch if task in vectors]
        for (top, filters, sensor), tasks in _groups(ready, _asked):
            with _failing(tasks):
                queries = np.stack([combine(vectors[task]) for task in tasks])
                answers = searcher.search_vectors(
                    queries, modality=sensor, top=top, filters=filters
                )
                for task, hits in zip(tasks, answers, strict=True):
                    own = None if task.job.itself else task.job.row_id
                    others = [hit for hit in hits if hit.row_id != own]
                    upload = task.job.row_id is None
                    notes = [searcher.notes(one, sensor) for one in vectors[task] if upload]
                    task.answer(Found(others[: task.job.top], notes))


def _asked(job: Job) -> tuple[int, Filters | None, Modality]:
    """What a search of the index needs; of jobs with the same, one search answers all."""
    leaves_itself = job.row_id is not None and not job.itself
    return job.top + leaves_itself, job.filters, job.modality


@contextmanager
def _failing(tasks: list[_Task]) -> Iterator[None]:
    """An error in the block is the answer to all of these tasks."""
    try:
        yield
    except Exception as error:
        for task in tasks:
            task.answer(error)


def _groups(tasks: list[_Task], key: Callable[[Job], Any]) -> Iterable[tuple[Any, list[_Task]]]:
    groups: dict[Any, list[_Task]] = defaultdict(list)
    for task in tasks:
        groups[key(task.job)].append(task)
    return groups.items()

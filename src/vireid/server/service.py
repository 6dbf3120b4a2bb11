"""What the server's endpoints share: index, worker, images, limits, the audit log."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
from fastapi import Request

from vireid.data.decoding import notes_on
from vireid.index.base import Index
from vireid.index.entries import Filters, IndexInfo, NoSuchEntry
from vireid.index.searcher import Searcher
from vireid.server.access import Tokens
from vireid.server.audit import AuditLog
from vireid.server.images import GalleryImages, ImageError
from vireid.server.refusal import Refusal
from vireid.server.settings import ServerSettings
from vireid.server.uploads import UploadError, cut_upload, decode_upload, to_pixels
from vireid.server.worker import Busy, Found, Job, SearchWorker
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from vireid.embed import Embedder

logger = logging.getLogger("vireid.server")

INFO_SECONDS = 10.0


class SearchService:
    """What the endpoints share: index, worker, images, limits."""

    def __init__(self, index: Index, embedder: Embedder, settings: ServerSettings) -> None:
        self.index = index
        self.settings = settings
        self.searcher = Searcher(index, embedder, intensity_range=settings.intensity_range)
        self.size = embedder.size
        self.tokens = Tokens(
            settings.tokens,
            session_hours=settings.session_hours,
            failures_per_minute=settings.failures_per_minute,
        )
        self.audit = AuditLog(settings.audit_log)
        self.images = GalleryImages(
            index, max_pixels=settings.max_pixels, decoding=self.searcher.decoding
        )
        self.worker = SearchWorker(
            self.searcher,
            max_waiting=settings.max_waiting,
            max_batch=settings.max_batch,
            max_wait_seconds=settings.max_wait_seconds,
        )
        self._info: IndexInfo | None = None
        self._counted = 0.0
        self._counting: asyncio.Task[None] | None = None
        self._info_lock = asyncio.Lock()
        self._decoding = anyio.CapacityLimiter(2)
        self._reading = anyio.CapacityLimiter(4)

    def close(self) -> None:
        """Stop the worker and close the log; the index belongs to the caller."""
        self.worker.close()
        self.audit.close()

    def check_queue(self) -> None:
        """Refuse a search before its image is decoded.

        Raises:
            Refusal: the queue is full.
        """
        try:
            self.worker.check()
        except Busy as error:
            raise overloaded(error) from error

    async def info(self) -> IndexInfo:
        """What the index holds. It is refreshed when older than `INFO_SECONDS`, in the background:
        counting a large index takes a while, and nobody should wait for it."""
        if self._info is None:
            async with self._info_lock:
                if self._info is None:
                    return await self._count()
        elif time.monotonic() - self._counted > INFO_SECONDS and not self._info_lock.locked():
            self.count_again()
        return self._info

    def count_again(self) -> None:
        """Begin to count what the index holds; of a large one that takes a while."""
        self._counting = asyncio.create_task(self._count_again())

    async def _count(self) -> IndexInfo:
        self._info = info = await self.read(self.index.info)
        self._counted = time.monotonic()
        return info

    async def _count_again(self) -> None:
        async with self._info_lock:
            try:
                await self._count()
            except Refusal:
                self._info = None  # what is gone isn't described any longer
            except Exception as error:
                logger.error("the index could not be counted: %s", type(error).__name__)

    async def read(self, function: Any, *arguments: Any) -> Any:
        """Run something that reads the index or its images in a thread, few at a time.

        Raises:
            Refusal: the index can't be read.
        """
        with _of_index():
            return await anyio.to_thread.run_sync(function, *arguments, limiter=self._reading)

    async def searched(self, filters: Filters | None, itself: str | None = None) -> int:
        """How many entries a search compares with: those that the filters leave, without the one
        whose path is `itself`."""

        def count() -> int:
            total = self.index.count(filters=filters)
            return total - (self.index.count(paths=[itself], filters=filters) if itself else 0)

        return await self.read(count)

    async def decode(
        self, uploads: Sequence[bytes], boxes: Sequence[Sequence[int] | None], sensor: Modality
    ) -> tuple[np.ndarray, tuple[int, int], list[list[str]]]:
        """Decode the images of one search in a thread, two searches at a time; see
        `decode_upload` and `cut_upload`.

        Args:
            uploads, boxes: as many of each.
            sensor: that they are said to be of.

        Returns:
            Pixels (n, H, W, 3) at the embedder's size, width and height of the first image as it
            was cut, and `notes_on` each.
        """
        limits = self.settings

        def work() -> tuple[np.ndarray, tuple[int, int], list[list[str]]]:
            parts, left = [], limits.max_pixels
            for number, (data, box) in enumerate(zip(uploads, boxes), 1):
                with _named(number, len(uploads)):
                    image = decode_upload(
                        data,
                        max_pixels=left,
                        min_side=limits.min_side,
                        decoding=self.searcher.decoding,
                    )
                    parts.append(cut_upload(image, box, min_side=limits.min_side))
                left -= image.width * image.height
            pixels = np.stack([to_pixels(part, self.size) for part in parts])
            return pixels, parts[0].size, [notes_on(part, sensor) for part in parts]

        return await anyio.to_thread.run_sync(work, limiter=self._decoding)

    def count_uploads(self, count: int) -> None:
        """Refuse a search with too many images.

        Raises:
            UploadError: there are more than `max_images`.
        """
        if count > self.settings.max_images:
            raise UploadError(
                422,
                "too_many_images",
                f"There are {count} images; one search takes at most {self.settings.max_images}, "
                "all of one person.",
            )

    async def search(
        self, request: Request, event: str, job: Job, *, reason: str | None = None, **facts: Any
    ) -> Found:
        """Run a job, and write who asked for it to the audit log before answering.

        Raises:
            Refusal: the queue is full, `top` is too large, or a reason is missing.
        """
        if job.top > self.settings.max_top:
            raise Refusal(
                422,
                "top",
                f"The field 'top' is {job.top}; at most {self.settings.max_top} are allowed.",
            )
        reason = (reason or "").strip()[:500]
        if self.settings.require_reason and event != "sightings" and not reason:
            raise Refusal(
                422,
                "reason",
                "This server asks for the reason of each search. Fill in the field 'reason', for "
                "example with a case number.",
            )
        try:
            with _of_index():
                found = await self.worker.run(job)
        except Busy as error:
            raise overloaded(error) from error
        await self.note(
            request,
            event,
            top=job.top,
            hits=len(found.hits),
            filters=_filter_facts(job.filters),
            reason=reason or None,
            **facts,
        )
        return found

    async def note(self, request: Request, event: str, **facts: Any) -> None:
        """Write to the audit log without delaying other requests."""
        user, client = request.scope["vireid.user"], request.scope["vireid.client"]
        await anyio.to_thread.run_sync(
            lambda: self.audit.write(event, user=user, client=client, **facts)
        )


@contextmanager
def _named(number: int, count: int) -> Iterator[None]:
    """Of several uploads, a refusal says which it is about, and that limits are for all."""
    try:
        yield
    except UploadError as error:
        if count == 1:
            raise
        together = " All images of a search count together." if error.status == 413 else ""
        sentence = f"Image {number} of {count}: {error}{together}"
        raise UploadError(error.status, error.code, sentence) from error


@contextmanager
def _of_index() -> Iterator[None]:
    """Sentences about the index name its place, which is none of the client's business."""
    try:
        yield
    except NoSuchEntry as error:
        sentence = "There is no such entry in the index; it may have been removed. Search again."
        raise Refusal(422, "no_entry", sentence) from error
    except ImageError:
        raise  # its sentence names no path
    except InputError as error:
        logger.error("the index can't be read: %s", type(error).__name__)
        raise Refusal(
            503,
            "index",
            "The index can't be read at the moment; the person who runs this server should look at "
            "it with `vireid index verify`.",
        ) from error


def overloaded(busy: Busy) -> Refusal:
    """The answer when the queue is full."""
    return Refusal(
        503, "busy", "Many searches are waiting. Try again in a few seconds.", busy.retry_after
    )


def _filter_facts(filters: Filters | None) -> dict[str, Any] | None:
    if filters is None:
        return None
    facts = {
        "cameras": filters.camids,
        "time_from": filters.time_from,
        "time_to": filters.time_to,
        "pids": filters.pids,
        "modality": filters.modality.word if filters.modality is not None else None,
    }
    return {name: value for name, value in facts.items() if value is not None}

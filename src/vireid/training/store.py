"""Where a step's images come from: a tensor on the device, or the host's memory map.

Both give the step one tensor and the rows in it, so that a captured graph sees fixed addresses.
"""

from __future__ import annotations

import queue
import threading
import warnings
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vireid.types import InputError

CHUNK = 1024  # images copied to the device at a time
DEPTH = 3  # batches that wait, pinned, for the device


class ImageStore(Protocol):
    """Images of the training rows.

    Attributes:
        images: (M, H, W, 3) uint8 that a step indexes.
        num_bytes: memory it takes on the device.
    """

    images: Tensor
    num_bytes: int
    where: str

    def index_table(self, count: int) -> Tensor | None:
        """(count,) int64 row of `images` for each training position; None where the batch's own
        order is the row (host store)."""

    def start(self, positions: np.ndarray) -> None:
        """Begin an epoch's remaining steps: (steps, B) training positions."""

    def next(self) -> None:
        """Make the next step's images ready; called before each step."""

    def close(self) -> None:
        """End background work."""


class DeviceStore:
    """All training images in one tensor on the step's device (on a CPU: the memory map itself)."""

    def __init__(self, images: np.ndarray, rows: np.ndarray, device: torch.device) -> None:
        self.device = device
        self._table: Tensor | None = None
        if device.type == "cpu":
            with warnings.catch_warnings():  # it is read only, and stays so
                warnings.filterwarnings("ignore", message=".*not writable.*")
                self.images = torch.from_numpy(images)
            self._table = torch.from_numpy(np.ascontiguousarray(rows, dtype=np.int64))
            self.where, self.num_bytes = "the memory map", 0
            return
        self.images = torch.empty((len(rows), *images.shape[1:]), dtype=torch.uint8, device=device)
        for start in range(0, len(rows), CHUNK):
            part = torch.from_numpy(np.ascontiguousarray(images[rows[start : start + CHUNK]]))
            self.images[start : start + CHUNK].copy_(part)
        self.num_bytes = self.images.numel()
        self.where = f"the device ({self.num_bytes / 2**30:.1f} GiB)"

    def index_table(self, count: int) -> Tensor | None:
        return torch.arange(count, device=self.device) if self._table is None else self._table

    def start(self, positions: np.ndarray) -> None:
        """Nothing to prepare."""

    def next(self) -> None:
        """Nothing to wait for."""

    def close(self) -> None:
        """Nothing to end."""


class HostStore:
    """Images stay in the host's memory map. A thread gathers the coming batches into pinned
    memory; a side stream copies one ahead of the step, so that copies hide behind compute."""

    def __init__(
        self, images: np.ndarray, rows: np.ndarray, batch: int, device: torch.device
    ) -> None:
        shape = (batch, *images.shape[1:])
        self.device = device
        self._source, self._rows = images, np.asarray(rows)
        self.images = torch.zeros(shape, dtype=torch.uint8, device=device)
        self._ahead = [torch.zeros_like(self.images) for _ in range(2)]
        pin = device.type == "cuda"
        self._pinned = [torch.empty(shape, dtype=torch.uint8, pin_memory=pin) for _ in range(DEPTH)]
        self._stream = torch.cuda.Stream(device) if pin else None
        self.num_bytes = 3 * self.images.numel()
        self.where = "the host's memory (copied ahead of each step)"
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def index_table(self, count: int) -> Tensor | None:
        return None

    def start(self, positions: np.ndarray) -> None:
        self.close()
        self._stop.clear()
        self._free: queue.Queue[int] = queue.Queue()
        self._full: queue.Queue[int | BaseException] = queue.Queue()
        for slot in range(DEPTH):
            self._free.put(slot)
        self._copied: list[torch.cuda.Event | None] = [None] * DEPTH
        self._consumed: list[torch.cuda.Event | None] = [None, None]
        self._count, self._issued, self._steps = 0, 0, len(positions)
        self._events: list[torch.cuda.Event | None] = [None, None]
        self._thread = threading.Thread(
            target=self._gather, args=(positions,), name="vireid-host-store", daemon=True
        )
        self._thread.start()
        self._issue()

    def _gather(self, positions: np.ndarray) -> None:
        try:
            for chosen in positions:
                while True:
                    if self._stop.is_set():
                        return
                    try:
                        slot = self._free.get(timeout=0.2)
                        break
                    except queue.Empty:
                        continue
                if (event := self._copied[slot]) is not None:
                    event.synchronize()
                np.take(
                    self._source,
                    self._rows[chosen],
                    axis=0,
                    out=self._pinned[slot].numpy(),
                    mode="clip",
                )
                self._full.put(slot)
        except BaseException as error:  # handed to the training thread, which raises it
            self._full.put(error)

    def _issue(self) -> None:
        """Start the copy of the next waiting batch to the device."""
        if self._issued >= self._steps:
            return
        slot = self._full.get()
        if isinstance(slot, BaseException):
            raise InputError(
                f"The images in the host's memory could not be read: {slot}. "
                "Run `vireid prepare` again."
            ) from slot
        half = self._issued % 2
        if self._stream is None:
            self._ahead[half].copy_(self._pinned[slot])
        else:
            if (consumed := self._consumed[half]) is not None:
                self._stream.wait_event(consumed)
            with torch.cuda.stream(self._stream):
                self._ahead[half].copy_(self._pinned[slot], non_blocking=True)
                event = torch.cuda.Event()
                event.record(self._stream)
            self._copied[slot] = self._events[half] = event
        self._free.put(slot)
        self._issued += 1

    def next(self) -> None:
        half = self._count % 2
        if self._stream is not None:
            current = torch.cuda.current_stream(self.device)
            event = self._events[half]
            if event is not None:
                current.wait_event(event)
        self.images.copy_(self._ahead[half])
        if self._stream is not None:
            done = torch.cuda.Event()
            done.record(torch.cuda.current_stream(self.device))
            self._consumed[half] = done
        self._count += 1
        self._issue()

    def close(self) -> None:
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None


def place_images(
    choice: str, images: np.ndarray, rows: np.ndarray, batch: int, device: torch.device
) -> ImageStore:
    """Put the training images on the device or leave them on the host.

    Args:
        choice: "device", "host", or "auto": on the device if they take at most half of its free
            memory.
        images: (N, H, W, 3) uint8, memory-mapped.
        rows: (M,) rows of `images` that are trained on.
        batch: rows of one step on this rank.
    """
    if device.type == "cpu":
        return DeviceStore(images, rows, device)
    needed = len(rows) * int(np.prod(images.shape[1:]))
    if choice == "auto":
        free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 4 * needed
        choice = "device" if needed <= 0.5 * free else "host"
    if choice == "device":
        return DeviceStore(images, rows, device)
    return HostStore(images, rows, batch, device)

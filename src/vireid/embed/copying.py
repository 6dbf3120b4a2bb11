"""Images from the host to the device ahead of the network, and vectors back after it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import numpy as np
import torch
from torch import Tensor

STAYS = 3  # batches whose pinned images have to stay unchanged


@contextmanager
def pinned(pixels: np.ndarray, device: torch.device) -> Iterator[None]:
    """Let a GPU read `pixels` in place, while this lasts and if the system allows it."""
    if device.type != "cuda":
        yield
        return
    cuda, address = torch.cuda.cudart(), torch.from_numpy(pixels).data_ptr()
    with torch.cuda.device(device):
        failed = int(cuda.cudaHostRegister(address, pixels.nbytes, 0))
    if failed:
        with suppress(RuntimeError):  # the error would be taken for the next kernel's
            torch.zeros(1, device=device)
    try:
        yield
    finally:
        if not failed:
            torch.cuda.synchronize(device)
            cuda.cudaHostUnregister(address)


def copied_ahead(
    batches: Iterator[tuple[np.ndarray, int]],
    batch_size: int,
    size: tuple[int, int],
    device: torch.device,
) -> Iterator[tuple[int, Tensor, int]]:
    """Batches on the device, while a thread reads the next ones.

    Args:
        batches: images (n, H, W, 3) uint8 of one modality, and the modality. Those in `pinned`
            memory are copied from there, until the batch STAYS further on is asked for.
        batch_size: on a GPU every batch is padded to it.
        size: (height, width).
        device: where they go.

    Yields:
        (n, (n or batch_size, H, W, 3) uint8 on `device`, modality).
    """
    if device.type != "cuda":
        for pixels, kind in batches:
            image = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
            yield len(pixels), image, kind
        return
    shape = (batch_size, *size, 3)
    slots = [_Slot(shape) for _ in range(STAYS)]
    side, network = torch.cuda.Stream(device), torch.cuda.current_stream(device)

    def read(number: int) -> tuple[Tensor, int] | None:
        slot = slots[number % STAYS]
        slot.wait()
        batch = next(batches, None)
        return None if batch is None else (slot.pinned(batch[0]), batch[1])

    with ThreadPoolExecutor(1, thread_name_prefix="vireid-read") as pool:
        coming = deque(pool.submit(read, number) for number in range(2))
        number = 0
        while (batch := coming.popleft().result()) is not None:
            host, kind = batch
            with torch.cuda.stream(side):  # beside the network, which sees earlier batches
                image = torch.empty(shape, dtype=torch.uint8, device=device)
                image[: len(host)].copy_(host, non_blocking=True)
                image[len(host) :].zero_()
                event = slots[number % STAYS].copied()
            network.wait_event(event)
            image.record_stream(network)
            coming.append(pool.submit(read, number + 2))
            number += 1
            yield len(host), image, kind


class _Slot:
    """Pinned memory for a batch on its way to the device."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._memory: Tensor | None = None
        self._event: torch.cuda.Event | None = None

    def wait(self) -> None:
        """Until the last batch has been copied."""
        if self._event is not None:
            self._event.synchronize()

    def pinned(self, pixels: np.ndarray) -> Tensor:
        """`pixels` in place if they are pinned, else a copy that is."""
        host = torch.from_numpy(pixels)
        if host.is_pinned():
            return host
        if self._memory is None:
            self._memory = torch.empty(self._shape, dtype=torch.uint8, pin_memory=True)
        return self._memory[: len(host)].copy_(host)

    def copied(self) -> torch.cuda.Event:
        """The copy has been launched; the event that tells when it is done."""
        self._event = _event()
        self._event.record()
        return self._event


def _event() -> torch.cuda.Event:
    """An event whose waiters sleep: spinning cores would be missing where images are decoded."""
    return torch.cuda.Event(blocking=True)


class Fetched:
    """Vectors on their way to the host; nobody waits for them until `get`.

    Attributes:
        count: rows that are wanted of a padded batch.
        dtype: number format in which they leave the device.
    """

    def __init__(
        self, vectors: dict[str, Tensor], count: int, dtype: torch.dtype = torch.float32
    ) -> None:
        """
        Args:
            vectors: each (B, D) float32 of length 1, B >= count.
            count, dtype: see the class.
        """
        self.count, self.dtype = count, dtype
        wanted = {name: value[:count] for name, value in vectors.items()}
        # Numbers of at most 1 have a finite sum exactly if all of them are finite: the device adds
        # them up, so the host needn't look at each.
        self._sums = torch.stack([value.sum() for value in wanted.values()])
        self._host = {name: value.to(dtype) for name, value in wanted.items()}
        self._event: torch.cuda.Event | None = None
        if self._sums.is_cuda:
            self._sums = _to_pinned(self._sums)
            self._host = {name: _to_pinned(value) for name, value in self._host.items()}
            self._event = _event()
            self._event.record()

    def get(self) -> dict[str, np.ndarray] | None:
        """Each (count, D); None if they aren't finite numbers."""
        if self._event is not None:
            self._event.synchronize()
        if not torch.isfinite(self._sums).all():
            return None
        vectors = {name: value.cpu().numpy() for name, value in self._host.items()}
        # Pinned memory is scarce: whoever keeps the vectors shouldn't keep it.
        return {n: v.copy() for n, v in vectors.items()} if self._event is not None else vectors


def _to_pinned(value: Tensor) -> Tensor:
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=True)

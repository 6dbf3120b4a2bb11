"""Pictures from the host to the device ahead of the network, and vectors back behind it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor


def copied_ahead(
    batches: Iterator[tuple[np.ndarray, int]],
    batch_size: int,
    size: tuple[int, int],
    device: torch.device,
) -> Iterator[tuple[int, Tensor, int]]:
    """Batches on the device; the next ones are read by a thread meanwhile.

    Args:
        batches: pictures (n, H, W, 3) uint8 of one modality, and the modality.
        batch_size: on a GPU every batch is padded to it.
        size: (height, width).
        device: where they go.

    Yields:
        (n, (n or batch_size, H, W, 3) uint8 on `device`, modality).
    """
    if device.type != "cuda":
        for pictures, kind in batches:
            image = torch.from_numpy(np.ascontiguousarray(pictures)).to(device)
            yield len(pictures), image, kind
        return
    shape = (batch_size, *size, 3)
    slots = [torch.zeros(shape, dtype=torch.uint8, pin_memory=True) for _ in range(4)]
    side, network = torch.cuda.Stream(device), torch.cuda.current_stream(device)
    events: list[torch.cuda.Event | None] = [None] * len(slots)

    def read(number: int) -> tuple[int, int, int] | None:
        found = next(batches, None)
        if found is None:
            return None
        slot = number % len(slots)
        if (event := events[slot]) is not None:
            event.synchronize()
        pictures, kind = found
        slots[slot][: len(pictures)].numpy()[:] = pictures
        return slot, len(pictures), kind

    with ThreadPoolExecutor(1, thread_name_prefix="vireid-read") as pool:
        coming = deque(pool.submit(read, number) for number in range(2))
        number = 2
        while (found := coming.popleft().result()) is not None:
            slot, count, kind = found
            with torch.cuda.stream(side):  # beside the network, which sees earlier batches
                image = slots[slot].to(device, non_blocking=True)
                event = torch.cuda.Event()
                event.record()
            network.wait_event(event)
            image.record_stream(network)
            events[slot] = event
            coming.append(pool.submit(read, number))
            number += 1
            yield count, image, kind


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
            self._event = torch.cuda.Event()
            self._event.record()

    def get(self) -> dict[str, np.ndarray] | None:
        """Each (count, D); None if they aren't finite numbers."""
        if self._event is not None:
            self._event.synchronize()
        if not torch.isfinite(self._sums).all():
            return None
        found = {name: value.cpu().numpy() for name, value in self._host.items()}
        # Pinned memory is scarce: whoever keeps the vectors shouldn't keep it.
        return {n: v.copy() for n, v in found.items()} if self._event is not None else found


def _to_pinned(value: Tensor) -> Tensor:
    host = torch.empty(value.shape, dtype=value.dtype, pin_memory=True)
    return host.copy_(value, non_blocking=True)

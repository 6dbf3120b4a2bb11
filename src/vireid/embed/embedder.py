"""Weights and images → vectors of length 1, at the device's speed.

Batches are cut in one way whatever the number of ranks, and on a GPU all have one size, so the
same images give the same vectors for 1 and N ranks on the same kind of GPU.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vireid.config import to_plain
from vireid.console import progress as progress_bar
from vireid.console import say, warn
from vireid.cores import sensible_threads
from vireid.data import Dataset, PixelStore
from vireid.data.decoding import boxes_of, crop, decode, resize
from vireid.data.facts import UPRIGHT, Decoding
from vireid.embed.colours import ColourCheck, some_pixels
from vireid.embed.copying import Fetched, copied_ahead
from vireid.embed.forward import Forward
from vireid.methods import Method
from vireid.runtime.device import memory_format
from vireid.runtime.precision import choose_precision
from vireid.runtime.ranks import World, join
from vireid.runtime.record import other_code, record_of
from vireid.types import TTA, Embeddings, InputError, Modality, usual_embedding
from vireid.weights import method_metadata, portable, save_weights, weights_hash

BATCH = 256
CPU_BATCH = 32  # larger batches leave the caches and are slower
QUEUED = 4  # batches that a GPU still has to do when vectors are read


class Embedder:
    """A method in evaluation mode, with the preprocessing of its images.

    Attributes:
        method: the network with its weights, on `device`.
        metadata: of the weights: method, dataset, trial, epoch, how it was chosen, seed …
        weights_hash: identifies the weights.
        size: (height, width) of the input.
        precision: "bfloat16", "float16" or "float32".
        statistics: mean and deviation of the input's channels.
        test_embeddings: names of the vectors.
        default_embedding: the one to search with; the weights may name another.
        forward: the network as a function of images.
        world: the ranks that share the work.
    """

    def __init__(
        self,
        method: Method,
        metadata: Mapping[str, Any] | None = None,
        *,
        device: str | torch.device = "auto",
        precision: str = "auto",
        size: tuple[int, int] | None = None,
        compiled: bool | None = None,
    ) -> None:
        """
        Args:
            method: any method; it is moved to the device.
            metadata: as `vireid.weights.load_weights` returns them.
            device: "auto", "cpu", "cuda:N" or "mps".
            precision: as in training, but "auto" is float16 on every GPU, whose vectors are far
                nearer to float32's than bfloat16's. A batch that exceeds its range is computed
                again in float32.
            size: overrides the size in the metadata, and that which the method was published with.
            compiled: compile the network (None: on a GPU when there is much to embed).
        """
        self.metadata = dict(metadata or {})
        if str(device) == "auto":  # a method in training stays where it is
            own = next(method.parameters()).device
            device = own if own.type != "cpu" else device
        self.world: World = join(str(device))
        self.device = self.world.device
        if next(method.parameters()).device != self.device:
            method.to(self.device)
            memory_format(method, self.device)
        self.method = method.eval()  # one in training stays where a captured step expects it
        if self.device.type == "cpu":
            torch.set_num_threads(sensible_threads(self.world.size))
        if precision == "auto" and self.device.type == "cuda":
            precision = "float16"
        chosen = choose_precision(precision, self.device)
        self.precision = chosen.name
        self.statistics = self.method.input_statistics
        self.forward = Forward(self.method, chosen, compiled=compiled)
        self._exact: Forward | None = None
        height, width = size or self.metadata.get("size") or method.options.input_size
        self.size = (int(height), int(width))
        self.test_embeddings = tuple(method.test_embeddings)
        self.default_embedding: str = self.metadata.get(
            "default_embedding", usual_embedding(self.test_embeddings)
        )
        self._hash: str | None = self.metadata.get("weights_hash")
        if changed := self.other_code:
            warn(f"{changed}.")
        self._hashing = threading.Lock()
        self._colours = ColourCheck()

    @property
    def weights_hash(self) -> str:
        with self._hashing:  # two threads of a job may ask; only one computes it
            if self._hash is None:
                self._hash = weights_hash(portable(self.method))
            return self._hash

    @property
    def other_code(self) -> str:
        """That a method of the user's own isn't what its weights were trained with, as a sentence;
        "" if it is, or if that isn't known."""
        return other_code(record_of(self.metadata), self.method)

    @property
    def preprocessing(self) -> dict[str, Any]:
        """What is done to an image before the network sees it, as plain values."""
        return self.preprocessing_of(None, UPRIGHT)

    def preprocessing_of(self, tta: str | None, decoding: Decoding) -> dict[str, Any]:
        """`preprocessing` of images that were decoded so and embedded with `tta`."""
        mean, std = self.statistics
        return {
            "size": list(self.size),
            "resize": "Pillow Lanczos",
            "mean": list(mean),
            "std": list(std),
            "tta": tta or "none",
            "search_with": self.default_embedding,
            **decoding.as_preprocessing(),
        }

    def save(self, path: str | Path) -> None:
        """Write the weights with their metadata; see `vireid.weights.save_weights`."""
        metadata = dict(self.metadata)
        if "method" not in metadata:
            metadata |= method_metadata(
                self.method.name, self.method.model_options, self.method.sizes, {}
            ) | {"method_options": to_plain(self.method.options)}
        metadata["size"] = list(self.size)
        save_weights(path, self.method, metadata)

    def embed(
        self,
        images: np.ndarray | Sequence[str | Path],
        modality: str | Modality | Sequence[str | Modality] | np.ndarray,
        *,
        tta: str | None = None,
        batch_size: int = BATCH,
        decoding: Decoding = UPRIGHT,
        boxes: Sequence[Sequence[int] | None] | None = None,
        paths: Sequence[str] | None = None,
        pids: np.ndarray | None = None,
        camids: np.ndarray | None = None,
        times: np.ndarray | None = None,
        check_colours: bool = True,
    ) -> Embeddings:
        """Embed images in memory, or image files.

        Args:
            images: (N, H, W, 3) uint8, or N paths. Images of another size are resized as in
                training.
            modality: one for all, or N of them.
            tta: "flip" adds the vectors of the mirrored images; "flip-mean" takes the mean of
                both and brings it to length 1 again; None or "none" does neither.
            batch_size: at most so many images at a time.
            decoding: of image files; what is done with deep values and orientation tags.
            boxes: the part of each image to take, (x, y, width, height) in pixels of the upright
                image (`vireid.data.decoding.crop`), or None for all of it.
            paths, pids, camids, times: of the images, for the result.
            check_colours: warn where image files look as if the other sensor had taken them.

        Raises:
            InputError: arrays of another type or shape, broken files, unknown modality, a box that
                is empty or reaches beyond its image.
        """
        array = images if isinstance(images, np.ndarray) else None
        if array is not None and (
            array.ndim != 4 or array.shape[3] != 3 or array.dtype != np.uint8
        ):
            raise InputError(
                f"The images have shape {array.shape} and type {array.dtype}; (N, H, W, 3) of "
                "uint8 was expected."
            )
        count = len(images)
        kinds = _modalities(modality, count)
        parts = boxes_of(boxes, count)
        names = (
            list(paths)
            if paths is not None
            else ([""] * count if array is not None else [os.fspath(path) for path in images])
        )

        def get(rows: np.ndarray) -> np.ndarray:
            if array is not None:
                return self._resized([_part(array[row], parts[row]) for row in rows])
            files = ((images[row], parts[row]) for row in rows)
            pixels = np.stack([decode(file, self.size, decoding, part) for file, part in files])
            for row, one in zip(rows.tolist(), pixels):
                if row in sample:
                    seen[row] = some_pixels(one)
            return pixels

        looks = check_colours and array is None and self.world.first
        sample = set(self._colours.sample(kinds).tolist()) if looks else set()
        seen: dict[int, np.ndarray] = {}
        vectors = self._vectors(get, kinds, tta=tta, batch_size=batch_size)
        self._colours.look(seen, kinds, names)
        return self.assemble(
            vectors, names, kinds, tta=tta, decoding=decoding, pids=pids, camids=camids, times=times
        )

    def embed_store(
        self,
        store: PixelStore,
        dataset: Dataset,
        rows: np.ndarray,
        *,
        tta: str | None = None,
        batch_size: int = BATCH,
        progress: bool = False,
    ) -> Embeddings:
        """Embed rows of a prepared data set; row i of the result is `rows[i]`.

        Args:
            store, dataset: the images, and what is known of them.
            rows: (M,) of them.
            tta, batch_size: see `embed`.
            progress: show how far it is (where no other bar is shown).

        Raises:
            InputError: the store has another size or is damaged, or a row's image is broken.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if tuple(store.size) != self.size:
            raise InputError(
                f"The weights take images of {self.size[0]}x{self.size[1]}, the prepared images "
                f"have {store.size[0]}x{store.size[1]}. Prepare them at the weights' size."
            )
        broken = rows[~np.asarray(store.valid)[rows]]
        if len(broken):
            name = dataset.samples[int(broken[0])].path
            raise InputError(
                f"{len(broken)} of the images to embed can't be decoded, the first is '{name}'. "
                "Leave their rows out."
            )
        store.check(rows)
        kinds = dataset.modality[rows]
        vectors = self._vectors(
            lambda chosen: store.images[rows[chosen]],
            kinds,
            tta=tta,
            batch_size=batch_size,
            progress=progress,
        )
        samples = [dataset.samples[row] for row in rows.tolist()]
        return self.assemble(
            vectors,
            [sample.path for sample in samples],
            kinds,
            tta=tta,
            decoding=dataset.decoding,
            pids=dataset.pids[rows],
            camids=dataset.camids[rows],
            times=np.array([np.nan if s.time is None else s.time for s in samples], np.float64),
        )

    def assemble(
        self,
        vectors: dict[str, np.ndarray],
        paths: Sequence[str],
        modality: np.ndarray,
        *,
        tta: str | None,
        decoding: Decoding,
        pids: np.ndarray | None = None,
        camids: np.ndarray | None = None,
        times: np.ndarray | None = None,
        base: str = "",
        root: str = "",
    ) -> Embeddings:
        """Vectors and what is known of their images, as one object."""
        unknown = np.full(len(paths), -1, np.int64)
        return Embeddings(
            vectors=vectors,
            paths=paths,
            pids=unknown if pids is None else np.asarray(pids, np.int64),
            camids=unknown if camids is None else np.asarray(camids, np.int64),
            modality=np.asarray(modality, np.int64),
            times=np.full(len(paths), np.nan) if times is None else np.asarray(times, np.float64),
            weights_hash=self.weights_hash,
            preprocessing=self.preprocessing_of(tta, decoding),
            base=base,
            root=root,
        )

    # Inside ------------------------------------------------------------------------------

    def _vectors(
        self,
        get: Callable[[np.ndarray], np.ndarray],
        modality: np.ndarray,
        *,
        tta: str | None,
        batch_size: int,
        progress: bool = False,
    ) -> dict[str, np.ndarray]:
        """Vectors of all rows; `get` returns the images of some. Shared among the ranks."""
        if batch_size < 1:
            raise InputError(f"`batch_size` is {batch_size}; it must be at least 1.")
        batches = self.batches(modality, batch_size)
        own = batches[self.world.rank :: self.world.size]
        images = ((get(rows), int(modality[rows[0]])) for rows in own)
        stream = self.stream(images, tta=tta, batch_size=batch_size, total=len(modality))
        if progress and self.world.first:
            stream = _with_bar(stream, own)
        problem: InputError | None = None
        parts = []
        try:
            parts = list(stream)
        except InputError as error:
            problem = error
        shared = self.world.gather((parts, problem))  # so that no rank waits for one that failed
        if problem := next((one for _, one in shared if one is not None), None):
            raise problem
        result: dict[str, np.ndarray] = {}
        for rank, (theirs, _) in enumerate(shared):
            for rows, vectors in zip(batches[rank :: self.world.size], theirs):
                for name, values in vectors.items():
                    if name not in result:
                        result[name] = np.empty((len(modality), values.shape[1]), np.float32)
                    result[name][rows] = values
        if not result:
            raise InputError("There is no image to embed.")
        return result

    def batches(self, modality: np.ndarray, batch_size: int) -> list[np.ndarray]:
        """Rows of each batch: one modality a batch, in order, cut alike for any number of ranks."""
        size = batch_size if self.device.type != "cpu" else min(batch_size, CPU_BATCH)
        batches = []
        for kind in Modality:
            rows = np.flatnonzero(np.asarray(modality) == kind)
            batches += [rows[start : start + size] for start in range(0, len(rows), size)]
        return batches

    @torch.inference_mode()
    def stream(
        self,
        batches: Iterator[tuple[np.ndarray, int]],
        *,
        tta: str | None,
        batch_size: int,
        total: int,
        dtype: str = "float32",
    ) -> Iterator[dict[str, np.ndarray]]:
        """Vectors of each batch, in order; images are fetched and copied ahead.

        Args:
            batches: images (n, H, W, 3) uint8 of one modality, and the modality.
            tta: see `embed`.
            batch_size: on a GPU every batch is padded to it.
            total: images in all, to decide whether compiling pays.
            dtype: "float32" or "float16" of the vectors, rounded on the device.
        """
        flips = _flips(tta)
        self.forward.expect(total)
        queued = QUEUED if self.device.type == "cuda" else 0
        pending: deque[tuple[Fetched, Tensor, int]] = deque()
        torch_dtype = {"float32": torch.float32, "float16": torch.float16}[dtype]
        for count, image, kind in copied_ahead(batches, batch_size, self.size, self.device):
            vectors = Fetched(self.forward(image, kind, *flips), count, torch_dtype)
            pending.append((vectors, image, kind))
            if len(pending) > queued:
                yield self._finite(*pending.popleft(), flips)
        while pending:
            yield self._finite(*pending.popleft(), flips)

    def _finite(
        self, fetched: Fetched, image: Tensor, kind: int, flips: tuple[bool, bool]
    ) -> dict[str, np.ndarray]:
        """Vectors on the host; computed again in float32 if a number overflowed."""
        vectors = fetched.get()
        if vectors is None and self.precision != "float32":
            if self._exact is None:
                hint = " (`precision` bfloat16 avoids that)" if self.precision == "float16" else ""
                say(
                    f"Some numbers inside the network exceed the range of {self.precision}; their "
                    f"batches are computed again in float32{hint}."
                )
                exact = choose_precision("float32", self.device)
                self._exact = Forward(self.method, exact, compiled=False)
            again = self._exact(image, kind, *flips)
            vectors = Fetched(again, fetched.count, fetched.dtype).get()
        if vectors is None:
            raise InputError(
                "The network's vectors aren't finite numbers, even in float32: the weights are "
                "damaged or their training diverged. Train again with a smaller `lr`, or take an "
                "earlier checkpoint if the run has kept one."
            )
        return vectors

    def _resized(self, images: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack(
            [
                image if image.shape[:2] == self.size else resize(Image.fromarray(image), self.size)
                for image in images
            ]
        )


def _part(image: np.ndarray, box: Sequence[int] | None) -> np.ndarray:
    return image if box is None else np.asarray(crop(Image.fromarray(image), box))


def _flips(tta: str | None) -> tuple[bool, bool]:
    """Whether mirror images are embedded too, and whether it is their mean that counts."""
    if tta not in (None, *TTA):
        raise InputError(f"`tta` is '{tta}'; {', '.join(TTA)} or None was expected.")
    return tta in ("flip", "flip-mean"), tta == "flip-mean"


def _with_bar(
    vectors: Iterator[dict[str, np.ndarray]], batches: list[np.ndarray]
) -> Iterator[dict[str, np.ndarray]]:
    with progress_bar() as bar:
        task = bar.add_task("embedding", total=sum(map(len, batches)))
        for values, rows in zip(vectors, batches):
            bar.advance(task, len(rows))
            yield values


def _modalities(modality: Any, count: int) -> np.ndarray:
    """(count,) int64 modalities from one value for all or many."""
    if isinstance(modality, str) or np.ndim(modality) == 0:
        return np.full(count, int(_modality(modality)), np.int64)
    if len(modality) != count:
        raise InputError(f"{len(modality)} modalities were given for {count} images.")
    return np.array([int(_modality(one)) for one in modality], np.int64)


def _modality(value: Any) -> Modality:
    return Modality.parse(value if isinstance(value, str) else int(value))

"""A short code for every vector, for sets too large to scan whole.

Vectors are projected onto their principal axes, of which the first few are kept as 8-bit codes. A
scan over all codes gives candidates; those are scored exactly from the full vectors. How many
axes and candidates are needed is measured on the set itself. All of it can be rebuilt from the
vectors, so a damaged file costs time, never an answer.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np

from vireid.config import convert
from vireid.data.arrays import read_arrays
from vireid.files import atomic_write
from vireid.index.local import kernels, scan
from vireid.types import InputError, Limits

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ProjectionOptions:
    """How a projection is made.

    Attributes:
        exact_bytes: sets whose vectors take fewer bytes are scanned exactly, without a
            projection. The default is 156,000 vectors of 2048 dimensions, about 25 ms a query on
            two cores.
        recall: fraction of the exact 20 best that the candidates must contain, on each of two
            samples: of the set's own vectors and of mixed ones.
        dims: sizes tried, smallest first.
        candidates: numbers of candidates tried, smallest first.
        sample: vectors that the axes are computed from.
        queries: queries, made from the set's own vectors, that recall is measured with.
    """

    exact_bytes: int = 640_000_000
    recall: float = 0.993
    dims: tuple[int, ...] = (256, 384, 448, 512, 640, 768, 1024)
    candidates: tuple[int, ...] = (200, 400, 800)
    sample: int = 20_000
    queries: int = 128


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Codes of the first rows of a set, and how to make more.

    Attributes:
        number: distinguishes its files from those of other projections.
        mean: (D,) float32, subtracted from vectors (it does not change the order of hits).
        axes: (D, d) float32, orthonormal columns.
        steps: (d,) float32, the size of one step of a code along each axis.
        candidates: how many of the best are scored exactly.
        recall: recall@20 measured with these.
        fitted: entries in the set when it was measured.
        codes: (rows, d) int8, memory-mapped.
    """

    number: int
    mean: np.ndarray
    axes: np.ndarray
    steps: np.ndarray
    candidates: int
    recall: float
    fitted: int
    codes: np.ndarray

    @property
    def dim(self) -> int:
        return self.axes.shape[1]

    def encode(self, vectors: np.ndarray) -> np.ndarray:
        """(m, d) int8 codes of (m, D) float32 vectors."""
        projected = ((vectors - self.mean) @ self.axes) / self.steps
        return np.clip(np.rint(projected), -127, 127).astype(np.int8)

    def weights(self, queries: np.ndarray) -> np.ndarray:
        """(Q, d) int16 whose dot product with codes orders rows as the similarity would.

        They are as large as they can be without the 32-bit sum overflowing.
        """
        # For one query a matrix library would wake a second thread: milliseconds on a busy machine.
        few = len(queries) < 4
        projected = np.einsum("qd,de->qe", queries, self.axes) if few else queries @ self.axes
        projected = projected * self.steps
        largest = np.abs(projected).max(axis=1, keepdims=True)
        total = np.abs(projected).sum(axis=1, keepdims=True)
        scale = np.minimum(32_000 / largest.clip(1e-30), 2**30 / 127 / total.clip(1e-30) * 1.9)
        return np.rint(projected * scale).astype(np.int16)

    def search(
        self, vectors: np.ndarray, slots: np.ndarray, queries: np.ndarray, top: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """As `scan.best_exact`, by way of candidates; rows without codes are scanned exactly."""
        coded, uncoded = np.split(slots, [np.searchsorted(slots, len(self.codes))])
        count = max(self.candidates, 10 * top)
        _, best_coded = scan.best_codes(self.codes, coded, self.weights(queries), count)
        _, best_uncoded = scan.best_exact(vectors, uncoded, queries, top)
        candidates = np.concatenate([best_coded, best_uncoded], axis=1)
        scores = np.stack([scan.dots(vectors, row, q) for row, q in zip(candidates, queries)])
        return scan.sorted_best(scores, candidates, top)


def build(
    folder: Path, number: int, vectors: np.ndarray, live: np.ndarray, options: ProjectionOptions
) -> Projection:
    """Fit the axes, choose how many axes and candidates to use by measured recall, write the codes.

    Args:
        folder: where its two files go.
        number: a number not used before.
        vectors: (n, D) float16, all slots.
        live: (m,) int32 slots that hold an entry.
        options: the sizes to try.

    Raises:
        InputError: the files can't be written.
    """
    random = np.random.default_rng(number)
    sample = np.sort(random.choice(live, min(options.sample, len(live)), replace=False))
    mean, axes, spread = _principal_axes(_wide(vectors, sample))
    probes = np.sort(random.choice(live, min(options.queries, len(live)), replace=False))
    queries = _queries(vectors, probes, random)
    _, truth = scan.best_exact(vectors, live, queries, 21)
    sizes = sorted({min(size, vectors.shape[1]) for size in options.dims})
    codes = np.empty((0, 0), np.int8)
    for size in sizes:
        del codes  # Windows can't truncate a file that is mapped
        # Codes reach to 5 deviations; the floor is for axes along which nothing varies.
        steps = (spread[:size].clip(1e-6) * (5 / 127)).astype(np.float32)
        draft = Projection(
            number=number, mean=mean, axes=np.ascontiguousarray(axes[:, :size]), steps=steps,
            candidates=0, recall=0.0, fitted=len(live), codes=np.empty((0, size), np.int8),
        )  # fmt: skip
        _append(_codes_file(folder, number), draft, vectors, 0)
        codes = np.memmap(_codes_file(folder, number), np.int8, "r", shape=(len(vectors), size))
        _, near = scan.best_codes(codes, live, draft.weights(queries), options.candidates[-1] + 1)
        recalls = [_recall(truth, near, probes, count) for count in options.candidates]
        log.info("recall@20 of %d axes, %s candidates: %s", size, options.candidates, recalls)
        if recalls[-1] >= options.recall:
            break
    enough = next((i for i, r in enumerate(recalls) if r >= options.recall), len(recalls) - 1)
    built = replace(
        draft, codes=codes, candidates=options.candidates[enough], recall=recalls[enough]
    )
    with atomic_write(_axes_file(folder, number)) as file:
        np.savez(file, mean=mean, axes=built.axes, steps=built.steps, candidates=built.candidates,
                 recall=built.recall, fitted=built.fitted)  # fmt: skip
    return built


def extend(folder: Path, projection: Projection, vectors: np.ndarray) -> int:
    """Add codes for the rows that have none; returns how many rows have codes now."""
    _append(_codes_file(folder, projection.number), projection, vectors, len(projection.codes))
    return len(vectors)


def load(folder: Path, number: int, rows: int, vectors: np.ndarray) -> Projection | None:
    """Open a projection; log why and return None if that fails."""
    try:
        return _read(folder, number, rows, vectors)
    except (InputError, OSError) as error:
        log.warning(
            "The projection in '%s' can't be used (%s); all vectors are scanned until "
            "`vireid index compact` rebuilds it.", folder, error,
        )  # fmt: skip
        return None


_SCALARS: dict[str, Any] = {
    "candidates": Annotated[int, Limits(1, 10**6)],
    "recall": Annotated[float, Limits(0, 1)],
    "fitted": Annotated[int, Limits(1, 2**40)],
}


def _read(folder: Path, number: int, rows: int, vectors: np.ndarray) -> Projection:
    """A projection whose arrays have the right shapes.

    A few codes are computed again and compared, so that a file that is damaged or of another
    index is noticed.

    Raises:
        InputError, OSError: it can't be used.
    """
    values, codes_file = read_arrays(_axes_file(folder, number)), _codes_file(folder, number)
    size = values["steps"].size if "steps" in values else 0
    dim = vectors.shape[1]
    shapes = {"mean": (dim,), "axes": (dim, size), "steps": (size,), **dict.fromkeys(_SCALARS, ())}
    for name, shape in shapes.items():
        array = values.get(name)
        wide = array is not None and (name in _SCALARS or array.dtype == np.float32)
        if array is None or array.shape != shape or not wide:
            raise InputError(f"its {name} is not of shape {shape}")
    scalars = {name: convert(hint, values[name].item(), name) for name, hint in _SCALARS.items()}
    if not (1 <= size <= dim and 1 <= rows <= len(vectors)):
        raise InputError(f"it has {size} axes and {rows} rows for {len(vectors)} vectors")
    if codes_file.stat().st_size < rows * size:
        raise InputError("its codes were cut off")
    codes = np.memmap(codes_file, np.int8, "r", shape=(rows, size))
    arrays: dict[str, Any] = {name: values[name] for name in ("mean", "axes", "steps")}
    loaded = Projection(number=number, **scalars, **arrays, codes=codes)
    sample = np.unique(np.linspace(0, rows - 1, 64).astype(np.int32))
    if not codes_agree(loaded, vectors, sample):
        raise InputError("codes do not belong to the vectors")
    return loaded


def codes_agree(projection: Projection, vectors: np.ndarray, slots: np.ndarray) -> bool:
    """Whether the codes of these slots are those of the vectors, up to rounding."""
    expected = projection.encode(_wide(vectors, slots)).astype(np.int16)
    return bool((np.abs(expected - projection.codes[slots]) <= 1).all())


def files_of(folder: Path, number: int) -> tuple[Path, Path]:
    """The files of the projection with this number."""
    return _axes_file(folder, number), _codes_file(folder, number)


def _axes_file(folder: Path, number: int) -> Path:
    return folder / f"projection-{number:04d}.npz"


def _codes_file(folder: Path, number: int) -> Path:
    return folder / f"codes-{number:04d}.i8"


def _wide(vectors: np.ndarray, slots: np.ndarray) -> np.ndarray:
    out = np.empty((len(slots), vectors.shape[1]), dtype=np.float32)
    kernels.widen(vectors.view(np.uint16), slots, out)
    return out


def _principal_axes(sample: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (D,), axes (D, D) by decreasing standard deviation, and that deviation (D,)."""
    sample = sample[np.isfinite(sample).all(axis=1)]
    if not len(sample):
        raise InputError("The vectors are damaged; `vireid index verify` lists them.")
    mean = sample.mean(axis=0)
    sample -= mean
    values, axes = np.linalg.eigh(sample.T @ sample / len(sample))
    return mean, axes[:, ::-1], np.sqrt(values[::-1].clip(0))


def _queries(vectors: np.ndarray, probes: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """The vectors of `probes`; every second one is mixed with another's.

    Beyond its own person's images, a vector of the set has near-ties among all others; a mixed
    one is close to nobody, like a query from another camera and often from the other sensor.
    Which of the two is harder depends on the set.
    """
    queries = _wide(vectors, probes)
    queries[1::2] += 0.5 * _wide(vectors, random.permutation(probes))[1::2]
    return queries / np.linalg.norm(queries, axis=1, keepdims=True).clip(1e-6)


def _blocks(vectors: np.ndarray, start: int) -> Iterator[np.ndarray]:
    for first in range(start, len(vectors), 4096):
        last = min(first + 4096, len(vectors))
        yield _wide(vectors, np.arange(first, last, dtype=np.int32))


def _append(path: Path, projection: Projection, vectors: np.ndarray, start: int) -> None:
    try:
        with open(path, "ab") as file:
            file.truncate(start * projection.dim)
            for block in _blocks(vectors, start):
                file.write(projection.encode(block).data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise InputError(
            f"The projection '{path}' could not be written: {error.strerror or error}. All entries "
            "are safe; free some space and run `vireid index compact`."
        ) from error


def _recall(truth: np.ndarray, near: np.ndarray, probes: np.ndarray, count: int) -> float:
    """Fraction of the true best, the query itself left out, that is among `count` candidates: the
    lower one of the two kinds of query."""
    shares = []
    for best, candidates, probe in zip(truth, near, probes):
        best = best[best != probe][:20]
        candidates = candidates[candidates != probe][:count]
        shares.append(np.isin(best, candidates).mean() if len(best) else 1.0)
    return float(min(np.mean(kind) for kind in (shares[::2], shares[1::2]) if kind))

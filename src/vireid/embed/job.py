"""`vireid embed`: many image files → one embeddings file; resumable, shared among ranks.

The work is cut into parts that don't depend on the number of ranks. The result lies in
`OUT.parts/` in its final form; each part is written to its rows, then a small file says so. A job
started again skips what is there and still what it was, and at the end the first rank gives the
file its name.

What takes time but no network runs in the background: processes start and decode, a thread hashes
what identifies the job, one writes vectors, one waits for the disk.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from vireid.config import convert
from vireid.console import progress, say
from vireid.cores import usable_cores
from vireid.data.decode_pool import DecodePool, worker_count
from vireid.data.facts import UPRIGHT, Decoding
from vireid.data.pixels import SKIP
from vireid.embed.colours import ColourCheck
from vireid.embed.copying import pinned
from vireid.embed.embedder import BATCH, Embedder
from vireid.embed.ring import RING, decoded_ahead, shared_pixels
from vireid.embed.sources import Source, read_source
from vireid.embed.storage import (
    VectorFile,
    check_out,
    load_embeddings,
    parts_folder,
    save_embeddings,
)
from vireid.embed.vector_writer import VectorWriter
from vireid.files import read_json, sync_folder, write_json, writing
from vireid.types import Embeddings, InputError, Modality

PART = 32  # batches per part
OWNER = ".vireid-embed"  # file that marks the folder as ours before job.json does


class _Always(TypedDict):
    broken: list[int]


class _Mark(_Always, total=False):
    """What is written of a part that is on the disk: rows of the source that can't be decoded, and
    those whose images aren't shaped like a person; of the vectors of each name the width and a
    checksum; a checksum of all this. Those of earlier versions have less."""

    misshapen: list[int]
    vectors: dict[str, tuple[int, int]]
    sum: int


@dataclass(frozen=True, kw_only=True)
class EmbedSummary:
    """What a job did.

    Attributes:
        path: the embeddings file.
        count: vectors in it.
        broken: images that were left out.
        misshapen: images that are not shaped like a person, and were squeezed to that shape.
        seconds, images_per_second: of this start, over all ranks.
        resumed: images whose vectors an earlier start had written.
    """

    path: Path
    count: int
    broken: list[str]
    misshapen: list[str]
    seconds: float
    images_per_second: float
    resumed: int


def embed_files(
    embedder: Embedder,
    images: str | Path,
    out: str | Path,
    *,
    modality: Modality | None = None,
    batch_size: int = BATCH,
    dtype: str = "float16",
    camera_pattern: str | None = None,
    skip_broken: bool = False,
    tta: str | None = None,
    workers: int | None = None,
    decoding: Decoding = UPRIGHT,
) -> EmbedSummary:
    """Embed image files into a file; see `vireid.embed.sources.read_source` for `images`.

    Args:
        embedder: weights on a device.
        out: embeddings file to write.
        dtype: "float16" or "float32" of the vectors.
        skip_broken: leave broken images out and list them.
        tta: see `Embedder.embed`.
        workers: decoding processes; None for one per core.
        decoding: what is done with deep values and orientation tags; it goes into the file.

    Raises:
        InputError: nothing to embed, a broken image (without `skip_broken`; what is done stays
            for the next start), or `out` can't be written.
    """
    if dtype not in ("float16", "float32"):
        raise InputError(f"`dtype` is '{dtype}'; 'float16' or 'float32' was expected.")
    start = time.perf_counter()
    out = Path(out)
    check_out(out)
    source = read_source(images, modality=modality, camera_pattern=camera_pattern)
    if embedder.world.first:
        for note in source.notes:
            say(f"note: {note}")
    return _Job(embedder, source, out, batch_size, dtype, skip_broken, tta, workers, decoding).run(
        start
    )


class _Job:
    def __init__(
        self,
        embedder: Embedder,
        source: Source,
        out: Path,
        batch_size: int,
        dtype: str,
        skip_broken: bool,
        tta: str | None,
        workers: int | None,
        decoding: Decoding,
    ) -> None:
        self.embedder, self.source, self.out, self.dtype = embedder, source, out, dtype
        self.batch_size, self.skip_broken, self.tta = batch_size, skip_broken, tta
        self.workers, self.world, self.decoding = workers, embedder.world, decoding
        batches = embedder.batches(source.modality, batch_size)
        self.parts = [batches[start : start + PART] for start in range(0, len(batches), PART)]
        self.largest = max(map(len, batches))
        self.folder = parts_folder(out)
        self.result = self.folder / "embeddings.safetensors"
        self.widths: dict[str, int] = {}  # of vectors, once known
        self.again = f"Delete '{self.folder}' and run the command again."
        self.broken: set[int] = set()  # rows
        self.misshapen: set[int] = set()

    def run(self, start: float) -> EmbedSummary:
        expected = self._missing()
        problem = None
        with ExitStack() as stack:
            ring = shared_pixels(RING * self.largest, self.embedder.size)
            pixels, handle = stack.enter_context(ring)
            pool = stack.enter_context(self._pool(pixels, expected, handle))
            stack.enter_context(pinned(pixels, self.embedder.device))
            writer = stack.enter_context(VectorWriter(self._open_result))
            if self.world.first:
                self._open_folder(writer)
            self.world.barrier()
            missing = self._missing()
            if missing != expected:  # what was there belonged to another job
                pool.close()
                pool = stack.enter_context(self._pool(pixels, missing, handle))
            try:
                self._embed(missing, pool, writer)
            except InputError as error:
                problem = str(error)  # the other ranks hear of it first, so that none waits
        problem = next(filter(None, self.world.gather(problem)), None)
        if problem is not None:
            raise InputError(problem)
        done = sum(self.world.gather(self._count(missing)))
        found = self.world.gather(self._finish() if self.world.first else (0, [], []))[0]
        count, broken, misshapen = found
        seconds = time.perf_counter() - start
        return EmbedSummary(
            path=self.out,
            count=count,
            broken=broken,
            misshapen=misshapen,
            seconds=seconds,
            images_per_second=done / seconds,
            resumed=len(self.source.paths) - done,
        )

    # The folder of parts ------------------------------------------------------------------

    def _open_folder(self, writer: VectorWriter) -> None:
        """Go on with the parts of the same job; those of another one are discarded."""
        name, identity = self.folder / "job.json", None
        held = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        if {name.name, self.result.name} <= held:
            identity = self._identity()
            if self._read(name) == identity:
                self._forget_damaged()
                return
            say(
                f"'{self.folder}' holds parts of another job (other images, weights or "
                "options); they are discarded."
            )
        elif held and not held & {name.name, OWNER}:
            raise InputError(
                f"'{self.folder}' exists and wasn't created by `vireid embed`. Move it "
                "away or choose another `out`."
            )
        if held:
            self._discard()
        with writing(name):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / OWNER).touch()
        if identity is None and self.world.size == 1:
            writer.before_parts(lambda: write_json(name, self._identity()))
        else:  # other ranks wait for it, so that none finishes a part before it
            write_json(name, identity or self._identity())

    def _identity(self) -> dict[str, Any]:
        """What makes a job the same job: its images as they are, weights and options."""
        digest = hashlib.sha256()
        lines: list[str] = []

        def add() -> None:
            digest.update("".join(lines).encode("utf-8", "surrogateescape"))
            lines.clear()

        for path, file, kind in zip(
            self.source.paths, self.source.files, self.source.modality.tolist()
        ):
            try:
                state = os.stat(file)
                changed = f"{state.st_size} {state.st_mtime_ns}"
            except OSError:
                changed = "missing"
            lines.append(f"{path}\0{kind}\0{changed}\n")
            if len(lines) == 1024:
                add()
        add()
        return {
            "images": digest.hexdigest(),
            "base": self.source.base,  # in the result's header, which has to stay as it is
            "root": self.source.root,
            "weights_hash": self.embedder.weights_hash,
            "preprocessing": self.embedder.preprocessing_of(self.tta, self.decoding),
            "precision": self.embedder.precision,
            "device": self.embedder.device.type,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
        }

    def _mark_file(self, number: int) -> Path:
        """What says that a part is on the disk, and which of its images are broken or misshapen."""
        return self.folder / f"part-{number:06d}.json"

    def _mark(self, number: int, sums: dict[str, int]) -> None:
        some = self.broken or self.misshapen
        rows = set(np.concatenate(self.parts[number]).tolist()) if some else set()
        mark: _Mark = {
            "broken": sorted(rows & self.broken),
            "misshapen": sorted(rows & self.misshapen),
            "vectors": {name: (self.widths[name], one) for name, one in sums.items()},
        }
        write_json(self._mark_file(number), {**mark, "sum": _sum_of(mark)})

    def _read(self, name: Path) -> Any:
        try:
            return read_json(name)
        except InputError as error:
            raise InputError(f"{error} {self.again}") from error

    def _read_mark(self, number: int) -> _Mark:
        """What is known of a part on the disk."""
        name = self._mark_file(number)
        mark: _Mark = convert(_Mark, self._read(name), str(name))
        rows = set(np.concatenate(self.parts[number]).tolist())
        if not {*mark["broken"], *mark.get("misshapen", [])} <= rows:
            raise InputError(f"'{name}' was changed: it names images of other parts. {self.again}")
        if mark.get("sum", _sum_of(mark)) != _sum_of(mark):
            raise InputError(f"'{name}' was changed: its checksum doesn't fit. {self.again}")
        return mark

    def _forget_damaged(self) -> None:
        """Remove the marks of parts whose vectors aren't in the result as they were written, or
        that an earlier version wrote, which kept no checksums: they are embedded again."""
        numbers = [number for number in range(len(self.parts)) if self._mark_file(number).is_file()]
        marks = {number: self._read_mark(number) for number in numbers}
        sums = {n: mark.get("vectors", {}) if "sum" in mark else {} for n, mark in marks.items()}
        widths = {name: width for one in sums.values() for name, (width, _) in one.items()}
        damaged = numbers
        if widths:
            with closing(self._open_result(widths)) as result:
                damaged = [
                    number
                    for number, one in sums.items()
                    if {name: (widths[name], found)
                        for name, found in result.sums_of(self.parts[number]).items()} != one
                ]  # fmt: skip
        for number in damaged:
            self._mark_file(number).unlink()
        if damaged:
            say(
                f"{len(damaged)} of {len(numbers)} parts in '{self.folder}' don't match their "
                "checksums; their images are embedded again."
            )

    def _discard(self) -> None:
        for file in self.folder.iterdir():
            if file.name != OWNER and file.is_file():
                file.unlink()
        shutil.rmtree(self.folder)  # the mark of ownership goes last, should this be killed

    # The work -----------------------------------------------------------------------------

    def _missing(self) -> list[int]:
        """This rank's parts that aren't on the disk."""
        own = range(self.world.rank, len(self.parts), self.world.size)
        return [number for number in own if not self._mark_file(number).is_file()]

    def _count(self, parts: list[int]) -> int:
        """Images in `parts`."""
        return sum(len(batch) for number in parts for batch in self.parts[number])

    def _worker_count(self, missing: list[int]) -> int:
        """One process per core; ranks of one host share its cores."""
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        most = self.workers or max(1, usable_cores() // ranks)
        return worker_count(self._count(missing), most)

    def _pool(self, pixels: np.ndarray, missing: list[int], handle: int | None) -> DecodePool:
        return DecodePool(pixels, self._worker_count(missing), handle, self.decoding)

    def _embed(self, missing: list[int], pool: DecodePool, writer: VectorWriter) -> None:
        if not missing:
            return
        if self.world.first:  # while processes start
            source, size = self.source, self.embedder.size
            ColourCheck().look_at_files(
                source.files, source.modality, size, self.decoding, source.paths
            )
        batches = [(number, batch) for number in missing for batch in self.parts[number]]
        total = self._count(missing)
        with progress("img") as bar:
            task = bar.add_task("embedding", total=total)
            vectors = self.embedder.stream(
                self._decoded(pool, [batch for _, batch in batches]),
                tta=self.tta,
                batch_size=self.batch_size,
                total=total,
                dtype=self.dtype,
            )
            for (number, batch), values in zip(batches, vectors):
                writer.write(batch, values)
                if batch is self.parts[number][-1]:
                    writer.end_part(partial(self._mark, number))
                bar.advance(task, len(batch))
            writer.finish()

    def _decoded(
        self, pool: DecodePool, batches: list[np.ndarray]
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Images and modality of each batch."""
        images = decoded_ahead(pool, batches, self.source.files, self._note)
        for batch, pixels in zip(batches, images):
            yield pixels, int(self.source.modality[batch[0]])

    def _note(self, row: int, problem: str | None) -> None:
        if problem is None:
            self.misshapen.add(row)
            return
        if not self.skip_broken:
            raise InputError(
                f"{problem} {SKIP} What was embedded before it is kept: start the same command "
                "again."
            )
        self.broken.add(row)

    # The result ---------------------------------------------------------------------------

    def _open_result(self, widths: dict[str, int]) -> VectorFile:
        """The result, with room for the vectors of all images."""
        self.widths = widths
        count = len(self.source.paths)
        zero = np.zeros(1, self.dtype)
        room = {name: np.broadcast_to(zero, (count, width)) for name, width in widths.items()}
        return VectorFile(self.result, self._embeddings(room, slice(None)))

    def _embeddings(self, vectors: dict[str, np.ndarray], rows: slice | np.ndarray) -> Embeddings:
        """Vectors of the source's `rows`, with what is known of their images."""
        source = self.source
        return self.embedder.assemble(
            vectors,
            np.array(source.paths, object)[rows].tolist(),
            source.modality[rows],
            tta=self.tta,
            decoding=self.decoding,
            pids=source.pids[rows],
            camids=source.camids[rows],
            times=source.times[rows],
            base=source.base,
            root=source.root,
        )

    def _finish(self) -> tuple[int, list[str], list[str]]:
        """Give the result its name, without the broken images, and remove the folder."""
        keep = np.ones(len(self.source.paths), bool)
        misshapen: list[int] = []
        for number in range(len(self.parts)):
            found = self._read_mark(number)
            keep[found["broken"]] = False
            misshapen += found.get("misshapen", [])
        if not keep.any():
            raise InputError("None of the images can be decoded.")
        if self.out.exists():
            say(f"note: '{self.out}' held embeddings, which are replaced.")
        if keep.all():
            with writing(self.out):
                os.replace(self.result, self.out)
            sync_folder(self.out.parent)
        else:
            whole = load_embeddings(self.result).vectors
            vectors = {name: values[keep] for name, values in whole.items()}
            save_embeddings(self.out, self._embeddings(vectors, keep))
        self._discard()
        broken = [path for path, good in zip(self.source.paths, keep.tolist()) if not good]
        return int(keep.sum()), broken, [self.source.paths[row] for row in sorted(misshapen)]


def _sum_of(mark: _Mark) -> int:
    """A checksum of what a mark says."""
    said = {name: value for name, value in mark.items() if name != "sum"}
    return zlib.crc32(json.dumps(said, sort_keys=True).encode())

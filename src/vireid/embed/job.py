"""`vireid embed`: many image files → one embeddings file; resumable, shared among ranks.

The work is cut into parts that don't depend on the number of ranks. The result lies in
`OUT.parts/` in its final form; each part is written to its rows, then a small file says so. A job
started again skips what is there, and at the end the first rank gives the file its name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vireid.console import progress, say
from vireid.cores import usable_cores
from vireid.embed.embedder import BATCH, Embedder
from vireid.embed.pool import DecodePool
from vireid.embed.sources import Source, read_source
from vireid.embed.storage import Canvas, load_embeddings, save_embeddings
from vireid.files import read_json, sync_folder, write_json, writing
from vireid.types import Embeddings, InputError, Modality

PART = 32  # batches a part
AHEAD = 6  # batches that are decoded while one is embedded


@dataclass(frozen=True, kw_only=True)
class EmbedSummary:
    """What a job did.

    Attributes:
        path: the embeddings file.
        count: vectors in it.
        broken: images that were left out.
        seconds, images_per_second: of this start, over all ranks.
        resumed: images whose vectors an earlier start had made.
    """

    path: Path
    count: int
    broken: list[str]
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
) -> EmbedSummary:
    """Embed image files into a file; see `vireid.embed.sources.read_source` for `images`.

    Args:
        embedder: weights on a device.
        out: embeddings file to write.
        dtype: "float16" or "float32" of the vectors.
        skip_broken: leave broken images out and list them.
        tta: "flip" adds the mirrored pictures' vectors.
        workers: decoding processes; None for one a core.

    Raises:
        InputError: nothing to embed, a broken image (without `skip_broken`; what is done stays
            for the next start), or `out` can't be written.
    """
    if dtype not in ("float16", "float32"):
        raise InputError(f"--dtype is '{dtype}'; 'float16' or 'float32' was expected.")
    out = Path(out)
    if out.is_dir():
        raise InputError(f"--out '{out}' is a folder; name a file.")
    source = read_source(images, modality=modality, camera_pattern=camera_pattern)
    return _Job(embedder, source, out, batch_size, dtype, skip_broken, tta, workers).run()


embed_images = embed_files


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
    ) -> None:
        self.embedder, self.source, self.out, self.dtype = embedder, source, out, dtype
        self.batch_size, self.skip_broken, self.tta = batch_size, skip_broken, tta
        self.workers, self.world = workers, embedder.world
        batches = embedder.batches(source.modality, batch_size)
        self.parts = [batches[start : start + PART] for start in range(0, len(batches), PART)]
        self.folder = out.with_name(out.name + ".parts")
        self.canvas: Canvas | None = None

    def run(self) -> EmbedSummary:
        start = time.perf_counter()
        if self.world.first:
            self._open_folder()
        self.world.barrier()
        own = [n for n in range(self.world.rank, len(self.parts), self.world.size)]  # noqa: C416
        missing = [number for number in own if not self._file(number).is_file()]
        done = sum(self._images(number) for number in missing)
        problem = None
        try:
            self._embed(missing)
        except InputError as error:
            problem = str(error)  # told to the other ranks first, so that none waits
        found = next((text for text in self.world.gather(problem) if text), None)
        if found:
            raise InputError(found)
        total = sum(self.world.gather(done))
        count, broken = self._finish() if self.world.first else (0, [])
        count, broken = self.world.gather((count, broken))[0]
        seconds = time.perf_counter() - start
        return EmbedSummary(
            path=self.out,
            count=count,
            broken=broken,
            seconds=seconds,
            images_per_second=total / seconds,
            resumed=len(self.source.paths) - total,
        )

    def _images(self, number: int) -> int:
        return sum(len(batch) for batch in self.parts[number])

    def _file(self, number: int) -> Path:
        """What says that a part is on the disk, and which of its images are broken."""
        return self.folder / f"part-{number:06d}.json"

    def _open_folder(self) -> None:
        """Go on with the parts of the same job; those of another one are thrown away."""
        about = self._about()
        if (self.folder / "job.json").is_file():
            begun = self._result.is_file()
            if begun and read_json(self.folder / "job.json") == about:
                return
            if begun:
                say(
                    f"'{self.folder}' holds parts of another job (other images, weights or "
                    "options); they are thrown away."
                )
            shutil.rmtree(self.folder)
        elif self.folder.exists() and any(self.folder.iterdir()):
            raise InputError(
                f"'{self.folder}' exists and wasn't made by `vireid embed`. Move it "
                "away or name another --out."
            )
        write_json(self.folder / "job.json", about)

    def _about(self) -> dict[str, Any]:
        digest = hashlib.sha256()
        for path, file, kind in zip(
            self.source.paths, self.source.files, self.source.modality.tolist()
        ):
            try:
                state = os.stat(file)
                changed = f"{state.st_size} {state.st_mtime_ns}"
            except OSError:
                changed = "missing"
            digest.update(f"{path}\0{kind}\0{changed}\n".encode("utf-8", "surrogateescape"))
        return {
            "images": digest.hexdigest(),
            "weights_hash": self.embedder.weights_hash,
            "preprocessing": self.embedder.preprocessing | {"tta": self.tta or "none"},
            "precision": self.embedder.precision,
            "device": self.embedder.device.type,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
        }

    def _embed(self, missing: list[int]) -> None:
        if not missing:
            return
        batches = [(number, batch) for number in missing for batch in self.parts[number]]
        ring = AHEAD + 3  # batches being decoded, read and copied at one time
        largest = max(len(batch) for _, batch in batches)
        total = sum(len(batch) for _, batch in batches)
        broken: dict[int, str] = {}
        with (
            DecodePool(ring * largest, self.embedder.size, self._worker_count(total)) as pool,
            progress("img") as bar,
            ThreadPoolExecutor(1, thread_name_prefix="vireid-parts") as writer,
        ):
            task = bar.add_task("embedding", total=total)
            pictures = self._decoded(pool, [batch for _, batch in batches], largest, ring, broken)
            vectors = self.embedder.stream(
                pictures, tta=self.tta, batch_size=self.batch_size, total=total
            )
            part: list[dict[str, np.ndarray]] = []
            last: Future[None] | None = None  # is written while the next is embedded
            for (number, batch), found in zip(batches, vectors):
                part.append(found)
                bar.advance(task, len(batch))
                if len(part) == len(self.parts[number]):
                    if last is not None:
                        last.result()
                    last = writer.submit(self._write_part, number, part, broken)
                    part = []
            if last is not None:
                last.result()

    def _worker_count(self, total: int) -> int | None:
        """One process a core; on one host ranks share its cores. Few images need none."""
        if total < 64:
            return 1
        if self.workers is not None:
            return self.workers
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        return max(1, usable_cores() // ranks)

    def _decoded(
        self,
        pool: DecodePool,
        batches: list[np.ndarray],
        largest: int,
        ring: int,
        broken: dict[int, str],
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Pictures of each batch, decoded ahead into a ring of rows."""
        coming: deque[list[Future[list[tuple[int, str | None]]]]] = deque()

        def submit(number: int) -> None:
            if number < len(batches):
                first = (number % ring) * largest
                batch = batches[number]
                files = [self.source.files[row] for row in batch]
                coming.append(pool.submit(range(first, first + len(batch)), files))

        for number in range(AHEAD):
            submit(number)
        for number, batch in enumerate(batches):
            first = (number % ring) * largest
            for future in coming.popleft():
                for row, problem in future.result():
                    if problem is not None:
                        self._note_broken(int(batch[row - first]), problem, broken)
                        pool.pixels[row] = 0
            submit(number + AHEAD)
            yield pool.pixels[first : first + len(batch)], int(self.source.modality[batch[0]])

    def _note_broken(self, row: int, problem: str, broken: dict[int, str]) -> None:
        if not self.skip_broken:
            raise InputError(
                f"{problem} What was embedded before it is kept: start the same command again."
            )
        broken[row] = problem

    def _write_part(
        self, number: int, part: list[dict[str, np.ndarray]], broken: dict[int, str]
    ) -> None:
        rows = np.concatenate(self.parts[number])
        vectors = {name: np.concatenate([one[name] for one in part]) for name in part[0]}
        if self.canvas is None:
            self.canvas = self._open_canvas({n: v.shape[1] for n, v in vectors.items()})
        self.canvas.put(rows, vectors)
        write_json(self._file(number), {"broken": [r for r in rows.tolist() if r in broken]})

    def _open_canvas(self, widths: dict[str, int]) -> Canvas:
        """The result, with room for the vectors of all images."""
        count = len(self.source.paths)
        nothing = np.zeros(1, self.dtype)
        room = {name: np.broadcast_to(nothing, (count, width)) for name, width in widths.items()}
        return Canvas(self._result, self._assembled(room, slice(None)))

    @property
    def _result(self) -> Path:
        return self.folder / "embeddings.safetensors"

    def _assembled(self, vectors: dict[str, np.ndarray], kept: slice | np.ndarray) -> Embeddings:
        source = self.source
        return self.embedder.assemble(
            vectors,
            np.array(source.paths, object)[kept].tolist(),
            source.modality[kept],
            tta=self.tta,
            pids=source.pids[kept],
            camids=source.camids[kept],
            times=source.times[kept],
        )

    def _finish(self) -> tuple[int, list[str]]:
        """Give the result its name, without the broken images, and remove the rest."""
        keep = np.ones(len(self.source.paths), bool)
        for number in range(len(self.parts)):
            keep[read_json(self._file(number))["broken"]] = False
        if not keep.any():
            raise InputError("None of the images can be decoded.")
        if keep.all():
            with writing(self.out):
                os.replace(self._result, self.out)
            sync_folder(self.out.parent)
        else:
            whole = load_embeddings(self._result).vectors
            vectors = {name: values[keep] for name, values in whole.items()}
            save_embeddings(self.out, self._assembled(vectors, keep))
        shutil.rmtree(self.folder)
        broken = [path for path, good in zip(self.source.paths, keep.tolist()) if not good]
        return int(keep.sum()), broken

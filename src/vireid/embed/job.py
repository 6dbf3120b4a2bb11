"""`vireid embed`: many image files → one embeddings file; resumable, shared among ranks.

The work is cut into parts that don't depend on the number of ranks. The result lies in
`OUT.parts/` in its final form; each part is written to its rows, then a small file says so. A job
started again skips what is there, and at the end the first rank gives the file its name.

What takes time but no network runs beside it: processes start and decode, a thread hashes what
names the job, one writes vectors, one waits for the disk.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from vireid.console import progress, say
from vireid.cores import usable_cores
from vireid.data.decode_pool import DecodePool, worker_count
from vireid.embed.copying import STAYS, pinned
from vireid.embed.embedder import BATCH, Embedder
from vireid.embed.ring import shared_pixels
from vireid.embed.settling import Settler
from vireid.embed.sources import Source, read_source
from vireid.embed.storage import Canvas, load_embeddings, save_embeddings
from vireid.files import read_json, sync_folder, write_json, writing
from vireid.types import Embeddings, InputError, Modality

PART = 32  # batches a part
AHEAD = 6  # batches that are decoded while one is embedded
RING = AHEAD + STAYS  # batches being decoded, read and copied at one time
BEGUN = ".vireid-embed"  # file that says whose the folder is before job.json does


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
    start = time.perf_counter()
    out = Path(out)
    if out.is_dir():
        raise InputError(f"--out '{out}' is a folder; name a file.")
    source = read_source(images, modality=modality, camera_pattern=camera_pattern)
    return _Job(embedder, source, out, batch_size, dtype, skip_broken, tta, workers).run(start)


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
        self.largest = max(map(len, batches))
        self.folder = out.with_name(out.name + ".parts")

    def run(self, start: float) -> EmbedSummary:
        likely = self._missing()
        problem = None
        with ExitStack() as ends:
            ring = shared_pixels(RING * self.largest, self.embedder.size)
            pixels, handle = ends.enter_context(ring)
            workers = self._worker_count(likely)
            pool = ends.enter_context(DecodePool(pixels, workers, handle))  # starts meanwhile
            ends.enter_context(pinned(pixels, self.embedder.device))
            settler = ends.enter_context(Settler(self._open_canvas))
            if self.world.first:
                self._open_folder(settler)
            self.world.barrier()
            missing = self._missing()
            if missing != likely:  # what was there was another job's
                pool.close()
                workers = self._worker_count(missing)
                pool = ends.enter_context(DecodePool(pixels, workers, handle))
            try:
                self._embed(missing, pool, settler)
            except InputError as error:
                problem = str(error)  # told to the other ranks first, so that none waits
        done = sum(self._images(number) for number in missing)
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

    def _missing(self) -> list[int]:
        """This rank's parts that aren't on the disk."""
        own = range(self.world.rank, len(self.parts), self.world.size)
        return [number for number in own if not self._file(number).is_file()]

    def _images(self, number: int) -> int:
        return sum(len(batch) for batch in self.parts[number])

    def _file(self, number: int) -> Path:
        """What says that a part is on the disk, and which of its images are broken."""
        return self.folder / f"part-{number:06d}.json"

    def _open_folder(self, settler: Settler) -> None:
        """Go on with the parts of the same job; those of another one are thrown away."""
        name, about = self.folder / "job.json", None
        held = set(os.listdir(self.folder)) if self.folder.is_dir() else set()
        if {name.name, self._result.name} <= held:
            about = self._about()
            if read_json(name) == about:
                return
            say(
                f"'{self.folder}' holds parts of another job (other images, weights or "
                "options); they are thrown away."
            )
        elif held and not held & {name.name, BEGUN}:
            raise InputError(
                f"'{self.folder}' exists and wasn't made by `vireid embed`. Move it "
                "away or name another --out."
            )
        if held:
            self._discard()
        with writing(name):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / BEGUN).touch()
        if about is None and self.world.size == 1:
            settler.before(self._name)
        else:  # other ranks wait for the name, to settle no part before it
            write_json(name, about or self._about())

    def _name(self) -> None:
        write_json(self.folder / "job.json", self._about())

    def _discard(self) -> None:
        for file in self.folder.iterdir():
            if file.name != BEGUN and file.is_file():
                file.unlink()
        shutil.rmtree(self.folder)  # what says whose it is goes last, should this be killed

    def _about(self) -> dict[str, Any]:
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
            "weights_hash": self.embedder.weights_hash,
            "preprocessing": self.embedder.preprocessing | {"tta": self.tta or "none"},
            "precision": self.embedder.precision,
            "device": self.embedder.device.type,
            "batch_size": self.batch_size,
            "dtype": self.dtype,
        }

    def _embed(self, missing: list[int], pool: DecodePool, settler: Settler) -> None:
        if not missing:
            return
        batches = [(number, batch) for number in missing for batch in self.parts[number]]
        total = sum(len(batch) for _, batch in batches)
        broken: dict[int, str] = {}
        with progress("img") as bar:
            task = bar.add_task("embedding", total=total)
            pictures = self._decoded(pool, [batch for _, batch in batches], broken)
            vectors = self.embedder.stream(
                pictures, tta=self.tta, batch_size=self.batch_size, total=total, dtype=self.dtype
            )
            for (number, batch), found in zip(batches, vectors):
                settler.put(batch, found)
                if batch is self.parts[number][-1]:
                    settler.settle(partial(self._mark, number, broken))
                bar.advance(task, len(batch))
            settler.finish()

    def _worker_count(self, missing: list[int]) -> int:
        """One process a core; on one host ranks share its cores."""
        ranks = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        most = self.workers or max(1, usable_cores() // ranks)
        return worker_count(sum(self._images(number) for number in missing), most)

    def _decoded(
        self,
        pool: DecodePool,
        batches: list[np.ndarray],
        broken: dict[int, str],
    ) -> Iterator[tuple[np.ndarray, int]]:
        """Pictures of each batch, decoded ahead into a ring of rows."""
        coming: deque[list[Future[list[tuple[int, str]]]]] = deque()

        def submit(number: int) -> None:
            if number < len(batches):
                first = (number % RING) * self.largest
                batch = batches[number]
                files = [self.source.files[row] for row in batch.tolist()]
                coming.append(pool.submit(range(first, first + len(batch)), files))

        for number in range(AHEAD):
            submit(number)
        for number, batch in enumerate(batches):
            first = (number % RING) * self.largest
            for future in coming.popleft():
                for row, problem in future.result():
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

    def _mark(self, number: int, broken: dict[int, str]) -> None:
        """Say that a part is on the disk."""
        rows = np.concatenate(self.parts[number]).tolist() if broken else []
        write_json(self._file(number), {"broken": [row for row in rows if row in broken]})

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
        self._discard()
        broken = [path for path, good in zip(self.source.paths, keep.tolist()) if not good]
        return int(keep.sum()), broken

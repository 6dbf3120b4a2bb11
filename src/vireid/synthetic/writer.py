"""Writes a data set: one task per person, one process per core, every file whole or absent.

An image is a pure function of (seed, pid, camera, view), so the number of workers, an
interruption or the order of the tasks changes no byte.
"""

from __future__ import annotations

import csv
import io
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from vireid.console import progress as progress_bar
from vireid.cores import usable_cores
from vireid.files import write_text
from vireid.synthetic.layouts import LAYOUTS, Shot
from vireid.synthetic.parameters import Parameters, checked_parameters, claim, mark_complete
from vireid.synthetic.people.identity import attributes, sample_person
from vireid.synthetic.people.person import Person
from vireid.synthetic.pictures.render import make_actor, render
from vireid.synthetic.pictures.sensor import as_compressed, compress
from vireid.synthetic.pictures.view import View, draw_view
from vireid.synthetic.places.scenes import SCENES
from vireid.synthetic.preset import preset_named
from vireid.synthetic.versions import GENERATOR_VERSION, Version
from vireid.types import InputError

_MOST_PROCESSES = 61 if sys.platform == "win32" else 9999
"""Windows can't wait for more at once."""
_Result = tuple[int, dict, list[dict], int]
"""A person's pid, row of `attributes.csv`, rows of `images.csv`, and how many of its images were
drawn now."""

PEOPLE, IMAGES = "attributes.csv", "images.csv"


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What was written.

    Attributes:
        out: the folder.
        num_images, num_identities: what it holds.
        num_drawn: images that this call drew; the others were there.
        seconds: how long this call took.
        resumed: whether it continued an interrupted call.
    """

    out: Path
    num_images: int
    num_identities: int
    num_drawn: int
    seconds: float
    resumed: bool


def write_dataset(
    out: str | Path,
    *,
    layout: str = "sysu",
    identities: int,
    test_identities: int | None = None,
    images: int,
    seed: int = 0,
    workers: int | None = None,
    preset: str = "standard",
    masks: bool = False,
    without_person: bool = False,
    version: Version = GENERATOR_VERSION,
    progress: bool = True,
) -> Summary:
    """Make a synthetic data set.

    Beside the layout's own files the folder gets `attributes.csv` (one row per person) and
    `images.csv` (one row per image: camera pose, scene, view).

    Args:
        out: a new or empty folder, or one left by an interrupted call with the same parameters.
        layout: "sysu", "regdb" or "llcm".
        identities: number of people in all.
        test_identities: how many of them are for testing; by default a fifth, at least 2. A sixth
            of the rest is for validation. (RegDB has ten random halves instead.)
        images: images of each identity by each camera.
        seed: of the population, 0 to 999,999,999.
        workers: processes; by default one per core.
        preset: "easy", "standard" or "hard".
        masks: also write a mask of the person for each image under `masks/`.
        without_person: draw the same scenes without their people.
        version: of the generator; entries of its tables that came later are not drawn.
        progress: show a progress bar.

    Raises:
        InputError: parameters out of range, a folder that is not ours, or other parameters than
            those the folder was begun with.
    """
    parameters = checked_parameters(
        layout, identities, test_identities, images, seed, preset, masks, without_person, version
    )
    return write_parameters(Path(out), parameters, workers=workers, progress=progress)


def write_parameters(
    out: Path, parameters: Parameters, *, workers: int | None = None, progress: bool = True
) -> Summary:
    """`write_dataset` for checked parameters."""
    started = time.perf_counter()
    if workers is None:
        workers = usable_cores()
    if workers < 1:
        raise InputError(f"`workers` is {workers}; at least 1 process is needed.")
    layout = LAYOUTS[parameters.layout]
    resumed = claim(out, parameters)
    split = parameters.split
    shots_each = {pid: list(_shots(parameters, pid)) for pid in split.all}
    total = sum(len(shot.files) for shots in shots_each.values() for shot in shots)
    rows: dict[int, tuple[dict, list[dict]]] = {}
    drawn = 0
    cv2.setNumThreads(1)  # several processes share the cores
    bar = progress_bar(shown=progress)
    with _tasks(out, parameters, split.all, workers) as finished, bar:
        task = bar.add_task(f"{layout.title} layout", total=total, rate="")
        for pid, person_row, image_rows, count in finished:
            rows[pid] = (person_row, image_rows)
            drawn += count
            bar.advance(task, sum(len(shot.files) for shot in shots_each[pid]))
    for path, text in layout.index(parameters.images, split, parameters.seed).items():
        write_text(out / path, text)
    write_text(out / PEOPLE, _table([rows[pid][0] for pid in split.all]))
    write_text(out / IMAGES, _table([row for pid in split.all for row in rows[pid][1]]))
    mark_complete(out, parameters)
    return Summary(
        out=out,
        num_images=total,
        num_identities=len(split.all),
        num_drawn=drawn,
        seconds=time.perf_counter() - started,
        resumed=resumed,
    )


def _shots(parameters: Parameters, pid: int) -> Iterator[Shot]:
    return LAYOUTS[parameters.layout].shots(pid, parameters.images, parameters.split)


@contextmanager
def _tasks(
    out: Path, parameters: Parameters, pids: tuple[int, ...], workers: int
) -> Iterator[Iterator[_Result]]:
    """Start the work; yields each person's result as it is done."""
    if workers == 1 or len(pids) == 1:
        yield (_write_person(out, parameters, pid) for pid in pids)
        return
    _warm(parameters)
    # Forked workers share the compiled code; elsewhere they read it from the cache.
    method = "fork" if sys.platform.startswith("linux") else "spawn"
    pool = ProcessPoolExecutor(
        min(workers, len(pids), _MOST_PROCESSES),
        initializer=_start_worker,
        mp_context=multiprocessing.get_context(method),
    )
    try:
        waiting = iter(pids)
        # Submitted before the progress bar starts its thread: then forking is safe.
        running = {
            pool.submit(_write_person, out, parameters, pid)
            for _, pid in zip(range(2 * workers), waiting)
        }
        yield _as_done(pool, out, parameters, waiting, running)
    except BrokenProcessPool as error:
        pool.shutdown(wait=True, cancel_futures=True)
        raise InputError(
            f"A worker process was killed, perhaps for lack of memory (each needs up to 1 GiB; "
            f"there were {workers}). Run the same command again with fewer `workers`; it continues "
            "where it stopped."
        ) from error
    except BaseException:
        pool.shutdown(wait=True, cancel_futures=True)
        raise
    pool.shutdown()


def _as_done(pool, out, parameters, waiting, running) -> Iterator[_Result]:
    """Results as they come; the queue is kept short, so that an interruption ends soon."""
    while running:
        done, running = wait(running, return_when=FIRST_COMPLETED)
        for future in done:
            yield future.result()
            pid = next(waiting, None)
            if pid is not None:
                running.add(pool.submit(_write_person, out, parameters, pid))


def _start_worker() -> None:
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # a fork has the parent's handler
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """End this worker when its parent was killed; else it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _warm(parameters: Parameters) -> None:
    """Compile once, before the workers start."""
    _, preset = preset_named(parameters.preset)
    actor = make_actor(sample_person(parameters.seed, 1, version=parameters.version))
    for camera in {shot.camera.sensor: shot.camera for shot in _shots(parameters, 1)}.values():
        render(actor, camera, draw_view(actor.person, camera, preset, 0), preset)


def _write_person(out: Path, parameters: Parameters, pid: int) -> _Result:
    """Write the missing images of one person."""
    _, preset = preset_named(parameters.preset)
    person = sample_person(parameters.seed, pid, version=parameters.version)
    actor, rows, drawn = None, [], 0
    for shot in _shots(parameters, pid):
        view = draw_view(person, shot.camera, preset, shot.number)
        paths = dict(shot.files)
        if parameters.masks:
            first = next(iter(shot.files.values()))
            paths["mask"] = f"masks/{Path(first).with_suffix('.png').as_posix()}"
        if not all(_is_whole(out / path) for path in paths.values()):
            actor = actor or make_actor(person)
            images = render(
                actor,
                shot.camera,
                view,
                preset,
                without_person=parameters.without_person,
                with_mask=parameters.masks,
            )
            size = LAYOUTS[parameters.layout].size
            for kind, path in paths.items():
                _write_image(out / path, images[kind], view.quality, size)
            drawn += len(shot.files)
        rows += [_image_row(path, kind, person, shot, view) for kind, path in shot.files.items()]
    return pid, attributes(person), rows, drawn


_ENDS = {".jpg": b"\xff\xd9", ".png": b"IEND\xaeB`\x82"}


def _is_whole(path: Path) -> bool:
    """Whether an earlier call finished this file. Files appear by renaming, so only a power cut
    can leave a part of one; the format's last bytes show it."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            if path.suffix == ".bmp":
                file.seek(2)
                return size > 6 and int.from_bytes(file.read(4), "little") == size
            end = _ENDS[path.suffix]
            file.seek(max(0, size - len(end)))
            return file.read() == end
    except OSError:  # absent, or no file, of which writing then has the sentence
        return False


def _write_image(path: Path, image: np.ndarray, quality: int, size: tuple[int, int] | None) -> None:
    if path.suffix == ".jpg":
        data = compress(image, quality)
    else:
        if path.suffix == ".bmp":
            image = as_compressed(image, quality)
        if size is not None and image.shape[:2] != size:
            image = cv2.resize(image, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        pixels = image if image.ndim == 2 else image[..., ::-1]
        data = cv2.imencode(path.suffix, np.ascontiguousarray(pixels))[1].tobytes()
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        os.replace(temporary, path)  # not synced: a lost image is drawn again
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(
            f"The image '{path}' could not be written: {error.strerror or error}. "
            "Free some space or name a folder that you can write to; the same command then "
            "continues."
        ) from error


def _image_row(path: str, kind: str, person: Person, shot: Shot, view: View) -> dict:
    return {
        "path": path,
        "pid": person.pid,
        "camid": shot.camera.camid,
        "kind": kind,
        "view": shot.number,
        "scene": SCENES[view.scene].name,
        "camera_height": f"{view.height:.3f}",
        "camera_distance": f"{view.distance:.3f}",
        "camera_pan": f"{view.pan:.4f}",
        "yaw": f"{view.yaw:.4f}",
        "phase": f"{view.pose.phase:.4f}",
        "stride": f"{view.pose.stride:.3f}",
        "night": int(view.night),
        "occluder": view.occluder.item.name.lower() if view.occluder else "none",
        "passer_by": int(view.passer >= 0),
        "umbrella": int(view.umbrella),
        "height": view.resolution,
        "jpeg_quality": view.quality,
    }


def _table(rows: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()

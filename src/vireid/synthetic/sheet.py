"""Images of single people, and contact sheets of many, for documents and tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vireid.files import atomic_write
from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.pictures.camera import REGDB_CAMERA, SYSU_CAMERAS, Camera
from vireid.synthetic.pictures.render import make_actor, render
from vireid.synthetic.pictures.sensor import as_compressed, compress
from vireid.synthetic.pictures.view import draw_view
from vireid.synthetic.preset import preset_named
from vireid.synthetic.versions import GENERATOR_VERSION, Version
from vireid.types import InputError


def camera_numbered(camid: int, *, thermal: bool = False) -> Camera:
    """Camera 1 to 6 of the SYSU layout, or (thermal) RegDB's.

    Raises:
        InputError: no such camera.
    """
    if thermal:
        return REGDB_CAMERA
    if not 1 <= camid <= len(SYSU_CAMERAS):
        raise InputError(
            f"There is no camera {camid}; cameras are numbered 1 to {len(SYSU_CAMERAS)}."
        )
    return SYSU_CAMERAS[camid - 1]


def render_person(
    seed: int,
    pid: int,
    camid: int,
    view: int,
    *,
    preset: str = "standard",
    thermal: bool = False,
    without_person: bool = False,
    version: Version = GENERATOR_VERSION,
) -> dict[str, np.ndarray]:
    """Draw one view of one person, as `write_dataset` draws it.

    Returns:
        "visible" or "nir" (with `thermal`, "visible" and "thermal"): (h, w, 3) uint8 RGB; and
        "mask": (h, w) uint8.
    """
    _, knobs = preset_named(preset)
    camera = camera_numbered(camid, thermal=thermal)
    actor = make_actor(sample_person(seed, pid, version=version))
    drawn = draw_view(actor.person, camera, knobs, view)
    return render(actor, camera, drawn, knobs, without_person=without_person, with_mask=True)


def contact_sheet(
    path: str | Path,
    *,
    seed: int = 0,
    pids: tuple[int, ...] = tuple(range(1, 9)),
    camids: tuple[int, ...] = (1, 2, 4, 5, 3, 6),
    views: int = 2,
    preset: str = "standard",
    thermal: bool = False,
    version: Version = GENERATOR_VERSION,
    height: int = 192,
    gap: int = 6,
    quality: int = 88,
) -> None:
    """Write a JPEG with a row per person and a block of `views` images per camera; with `thermal`,
    of visible and thermal pairs. Images are `height` pixels tall, half as wide, `gap` apart."""
    _, knobs = preset_named(preset)
    cameras = (REGDB_CAMERA,) if thermal else [camera_numbered(camid) for camid in camids]
    rows: list[np.ndarray] = []
    for pid in pids:
        actor = make_actor(sample_person(seed, pid, version=version))
        blocks = []
        for camera in cameras:
            cells: list[np.ndarray] = []
            for number in range(views):
                view = draw_view(actor.person, camera, knobs, number)
                images = render(actor, camera, view, knobs)
                for kind in ("visible", "nir", "thermal"):
                    if kind in images:
                        image = as_compressed(images[kind], view.quality)
                        way = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
                        cells.append(cv2.resize(image, (height // 2, height), interpolation=way))
            blocks.append(np.concatenate(cells, 1))
        rows.append(_joined(blocks, gap, axis=1))
    with atomic_write(path) as file:
        file.write(compress(_joined(rows, gap, axis=0), quality))


def _joined(images: list[np.ndarray], gap: int, axis: int) -> np.ndarray:
    """Images (h, w, 3) joined along an axis, with white gaps between them."""
    shape = list(images[0].shape)
    shape[axis] = gap
    white = np.full(shape, 255, np.uint8)
    return np.concatenate([part for image in images for part in (white, image)][1:], axis)

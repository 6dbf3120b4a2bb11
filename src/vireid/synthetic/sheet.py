"""Pictures of single people and contact sheets, for documents and tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from vireid.files import atomic_write
from vireid.synthetic.people.identity import sample_person
from vireid.synthetic.pictures.camera import REGDB_CAMERA, SYSU_CAMERAS, Camera
from vireid.synthetic.pictures.render import make_figure, render
from vireid.synthetic.pictures.sensor import as_compressed
from vireid.synthetic.pictures.view import draw_view
from vireid.synthetic.preset import preset_named
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
) -> dict[str, np.ndarray]:
    """Draw one view of one person, as `write_dataset` draws it.

    Returns:
        "visible" or "nir" (with `thermal`, "visible" and "thermal"): (h, w, 3) uint8 RGB; and
        "mask": (h, w) uint8.
    """
    _, knobs = preset_named(preset)
    camera = camera_numbered(camid, thermal=thermal)
    figure = make_figure(sample_person(seed, pid))
    return render(
        figure,
        camera,
        draw_view(figure.person, camera, knobs, view),
        knobs,
        [seed, pid, camera.camid, view],
        without_person=without_person,
        with_mask=True,
    )


def contact_sheet(
    path: str | Path,
    *,
    seed: int = 0,
    pids: tuple[int, ...] = tuple(range(1, 9)),
    camids: tuple[int, ...] = (1, 2, 4, 5, 3, 6),
    views: int = 2,
    preset: str = "standard",
    thermal: bool = False,
    height: int = 192,
    gap: int = 6,
    quality: int = 88,
) -> None:
    """Write a JPEG with a row a person and a block of `views` pictures a camera; with `thermal`,
    visible and thermal pairs."""
    _, knobs = preset_named(preset)
    width = height // 2
    rows: list[np.ndarray] = []
    for pid in pids:
        figure = make_figure(sample_person(seed, pid))
        cells: list[np.ndarray] = []
        for camera in (REGDB_CAMERA,) if thermal else [camera_numbered(c) for c in camids]:
            if cells:
                cells.append(np.full((height, gap, 3), 255, np.uint8))
            for number in range(views):
                view = draw_view(figure.person, camera, knobs, number)
                images = render(figure, camera, view, knobs, [seed, pid, camera.camid, number])
                for kind in ("visible", "nir", "thermal"):
                    if kind in images:
                        image = as_compressed(images[kind], view.quality)
                        way = cv2.INTER_AREA if image.shape[0] > height else cv2.INTER_CUBIC
                        cells.append(cv2.resize(image, (width, height), interpolation=way))
        row = np.concatenate(cells, 1)
        if rows:
            rows.append(np.full((gap, row.shape[1], 3), 255, np.uint8))
        rows.append(row)
    sheet = np.concatenate(rows)[..., ::-1]
    data = cv2.imencode(".jpg", np.ascontiguousarray(sheet), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    with atomic_write(path) as file:
        file.write(data.tobytes())

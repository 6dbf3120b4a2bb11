"""plot: figures for a paper, of runs or embeddings files."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step
from vireid.testing import TestOptions
from vireid.types import InputError


def plot(
    sources: tuple[Path, ...],
    /,
    *,
    out: Path = Path("figures"),
    kind: tuple[str, ...] = (),
    options: TestOptions,
    embedding: str | None = None,
    people: int = 12,
    queries: int = 4,
    seed: int = 0,
    columns: int = 1,
    format: tuple[str, ...] = ("png",),
    method: str | None = None,
    arch: str | None = None,
    gpu: int | None = None,
    device: str = "auto",
) -> int:
    """Draw figures of runs or of embeddings files.

    similarity: same and other people across the modalities, of the start and of the trained
    network. map: images of some people as points of a plane. gap: how well the modality can be
    told, before and after. activation: where a similarity comes from. ranked: best, worst and
    random queries. cmc, training: curves of all runs in one axis. cameras: each pair of cameras.

    Args:
        sources: Runs' folders, or embeddings files (of both modalities together).
        out: Folder of the figures.
        kind: Figures to draw: similarity, map, gap, activation, ranked, cmc, training or cameras
            (default: all that there is data for).
        embedding: Test embedding: pooled, embedding or another of the method (default: the
            weights' own).
        people: Identities in the map, at most 20.
        queries: Queries in ranked lists (of each kind) and in activation maps.
        seed: Of the people and queries that are drawn by chance.
        columns: Width of the figures: 1 or 2 columns of a paper.
        format: Endings of the files: png, pdf or svg; several are written side by side.
        method: Your own method, if a run was trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if a run has one: path/to/my.py:MyNet.
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
    """
    from vireid.plotting import plot as draw
    from vireid.runtime.device import check_device, device_named

    if columns not in (1, 2):
        raise InputError(f"--columns is {columns}; a figure is 1 or 2 columns of a paper wide.")
    place = device_named(gpu, device)
    check_device(place)
    written = draw(
        sources,
        out,
        kinds=kind,
        options=options,
        embedding=embedding,
        people=people,
        queries=queries,
        seed=seed,
        columns=2 if columns == 2 else 1,
        formats=format,
        method=method,
        arch=arch,
        device=place,
    )
    next_step(", ".join(str(path) for path in written) or "no figure")
    return 0

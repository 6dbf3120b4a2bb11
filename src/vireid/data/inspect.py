"""What is in a data set and what looks wrong with it, for `vireid info DATA`."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.config import to_plain
from vireid.console import progress, table
from vireid.cores import usable_cores
from vireid.data.decoding import ImageError, is_person_shaped, looks_coloured, read_image
from vireid.data.facts import Decoding
from vireid.data.matches import matches_beforehand
from vireid.data.protocol import Dataset
from vireid.data.registry import facts_of, load_unchecked, recognise
from vireid.types import InputError, Modality

if TYPE_CHECKING:
    from rich.table import Table

TINY_SIDE = 16  # pixels; below this no person can be recognised
NEARLY_BLACK = 8  # mean grey level
_EXAMPLES = 20  # kept of each kind of problem
_CAMERAS = 20  # shown as a table
_LEAKS = (("train", "test"), ("fit", "val"), ("val", "test"))


def inspect(
    name: str | None,
    root: str | Path | None,
    *,
    trial: int = 1,
    split_seed: int = 0,
    camera_pattern: str | None = None,
    intensity_range: str | None = None,
    junk: Sequence[str] = (),
    sensor_cameras: bool = False,
    pixels: bool = True,
) -> dict[str, Any]:
    """Count a data set and look for problems.

    Args:
        name: as for `load_dataset`; None to recognise it by its layout.
        root, trial, split_seed, camera_pattern, intensity_range, junk, sensor_cameras: as for
            `load_dataset`.
        pixels: also open every image, to find broken, tiny, nearly black and duplicate ones.

    Returns:
        Plain values: `name`, `title`, `root`, `notes`, `images`, `identities`, `parts` (part →
        images, identities, visible, infrared), `cameras` (list of camid, modality, images,
        identities), `searches` (list of text, and of part, direction, queries, matched, absent and
        ignored where it can be run; see `vireid.data.matches.Matches`), `sizes` (list of height,
        width, images; most frequent first) and
        `suspicious` (kind → {count, examples}): duplicates, one_modality, in_two_parts, tiny,
        broken, deep, turned, nearly_black, without_colour (visible ones), with_colour (infrared).

    Raises:
        InputError: the data set cannot be read at all.
    """
    if name is not None:
        facts = facts_of(name)
    elif root is not None:
        facts = recognise(root)
    else:
        raise InputError("Neither a data set nor its folder was given. Give the folder.")
    # not load_dataset: identities in two parts are to be reported here, not refused
    dataset = load_unchecked(
        facts,
        root,
        trial=trial,
        split_seed=split_seed,
        camera_pattern=camera_pattern,
        intensity_range=intensity_range,
        junk=junk,
        sensor_cameras=sensor_cameras,
    )
    suspicious = {"one_modality": _one_modality(dataset), "in_two_parts": _in_two_parts(dataset)}
    sizes: list[dict[str, int]] = []
    if pixels:
        sizes, problems = _look(dataset)
        suspicious |= problems
    return {
        "name": dataset.name,
        "title": dataset.facts.title,
        "root": str(dataset.root),
        "notes": [*_made(dataset), *dataset.notes],
        "images": len(dataset),
        "identities": len(np.unique(dataset.pids[dataset.pids >= 0])),
        "parts": {part: _count(dataset, rows) for part, rows in dataset.parts.items()},
        "cameras": _cameras(dataset),
        "searches": _searches(dataset),
        "sizes": sizes,
        "suspicious": {
            kind: {"count": len(items), "examples": items[:_EXAMPLES]}
            for kind, items in suspicious.items()
        },
    }


def tables(report: dict[str, Any]) -> list[Table]:
    """The report without its notes, as tables for `results.print`."""
    parts = table(
        f"{report['name']} in {report['root']}",
        ("part", "identities", "images", "visible", "infrared"),
        [
            (part, c["identities"], c["images"], c["visible"], c["infrared"])
            for part, c in report["parts"].items()
        ],
    )
    rows = [
        (
            "unknown" if c["camid"] < 0 else c["camid"],
            c["modality"],
            c["identities"],
            c["images"],
        )
        for c in report["cameras"][:_CAMERAS]
    ]
    if rest := report["cameras"][_CAMERAS:]:
        rows.append((f"and {len(rest)} more", "", "", sum(c["images"] for c in rest)))
    cameras = table("Cameras", ("camera", "modality", "identities", "images"), rows)
    sizes = table(
        "Sizes (the ten most frequent)",
        ("height x width", "images"),
        [(f"{s['height']} x {s['width']}", s["images"]) for s in report["sizes"][:10]],
    )
    titles = {
        "duplicates": "the same image more than once",
        "one_modality": "identities in one modality only",
        "in_two_parts": "identities in two parts",
        "tiny": f"smaller than {TINY_SIDE} pixels",
        "misshapen": "not shaped like one person, cut out",
        "broken": "broken",
        "deep": "more than 8 bits (set an intensity range)",
        "turned": "with an orientation tag",
        "nearly_black": "nearly black",
        "without_colour": "visible, with hardly any colour (infrared?)",
        "with_colour": "infrared, with colour (visible?)",
    }
    suspicious = table(
        "Suspicious",
        ("what", "count", "examples"),
        [
            (titles[kind], items["count"], ", ".join(items["examples"][:3]) or "-")
            for kind, items in report["suspicious"].items()
        ],
    )
    return [parts, cameras, *([sizes] if report["sizes"] else []), suspicious]


def _made(dataset: Dataset) -> list[str]:
    if dataset.synthetic is None:
        return []
    return [f"Synthetic people, made by `vireid synthesize` (seed {dataset.synthetic['seed']})."]


def _count(dataset: Dataset, rows: np.ndarray) -> dict[str, int]:
    modality = dataset.modality[rows]
    return {
        "images": len(rows),
        "identities": len(np.unique(dataset.pids[rows])),
        "visible": int(np.sum(modality == Modality.VISIBLE)),
        "infrared": int(np.sum(modality == Modality.INFRARED)),
    }


def _cameras(dataset: Dataset) -> list[dict[str, Any]]:
    pairs = sorted(set(zip(dataset.camids.tolist(), dataset.modality.tolist())))
    out = []
    for camid, modality in pairs:
        rows = (dataset.camids == camid) & (dataset.modality == modality)
        pids = dataset.pids[rows]
        out.append(
            {
                "camid": camid,
                "modality": Modality(modality).word,
                "images": int(rows.sum()),
                "identities": len(np.unique(pids[pids >= 0])),
            }
        )
    return out


def _searches(dataset: Dataset) -> list[dict[str, Any]]:
    """How many queries have a match, of each search that is usual."""
    return [
        {"text": str(one)} | ({} if isinstance(one, str) else to_plain(one))
        for one in matches_beforehand(dataset, ("test", "val"))
    ]


def _one_modality(dataset: Dataset) -> list[str]:
    known = dataset.pids >= 0
    sides = [set(dataset.pids[known & (dataset.modality == m)].tolist()) for m in Modality]
    return [
        f"{dataset.pid_names.get(pid, pid)} "
        f"({Modality.VISIBLE.word if pid in sides[0] else Modality.INFRARED.word})"
        for pid in sorted(sides[0] ^ sides[1])
    ]


def _in_two_parts(dataset: Dataset) -> list[str]:
    out = []
    for one, other in _LEAKS:
        both = np.intersect1d(dataset.pids[dataset.parts[one]], dataset.pids[dataset.parts[other]])
        out += [f"{dataset.pid_names.get(pid, pid)} ({one} and {other})" for pid in both.tolist()]
    return out


def _look(dataset: Dataset) -> tuple[list[dict[str, int]], dict[str, list[str]]]:
    """Open every image file: sizes, and those that look wrong."""
    in_file = {int(row) for file in dataset.pixel_files for row in file.rows}
    samples = [sample for row, sample in enumerate(dataset.samples) if row not in in_file]
    problems: dict[str, list[str]] = {
        kind: []
        for kind in ("duplicates", "tiny", "misshapen", "broken", "deep", "turned", "nearly_black",
                     "without_colour", "with_colour")
    }  # fmt: skip
    upright = dataset.decoding.orientation == "upright"
    done = "turned upright" if upright else "tag ignored, as published"
    sizes: dict[tuple[int, int], int] = defaultdict(int)
    same: dict[bytes, list[str]] = defaultdict(list)
    with ThreadPoolExecutor(usable_cores()) as pool, progress() as bar:
        task = bar.add_task("Looking at images", total=len(samples))
        results: Iterable = pool.map(
            lambda sample: _look_at(dataset.root / sample.path, dataset.decoding), samples
        )
        for sample, result in zip(samples, results):
            path = sample.path
            bar.advance(task)
            if isinstance(result, ImageError):
                kind = "deep" if result.kind == "deep" else "broken"
                problems[kind].append(f"{path} ({result.reason})")
                continue
            digest, size, mean, tag, colour = result
            same[digest].append(path)
            sizes[size] += 1
            if min(size) < TINY_SIDE:
                problems["tiny"].append(f"{path} ({size[0]}x{size[1]})")
            if not is_person_shaped(size[1], size[0]):
                problems["misshapen"].append(f"{path} ({size[0]}x{size[1]})")
            if mean < NEARLY_BLACK:
                problems["nearly_black"].append(path)
            elif colour != (sample.modality == Modality.VISIBLE):
                problems["with_colour" if colour else "without_colour"].append(path)
            if tag != 1:
                problems["turned"].append(f"{path} ({done})")
    problems["duplicates"] = [" = ".join(group) for group in same.values() if len(group) > 1]
    ordered = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))
    return [{"height": h, "width": w, "images": n} for (h, w), n in ordered], problems


def _look_at(
    path: Path, decoding: Decoding
) -> tuple[bytes, tuple[int, int], float, int, bool] | ImageError:
    """Hash of the pixels, (height, width), mean grey level, orientation tag and whether there is
    colour; or why the image cannot be read."""
    try:
        image = read_image(path, decoding)
    except ImageError as error:
        return error
    size = (image.height, image.width)
    salt = str(size).encode()[:16]
    digest = hashlib.blake2b(image.tobytes(), digest_size=16, salt=salt).digest()
    mean = float(np.asarray(image.convert("L")).mean())
    return digest, size, mean, image.info["orientation"], looks_coloured(image)

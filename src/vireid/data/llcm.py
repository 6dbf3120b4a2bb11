"""LLCM: `idx/train_{vis,nir}.txt`, `test_vis/camN/PID/*`, `test_nir/camN/PID/*`, `idx/test_id.txt`.

The camera's number is in the directory (`cam4`) or in the file name (`0001_c04_…`).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from vireid.console import count_text
from vireid.data.facts import DatasetFacts, Rule, Variant
from vireid.data.labels import identities_of
from vireid.data.listing import (
    ListedImage,
    check_exist,
    check_labels,
    folder_names,
    identity_folders,
    image_names,
    read_ids,
    read_list,
)
from vireid.types import InputError, Modality, Sample

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset

FILES = {Modality.VISIBLE: "vis", Modality.INFRARED: "nir"}
_CAMERA_FOLDER = re.compile(r"(?:^|/)cam0*(\d{1,4})(?=/)", re.IGNORECASE | re.ASCII)
_CAMERA_NAME = re.compile(r"(?:^|_)c(?:am)?0*(\d{1,4})(?=[_.])[^/]*$", re.IGNORECASE | re.ASCII)


def camera_of(path: str) -> int:
    """The camera's number from an image's path.

    Raises:
        InputError: neither a directory nor the file name has one.
    """
    match = _CAMERA_FOLDER.search(path) or _CAMERA_NAME.search(path.rsplit("/", 1)[-1])
    if match is None:
        raise InputError(
            f"The camera number is not in the path '{path}'. Expected a directory such as cam4 or "
            "a file name such as 0001_c04_000001.jpg."
        )
    return int(match.group(1))


def load(root: Path, **_: object) -> Dataset:
    """Read LLCM.

    Raises:
        InputError: a list is missing, damaged or names images that do not exist, or an image has
            no camera number.
    """
    from vireid.data.protocol import Dataset, make_parts, sorted_samples

    root = Path(root)
    if not (root / "idx").is_dir():
        raise InputError(
            f"'{root}' is not LLCM: it has no folder 'idx'. Expected idx/, test_vis/ and "
            "test_nir/; check `data_root`."
        )
    samples, train = _training(root)
    test = set(read_ids(root / "idx" / "test_id.txt", "list of test identities"))
    notes, unlisted, left = [], set(), []
    for modality, word in FILES.items():
        for camera in folder_names(root / f"test_{word}"):
            if not re.fullmatch(r"cam\d{1,4}", camera, re.IGNORECASE | re.ASCII):
                continue
            for pid, name in identity_folders(root / f"test_{word}" / camera):
                folder = f"test_{word}/{camera}/{name}"
                if pid not in test:
                    unlisted.add(pid)
                    left.append(f"{folder}/")
                    continue
                samples += [
                    Sample(
                        path=f"{folder}/{image}", pid=pid, camid=int(camera[3:]), modality=modality
                    )
                    for image in image_names(root / folder)
                ]
    if unlisted:
        notes.append(
            f"{count_text(len(unlisted), 'identity folder is', 'identity folders are')} not in "
            "idx/test_id.txt and left out."
        )
    ordered = sorted_samples(samples)
    parts, left_out = make_parts(
        ordered, {"train": train, "fit": train, "val": set(), "test": test}
    )
    return Dataset(
        facts=LLCM,
        root=root,
        samples=ordered,
        parts=parts,
        notes=(*notes, *left_out),
        left_out=tuple(left),
    )


def _training(root: Path) -> tuple[list[Sample], set[int]]:
    lists: dict[Modality, list[ListedImage]] = {}
    for modality, word in FILES.items():
        path = root / "idx" / f"train_{word}.txt"
        lists[modality] = read_list(path, f"training list '{word}'")
        check_exist(root, [image.path for image in lists[modality]], f"'{path}'")
    everything = [image for images in lists.values() for image in images]
    where = f"'{root / 'idx'}', training lists"
    check_labels(everything, where)
    pids = identities_of(everything, where)
    samples = [
        Sample(
            path=image.path, pid=pids[image.label], camid=camera_of(image.path), modality=modality
        )
        for modality, images in lists.items()
        for image in images
    ]
    return samples, set(pids.values())


def _is_layout(root: Path) -> bool:
    return (root / "idx" / "train_vis.txt").exists() or (root / "test_vis").is_dir()


LLCM = DatasetFacts(
    name="llcm",
    title="LLCM",
    load=load,
    layout="the lists in idx/, test_vis/camN/PID/* and test_nir/camN/PID/*",
    cameras=tuple(range(1, 10)),
    orientation="stored",  # as the published preprocessing reads it
    published_numbers=True,
    is_layout=_is_layout,
    rule=Rule(skip_same_camera=True, collapse_identities=True),
    every_direction=True,
    variants={
        "legacy-deen": Variant(
            direction="visible_to_infrared",
            swap=True,
            note="legacy-deen: query and gallery are swapped as in DEEN's public test script (a "
            "drawn set of infrared queries, all visible images as the gallery). This is another "
            "task than LLCM's visible to infrared; compare it with numbers of that script only.",
        )
    },
)

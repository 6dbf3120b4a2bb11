"""SYSU-MM01: `cam1..cam6/PID/NNNN.jpg` and `exp/{train,val,test}_id.txt`.

Cameras 1, 2, 4 and 5 are visible, 3 and 6 infrared. As published, training uses the training
and the validation identities.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vireid.console import count_text
from vireid.data.facts import DatasetFacts, Rule
from vireid.data.listing import identity_folders, image_names, read_ids
from vireid.types import InputError, Modality, Sample

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset

CAMERAS = {
    1: Modality.VISIBLE,
    2: Modality.VISIBLE,
    3: Modality.INFRARED,
    4: Modality.VISIBLE,
    5: Modality.VISIBLE,
    6: Modality.INFRARED,
}


def load(root: Path, **_: object) -> Dataset:
    """Read SYSU-MM01, or the published `.npy` files alone where there are no images.

    Where both are there, the `.npy` files give the pixels of the training images.

    Raises:
        InputError: no camera folder, a missing or damaged identity file, no image of a modality.
    """
    from vireid.data import published
    from vireid.data.protocol import Dataset, make_parts, sorted_samples

    root = Path(root)
    if not _has_cameras(root):
        if published.exist(root):
            return published.load(root, SYSU)
        raise InputError(
            f"'{root}' is not SYSU-MM01: it has none of the folders cam1 to cam6, nor the "
            "published training arrays train_rgb_resized_img.npy and so on. Check `data_root`."
        )
    train = read_ids(root / "exp" / "train_id.txt", "list of training identities")
    test = read_ids(root / "exp" / "test_id.txt", "list of test identities")
    notes = []
    val: list[int] = []
    val_file = root / "exp" / "val_id.txt"
    if val_file.is_file() and val_file.read_bytes().strip():
        val = read_ids(val_file, "list of validation identities")
    else:
        notes.append("exp/val_id.txt is absent or empty: there are no validation identities.")
    wanted = {*train, *val, *test}
    samples, unlisted, left = [], set(), []
    for camid, modality in CAMERAS.items():
        for pid, name in identity_folders(root / f"cam{camid}"):
            if pid not in wanted:
                unlisted.add(pid)
                left.append(f"cam{camid}/{name}/")
                continue
            samples += [
                Sample(path=f"cam{camid}/{name}/{image}", pid=pid, camid=camid, modality=modality)
                for image in image_names(root / f"cam{camid}" / name)
            ]
    if unlisted:
        notes.append(
            f"{count_text(len(unlisted), 'identity folder is', 'identity folders are')} in no "
            "list of exp/ and left out."
        )
    ordered = sorted_samples(samples)
    parts, left_out = make_parts(
        ordered,
        {"train": {*train, *val}, "fit": set(train), "val": set(val), "test": set(test)},
    )
    dataset = Dataset(
        facts=SYSU,
        root=root,
        samples=ordered,
        parts=parts,
        notes=(*notes, *left_out),
        left_out=tuple(left),
    )
    return published.attach(dataset) if published.exist(root) else dataset


def _has_cameras(root: Path) -> bool:
    return any((root / f"cam{camid}").is_dir() for camid in CAMERAS)


def _is_layout(root: Path) -> bool:
    from vireid.data import published

    return _has_cameras(root) or published.exist(root)


SYSU = DatasetFacts(
    name="sysu",
    title="SYSU-MM01",
    aliases=("sysu-mm01",),
    load=load,
    layout="cam1 to cam6/PID/*",
    cameras=tuple(CAMERAS),
    orientation="stored",  # as the published preprocessing reads it
    published_numbers=True,
    is_layout=_is_layout,
    # Camera 3 hangs beside camera 2.
    rule=Rule(skip_pairs=((3, 2),), collapse_identities=True),
    scopes={"all": None, "indoor": (1, 2, 3, 6)},
    shots=(1, 10),
    permutations="exp/rand_perm_cam.mat",
)

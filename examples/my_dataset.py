"""A data set of your own, without a fork: how its folder is read, and how it is searched.

    vireid info FOLDER --dataset examples/my_dataset.py:HALLWAY
    vireid train --dataset examples/my_dataset.py:HALLWAY --data-root FOLDER --method mcl
    vireid test --resume RUN

From Python, `vireid.data.register(HALLWAY)` makes it available as "hallway".

The folder: `cam1` and `cam2` (visible), `cam3` and `cam4` (infrared), in each a folder for a
person (0001, 0002, …) with images; `test.txt` with the numbers of the people to find.
"""

from pathlib import Path

from vireid.data import Dataset, DatasetFacts, Rule, make_parts, sorted_samples
from vireid.types import InputError, Modality, Sample

CAMERAS = {1: Modality.VISIBLE, 2: Modality.VISIBLE, 3: Modality.INFRARED, 4: Modality.INFRARED}


def is_layout(root: Path) -> bool:
    """Whether a folder is one of this data set; `vireid info FOLDER` asks it."""
    return (root / "test.txt").is_file() and (root / "cam4").is_dir()


def load(root: Path, **_: object) -> Dataset:
    """Every image with its person, camera and modality, and who is trained on and tested."""
    if not is_layout(root):
        raise InputError(f"'{root}' has no test.txt or no cam4. Give the folder that has both.")
    samples = sorted_samples(
        [
            Sample(
                path=image.relative_to(root).as_posix(),
                pid=int(image.parent.name),
                camid=camid,
                modality=modality,
            )
            for camid, modality in CAMERAS.items()
            for image in (root / f"cam{camid}").glob("*/*.png")
        ]
    )
    test = {int(word) for word in (root / "test.txt").read_text().split()}
    train = {sample.pid for sample in samples} - test
    parts, notes = make_parts(samples, {"train": train, "fit": train, "val": set(), "test": test})
    return Dataset(facts=HALLWAY, root=root, samples=samples, parts=parts, notes=tuple(notes))


HALLWAY = DatasetFacts(
    name="hallway",
    title="Hallway",
    load=load,
    is_layout=is_layout,
    rule=Rule(skip_pairs=((2, 3),)),  # cameras 2 and 3 hang side by side
    scopes={"all": None, "front": (1, 3, 4)},  # for `--mode`; the first is the default
    directions=("visible_to_infrared",),  # the other one is refused
)

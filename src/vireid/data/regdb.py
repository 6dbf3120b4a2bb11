"""RegDB: `Visible/PID/*.bmp`, `Thermal/PID/*.bmp` and `idx/{train,test}_{visible,thermal}_T.txt`.

Trial T (1 to 10) trains on one half of the identities and tests on the other, so ten trials
are ten models. All trials list the same images and share one pixel store.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vireid.data.facts import DatasetFacts, Rule
from vireid.data.labels import identities_of
from vireid.data.listing import check_exist, check_labels, read_list
from vireid.types import InputError, Modality, Sample

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset

FILES = {Modality.VISIBLE: "visible", Modality.INFRARED: "thermal"}


def load(root: Path, *, trial: int = 1, **_: object) -> Dataset:
    """Read one trial of RegDB. Cameras are numbered 1 (visible) and 2 (thermal).

    Raises:
        InputError: lists are missing, damaged, contradict each other or name images that do not
            exist.
    """
    from vireid.data.protocol import Dataset, make_parts, sorted_samples

    root = Path(root)
    if not (root / "idx").is_dir():
        raise InputError(
            f"'{root}' is not RegDB: it has no folder 'idx'. Expected Visible/, Thermal/ and idx/; "
            "check `data_root`."
        )
    samples: list[Sample] = []
    parts: dict[str, set[int]] = {}
    for part in ("train", "test"):
        lists, both = {}, []
        for modality, word in FILES.items():
            path = root / "idx" / f"{part}_{word}_{trial}.txt"
            lists[modality] = read_list(path, f"{part} list of trial {trial}")
            check_exist(root, [image.path for image in lists[modality]], f"'{path}'")
            both += lists[modality]
        where = f"'{root / 'idx'}', {part} lists of trial {trial}"
        check_labels(both, where)
        pids = identities_of(both, where)
        parts[part] = set(pids.values())
        samples += [
            Sample(path=image.path, pid=pids[image.label], camid=modality + 1, modality=modality)
            for modality, images in lists.items()
            for image in images
        ]
    ordered = sorted_samples(samples)
    train = parts["train"]
    rows, notes = make_parts(
        ordered, {"train": train, "fit": train, "val": set(), "test": parts["test"]}
    )
    return Dataset(
        facts=REGDB,
        root=root,
        samples=ordered,
        parts=rows,
        trial=trial,
        notes=tuple(notes),
    )


def _is_layout(root: Path) -> bool:
    return (root / "Thermal").is_dir() or any((root / "idx").glob("*_thermal_*.txt"))


REGDB = DatasetFacts(
    name="regdb",
    title="RegDB",
    load=load,
    layout="the lists in idx/",
    orientation="stored",  # as the published preprocessing reads it
    published_numbers=True,
    is_layout=_is_layout,
    rule=Rule(),
    whole_gallery=True,
    every_direction=True,
    splits=10,
)

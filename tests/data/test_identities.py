"""Who was trained on: kept, compared, and found again in other copies of the data."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import fakes
import numpy as np
import pytest

from vireid.data import Dataset, load_dataset, prepare, write_published_npy
from vireid.data.identities import TrainedOn, trained_on
from vireid.types import InputError, parse_pid


def restored(dataset: Dataset, part="train") -> TrainedOn:
    """As it comes out of a file."""
    plain = json.loads(json.dumps(TrainedOn.of(dataset, part).plain()))
    (found,) = trained_on({"identities": [plain]})
    assert found == TrainedOn.of(dataset, part)
    return found


def moved(dataset: Dataset, pids: list[int], part: str = "test") -> Dataset:
    """The data set with some identities in another part."""
    rows = np.flatnonzero(np.isin(dataset.pids, pids))
    return replace(dataset, parts={**dataset.parts, part: rows})


def test_labels_stand_for_identities_in_order(sysu_root: Path, folder_root: Path) -> None:
    found = restored(load_dataset("sysu", sysu_root))
    assert found.pids == (1, 2, 3, 4, 5, 6, 7, 8) and found.camids == (1, 2, 3, 4, 5, 6)
    assert restored(load_dataset("sysu", sysu_root), "fit").pids == (1, 2, 3, 4, 5, 6)
    own = restored(load_dataset("folder", folder_root))
    assert own.pids == tuple(sorted(map(parse_pid, own.names.values())))
    assert all(name.startswith("person") for name in own.names.values())
    assert trained_on({}) == []
    with pytest.raises(InputError, match="who was trained on"):
        trained_on({"identities": [{"pids": "all"}]})


def test_a_number_that_is_a_name_keeps_its_digits(tmp_path: Path) -> None:
    names = ["12345678901234567890", "00012345678901234567891", "7", "ann"]
    for number, name in enumerate(names):
        for kind in ("visible", "infrared"):
            fakes.save(tmp_path / kind / name / "a.png", number, False, number, (32, 16))
    dataset = load_dataset("folder", tmp_path)
    everybody = replace(dataset, parts={**dataset.parts, "train": np.arange(len(dataset))})
    found = restored(everybody)
    assert {found.name_of(pid) for pid in found.pids} == set(names)
    fewer = replace(dataset, parts={**dataset.parts, "train": np.flatnonzero(dataset.pids == 7)})
    changes = found.change_to(TrainedOn.of(fewer, "train"))
    assert all(name in changes for name in names if name != "7")


def test_changes_are_named(sysu_root: Path) -> None:
    whole = load_dataset("sysu", sysu_root)
    before = TrainedOn.of(whole, "train")
    assert before.change_to(before) == ""
    other = TrainedOn.of(moved(whole, [2, 3, 4, 5, 6, 7, 8, 9], "train"), "train")
    assert before.change_to(other) == "1 identity left: 1; 1 identity came: 9"
    assert before.pids_hash != other.pids_hash and before.data_hash != other.data_hash
    fewer = replace(before, camids=(1, 2, 3))
    assert before.change_to(fewer) == "the cameras were 1, 2, 3, 4, 5, 6 and are 1, 2, 3"
    back = replace(before, pids=before.pids[::-1])
    assert before.change_to(back) == "their order is another"


def test_published_numbers_are_the_same_people_in_every_copy(
    tmp_path: Path, sysu_root: Path
) -> None:
    before = restored(load_dataset("sysu", sysu_root))
    copy = load_dataset("sysu", fakes.make_sysu(tmp_path / "b", images=1, size=(20, 10)))
    assert before.seen_in(copy, "test") == []
    assert before.seen_in(moved(copy, [1, 9]), "test") == [1]
    for made in ({"seed": 3}, {"seed": 4}):  # other people, with the same numbers
        synthetic = moved(copy, [1, 9])
        synthetic.__dict__["synthetic"] = made
        assert before.seen_in(synthetic, "test") == []
        assert replace(before, synthetic={"seed": 3}).seen_in(synthetic, "test") == (
            [1] if made == {"seed": 3} else []
        )


def test_own_data_are_known_again_by_their_images(tmp_path: Path, folder_root: Path) -> None:
    dataset = load_dataset("folder", folder_root)
    before = restored(dataset)
    people = list(before.pids[:2])
    assert before.seen_in(moved(dataset, people), "test") == people

    shutil.copytree(folder_root, tmp_path / "copy", ignore=shutil.ignore_patterns(".vireid"))
    copied = load_dataset("folder", tmp_path / "copy")
    assert before.seen_in(moved(copied, people), "test") == people

    # another layout, other file names: the same images of the same people
    rows = []
    for number, sample in enumerate(dataset.samples):
        (tmp_path / "table").mkdir(exist_ok=True)
        shutil.copy(folder_root / sample.path, tmp_path / "table" / f"{number}.png")
        split = "test" if sample.pid in people else "train"
        name = dataset.pid_names[sample.pid]
        rows.append((f"{number}.png", name, sample.modality.word, split))
    with (tmp_path / "table" / "samples.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "pid", "modality", "split"), *rows])
    assert before.seen_in(load_dataset("folder", tmp_path / "table"), "test") == people

    # another site, whose people have the same names and whose files have the same paths
    site = tmp_path / "site"
    for sample in dataset.samples:
        fakes.save(site / sample.path, 50, sample.modality == 1, len(sample.path), (32, 16))
    assert before.seen_in(moved(load_dataset("folder", site), people), "test") == []


def test_labels_of_arrays_alone_are_nobodys_numbers(tmp_path: Path, sysu_root: Path) -> None:
    dataset = load_dataset("sysu", sysu_root)
    write_published_npy(dataset, prepare(dataset, size=(8, 4)), tmp_path)
    before = restored(load_dataset("sysu", tmp_path))
    assert before.pids == tuple(range(8)) and not before.witnesses
    assert before.seen_in(moved(dataset, [1, 2]), "test") == []

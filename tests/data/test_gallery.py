"""Galleries and queries: equal to the published draws, with the true counts."""

from __future__ import annotations

import csv
import json
import random
import shutil
from pathlib import Path

import fakes
import numpy as np
import pytest

from vireid.data import ProtocolOptions, load_dataset, trials
from vireid.types import InputError, Modality


@pytest.fixture(scope="module")
def golden(golden_folder: Path) -> dict:
    return json.loads((golden_folder / "galleries.json").read_text())


@pytest.fixture(scope="module")
def counts(golden_folder: Path) -> dict[tuple[int, int], int]:
    """(pid, camid) → number of images of SYSU-MM01's test identities."""
    with (golden_folder / "sysu_test_counts.csv").open() as file:
        return {
            (int(row["pid"]), camid): int(row[f"cam{camid}"])
            for row in csv.DictReader(file)
            for camid in range(1, 7)
        }


@pytest.fixture(scope="module")
def true_counts_root(tmp_path_factory, counts) -> Path:
    """A tree with SYSU-MM01's true number of test images, of one pixel each."""
    tree = {f"cam{camid}/{pid:04d}": n for (pid, camid), n in counts.items() if n}
    root = tmp_path_factory.mktemp("true-counts")
    return fakes.make_sysu_tree(root, tree, sorted({pid for pid, _ in counts}))


def paths(dataset, rows) -> list[str]:
    return [dataset.samples[row].path for row in rows]


def test_seeded_sysu_galleries_equal_the_published_code(golden, tmp_path):
    sysu = golden["sysu"]
    dataset = load_dataset("sysu", fakes.make_sysu_tree(tmp_path, sysu["tree"], sysu["test_ids"]))
    for scope in ("all", "indoor"):
        found = trials(dataset, ProtocolOptions(scope=scope))
        assert [trial.number for trial in found] == list(range(10))
        for trial in found:
            assert paths(dataset, trial.gallery) == sysu[scope][str(trial.number)]


def test_seeded_llcm_galleries_equal_the_published_code(golden, tmp_path):
    llcm = golden["llcm"]

    def name(folder: str, k: int) -> str:
        camera, pid = int(folder.split("/")[1][3:]), int(folder[-4:])
        return f"{pid:04d}_c{camera:02d}_{k:06d}.jpg"

    fakes.fill_tree(tmp_path, llcm["tree"], name)
    fakes.fill_tree(tmp_path, {"vis/0900": 1, "nir/0900": 1}, lambda *_: "0900_c01_1.jpg")
    fakes.write_ids(tmp_path / "idx" / "test_id.txt", llcm["test_ids"])
    for kind in ("vis", "nir"):
        lines = f"{kind}/0900/0900_c01_1.jpg 0\n"
        (tmp_path / "idx" / f"train_{kind}.txt").write_text(lines)
    dataset = load_dataset("llcm", tmp_path)
    for key, direction in (
        ("visible", "infrared_to_visible"),
        ("infrared", "visible_to_infrared"),
    ):
        for trial in trials(dataset, ProtocolOptions(direction=direction)):
            assert paths(dataset, trial.gallery) == llcm[key][str(trial.number)]


def test_true_counts_give_the_published_numbers(true_counts_root):
    dataset = load_dataset("sysu", true_counts_root)
    for scope, gallery, multi in (("all", 301, 3010), ("indoor", 112, 1120)):
        for trial in trials(dataset, ProtocolOptions(scope=scope)):
            assert (len(trial.query), len(trial.gallery)) == (3803, gallery)
        for trial in trials(dataset, ProtocolOptions(scope=scope, shots=10)):
            assert len(trial.gallery) == multi
            assert len(set(trial.gallery.tolist())) == len(trial.gallery)


def test_official_draw_from_a_generated_file(true_counts_root, counts, tmp_path):
    root = tmp_path / "sysu"
    shutil.copytree(true_counts_root, root, copy_function=shutil.os.link)
    fakes.write_permutations(root / "exp" / "rand_perm_cam.mat", counts, seed=3)
    dataset = load_dataset("sysu", root)
    check_official_counts(dataset)
    permuted = fakes.permutations(counts, seed=3)
    for trial in trials(dataset, ProtocolOptions(draw="official", scope="indoor")):
        expected = [
            f"cam{camid}/{pid:04d}/{permuted[pid, camid][trial.number][0]:04d}.jpg"
            for (pid, camid), n in sorted(counts.items())
            if camid in (1, 2) and n
        ]
        assert paths(dataset, trial.gallery) == expected


def test_official_draw_from_the_true_file(true_counts_root, sysu_official, tmp_path):
    root = tmp_path / "sysu"
    shutil.copytree(true_counts_root, root, copy_function=shutil.os.link)
    shutil.copy(sysu_official / "rand_perm_cam.mat", root / "exp")
    check_official_counts(load_dataset("sysu", root))


def check_official_counts(dataset) -> None:
    for scope, single, multi in (("all", 301, 3010), ("indoor", 112, 1120)):
        for shots, gallery in ((1, single), (10, multi)):
            options = ProtocolOptions(draw="official", scope=scope, shots=shots)
            for trial in trials(dataset, options):
                assert len(trial.query) == 3803
                assert len(trial.gallery) == gallery


def test_multi_shot_takes_all_of_few_images(sysu_root):
    dataset = load_dataset("sysu", sysu_root)  # two images in each camera
    trial = trials(dataset, ProtocolOptions(shots=10))[0]
    assert len(trial.gallery) == 4 * 4 * 2


def test_the_other_direction_and_the_validation_part(sysu_root):
    dataset = load_dataset("sysu", sysu_root)
    options = ProtocolOptions(direction="visible_to_infrared", scope="indoor", part="val")
    trial = trials(dataset, options)[0]
    assert set(dataset.camids[trial.query]) == {1, 2}
    assert set(dataset.camids[trial.gallery]) == {3, 6}
    assert set(dataset.pids[trial.query]) == {7, 8}


def test_regdb_trials_search_everything(regdb_root):
    for number in range(1, 11):
        dataset = load_dataset("regdb", regdb_root, trial=number)
        listed = (regdb_root / "idx" / f"test_visible_{number}.txt").read_text().split()[::2]
        for direction in ("infrared_to_visible", "visible_to_infrared"):
            (trial,) = trials(dataset, ProtocolOptions(direction=direction))
            sides = (trial.query, trial.gallery)
            visible = sides[direction == "infrared_to_visible"]
            assert trial.number == number
            assert sorted(paths(dataset, visible)) == sorted(listed)
            assert {len(side) for side in sides} == {12}


def llcm_reference(root: Path, query: str, gallery: str, seed: int) -> tuple[list, list]:
    """Queries and gallery of LLCM straight from the folders, one file after the other."""
    ids = [int(x) for x in (root / "idx" / "test_id.txt").read_text().strip().split(",")]
    random.seed(seed)
    sides = []
    for kind, drawn in ((query, False), (gallery, True)):
        side = []
        for pid in sorted(ids):
            for camid in range(1, 10):
                folder = root / f"test_{kind}" / f"cam{camid}" / f"{pid:04d}"
                if folder.is_dir():
                    files = sorted(str(f.relative_to(root)) for f in folder.iterdir())
                    side += [random.choice(files)] if drawn else files
        sides.append(side)
    return sides[0], sides[1]


@pytest.mark.parametrize("direction", ["infrared_to_visible", "visible_to_infrared"])
def test_llcm_against_a_plain_reference(llcm_root, direction):
    dataset = load_dataset("llcm", llcm_root)
    kinds = ("nir", "vis") if direction == "infrared_to_visible" else ("vis", "nir")
    for trial in trials(dataset, ProtocolOptions(direction=direction)):
        query, gallery = llcm_reference(llcm_root, *kinds, trial.number)
        assert paths(dataset, trial.query) == query
        assert paths(dataset, trial.gallery) == gallery


def test_legacy_deen_swaps_one_direction_only(llcm_root):
    dataset = load_dataset("llcm", llcm_root)
    for direction, swapped in (("infrared_to_visible", False), ("visible_to_infrared", True)):
        plain = trials(dataset, ProtocolOptions(direction=direction))
        legacy = trials(dataset, ProtocolOptions(direction=direction, variant="legacy-deen"))
        for one, other in zip(plain, legacy):
            sides = (one.gallery, one.query) if swapped else (one.query, one.gallery)
            assert np.array_equal(other.query, sides[0])
            assert np.array_equal(other.gallery, sides[1])


def test_folder_draws_one_per_camera_only_where_cameras_are_known(folder_root):
    dataset = load_dataset("folder", folder_root, camera_pattern=r"c(\d+)_")
    found = trials(dataset, ProtocolOptions())
    assert len(found) == 10
    assert len(found[0].gallery) == 4  # two identities in two cameras
    blind = load_dataset("folder", folder_root)
    (trial,) = trials(blind, ProtocolOptions())
    assert len(trial.gallery) == 8
    assert set(blind.modality[trial.query]) == {Modality.INFRARED}


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("regdb", {"shots": 10}, "shots"),
        ("llcm", {"scope": "indoor"}, "scope"),
        ("folder", {"draw": "official"}, "draw"),
        ("sysu", {"variant": "legacy-deen"}, "variant"),
        ("sysu", {"shots": 2}, "expected one of 1, 10"),
        ("sysu", {"scope": "outdoor"}, "expected one of all, indoor"),
        ("sysu", {"draw": "official", "num_trials": 11}, "10 draws"),
        ("sysu", {"draw": "official"}, "rand_perm_cam.mat"),
        ("regdb", {"part": "val"}, "no infrared image"),
    ],
)
def test_protocols_that_do_not_exist(request, name, options, message):
    dataset = load_dataset(name, request.getfixturevalue(f"{name}_root"))
    with pytest.raises(InputError, match=message):
        trials(dataset, ProtocolOptions(**options))


@pytest.mark.parametrize(
    "options",
    [
        {"part": "train"},
        {"draw": "x"},
        {"num_trials": 0},
        {"direction": "up"},
    ],
)
def test_protocol_options_check_themselves(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ProtocolOptions(**options)


def test_permutation_files_that_do_not_fit(tmp_path):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2, images=3)
    dataset = load_dataset("sysu", root)
    mat = root / "exp" / "rand_perm_cam.mat"
    official = ProtocolOptions(draw="official")

    mat.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512))
    with pytest.raises(InputError, match=r"version 7\.3"):
        trials(dataset, official)
    mat.write_bytes(b"not a mat file at all" * 20)
    with pytest.raises(InputError, match="not a readable MATLAB file"):
        trials(dataset, official)
    from scipy.io import savemat

    savemat(mat, {"other": np.eye(2)})
    with pytest.raises(InputError, match="it holds: 'other'"):
        trials(dataset, official)
    fakes.write_permutations(mat, {(4, camid): 2 for camid in range(1, 7)})
    with pytest.raises(InputError, match="permutes 0 images of identity 3 in camera 1"):
        trials(dataset, official)
    fakes.write_permutations(mat, {(pid, c): 3 for pid in (3,) for c in range(1, 7)})
    with pytest.raises(InputError, match="no draw 0 for identity 4"):
        trials(dataset, official)
    fakes.write_permutations(mat, {(pid, c): 3 for pid in (3, 4) for c in range(1, 7)})
    assert len(trials(dataset, official)[9].gallery) == 8

"""Queries with a match: counted before anything is trained, and as scoring counts them."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import fakes
import numpy as np
import pytest

from vireid.data import Dataset, ProtocolOptions, load_dataset, trials
from vireid.data.inspect import inspect
from vireid.data.matches import count_matches
from vireid.evaluation import score
from vireid.types import InputError


def write_table(root: Path, rows: list[dict[str, object]]) -> Path:
    """`samples.csv` with an image of its own for each row."""
    for number, row in enumerate(rows):
        row["path"] = f"{number:03d}.png"
        pid = int(str(row["pid"])) if str(row["pid"]).isdigit() else 99
        fakes.save(root / str(row["path"]), pid, row["modality"] == "infrared", number, (32, 16))
    with (root / "samples.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return root


def one_camera(root: Path, camera: int = 1, people: int = 6, **more: object) -> Path:
    """Images of a camera with two sensors and one number."""
    return write_table(
        root,
        [
            {"pid": pid, "modality": modality, "camid": camera, **more}
            for pid in range(1, people + 1)
            for modality in ("visible", "infrared")
        ],
    )


def check_against_scores(dataset: Dataset, options: ProtocolOptions) -> None:
    found = count_matches(dataset, options)
    assert found.matched + found.absent + sum(found.ignored.values()) == found.queries
    for trial in trials(dataset, options):
        labels = [column[rows] for column in (dataset.pids, dataset.camids)
                  for rows in (trial.query, trial.gallery)]  # fmt: skip
        similarity = np.zeros((len(trial.query), len(trial.gallery)), np.float32)
        if not found.matched:
            with pytest.raises(InputError, match="has a matching image"):
                score(similarity, *labels, rule=dataset.rule)
            continue
        scores = score(similarity, *labels, rule=dataset.rule)
        assert (scores.num_queries, scores.num_without_match) == (
            found.matched, found.queries - found.matched
        )  # fmt: skip


@pytest.mark.parametrize("name", ["sysu", "llcm", "regdb"])
def test_counts_are_those_of_scoring(name: str, tmp_path: Path) -> None:
    """Also of a copy in which some cameras of some people are absent."""
    make = {"sysu": fakes.make_sysu, "llcm": fakes.make_llcm, "regdb": fakes.make_regdb}[name]
    root = make(tmp_path / name, images=1)
    if name == "sysu":
        for camid in (1, 4, 5):  # camera 3 skips camera 2, so that only camera 6 finds person 9
            shutil.rmtree(root / f"cam{camid}" / "0009")
        for camid in (1, 2, 4, 5):
            shutil.rmtree(root / f"cam{camid}" / "0010")
    if name == "llcm":
        for folder in root.glob("test_vis/cam[235689]"):
            shutil.rmtree(folder)
    dataset = load_dataset(name, root)
    for direction in dataset.facts.directions:
        check_against_scores(dataset, ProtocolOptions(direction=direction, num_trials=2))
    for variant in dataset.facts.variants:
        check_against_scores(
            dataset, ProtocolOptions(direction="visible_to_infrared", variant=variant)
        )
    if name == "sysu":
        text = str(count_matches(dataset, ProtocolOptions()))
        assert text.startswith("5 of 8 queries have a match (test, infrared to visible).")
        assert "makes queries of camera 3 ignore camera 2 (1)" in text
        assert "the gallery has no image of their identity (2)" in text


@pytest.mark.parametrize("camera", [0, 1, 7])
def test_one_number_for_both_sensors(camera: int, tmp_path: Path) -> None:
    root = one_camera(tmp_path, camera)
    found = count_matches(load_dataset("folder", root), ProtocolOptions())
    assert (found.queries, found.matched, found.both_sensors) == (2, 0, (camera,))
    assert "ignores images of the query's own identity and camera (2)" in str(found)
    assert "set `sensor_cameras`" in str(found)
    check_against_scores(load_dataset("folder", root), ProtocolOptions())
    (search, *_) = inspect(None, root)["searches"]
    assert (search["text"], search["matched"]) == (str(found), 0)

    apart = load_dataset("folder", root, sensor_cameras=True)
    assert set(apart.camids.tolist()) == {camera, camera + 1}
    found = count_matches(apart, ProtocolOptions())
    assert str(found) == "All 2 queries have a match (test, infrared to visible)."
    check_against_scores(apart, ProtocolOptions())
    assert "is counted as camera N + 1" in "".join(apart.notes)


def test_cameras_that_are_apart_stay_as_they_are(folder_root: Path, sysu_root: Path) -> None:
    plain = load_dataset("folder", folder_root, camera_pattern=r"c(\d+)_")
    apart = load_dataset("folder", folder_root, camera_pattern=r"c(\d+)_", sensor_cameras=True)
    assert np.array_equal(plain.camids, apart.camids) and "changes nothing" in "".join(apart.notes)
    with pytest.raises(InputError, match="have no camera numbers"):
        load_dataset("folder", folder_root, sensor_cameras=True)
    for option in ({"sensor_cameras": True}, {"junk": ("0",)}):
        with pytest.raises(InputError, match="it is for folders of your own images"):
            load_dataset("sysu", sysu_root, **option)


def test_queries_whose_identity_is_not_in_the_gallery(tmp_path: Path) -> None:
    rows = [
        {"pid": pid, "modality": modality, "camid": camid, "split": "train" if pid < 3 else "test",
         "role": "" if pid < 3 else "query" if camid == 2 else "gallery" if pid < 5 else ""}
        for pid in range(1, 7)
        for camid, modality in ((1, "visible"), (2, "infrared"))
    ]  # fmt: skip
    dataset = load_dataset("folder", write_table(tmp_path, rows))
    found = count_matches(dataset, ProtocolOptions())
    assert (found.queries, found.matched, found.absent, found.ignored) == (4, 2, 2, {})
    check_against_scores(dataset, ProtocolOptions())


JUNK = [("-1", ()), ("0000", ("0000",)), ("background", ("background",)), ("0", ("0000", "-1"))]


@pytest.mark.parametrize(("word", "junk"), JUNK)
@pytest.mark.parametrize("layout", ["table", "folders"])
def test_nobody_is_never_trained_on_and_never_a_match(
    layout: str, word: str, junk: tuple[str, ...], tmp_path: Path
) -> None:
    words = ["1", "2", "3", "4", "5", word]
    if layout == "table":
        rows = [
            {"pid": pid, "modality": modality, "camid": camid}
            for pid in words
            for camid, modality in ((1, "visible"), (2, "infrared"))
        ]
        root = write_table(tmp_path, rows)
    else:
        root = tmp_path
        for number, pid in enumerate(words):
            for kind in ("visible", "infrared"):
                fakes.save(root / kind / pid / "a.png", number, kind == "infrared", 0, (32, 16))
    dataset = load_dataset("folder", root, junk=junk)
    assert set(dataset.pids.tolist()) == {1, 2, 3, 4, 5}
    assert sum("2 images of nobody" in note for note in dataset.notes) == 1
    assert word in next(note for note in dataset.notes if "of nobody" in note)
    # who is divided is divided as if nobody were not there
    assert len(set(dataset.pids[dataset.parts["test"]].tolist())) == 2
    if junk:
        assert len(set(load_dataset("folder", root).pids.tolist())) == 6


def test_a_misspelled_junk_identity_is_said(folder_root: Path) -> None:
    notes = load_dataset("folder", folder_root, junk=("0000",)).notes
    assert "No image shows an identity named by `junk`: [0]." in notes


def test_loaders_of_ones_own_have_junk_too(tmp_path: Path) -> None:
    """Whoever makes a `Dataset`: nobody is in no part."""
    from dataclasses import replace

    whole = load_dataset("folder", one_camera(tmp_path))
    nobody = 3
    samples = tuple(replace(s, pid=-1) if s.pid == nobody else s for s in whole.samples)
    everyone = {name: np.arange(len(samples)) for name in whole.parts}
    dataset = Dataset(facts=whole.facts, root=whole.root, samples=samples, parts=everyone)
    for rows in dataset.parts.values():
        assert len(rows) == len(samples) - 2 and -1 not in dataset.pids[rows]


@pytest.mark.parametrize("rule", ["sysu", "regdb", "llcm"])
def test_scores_of_nobody(rule: str) -> None:
    """-1 is no match of -1; each such image is another person in the way."""
    similarity = np.array([[0.9, 0.8, 0.7, 0.1], [0.9, 0.2, 0.3, 0.4]], np.float32)
    scores = score(similarity, [5, -1], [-1, -1, 5, -1], [3, 3], [1, 1, 1, 1], rule=rule)
    assert (scores.num_queries, scores.num_without_match) == (1, 1)
    assert scores.first.tolist() == [3, 0] and scores.matches.tolist() == [1, 0]
    with pytest.raises(InputError, match="has a matching image"):
        score(similarity, [-1, -1], [-1, -1, -1, -1], [3, 3], [1, 1, 1, 1], rule=rule)


def test_data_without_anybody_to_test_on_say_so(tmp_path: Path) -> None:
    (search,) = inspect("folder", one_camera(tmp_path, split="train"), pixels=False)["searches"]
    assert search["text"].endswith("has no identity to test on.")

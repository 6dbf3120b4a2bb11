"""Each data set in its true layout, and every wrong input with its sentence."""

from __future__ import annotations

from pathlib import Path

import fakes
import numpy as np
import pytest

from vireid.data import ProtocolOptions, Rule, facts_of, load_dataset, training_rows, trials
from vireid.data.registry import DATASETS
from vireid.types import InputError, Modality


def refuse(message: str, name: str, root: Path | None, **options) -> str:
    """Loading must fail with a sentence that holds `message`."""
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(name, root, **options)
    return str(caught.value)


# ---- where the data are


def test_the_root_comes_from_the_argument_or_the_environment(sysu_root, tmp_path, monkeypatch):
    refuse("VIREID_DATA", "sysu", None)
    (tmp_path / "sysu").symlink_to(sysu_root)
    monkeypatch.setenv("VIREID_DATA", str(tmp_path))
    assert len(load_dataset("SYSU-MM01", None)) == 144
    refuse("does not exist", "regdb", None)
    refuse("no data set 'sisu'.*Did you mean 'sysu'", "sisu", sysu_root)


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_is_no_data_set(name, tmp_path):
    refuse("Expected|none of the folders", name, tmp_path)


# ---- SYSU-MM01


def test_sysu_parts(sysu_root):
    dataset = load_dataset("sysu", sysu_root)
    pids = {name: set(dataset.pids[rows]) for name, rows in dataset.parts.items()}
    assert pids["fit"] == {1, 2, 3, 4, 5, 6}
    assert pids["val"] == {7, 8}
    assert pids["train"] == pids["fit"] | pids["val"]
    assert pids["test"] == {9, 10, 11, 12}
    assert [s.path for s in dataset.samples] == sorted(s.path for s in dataset.samples)
    assert all((sysu_root / s.path).is_file() for s in dataset.samples)
    for sample in dataset.samples:
        assert sample.modality == (sample.camid in (3, 6))
    rows = training_rows(dataset, "fit")
    assert set(rows.pid_label) == set(range(6)) and set(rows.camera_label) == set(range(6))
    assert np.array_equal(rows.pids[rows.pid_label], dataset.pids[rows.rows])


def test_what_every_copied_disk_has_is_normal_life(tmp_path):
    root = fakes.make_sysu(tmp_path)
    before = [s.path for s in load_dataset("sysu", root).samples]
    for junk in (
        "cam1/.DS_Store",
        "cam1/0001/Thumbs.db",
        "cam1/0001/._0001.jpg",
        "cam2/notes.txt",
        "cam2/0001/.hidden.jpg",
    ):
        (root / junk).write_bytes(b"x")
    (root / "cam4" / "tmp").mkdir()
    assert [s.path for s in load_dataset("sysu", root).samples] == before
    (root / "cam1" / "0001" / "0001.jpg").rename(root / "cam1" / "0001" / "0001.JPG")
    assert "cam1/0001/0001.JPG" in [s.path for s in load_dataset("sysu", root).samples]


def remove(root: Path, *folders: str) -> None:
    for folder in folders:
        for file in (root / folder).iterdir():
            file.unlink()
        (root / folder).rmdir()


def test_one_modality_is_left_out_of_training_and_stays_a_distractor(tmp_path):
    root = fakes.make_sysu(tmp_path)
    remove(root, "cam3/0001", "cam6/0001", "cam3/0009", "cam6/0009")
    dataset = load_dataset("sysu", root)
    assert 1 not in dataset.pids[dataset.parts["train"]]
    assert any("one modality only" in note and "1." in note for note in dataset.notes)
    trial = trials(dataset, ProtocolOptions())[0]
    assert 9 in dataset.pids[trial.gallery] and 9 not in dataset.pids[trial.query]


def test_absent_cameras_and_unlisted_identities(tmp_path):
    root = fakes.make_sysu(tmp_path)
    for folder in list((root / "cam5").iterdir()):
        remove(root, f"cam5/{folder.name}")
    (root / "cam5").rmdir()
    fakes.save(root / "cam1" / "0400" / "0001.jpg", 400, False, 0)
    dataset = load_dataset("sysu", root)
    assert set(dataset.camids) == {1, 2, 3, 4, 6}
    assert any("1 identity folder is in no list" in note for note in dataset.notes)


def test_no_image_of_one_modality(tmp_path):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2)
    for pid in range(1, 5):
        remove(root, f"cam3/{pid:04d}", f"cam6/{pid:04d}")
    refuse("no infrared image", "sysu", root)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1,2,x3", "entry 'x3'"),
        ("", "is empty"),
        ("1,2,2", "identity 2 twice"),
        ("-4", "'-4'"),
        ("1;2", "'1;2'"),
        ("9" * 30, "entry"),
        ("٣", "entry"),
    ],
)
def test_damaged_identity_files(tmp_path, text, message):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2)
    (root / "exp" / "test_id.txt").write_text(text)
    assert "test_id.txt" in refuse(message, "sysu", root)


def test_identity_files_missing_overlapping_or_in_lines(tmp_path):
    root = fakes.make_sysu(tmp_path, train=2, val=0, test=2)
    (root / "exp" / "test_id.txt").write_text("2,3")
    refuse("both 'train' and 'test'.*: 2", "sysu", root)
    (root / "exp" / "test_id.txt").write_text("3,\r\n4\r\n")
    assert len(load_dataset("sysu", root).parts["test"]) == 24
    (root / "exp" / "test_id.txt").write_bytes(b"\xff\xfe1")
    refuse("not UTF-8", "sysu", root)
    (root / "exp" / "train_id.txt").unlink()
    refuse("train_id.txt' does not exist", "sysu", root)


def test_nothing_to_train_on(tmp_path):
    root = fakes.make_sysu(tmp_path, train=1, val=0, test=2)
    remove(root, "cam3/0001", "cam6/0001")
    with pytest.raises(InputError, match="no identity to train on"):
        training_rows(load_dataset("sysu", root))


# ---- RegDB


def test_regdb_trials_split_the_same_images_differently(regdb_root):
    first, third = (load_dataset("regdb", regdb_root, trial=trial) for trial in (1, 3))
    assert first.samples == third.samples
    assert not np.array_equal(first.parts["test"], third.parts["test"])
    for dataset in (first, third):
        train, test = (set(dataset.pids[dataset.parts[p]]) for p in ("train", "test"))
        assert train | test == set(range(1, 9)) and not train & test
    assert set(first.camids[first.modality == Modality.INFRARED]) == {2}
    refuse("splits 1 to 10", "regdb", regdb_root, trial=11)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lines: lines[3:], "0 is missing|1 is missing"),
        (lambda lines: [*lines, lines[0]], "lists 'Visible/.*' again"),
        (lambda lines: [lines[0].replace("/", "\\"), *lines[1:]], "backslash"),
        (lambda lines: ["../other/1.bmp 0", *lines], "leads out of the data root"),
        (lambda lines: ["/etc/passwd 0", *lines], "leads out of the data root"),
        (lambda lines: ["C:/x.bmp 0", *lines], "leads out of the data root"),
        (lambda lines: [lines[0].split()[0], *lines[1:]], "Expected a path and a label"),
        (lambda lines: [lines[0] + "x", *lines[1:]], "Expected a path and a label"),
        (lambda lines: [], "is empty"),
        (lambda lines: [*lines, "Visible/77/gone.bmp 3"], "1 of 13 listed images do not exist"),
        (
            lambda lines: [*lines[:-1], lines[-1][:-1] + "0"],
            "stands for the folders|has the labels",
        ),
    ],
)
def test_damaged_regdb_lists(tmp_path, change, message):
    root = fakes.make_regdb(tmp_path, trials=1)
    for word in ("visible", "thermal"):
        path = root / "idx" / f"train_{word}_1.txt"
        lines = path.read_text().splitlines()
        if word == "visible" or message.startswith("0 is"):
            path.write_text("\n".join(change(lines)))
    refuse(message, "regdb", root)


def test_regdb_lists_that_contradict_each_other(tmp_path):
    root = fakes.make_regdb(tmp_path, trials=1)
    train = root / "idx" / "train_visible_1.txt"
    (root / "idx" / "train_thermal_1.txt").write_text(train.read_text())
    refuse("in two lists", "regdb", root)
    root = fakes.make_regdb(tmp_path / "b", trials=1)
    for word in ("visible", "thermal"):
        text = (root / "idx" / f"train_{word}_1.txt").read_text()
        (root / "idx" / f"test_{word}_1.txt").write_text(text)
    refuse("in two lists", "regdb", root)
    (root / "idx" / "test_thermal_1.txt").unlink()
    refuse("test_thermal_1.txt' does not exist", "regdb", root)


def test_regdb_identity_in_one_modality(tmp_path):
    root = fakes.make_regdb(tmp_path, trials=1)
    path = root / "idx" / "train_thermal_1.txt"
    lines = [line for line in path.read_text().splitlines() if not line.endswith(" 3")]
    path.write_text("\n".join(lines))
    dataset = load_dataset("regdb", root)
    assert len(np.unique(dataset.pids[dataset.parts["train"]])) == 3
    assert any("one modality only" in note for note in dataset.notes)


# ---- LLCM


def test_llcm_parts_and_cameras(llcm_root):
    dataset = load_dataset("llcm", llcm_root)
    assert set(dataset.pids[dataset.parts["train"]]) == {1, 2, 3, 4}
    assert set(dataset.pids[dataset.parts["test"]]) == {5, 6, 7, 8}
    for sample in dataset.samples:
        assert f"_c{sample.camid:02d}_" in sample.path
        assert sample.modality == ("nir" in sample.path)


def test_llcm_camera_from_directory_or_name():
    from vireid.data.llcm import camera_of

    assert camera_of("train_vis/cam4/0001/0001_c07_1.jpg") == 4
    assert camera_of("vis/0001/0001_c07_s1_f1_vis.jpg") == 7
    assert camera_of("vis/0001/c3_1.jpg") == 3
    with pytest.raises(InputError, match="camera number"):
        camera_of("vis/0001/abc.jpg")


def test_damaged_llcm(tmp_path):
    root = fakes.make_llcm(tmp_path)
    ids = root / "idx" / "test_id.txt"
    ids.write_text("5,6")
    dataset = load_dataset("llcm", root)
    assert any("2 identity folders are not in" in note for note in dataset.notes)
    ids.write_text("5,6,7,a8")
    refuse("entry 'a8'", "llcm", root)
    ids.write_text("4,5,6")
    fakes.save(root / "test_vis" / "cam1" / "0004" / "x.jpg", 4, False, 0)
    refuse("both 'train' and 'test'", "llcm", root)
    (root / "idx" / "train_nir.txt").unlink()
    refuse("train_nir.txt' does not exist", "llcm", root)


# ---- own images


def test_folder_splits_by_identity_with_a_seed(folder_root):
    dataset = load_dataset("folder", folder_root, split_seed=1)
    sizes = {n: len(np.unique(dataset.pids[r])) for n, r in dataset.parts.items()}
    assert sizes == {"train": 8, "fit": 7, "val": 1, "test": 2}
    again = load_dataset("folder", folder_root, split_seed=1)
    assert all(np.array_equal(dataset.parts[n], again.parts[n]) for n in dataset.parts)
    tests = {
        tuple(load_dataset("folder", folder_root, split_seed=s).parts["test"]) for s in range(8)
    }
    assert len(tests) > 1
    assert dataset.rule == Rule() and dataset.facts.whole_gallery and set(dataset.camids) == {-1}
    assert set(training_rows(dataset).camera_label) == {0, 1}  # the modality stands in


def test_options_that_a_data_set_has_no_use_for_are_refused(sysu_root):
    for name, value in (("camera_pattern", r"c(\d)"), ("split_seed", 3)):
        refuse(f"`{name}` is .*SYSU-MM01 does not use one", "sysu", sysu_root, **{name: value})


def test_folder_camera_patterns(folder_root):
    dataset = load_dataset("folder", folder_root, camera_pattern=r"c(\d+)_")
    assert set(dataset.camids) == {1, 2, 3, 4} and dataset.rule == facts_of("llcm").rule
    refuse("not a regular expression", "folder", folder_root, camera_pattern="c(")
    refuse("2 groups", "folder", folder_root, camera_pattern=r"(c)(\d)")
    refuse("finds no number", "folder", folder_root, camera_pattern=r"q(\d)")


def test_folder_with_words_numbers_and_one_modality(tmp_path):
    root = fakes.make_folder(tmp_path, identities=4)
    fakes.save(root / "RGB" / "Jürgen" / "a.PNG", 9, False, 0)
    dataset = load_dataset("folder", root)
    lone = next(s for s in dataset.samples if "Jürgen" in s.path)
    row = dataset.samples.index(lone)
    assert row in dataset.parts["test"] and row not in dataset.parts["train"]


def write_table(root: Path, header: str, *lines: str) -> Path:
    path = root / "samples.csv"
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def image_root(tmp_path) -> Path:
    for name in ("a", "b", "ü ,c", "d"):
        fakes.save(tmp_path / "img" / f"{name}.png", 1, False, 0, (16, 8))
    return tmp_path


def test_table_with_every_column(image_root):
    write_table(
        image_root,
        "Path,pid,modality,camid,split,role,time,remark",
        "img/a.png,7,visible,1,train,,2026-05-01T22:15:00,hello",
        "img/b.png,7,IR,2,train,,1000.5,",
        '"img/ü ,c.png",9,rgb,1,test,gallery,2026-05-01T22:15:00+02:00,',
        "img/d.png,9,thermal,2,test,query,,",
    )
    dataset = load_dataset("folder", image_root)
    assert dataset.rule == facts_of("llcm").rule and list(dataset.pids) == [7, 7, 9, 9]
    assert [s.time for s in dataset.samples] == [1777673700.0, 1000.5, None, 1777666500.0]
    (trial,) = trials(dataset, ProtocolOptions())
    assert (list(trial.query), list(trial.gallery)) == ([2], [3])
    assert list(dataset.parts["train"]) == [0, 1]
    with pytest.raises(InputError, match="no visible image for the query"):
        trials(dataset, ProtocolOptions(direction="visible_to_infrared"))
    assert load_dataset("folder", image_root / "samples.csv").samples == dataset.samples
    refuse("is a table", "folder", image_root, camera_pattern=r"(\d)")


GOOD = "img/b.png,8,infrared"


@pytest.mark.parametrize(
    ("header", "line", "message"),
    [
        ("path,modality", "img/a.png,visible", "lacks the column pid"),
        ("path|pid|modality", "img/a.png|1|visible", "lacks the columns path, pid, modality"),
        ("path,pid,modality,pid", "img/a.png,1,visible,1", "column pid twice"),
        ("path,pid,modality", "img/a.png,1", "has 2 values"),
        ("path,pid,modality", "img/a.png,1,blue", "modality is 'blue'"),
        ("path,pid,modality", "img/a.png,,visible", "has no pid"),
        ("path,pid,modality", "img/b.png,1,visible", "lists 'img/b.png' again"),
        ("path,pid,modality", "img/zz.png,1,visible", "do not exist.*img/zz.png"),
        ("path,pid,modality", "../a.png,1,visible", "leads out"),
        ("path,pid,modality", "img\\a.png,1,visible", "backslash"),
        ("path,pid,modality", ",1,visible", "Line 3 of .* has no path"),
        ("path,pid,modality", "x" * 5000 + ",1,visible", "do not exist"),
        ("path,pid,modality", 'img/a.png,1,"visible', "not CSV|values"),
        ("path,pid,modality,camid", "img/a.png,1,visible,one", "camid is 'one'"),
        ("path,pid,modality,camid", "img/a.png,1,visible,3", "1 rows and none in 1"),
        ("path,pid,modality,time", "img/a.png,1,visible,soon", "time is 'soon'"),
        (
            "path,pid,modality,time",
            "img/a.png,1,visible,inf",
            "time 'inf' is not between",
        ),
        ("path,pid,modality,split", "img/a.png,1,visible,dev", "split is 'dev'"),
        ("path,pid,modality,role", "img/a.png,1,visible,probe", "role is 'probe'"),
    ],
)
def test_damaged_tables(image_root, header, line, message):
    columns = header.count(",") - 2
    good = GOOD + {0: "", 1: "," + ("test" if "split" in header else "")}.get(columns, "")
    write_table(image_root, header, good, line)
    before = sorted(p.name for p in image_root.rglob("*"))
    refuse(message, "folder", image_root)
    assert sorted(p.name for p in image_root.rglob("*")) == before  # nothing was written


def test_tables_empty_binary_or_leaking(image_root):
    path = image_root / "samples.csv"
    for content, message in (
        (b"", "is empty"),
        (b"path,pid,modality\n", "no row"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"path,pid,modality\n\x00,1,v\n", "zero byte"),
    ):
        path.write_bytes(content)
        refuse(message, "folder", image_root)
    write_table(
        image_root,
        "path,pid,modality,split",
        "img/a.png,1,v,train",
        "img/b.png,1,i,train",
        "img/d.png,1,i,test",
    )
    # names that are no numbers are numbered inside; the path says who is meant
    refuse(r"both 'train' and 'test' of .*'img/a.png'", "folder", image_root)


# ---- in words


def test_a_data_set_is_printed_in_a_few_lines(sysu_root, regdb_root):
    dataset = load_dataset("sysu", sysu_root)
    assert str(dataset).splitlines() == [
        f"SYSU-MM01 in {sysu_root}",
        "images:     144 (96 visible, 48 infrared)",
        "identities: 8 train, 6 fit, 2 val, 4 test",
        "cameras:    1, 2, 3, 4, 5, 6",
    ]
    assert repr(dataset) == f"Dataset('sysu', root={str(sysu_root)!r}, images=144)"
    assert str(load_dataset("regdb", regdb_root, trial=2)).startswith("RegDB, trial 2 in ")

"""test: protocols by flags, where reports go, and weights that can't be tested."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import command_kit
import fakes
import pytest
from command_kit import refused, run

from vireid.evaluation import METRICS

QUICK = ("--figure-queries", 0, "--trials", 2, "--device", "cpu")


def protocol(folder: Path) -> dict:
    return json.loads((folder / "report.json").read_text())["protocol"]


def test_a_report_with_figures_in_the_run(trained: Path, tmp_path: Path, capsys) -> None:
    run_folder = tmp_path / "run"
    shutil.copytree(trained, run_folder)
    words = ("--mode", "ALL", "--draw", "Seeded", "--rerank", "--tta", "FLIP", "--trials", 2)
    assert run("test", "--resume", run_folder, *words, "--device", "cpu") == 0
    shown = capsys.readouterr()
    assert "re-ranked" in shown.out and "chance" in shown.out  # the table is the result
    assert "Wrote" in shown.err and "Next: vireid report" in shown.err
    folder = run_folder / "test" / "sysu-all-1shot-seeded-2trials-flip-reranked"
    for name in ("report.md", "ranks.jpg", "cmc.png", "similarity.png"):
        assert (folder / name).is_file(), name
    report = json.loads((folder / "report.json").read_text())
    for which in ("pooled", "embedding"):
        for metric in METRICS:
            assert set(report[which][metric]) >= {"mean", "std", "trials"}
    asked = report["protocol"]
    assert asked["tta"] == "flip" and asked["epoch_choice"] == "last epoch"
    assert asked["method"] == "mcl" and asked["weights_hash"] and asked["synthetic"] is False
    kept = json.loads((run_folder / "record.json").read_text())
    assert report["record"] == kept and asked["data_hash"] == kept["data_hash"]
    assert asked["arch"] == kept["architecture"] == "test_resnet"

    weights = run_folder / "weights.safetensors"  # the file in a run stands for the run
    assert run("test", "--resume", weights, "--mode", "indoor", "--shots", 10, *QUICK) == 0
    assert protocol(run_folder / "test" / "sysu-indoor-10shot-seeded-2trials")["shots"] == 10
    back = ("--direction", "Visible_To_Infrared")
    assert run("test", "--resume", run_folder, *back, *QUICK, "--out", tmp_path / "back") == 0
    assert protocol(tmp_path / "back")["direction"] == "visible_to_infrared"


def test_a_second_test_keeps_the_first(trained: Path, tmp_path: Path, capsys) -> None:
    untested = shutil.ignore_patterns("test")  # other tests of the session test this run too
    run_folder = Path(shutil.copytree(trained, tmp_path / "run", ignore=untested))
    first = run_folder / "test" / "sysu-all-1shot-seeded-2trials"
    test = ("test", "--resume", run_folder, *QUICK)
    assert run(*test) == 0
    before = (first / "report.json").read_bytes()
    assert run(*test) == 0  # the same question: the same place
    assert [path.name for path in (run_folder / "test").iterdir()] == [first.name]
    assert json.loads(before) == json.loads((first / "report.json").read_text())

    refusal = refused(capsys, *test, "--tta", "flip", "--rerank", "--out", first)
    assert "another question: test-time augmentation and re-ranking differ. It is kept" in refusal
    other = tmp_path / "other"
    report = json.loads(before)
    report["protocol"]["weights_hash"] = "0" * 64
    other.mkdir()
    (other / "report.json").write_text(json.dumps(report))
    refusal = refused(capsys, *test, "--out", other)
    assert f"'{other}' holds the report of other weights. It is kept" in refusal
    assert run(*test, "--trials", 3, "--precision", "float32") == 0
    assert run(*test, "--part", "test", "--mode", "indoor") == 0
    assert (first / "report.json").read_bytes() == before
    names = {path.name for path in (run_folder / "test").iterdir()}
    assert names == {first.name, "sysu-all-1shot-seeded-3trials-float32",
                     "sysu-indoor-1shot-seeded-2trials"}  # fmt: skip

    # what no name says: other images in the same layout, other weights in the same run
    data = Path(shutil.copytree(trained_root(trained), tmp_path / "sysu"))
    image = next(path for path in sorted((data / "cam1").rglob("*.jpg")))
    image.write_bytes(image.read_bytes() + bytes(1))
    assert run(*test, "--data-root", data) == 0
    assert (first / "report.json").read_bytes() == before
    hashes = {
        protocol(first)["data_hash"],
        protocol(first.with_name(f"{first.name}-2"))["data_hash"],
    }
    assert len(hashes) == 2
    assert run(*test, "--data-root", data) == 0
    assert not first.with_name(f"{first.name}-3").exists()


def trained_root(trained: Path) -> str:
    return json.loads((trained / "config.json").read_text())["data_root"]


def test_the_official_draw(trained: Path, tmp_path: Path, capsys) -> None:
    words = ("test", "--resume", trained, "--draw", "official", *QUICK)
    assert "rand_perm_cam.mat" in refused(capsys, *words)
    root = fakes.make_sysu(tmp_path / "sysu")
    counts = {(pid, camid): 2 for pid in range(1, 13) for camid in range(1, 7)}
    fakes.write_permutations(root / "exp" / "rand_perm_cam.mat", counts)
    assert run(*words, "--data-root", root, "--out", tmp_path / "out") == 0
    assert protocol(tmp_path / "out")["draw"] == "official"


def test_llcm(tmp_path: Path, llcm_root: Path, capsys) -> None:
    one = tmp_path / "one"
    assert command_kit.train(one, llcm_root, "--dataset", "LLCM", "--method", "agw") == 0
    assert run("test", "--resume", one, *QUICK) == 0
    names = {path.name for path in (one / "test").iterdir()}
    assert names == {"llcm-infrared-to-visible-2trials", "llcm-visible-to-infrared-2trials"}
    legacy = ("test", "--resume", one, "--protocol", "LEGACY_DEEN", *QUICK)
    assert run(*legacy) == 0
    assert protocol(one / "test" / "llcm-visible-to-infrared-legacy-deen-2trials")["variant"] == (
        "legacy-deen"
    )
    assert "visible to infrared only" in refused(capsys, *legacy, "--direction", "i2v")
    assert "Valid: all. (The data set is LLCM.)" in refused(
        capsys, "test", "--resume", one, "--mode", "indoor"
    )
    validation = ("train", "--resume", one, "--eval-every", 1, "--device", "cpu", "--epochs", 2)
    assert "no validation identities" in refused(capsys, *validation)


def test_synthetic_people_of_the_same_seed_are_refused(
    trained: Path, tmp_path: Path, sysu_root: Path, capsys
) -> None:
    people = tmp_path / "people"
    small = ("--images", 1, "--workers", 1, "--seed", 5)
    assert run("synthesize", "--out", people, "--identities", 4, *small) == 0
    assert command_kit.train(tmp_path / "one", people) == 0
    more = tmp_path / "more"
    shutil.copytree(people, more)
    marker = more / ".vireid-synthetic.json"
    plain = json.loads(marker.read_text())
    marker.write_text(json.dumps(plain | {"identities": plain["identities"] + 1}))
    message = refused(capsys, "test", "--resume", tmp_path / "one", "--data-root", more, *QUICK)
    assert "with another seed" in message

    # the shipped network has seen the population 101, and so has what started from it
    marker.write_text(json.dumps(plain | {"seed": 101}))
    message = refused(capsys, "test", "--resume", "synth", "--dataset", "sysu",
                      "--data-root", more, *QUICK)  # fmt: skip
    assert "with the seed 101" in message
    start = ("--method", "agw", "--arch", "mobilenetv2_100", "--pretrained", "synth")
    assert command_kit.train(tmp_path / "two", people, *start) == 0
    message = refused(capsys, "test", "--resume", tmp_path / "two", "--data-root", more, *QUICK)
    assert "with the seed 101" in message


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--shots", 3), "expected one of 1, 10"),
        (("--mode", "outdoor"), "Valid: all, indoor."),
        (("--direction", "sideways"), "There is no direction"),
        (("--tta", "rotate"), "Valid: none, flip, flip-mean."),
        (("--part", "train"), "Valid: test, val."),
        (("--trials", 0), "at least 1"),
        (("--figure-queries", -1), "at least 0"),
        (("--trial", 2), "has one split only"),
        (("--protocol", "legacy-deen"), "The data set is SYSU-MM01"),
        (("--gpu", 97), "GPUs present:"),
        (("--data-root", "nowhere"), "does not exist"),
    ],
)
def test_what_cannot_be_asked(words: tuple, expected: str, trained: Path, capsys) -> None:
    assert expected in refused(capsys, "test", "--resume", trained, *words)


def test_untrained_networks_are_never_tested(
    trained: Path, sysu_root: Path, tmp_path: Path, capsys
) -> None:
    test = ("test", "--data-root", sysu_root, "--resume")
    assert "missing" in refused(capsys, *test, tmp_path / "missing")
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not weights")
    assert "junk" in refused(capsys, *test, junk)
    started = tmp_path / "started"  # a run that was stopped before its first epoch's end
    started.mkdir()
    shutil.copy(trained / "config.json", started)
    assert "first epoch is not finished" in refused(capsys, *test, started)
    assert "--resume" in refused(capsys, "test", "--data-root", sysu_root)


def test_a_search_without_a_match_is_refused_before_images_are_decoded(
    trained: Path, tmp_path: Path, capsys
) -> None:
    root = fakes.make_folder(tmp_path / "own", images=1)
    for image in root.glob("*/*/*.png"):
        image.rename(image.with_name("c1_0.png"))
    words = ("--dataset", "folder", "--data-root", root, "--camera-pattern", r"c(\d+)_")
    message = refused(capsys, "test", "--resume", trained, *words, *QUICK)
    assert "None of the 2 queries has a match" in message
    assert sorted(path.name for path in root.iterdir()) == ["infrared", "visible"]

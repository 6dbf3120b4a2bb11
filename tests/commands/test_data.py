"""synthesize, prepare, info: what they write and say, and what they refuse."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import fakes
import pytest
from command_kit import refused, run, said, tiny_config

from vireid.commands.common import root_words, words_of_test


@pytest.mark.long
def test_synthetic_people(tmp_path: Path, capsys) -> None:
    out = tmp_path / "people"
    words = ("synthesize", "--layout", "RegDB", "--out", out, "--identities", 4)
    few = ("--images", 1, "--workers", 1)
    assert run(*words, *few, "--seed", 3) == 0
    assert f"Next: vireid train --dataset regdb --data-root {out}" in said(capsys)
    assert "seed 3 instead of 4" in refused(capsys, *words, *few, "--seed", 4)
    assert run("info", out) == 0
    shown = capsys.readouterr()
    assert "Synthetic people" in shown.out and "Suspicious" in shown.out
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "diary.txt").write_text("dear diary")
    assert "not made by this command" in refused(capsys, "synthesize", "--out", mine)
    assert [path.name for path in mine.iterdir()] == ["diary.txt"]
    assert "Valid: sysu, regdb, llcm." in refused(
        capsys, "synthesize", "--out", tmp_path / "x", "--layout", "sysuu"
    )
    assert "add --v1" in refused(capsys, "synthesize", "--out", out, "--verify")
    file = mine / "diary.txt"
    assert "is a file" in refused(capsys, "synthesize", "--out", file)


def test_prepare(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", train=3, val=1, test=2, images=1)
    assert run("prepare", "--dataset", "SYSU", "--data-root", root, "--cache", tmp_path / "c") == 0
    message = said(capsys)
    assert "36 images of 288x144" in message and "Next: vireid train --dataset sysu" in message
    assert list((tmp_path / "c").glob("*.npy"))
    assert run("prepare", "--data_root", root, "--npy", "--no-camids") == 0
    assert (root / "train_rgb_resized_img.npy").is_file()
    assert not (root / "train_rgb_resized_camid.npy").exists()
    assert run("prepare", "--data-root", root, "--npy") == 0
    assert (root / "train_ir_resized_camid.npy").is_file()
    (tmp_path / "file").write_text("x")
    assert "is a file" in refused(
        capsys, "prepare", "--data-root", root, "--cache", tmp_path / "file"
    )


def test_prepare_with_broken_images(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", train=3, val=1, test=2, images=1)
    file = root / "cam2" / "0005" / "0001.jpg"
    file.write_bytes(file.read_bytes()[:200])
    message = refused(capsys, "prepare", "--data-root", root)
    assert "cam2/0005/0001.jpg" in message and "--skip-broken" in message
    assert run("prepare", "--data-root", root, "--skip-broken") == 0
    assert "skipped (cannot be decoded): cam2/0005/0001.jpg" in said(capsys)


def test_info_of_each_layout(
    sysu_root: Path, regdb_root: Path, llcm_root: Path, folder_root: Path, capsys
) -> None:
    for root, name in (
        (sysu_root, "sysu"), (regdb_root, "regdb"), (llcm_root, "llcm"), (folder_root, "folder"),
    ):  # fmt: skip
        assert run("info", root) == 0
        shown = capsys.readouterr()
        assert f"{name} in" in shown.out and f"--dataset {name}" in shown.err
        assert run("info", root, "--json") == 0
        assert json.loads(capsys.readouterr().out)["name"] == name
    assert run("info", folder_root, "--camera-pattern", r"c(\d+)_", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["cameras"]) == 4
    assert "exactly one" in refused(capsys, "info", folder_root, "--camera-pattern", "c")


def test_the_suggested_training_works(tmp_path: Path, capsys) -> None:
    """With few people, without cameras, in a folder with a space in its name."""
    root = fakes.make_folder(tmp_path / "my data", identities=6)
    assert run("info", root) == 0
    usual, small = (shlex.split(line, comments=True) for line in said(capsys).split("Next: ")[1:])
    for words in (usual, small):
        assert words[:4] == ["vireid", "train", "--dataset", "folder"]
        assert words[-2:] == ["--pids-per-batch", "4"]
    assert "agw" in usual and "--pretrained" not in usual
    quick = ("--config", tiny_config(tmp_path), "--device", "cpu", "--run", tmp_path / "one")
    assert run(*usual[1:], *quick) == 0
    assert small[-6:-2] == ["--pretrained", "synth", "--max-steps", "60"]
    quick = ("--max-steps", 1, "--size", 64, 32, "--device", "cpu", "--run", tmp_path / "two")
    assert run(*small[1:], *quick) == 0
    capsys.readouterr()
    assert run("prepare", "--dataset", "folder", "--data-root", root,
               "--camera-pattern", r"c(\d+)_") == 0  # fmt: skip
    suggested = said(capsys)
    assert "--camera-pattern 'c(\\d+)_' --method mcl --pids-per-batch 4" in suggested
    assert "--camera-pattern 'c(\\d+)_' --method mcl --pretrained synth" in suggested
    alone = fakes.make_folder(tmp_path / "alone", identities=2)
    assert run("info", alone) == 0
    suggested = said(capsys)
    assert "here it finds 0" in suggested and "Next" not in suggested


def test_info_of_one_split(regdb_root: Path, capsys) -> None:
    assert run("info", regdb_root, "--trial", 3) == 0
    assert "--trial 3" in said(capsys)


def test_info_names_what_is_suspicious(tmp_path: Path, sysu_root: Path, capsys) -> None:
    root = tmp_path / "sysu"
    shutil.copytree(sysu_root, root)
    (root / "cam1" / "0002" / "0001.jpg").write_bytes(b"no image")
    shutil.rmtree(root / "cam3" / "0003")
    shutil.rmtree(root / "cam6" / "0003")
    assert run("info", root, "--json") == 0
    found = json.loads(capsys.readouterr().out)["suspicious"]
    assert found["broken"]["count"] == 1 and "cam1/0002" in found["broken"]["examples"][0]
    assert found["one_modality"]["count"] == 1


def test_info_of_a_run(trained: Path, tmp_path: Path, capsys) -> None:
    assert run("info", trained) == 0
    shown = capsys.readouterr()
    assert "mcl" in shown.out and "last epoch" in shown.out and "vireid test" in shown.err
    assert run("info", trained / "weights.safetensors", "--json") == 0
    assert json.loads(capsys.readouterr().out)["chosen"] == "last epoch"
    assert "There is no folder" in refused(capsys, "info", tmp_path / "nowhere")
    for part in ("checkpoints", "log.jsonl"):
        assert run("info", trained / part, "--json") == 0
        shown = capsys.readouterr()
        assert json.loads(shown.out)["method"] == "mcl"
        assert f"is a part of the run '{trained}', which is shown." in " ".join(shown.err.split())
    for words in (("train", "--resume"), ("export-weights",), ("plot",), ("test", "--resume")):
        assert f"Did you mean '{trained}', which" in refused(
            capsys, *words, trained / "checkpoints"
        )
    trials = tmp_path / "my trials"
    trials.mkdir()
    (trials / "trials.json").touch()
    assert run("info", trials) == 0
    assert f"Next: vireid train --resume '{trials}'   # " in capsys.readouterr().err
    for text in ("{}", "[1]", '{"recipe": 1}'):  # another program's configuration
        (tmp_path / "config.json").write_text(text)
        message = refused(capsys, "info", tmp_path)
        assert "not the configuration of a run" in message or "an object was expected" in message
    (tmp_path / "config.json").unlink()
    shutil.rmtree(trials)
    assert run("info", tmp_path) == 2
    shown = capsys.readouterr().err
    assert "no images of people" in shown and shown.endswith("modality.\n")


def test_a_run_that_was_stopped_is_gone_on_with(trained: Path, tmp_path: Path, capsys) -> None:
    one = Path(shutil.copytree(trained, tmp_path / "one", ignore=shutil.ignore_patterns("test")))
    options = json.loads((one / "config.json").read_text())
    options["recipe"]["epochs"] = 5
    (one / "config.json").write_text(json.dumps(options))
    note = f"note: '{one}' has trained 1 of 5 epochs; `vireid train --resume {one}` goes on."
    assert run("info", one) == 0
    message = said(capsys)
    assert note in message and message.endswith(f"Next: vireid train --resume {one}")
    refusal = refused(capsys, "test", "--resume", one, "--device", "cpu", "--trial", 2)
    assert note in refusal  # it is tested nonetheless, if nothing is wrong


@pytest.mark.parametrize("layout", ["sysu", "regdb", "llcm"])
def test_people_that_are_not_all_drawn(layout: str, tmp_path: Path, capsys) -> None:
    from vireid.synthetic.parameters import checked_parameters, claim

    root, given = tmp_path / "people", (layout, 4, None, 1, 0, "easy", False, False)
    claim(root, checked_parameters(*given))
    expected = f"`vireid synthesize` hasn't finished '{root}'"
    for image in ("cam1/0001/0001.jpg", "Visible/1/1.bmp", "vis/1/1.jpg"):  # of any layout
        (root / image).parent.mkdir(parents=True)
        (root / image).touch()
    for words in (("info", root), ("info", root, "--dataset", layout), (
        "train", "--dataset", layout, "--data-root", root, "--device", "cpu",
        "--run", tmp_path / "run",
    ), ("prepare", "--dataset", layout, "--data-root", root), (
        "test", "--resume", "synth", "--dataset", layout, "--data-root", root,
    )):  # fmt: skip
        refusal = refused(capsys, *words)
        assert expected in refusal and refusal.count(expected) == 1, words


def test_what_is_drawn_already_is_not_said_to_be_written(tmp_path: Path, capsys) -> None:
    from vireid.commands.data import _tell_drawn
    from vireid.synthetic import Summary

    facts = {"out": tmp_path, "num_images": 40, "num_identities": 4, "seconds": 2.0}
    for drawn, expected in (
        (0, f"All 40 images of 4 synthetic people are in '{tmp_path}' already."),
        (10, f"10 of 40 images of 4 synthetic people in '{tmp_path}' (2 s, 5.0 img/s); the others"),
        (40, f"Wrote 40 images of 4 synthetic people in '{tmp_path}' (2 s, 20.0 img/s)"),
    ):
        _tell_drawn(Summary(num_drawn=drawn, resumed=drawn < 40, **facts))
        message = said(capsys)
        assert expected in message and ("img/s" in message) == bool(drawn)


def test_a_folder_that_is_known_is_not_asked_for(
    tmp_path: Path, sysu_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert words_of_test("sysu") == ""
    assert words_of_test(None).startswith(" --dataset sysu --data-root DIR   # or another")
    monkeypatch.setenv("VIREID_DATA", str(tmp_path))
    assert root_words("sysu") == " --data-root DIR"
    (tmp_path / "sysu").symlink_to(sysu_root)
    assert root_words("sysu") == "" and words_of_test(None).startswith(" --dataset sysu   # or")

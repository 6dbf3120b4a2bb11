"""The command line: exit codes, sentences, and words in any case."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from vireid.cli import main
from vireid.commands import COMMANDS, INDEX_COMMANDS, load


def run(*words: object) -> int:
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on standard error, on one line."""
    return " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("target", [t for t in COMMANDS.values() if ":" in t]
                         + list(INDEX_COMMANDS.values()))
def test_every_command_explains_each_flag(target: str, capsys: pytest.CaptureFixture[str]) -> None:
    function = load(target)
    names = [n for n, c in {**COMMANDS, **INDEX_COMMANDS}.items() if c == target]
    words = ["index", names[0]] if target in INDEX_COMMANDS.values() else names[:1]
    assert run(*words, "--help") == 0
    shown = capsys.readouterr().out
    import inspect

    for name in inspect.signature(function).parameters:
        assert f"{name}:" in (function.__doc__ or ""), f"{target} does not explain {name}"
    assert "usage: vireid" in shown


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("trian") == 2
    assert "Did you mean 'train'?" in said(capsys)


def test_mistyped_flag_suggests_the_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--metod", "mcl") == 2
    assert "--method" in said(capsys)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("vireid ")


def test_unknown_method_lists_the_legal_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--method", "mclnett", "--pretrained", "none") == 2
    message = said(capsys)
    for name in ("base", "agw", "ddag", "mcl"):
        assert name in message


def test_missing_data_root(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                           monkeypatch: pytest.MonkeyPatch) -> None:
    assert run("train", "--pretrained", "none", "--data-root", tmp_path / "nowhere") == 2
    assert "nowhere" in said(capsys)
    monkeypatch.delenv("VIREID_DATA", raising=False)
    assert run("train", "--pretrained", "none") == 2
    message = said(capsys)
    assert "--data-root" in message and "VIREID_DATA" in message


def test_a_gpu_that_is_not_there(sysu_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--data-root", sysu_root, "--pretrained", "none", "--gpu", "97") == 2
    assert "GPUs present:" in said(capsys)


def test_an_option_of_another_method(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--method", "baseline", "--pretrained", "none", "--centers", "frozen") == 2
    assert "has no option --centers" in said(capsys)


def test_resume_with_another_run_is_an_error(tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--resume", tmp_path, "--run", "other") == 2
    assert "its own folder" in said(capsys)


@pytest.mark.parametrize("flag", ["--nonlocal-channels", "--lr", "--pids-per-batch"])
def test_impossible_numbers(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "--pretrained", "none", flag, "0") == 2
    assert "0" in said(capsys)


def test_untrained_networks_are_never_tested(sysu_root: Path, tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    assert run("test", "--resume", tmp_path / "missing", "--data-root", sysu_root) == 2
    assert "missing" in said(capsys)
    junk = tmp_path / "junk.safetensors"
    junk.write_bytes(b"not weights")
    assert run("test", "--resume", junk, "--data-root", sysu_root) == 2


def test_doctor_answers_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert "PyTorch" in facts["This machine"]


def test_the_whole_job(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                       monkeypatch: pytest.MonkeyPatch) -> None:
    """synthesize, prepare, train, resume, test, report, embed, index and search, as a user."""
    people = tmp_path / "people"
    assert run("synthesize", "--out", people, "--identities", 7, "--images", 2, "--seed", 3,
               "--workers", 1) == 0
    assert run("prepare", "--data-root", people, "--npy") == 0
    assert (people / "train_rgb_resized_img.npy").is_file()
    assert run("info", people) == 0
    monkeypatch.chdir(tmp_path)
    assert run("train", "--data_root", people, "--method", "MCL", "--arch", "ResNet18",
               "--pretrained", "none", "--optim", "SGD", "--epochs", 2, "--max-steps", 2,
               "--pids-per-batch", 2, "--images-per-pid", 2, "--device", "cpu",
               "--eval-every", 1, "--run", "one") == 0
    one = tmp_path / "runs" / "one"
    for name in ("config.json", "log.jsonl", "weights.safetensors", "curves.png", "batch.png",
                 "summary.json"):
        assert (one / name).is_file(), name
    assert run("train", "--resume", one, "--device", "cpu") == 0
    assert run("info", one) == 0
    assert run("test", "--resume", one, "--mode", "all", "--device", "cpu", "--rerank") == 0
    found = list((one / "test").glob("*/report.json"))
    assert len(found) == 1
    report = json.loads(found[0].read_text())
    for which in ("pooled", "embedding"):
        for metric in ("rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp"):
            assert set(report[which][metric]) >= {"mean", "std", "trials"}
    assert run("test", "--resume", one, "--mode", "indoor", "--device", "cpu") == 0
    assert run("report", *sorted((one / "test").glob("*/report.json")), "--out",
               tmp_path / "tables") == 0
    assert run("embed", "--images", people / "cam1", "--modality", "visible", "--weights", one,
               "--device", "cpu", "--out", tmp_path / "day.safetensors") == 0
    assert run("index", "create", "--index", tmp_path / "index", "--embeddings",
               tmp_path / "day.safetensors") == 0
    assert run("index", "verify", "--index", tmp_path / "index") == 0
    capsys.readouterr()
    query = next((people / "cam3").glob("*/*.jpg"))
    assert run("search", "--index", tmp_path / "index", "--weights", one, "--image", query,
               "--modality", "infrared", "--top", 5, "--json", "--device", "cpu") == 0
    answer = json.loads(capsys.readouterr().out)
    hits = answer[0]["hits"] if isinstance(answer, list) else answer["hits"]
    assert len(hits) == 5 and {"path", "similarity", "camid"} <= set(hits[0])
    similarities = [hit["similarity"] for hit in hits]
    assert similarities == sorted(similarities, reverse=True)

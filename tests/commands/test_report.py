"""report, card: runs side by side, averages of seeds, unlike reports, and a card for the hub."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import command_kit
import pytest
import yaml
from command_kit import refused, run, said
from huggingface_hub import ModelCard, ModelCardData

from vireid.commands.report import load_reports
from vireid.testing import reports_of
from vireid.weights import read_weights, save_weights

QUICK = ("--figure-queries", 0, "--trials", 2, "--device", "cpu")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, sysu_root: Path) -> list[Path]:
    """Two seeds of one experiment, tested alike; the first one also indoors."""
    parent = tmp_path_factory.mktemp("seeds")
    folders = [parent / f"seed{seed}" for seed in (0, 1)]
    for seed, folder in enumerate(folders):
        assert command_kit.train(folder, sysu_root, "--seed", seed, "--method", "base") == 0
        assert run("test", "--resume", folder, *QUICK) == 0
    assert run("test", "--resume", folders[0], "--mode", "indoor", *QUICK) == 0
    return folders


def test_a_run_stands_for_tests_of_both_directions_too(runs: list[Path], tmp_path: Path) -> None:
    """`vireid test --direction both --out RUN/test/both` writes a folder for each direction."""
    run_ = shutil.copytree(runs[1], tmp_path / "run")
    (test,) = (run_ / "test").iterdir()
    shutil.copytree(test, run_ / "test" / "both" / "visible-to-infrared")
    assert len(load_reports([run_])) == len(reports_of(run_)) == 2


def test_runs_side_by_side(runs: list[Path], tmp_path: Path, capsys) -> None:
    assert run("report", *runs, "--out", tmp_path / "tables") == 0
    shown = capsys.readouterr()
    assert "Rank-1" in shown.out and "must not be compared" in shown.out  # indoor and all
    assert "comparison.md, .csv, .tex" in shown.err
    for name in ("comparison.md", "comparison.csv", "comparison.tex"):
        assert (tmp_path / "tables" / name).is_file()


def test_average_of_seeds(runs: list[Path], tmp_path: Path, capsys) -> None:
    alike = [run_folder / "test" / "sysu-all-1shot-seeded-2trials" for run_folder in runs]
    assert run("report", *alike, "--average", "--out", tmp_path / "mean") == 0
    mean = json.loads((tmp_path / "mean" / "report.json").read_text())
    assert mean["averaged"]["over"] == ["seed"]
    paper = (tmp_path / "mean" / "paper.tex").read_text()
    assert "\\toprule" in paper and "n = 2 seeds" in paper
    assert run("report", tmp_path / "mean", alike[0] / "report.json") == 0
    average = ("report", *alike, "--average", "--out")
    assert run(*average, tmp_path / "mean") == 0  # the same question
    refusal = refused(capsys, *average, alike[0])
    assert "another question: they differ in what they are averages of. It is kept" in refusal
    assert "give --out too" in refused(capsys, "report", *alike, "--metrics", "rank1")
    assert "There is no metric 'rank3'" in refused(
        capsys, "report", *alike, "--out", tmp_path / "none", "--metrics", "rank3"
    )
    assert not (tmp_path / "none").exists()
    capsys.readouterr()
    unlike = runs[0] / "test" / "sysu-indoor-1shot-seeded-2trials"
    assert "differ in search" in refused(capsys, "report", alike[0], unlike, "--average")


def test_a_folder_of_runs_is_answered_by_what_to_name(
    runs: list[Path], tmp_path: Path, capsys
) -> None:
    parent = shutil.copytree(runs[0].parent, tmp_path / "my runs")
    (parent / "tiny.json").unlink()
    for words in (("report", parent), ("compare", runs[0], "--with", parent)):
        expected = f"holds 2 of them. Name what it holds: '{parent}'/*"
        assert expected in refused(capsys, *words)
    assert f"Name what it holds: {runs[0] / 'test'}/*" in refused(
        capsys, "report", runs[0] / "test"
    )
    (parent / "untested").mkdir()
    expected = f"Name what it holds: '{parent / 'seed0'}' '{parent / 'seed1'}'"
    assert expected in refused(capsys, "report", parent)
    one = f"Did you mean one in it, such as '{parent / 'seed0'}'?"
    for words in (("test", "--resume"), ("train", "--resume"), ("card",), ("plot",)):
        assert one in refused(capsys, *words, parent)


def test_reports_on_earlier_weights_are_not_what_comes_next(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one = shutil.copytree(runs[1], tmp_path / "one")
    assert run("info", one) == 0
    assert f"Next: vireid report {one}" in capsys.readouterr().err
    for file in (one / "test").rglob("report.json"):
        whole = json.loads(file.read_text())
        whole["protocol"]["weights_hash"] = "0" * 64
        file.write_text(json.dumps(whole))
    assert run("info", one) == 0
    shown = capsys.readouterr()
    assert "1, 1 of them on other weights" in shown.out
    assert f"Next: vireid test --resume {one}" in shown.err


def test_info_lists_the_runs_of_a_folder(runs: list[Path], tmp_path: Path, capsys) -> None:
    parent = shutil.copytree(runs[0].parent, tmp_path / "my runs")
    for name, file in (("splits", "trials.json"), ("other", "config.json")):
        (parent / name).mkdir()
        (parent / name / file).write_text("{}")
    assert run("info", parent) == 0
    shown = capsys.readouterr()
    assert "4 runs in" in shown.out and "one run a split" in shown.out
    assert shown.out.count("trained") == 2 and "unreadable" in shown.out
    error = " ".join(shown.err.split())
    assert "note: " in error and "is not the configuration of a run" in error
    assert f"vireid info '{parent / 'seed0'}' # about one of them" in error
    assert run("info", parent, "--json") == 0
    other, *found = json.loads(capsys.readouterr().out)
    assert other["state"] == "unreadable" and "not the configuration" in other["error"]
    assert [one["state"] for one in found] == ["trained", "trained", "one run a split"]
    assert found[1]["method"] == "base" and found[1]["reports"] == 1
    # a sweep's folder, whose runs may be elsewhere; and a folder of something else
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    state = [{"run": str(runs[0]), "state": "done"}]
    (sweep / "sweep.json").write_text(json.dumps(state))
    assert run("info", sweep) == 0
    assert "1 run in" in capsys.readouterr().out
    assert run("info", tmp_path) == 0  # sweeps in it, and runs if there are any
    assert f"{sweep} is a sweep of 1 run." in capsys.readouterr().err
    assert run("info", tmp_path, "--json") == 0
    assert {"sweep": str(sweep), "runs": 1} in json.loads(capsys.readouterr().out)
    assert run("info", runs[1]) == 0
    assert f"vireid report {runs[1]}" in capsys.readouterr().err
    shutil.rmtree(parent / "splits")
    for folder in runs:
        shutil.rmtree(parent / folder.name)
    assert "has no images of people" in refused(capsys, "info", parent)


def test_what_is_no_report(trained: Path, tmp_path: Path, capsys) -> None:
    assert "at least one" in refused(capsys, "report")
    assert "holds no report.json" in refused(capsys, "report", tmp_path)
    assert "There is no folder or file" in refused(capsys, "report", tmp_path / "nope.json")
    assert run("report", trained / "config.json") == 2


def test_two_ways_of_training_compared(
    runs: list[Path], sysu_root: Path, tmp_path: Path, capsys
) -> None:
    other = tmp_path / "margin"
    assert command_kit.train(other, sysu_root, "--method", "base", "--margin", 0.5) == 0
    assert run("test", "--resume", other, *QUICK) == 0
    capsys.readouterr()
    assert run("compare", other, "--with", *runs, "--out", tmp_path / "out") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "with 1 pair nothing can be claimed" in shown
    assert "They differ in `margin` (0.5 and 0.3)." in shown
    assert "Seed 1 has no partner and is left out." in shown
    assert "4 query identities are too few for an interval for other people" in shown
    assert "bootstrap over" not in shown
    for name in ("compare.md", "compare.json", "differences.png"):
        assert (tmp_path / "out" / name).is_file(), name
    assert "differ in `margin` (0.5 and 0.3)" in refused(
        capsys, "report", other, runs[1], "--average"
    )
    assert "needs --with" in refused(capsys, "compare", other)
    assert "is named twice" in refused(capsys, "compare", other, other, "--with", *runs)
    assert run("report", other, *runs) == 0  # unlike runs are rows
    assert "margin" in capsys.readouterr().out


def test_a_model_card(runs: list[Path], tmp_path: Path, capsys, monkeypatch) -> None:
    copy = Path(shutil.copytree(runs[0], tmp_path / "night"))
    assert run("card", copy, "--licence", "CC-BY-NC-4.0") == 0
    assert f"hf upload USER/NAME {copy / 'README.md'} README.md" in said(capsys)
    text = (copy / "README.md").read_text()
    front = ModelCardData(**yaml.safe_load(text.split("---\n")[1])).to_dict()  # as the hub reads it
    assert front["license"] == "cc-by-nc-4.0" and front["library_name"] == "vireid"
    assert {"person-re-identification", "base", "test_resnet"} <= set(front["tags"])
    assert "synthetic" not in front["tags"]
    (index,) = front["model-index"]
    assert index["name"] == "night"
    reports = {report.protocol.search(): report for report in reports_of(copy)}
    assert len(reports) == 2  # all and indoor
    for result in index["results"]:
        report = reports[result["dataset"]["config"]]
        assert result["dataset"]["name"] == "SYSU-MM01" and result["dataset"]["split"] == "test"
        assert result["dataset"]["args"]["scope"] == report.protocol.scope
        for metric in result["metrics"]:
            expected = 100 * report.raw[metric["args"]["embedding"]][metric["type"]]["mean"]
            assert metric["value"] == pytest.approx(expected, abs=0.005)
    page = (Path(__file__).parents[2] / "docs" / "responsible-use.md").read_text()
    must_not = page.split("## What it must not be used for\n")[1].split("\n## ")[0].strip()
    _, metadata = read_weights(copy)
    people = metadata["identities"][0]
    for words in (
        must_not, f"{len(people['pids'])} identities, {people['images']} images",
         "| Start | random weights |", "| Seed | 0 |",
        metadata["weights_hash"], metadata["record"]["options_hash"][:16],
        "The terms of the data that they were trained on apply besides", "all-search",
        "4 people, 16 queries, 16 gallery images a draw.",
    ):  # fmt: skip
        assert words in text, words
    assert str(tmp_path) not in text and metadata["data_root"] not in text
    # written again, it replaces itself, but neither a card with words of somebody's own nor others
    assert run("card", copy) == 0
    again = (copy / "README.md").read_text()
    assert again != text and "license: unknown" in again
    assert ModelCard(again).data.to_dict()["model-index"] and again.endswith(" -->\n")
    for other in (again.replace("# night", "# Night"), f"{again}\nAnd more.\n", "# A page\n", ""):
        (copy / "README.md").write_text(other)
        assert "was changed since" in refused(capsys, "card", copy)
        assert (copy / "README.md").read_text() == other

    # Weights without reports, a licence or a place in the package: what isn't known is said.
    tensors, facts = read_weights(copy)
    facts |= {"method": "/home/someone/my.py:Mine"}
    save_weights(tmp_path / "own" / "mine.safetensors", tensors, facts)
    assert run("card", tmp_path / "own" / "mine.safetensors") == 0
    text = (tmp_path / "own" / "README.md").read_text()
    assert "license: unknown" in text and "Until whoever made these weights states" in text
    assert "there is no report" in text and "model-index" not in text
    assert 'method="my.py:Mine"' in text and "/home/someone" not in text
    monkeypatch.chdir(tmp_path)
    assert run("card", "synth", "--name", "first") == 0
    text = Path("synth/README.md").read_text()
    assert "license: apache-2.0" in text and "\n# first\n" in text and "- synthetic" in text
    assert "no real person" not in text and "identities 1206" in text
    assert "| Start | weights trained on ImageNet |" in text
    assert "| Method in training | halo |" in text and "Apache-2.0, as the package vireid" in text
    tensors, facts = read_weights("synth")
    report = reports_of(copy)[0]  # of other weights, which is not this card's; then of these
    for weights_hash, known in ((report.protocol.weights_hash, 0), (facts["weights_hash"], 1)):
        protocol = replace(report.protocol, weights_hash=weights_hash)
        replace(report, protocol=protocol).write(Path("synth/test/sysu"))
        assert run("card", "synth") == 0
        assert ("there is no report" in Path("synth/README.md").read_text()) != known
    save_weights(
        tmp_path / "new" / "from-nothing.safetensors", tensors, {**facts, "first_weights": "none"}
    )
    assert run("card", tmp_path / "new" / "from-nothing.safetensors") == 0
    text = (tmp_path / "new" / "README.md").read_text()
    assert "has seen no real person" in text and "| Start | random weights |" in text

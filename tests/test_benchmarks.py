"""What benchmarks conclude with: the judgement of loss curves, the row of the best recipe, the
rehearsal from folder to table."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from command_kit import run as command
from scipy.io import savemat

from vireid.methods.recipes import RECIPES

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(FOLDER))
    monkeypatch.setenv("PYTHONPATH", "")  # put back afterwards: benchmarks add to it


@pytest.fixture
def parity(benchmarks: None) -> ModuleType:
    import parity

    return parity


def curves(count: int, seed: int, level: float = 2.5) -> list[np.ndarray]:
    """Losses of runs that fall alike and then wander by their rounding."""
    g = np.random.default_rng(seed)
    falling = level + 10 * np.exp(-np.arange(500) / 40)
    return [falling + 0.02 * np.cumsum(g.standard_normal(500)) / 5 for _ in range(count)]


def test_curves_of_one_kind_are_not_told_apart(parity: ModuleType) -> None:
    found = [parity.judge(curves(4, seed), curves(4, 100 + seed))["p"] for seed in range(40)]
    assert np.mean(np.array(found) < parity.LEVEL) <= 0.15
    assert min(found) >= 2 / 70 - 1e-9  # the two ways that leave the groups as they are


def test_other_curves_are_told_apart(parity: ModuleType) -> None:
    verdict = parity.judge(curves(4, 1), curves(4, 2, level=3.0))
    assert verdict["ways to exchange"] == 70
    assert not verdict["within the noise"]
    assert verdict["graph to eager, mean"] > 0.4 > verdict["eager among themselves, mean"]


@pytest.mark.long
def test_backbones(
    benchmarks: None, sysu_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step, an interrupted and resumed run and its untrained self, of tiny networks."""
    import backbones

    torch.set_num_threads(1)
    monkeypatch.setenv("OUT", str(tmp_path))
    (tmp_path / "people").symlink_to(sysu_root)
    words = ["--work", str(tmp_path), "--archs", "test_resnet,test_vit", "--epochs", "2"]
    words += ["--steps-per-epoch", "2", "--size", "64", "32", "--steps", "1", "--device", "cpu"]
    backbones.main(words)
    found = {path.name.split("-2")[0]: json.loads(path.read_text())["results"]["rows"]
             for path in tmp_path.glob("*.json")}  # fmt: skip
    steps, trained = found["backbones-step"], found["backbones-train"]
    assert [row["arch"] for row in steps] == [row["arch"] for row in trained]
    assert steps[0]["of the first"] == 1 and all(row["ms"] > 0 for row in steps)
    assert all(0 < row[name] <= 100 for row in trained for name in ("untrained mAP", "mAP"))
    lines = (tmp_path / "test_vit" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines if '"epoch", ' in line] == [0, 1]


def test_row_best_is_the_recipe_best(benchmarks: None) -> None:
    import methods

    flags = methods.ROWS["best"]
    named = dict(zip(flags[::2], flags[1::2], strict=True))
    method = named.pop("--method")
    best, scratch = RECIPES[method]["best"], RECIPES[method]["scratch"]
    assert named == {"--pids-per-batch": str(best.pids_per_batch)}
    assert vars(best) == {**vars(scratch), "name": "best", "pids_per_batch": best.pids_per_batch}


def run_facts(start: str = "s", **numbers: float) -> dict[str, Any]:
    """Facts of a run as methods.py writes them."""
    metrics = {f"all_{which}_{m}": 50.0 for which in ("pooled", "embedding")
               for m in ("rank1", "mean_ap")}  # fmt: skip
    facts = {"seconds": 1.0, "epoch_choice": "last epoch", "start_hash": start, "config_hash": "c"}
    return facts | metrics | numbers


@pytest.fixture
def table(benchmarks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A table of the claim's rows that writes to a folder of this test."""
    import methods

    monkeypatch.setenv("OUT", str(tmp_path))
    setting = {"data": {"synthetic": False, "dataset": "sysu", "folder": "x"}, "arch": "resnet18",
               "steps": 4, "part": "test", "modes": "all", "config": None,
               "start": "one of each seed"}  # fmt: skip
    return lambda: methods.Table("claim", setting, [*methods.CLAIM], methods.CLAIM)


def test_claim_leaves_one_part_out_at_a_time(benchmarks: None) -> None:
    import methods

    assert len(methods.CLAIM) == 10
    for row, flags in methods.CLAIM.items():
        full = methods.CLAIM[methods.whole(row)]
        taken_out = [flag for flag in flags if flag not in full]
        assert taken_out in ([], ["agw"]) or (
            len(taken_out) == 1 and taken_out[0].startswith("--no-")
        )


def test_whole_seeds_are_paired_and_kept(table: Any) -> None:
    import methods

    ours = table()
    for seed, gain in ((0, 3.0), (1, 5.0)):
        ours.start(seed, {"start_hash": f"s{seed}"})
        for row, more in (("mcl (plain)", 0.0), ("agw (plain)", gain)):
            facts = run_facts(f"s{seed}", all_embedding_mean_ap=50 + more)
            queries = {"pids": np.arange(3), "embedding": np.full(3, 0.5 + more / 100)}
            ours.add(row, seed, facts, methods.Details({"lr": 0.1}, queries))
    text = (path := ours.write()).with_suffix(".md").read_text()
    assert "| 0.0 ± 0.0 / 4.0 ± 1.4 |" in text
    assert "2 of 6 seeds" in text

    again = table()
    again.merge(path)
    assert again.results.keys() == ours.results.keys()
    assert again.configurations == {"c": {"lr": 0.1}}
    assert again.starts[1] == {"start_hash": "s1"}
    np.testing.assert_array_equal(again.queries["agw (plain)|1|embedding"], np.full(3, 0.55))
    with pytest.raises(ValueError, match="from two starts"):
        again.start(1, {"start_hash": "another"})


def test_claim_of_six_seeds_says_how_sure_it_is(table: Any) -> None:
    """Only rows with six pairs get an interval; a result's table can be made again from it."""
    import methods

    ours = table()
    rows = ("mcl (plain)", "agw (plain)", "mcl (erasing)", "agw (erasing)")
    for seed, (number, row) in product(range(6), enumerate(rows)):
        if row != "agw (plain)" or seed:
            ours.results[row, seed] = run_facts(all_embedding_mean_ap=50 + number + seed % 3)
    whole = ours.write()
    text = whole.with_suffix(".md").read_text()
    assert "plain: 5 of 6 seeds" in text and "erasing: " not in text
    assert "agw (erasing) less mcl, embedding:" in text and "p = 0.031, lower in 0 of 6" in text
    assert "agw (plain) less mcl, embedding:" not in text
    before = whole.read_text()
    methods.write_table_again(whole)
    assert whole.read_text() == before and whole.with_suffix(".md").read_text() == text


@pytest.mark.parametrize(
    "name, seeds, count",
    [("2026-11-25-2x-h100-80gb-hbm3", {0}, 10), ("2026-11-26-2x-h200", {0, 1}, 20),
     ("2026-11-26-7x-h200", {*range(6)}, 55)],
)  # fmt: skip
def test_results_from_before_the_options_were_renamed_are_merged(
    benchmarks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str,
    seeds: set[int], count: int,
) -> None:  # fmt: skip
    import methods

    root = Path(methods.__file__).parent
    path = root / "results" / f"claim-{name}.json"
    setting = json.loads(path.read_text())["results"]["setting"]
    setting["config"] = json.loads((root / "start_track.json").read_text())
    setting["versions"]["vireid"] = "0.1.0"
    table = methods.Table("claim", setting, [*methods.CLAIM], {**methods.ROWS, **methods.CLAIM})
    table.merge(path)
    assert {seed for _, seed in table.results} == seeds and len(table.results) == count
    start = tmp_path / "start.safetensors"
    start.touch()
    for row, flags in methods.CLAIM.items():
        words = ["--arch", "resnet18", "--pretrained", start, "--dataset", "sysu", *flags]
        words += ["--config", root / "start_track.json", "--print-config"]
        assert command("train", *words) == 0
        (tmp_path / "config.json").write_text(capsys.readouterr().out)
        today = methods.configuration(tmp_path)
        for seed in (seed for name, seed in table.results if name == row):
            assert table.configurations[table.results[row, seed]["config_hash"]] == today, row
    other = {**setting, "config": {**setting["config"], "steps_per_epoch": 100}}
    with pytest.raises(SystemExit):
        methods.Table("claim", other, [], {}).merge(path)


def test_configuration_names_what_decides_numbers(benchmarks: None, tmp_path: Path) -> None:
    import methods

    from vireid import config
    from vireid.methods.options import MCLOptions
    from vireid.models.options import ModelOptions
    from vireid.training.options import TrainOptions

    start = tmp_path / "start.safetensors"
    start.touch()

    def found(**changes: Any) -> str:
        recipe = RECIPES["mcl"]["clean"]
        model = ModelOptions(arch="resnet18", pretrained=str(start))
        options = TrainOptions(recipe=recipe, model=model, **changes)
        config.save(tmp_path / "config.json", options)
        return methods.hash_of(methods.configuration(tmp_path))

    same = found()
    assert found(seed=3, data_root="/elsewhere", device="cpu", engine="eager", log_every=1) == same
    assert found(method_options=MCLOptions(centers="learned")) == same  # what holds by default
    assert found(method_options=MCLOptions(centers="frozen")) != same
    assert found(steps_per_epoch=200) != same


@pytest.fixture
def rehearse(benchmarks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Runs rehearsal.py at its smallest with more flags: exit code, result file, results."""
    import rehearsal

    def run(*flags: str) -> tuple[int, Path, dict[str, Any]]:
        monkeypatch.setenv("OUT", str(tmp_path / "out"))
        words = ["--scale", "tiny", "--recipes", "clean", "--device", "cpu", *flags]
        monkeypatch.setattr(sys, "argv", ["rehearsal.py", *words])
        with pytest.raises(SystemExit) as ended:
            rehearsal.main()
        (path,) = (tmp_path / "out").glob("rehearsal-*.json")
        return ended.value.code, path, json.loads(path.read_text())["results"]

    return run


@pytest.mark.long
def test_rehearsal_from_the_folder_to_the_table(rehearse: Any) -> None:
    import rehearsal

    code, path, results = rehearse("--tests", "indoor-official")
    assert results["problems"] == [] and results["complete"] and code == 0
    assert [row["step"] for row in results["steps"]] == [
        "synthesize", "the other images of the tree", "info", "prepare",
        "train clean, killed in the middle", "train clean, resumed",
        "test clean, indoor, official draw", "report",
    ]  # fmt: skip
    assert results["parts"] == {"train": [8, 64, 32], "test": [4, 24, 14]}
    assert len(results["checks"]) == 7 + 1  # counts of `info`, queries of the test
    assert results["rows_of_the_table"] == 2  # pooled and embedding
    facts = results["trainings"]["clean"]
    assert 0 < facts["resumed_from_step"] <= facts["killed_after_step"] < facts["steps"] == 9
    hours = {f"{name}, {epochs} epochs": round(epochs * 9 * facts["step_ms"] / 3.6e6, 2)
             for name, epochs in (("mcl", 201), ("agw", 81))}  # fmt: skip
    assert facts["reckoned_hours"] == hours
    block = rehearsal.expectations(path)
    assert "| `train --recipe clean`, mcl, 201 epochs | " in block and block.count("\n| `") == 5


def test_rehearsal_whose_time_is_up_says_what_is_missing(rehearse: Any) -> None:
    code, path, results = rehearse("--deadline", "0")
    assert code == 1 and not results["complete"] and results["steps"] == []
    assert "INCOMPLETE. synthesize: not begun" in path.with_suffix(".md").read_text()


def test_rehearsal_has_the_true_counts(benchmarks: None, tmp_path: Path) -> None:
    import rehearsal

    plan = rehearsal.even_plan()
    assert plan.parts == {"train": (395, 22258, 11909), "test": (96, 6775, 3803)}
    assert sum(map(len, plan.lists.values())) == 491 == len({pid for pid, _ in plan.counts})

    counts = {(1, 1): 4, (1, 3): 5, (2, 4): 3, (2, 6): 2, (4, 2): 6, (5, 5): 2, (5, 6): 7}
    fakes.write_permutations(tmp_path / "rand_perm_cam.mat", counts)
    for name, pids in (("train", [1]), ("test", [2])):
        savemat(tmp_path / f"{name}_id.mat", {"id": np.array([pids], dtype=float)})
    official = rehearsal.official_plan(tmp_path)
    assert official.counts == counts  # those of pid 4 too, which is in no list
    assert official.lists == {"train": [1], "val": [5], "test": [2]}
    assert official.parts == {"train": (2, 4 + 2, 5 + 7), "test": (1, 3, 2)}


def test_rehearsal_reckons_without_checkpoints(benchmarks: None, tmp_path: Path) -> None:
    import rehearsal

    seconds = {10: 1.0, 20: 1.1, 30: 1.9, 40: 2.1, 50: 2.9}  # a checkpoint after 20 and 40
    lines = [{"step": step, "seconds": at} for step, at in seconds.items()]
    (tmp_path / "log.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"step": 6')
    (tmp_path / "summary.json").write_text(
        '{"seconds": 2.9, "peak_cpu_bytes": 0, "peak_gpu_bytes": 0, "store_bytes": 0}'
    )
    facts = rehearsal.training_facts(tmp_path, "precision x; engine y", 50, 20)
    assert facts["step_ms"] == pytest.approx(15)  # of 10 and 20 ms, where none was written


def test_what_to_expect_is_what_the_result_says(benchmarks: None) -> None:
    import rehearsal

    (found,) = rehearsal.BLOCK.finditer(rehearsal.PAGE.read_text(encoding="utf-8"))
    head = found[1].removeprefix("<!-- rehearsal").removesuffix(" -->\n")
    if head:
        path = FOLDER / "results" / head.removeprefix(": ")
        assert found[0] == found[1] + rehearsal.expectations(path) + found[2]


def test_the_floor_of_every_method_is_counted(benchmarks: None) -> None:
    """With three times the rows after its expansion, DEEN's last stage costs more than CAJ's."""
    from step_floor import counted, floor_ms, rows_of

    flop = {name: sum(one.flop for one in counted(name, (96, 32))[0]) for name in ("caj", "deen")}
    assert flop["deen"] > flop["caj"] * 48 / 96
    assert rows_of(RECIPES["caj"]["clean"]) == 96 and rows_of(RECIPES["rle"]["clean"]) == 48
    assert 0 < floor_ms("base", {"bf16_tflops": 700.0, "copy_tb_per_s": 2.8}) < 100

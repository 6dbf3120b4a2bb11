"""What benchmarks conclude with: the judgement of loss curves, the row of the best recipe."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from command_kit import run as command

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


@pytest.mark.parametrize(
    "name, seeds", [("2026-11-25-2x-h100-80gb-hbm3", {0}), ("2026-11-26-2x-h200", {0, 1})]
)
def test_results_from_before_the_options_were_renamed_are_merged(
    benchmarks: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, seeds: set[int]
) -> None:
    import methods

    root = Path(methods.__file__).parent
    path = root / "results" / f"claim-{name}.json"
    setting = json.loads(path.read_text())["results"]["setting"]
    setting["config"] = json.loads((root / "start_track.json").read_text())
    setting["versions"]["vireid"] = "0.1.0"
    table = methods.Table("claim", setting, [*methods.CLAIM], {**methods.ROWS, **methods.CLAIM})
    table.merge(path)
    assert {seed for _, seed in table.results} == seeds and len(table.results) == 10 * len(seeds)
    start = tmp_path / "start.safetensors"
    start.touch()
    for row, flags in methods.CLAIM.items():
        words = ["--arch", "resnet18", "--pretrained", start, "--dataset", "sysu", *flags]
        words += ["--config", root / "start_track.json", "--print-config"]
        assert command("train", *words) == 0
        (tmp_path / "config.json").write_text(capsys.readouterr().out)
        today = methods.configuration(tmp_path)
        for seed in seeds:
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

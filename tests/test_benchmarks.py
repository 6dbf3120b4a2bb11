"""What benchmarks conclude with: the judgement of loss curves, the rows of the start track and what
is kept of their runs, the rehearsal from folder to table."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import fakes
import numpy as np
import pytest
import torch
from scipy.io import savemat

from vireid.config import read_plain
from vireid.methods.recipes import RECIPES
from vireid.methods.registry import METHODS, options_class

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


def test_lists_of_numbers_are_one_line_of_a_result(benchmarks: None, tmp_path: Path) -> None:
    import _common

    machine = {"cpu": "c", "cores": 1, "memory_gib": 1, "gpus": [], "load_1min": 0}
    results = {"losses": [1.5, -2, 3e-7, None], "words": ["[\n  1\n]"], "nested": [[1, 2], [3]]}
    whole = {"name": "x", "date": "d", "hardware": machine, "versions": {"python": "3"},
             "commit": "c", "command": "x", "results": results, "notes": []}  # fmt: skip
    _common.write_result(tmp_path / "x.json", whole, [{"a": 1}])
    text = (tmp_path / "x.json").read_text()
    assert json.loads(text) == whole
    assert '"losses": [1.5, -2, 3e-07, null]' in text and "\n      [1, 2],\n" in text


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
    words += ["--name", "tiny"]
    backbones.main(words)
    found = {path.name.split("-2")[0]: json.loads(path.read_text())["results"]["rows"]
             for path in tmp_path.glob("*.json")}  # fmt: skip
    steps, trained = found["tiny-step"], found["tiny-train"]
    assert [row["arch"] for row in steps] == [row["arch"] for row in trained]
    assert steps[0]["of the first"] == 1 and all(row["ms"] > 0 for row in steps)
    assert all(0 < row[name] <= 100 for row in trained for name in ("untrained mAP", "mAP"))
    lines = (tmp_path / "test_vit" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines if '"epoch", ' in line] == [0, 1]


CLAIM = "claim-2026-11-27-amd-epyc.json"


def composed(name: str | Path, folder: Path, *more: str) -> tuple[Any, Any]:
    """An experiment as methods.py runs it on a folder of six empty starts, and its arguments."""
    import methods

    for seed in range(6):
        (folder / f"start-{seed}.safetensors").touch()
    start = str(folder / "start-{seed}.safetensors")
    file = name if isinstance(name, Path) else FOLDER / "sweeps" / f"{name}.toml"
    words = [str(file), "--data", str(folder), "--start", start]
    args = methods.arguments([*words, "--work", str(folder / "work"), *more])
    return methods.composed(args), args


def runs_of(name: str, folder: Path, **setting: Any) -> Any:
    """The table of an experiment on v1, without a run."""
    import _runs
    import methods

    sweep, _ = composed(name, folder)
    rows = {job.row: methods.hash_of(methods.configuration(job)) for job in sweep.jobs}
    results = _runs.read(FOLDER / "results" / CLAIM)[1]
    return _runs.Runs(name, _runs.as_written_now(results["setting"]) | setting, rows,
                      sweep.baseline)  # fmt: skip


def test_published_schedules_are_scaled_by_the_rules(benchmarks: None, tmp_path: Path) -> None:
    """The data sheet: 81 epochs of 200 steps; who isn't at 1 % of the rate by then is shrunk."""
    jobs = composed("board", tmp_path)[0].jobs
    assert len(jobs) == 11
    for job in jobs:
        recipe, known = job.options.recipe, RECIPES[job.options.method]["clean"]
        assert (recipe.epochs, job.options.steps_per_epoch) == (81, 200)
        schedule, usual = recipe.schedule, known.schedule
        if usual.factor(80 * 200, 200, known.epochs) > 0.01:
            assert schedule.peak_epochs == round(usual.peak_epochs * 81 / known.epochs)
            schedule = replace(schedule, peak_epochs=usual.peak_epochs)
        assert schedule == usual and recipe.lr == known.lr
        assert recipe.augment == known.augment or "erasing" in job.row
        assert recipe.pids_per_batch == known.pids_per_batch
        assert job.options.size == options_class(job.options.method).input_size
    of_common = [replace(job.options.recipe, method_options={}, model_options={})
                 for job in composed("common", tmp_path)[0].jobs]  # fmt: skip
    assert of_common == of_common[:1] * 5


def test_halo_is_the_finalist_that_won(benchmarks: None, tmp_path: Path) -> None:
    """Its recipe is that of the row, and each row of halo.toml leaves out one of its parts."""
    import best
    from _runs import load

    found = load(FOLDER / "results" / "finalists-2026-11-27-4x-h100-80gb-hbm3.json")
    ours = [row for row in found.made() if row not in best.RIVALS]
    won = max(ours, key=lambda row: best.score(found, row)).split(" + ")
    known, file = read_plain(best.SEARCH), tmp_path / "won.json"
    base = {name: known["base"][name] for name in ("config", "arch", "recipe")}
    names = {"halo": won} | {f"without {part}": [p for p in won if p != part] for part in won}
    rows = {name: best.combined(known, parts) for name, parts in names.items()}
    file.write_text(json.dumps({"base": base, "rows": rows}))
    recipes = []
    for path in ("halo", file):
        jobs = composed(path, tmp_path)[0].jobs
        own = [job.options for job in jobs if job.options.method not in ("agw", "mcl")]
        recipes.append([
            (replace(o.recipe, method_options={}, model_options={}), o.model.backbone_scale,
             o.method_options.circle_weight) for o in own
        ])  # fmt: skip
    assert recipes[0] == recipes[1]


def test_claim_leaves_one_part_out_at_a_time(benchmarks: None, tmp_path: Path) -> None:
    runs = runs_of("claim", tmp_path)
    plain = read_plain(FOLDER / "sweeps" / "claim.toml")["rows"]
    assert len(plain) == 10
    for row, options in plain.items():
        changed = options.items() - plain.get(runs.reference(row), options).items()
        assert changed in (set(), {("method", "agw")}) or (
            len(changed) == 1 and {value for _, value in changed} == {False}
        )


@pytest.mark.parametrize(
    "name, seeds, count",
    [
        ("2026-11-25-2x-h100-80gb-hbm3", {0}, 10),
        ("plain-5-2026-11-27-2x-h200", {5}, 5),
        ("2026-11-27-amd-epyc", {*range(6)}, 60),
    ],
)  # fmt: skip
def test_results_from_before_the_options_were_renamed_are_merged(
    benchmarks: None, tmp_path: Path, name: str, seeds: set[int], count: int
) -> None:
    """Every run under the row that means the same options today, with the numbers it had."""
    import _runs

    path = FOLDER / "results" / f"claim-{name}.json"
    runs = runs_of("claim", tmp_path)
    assert runs.merge(path) == len(runs.found) == count
    assert {seed for _, seed in runs.found} == seeds and not runs.left_out
    runs.check()
    old = json.loads(path.read_text())["results"]
    for one in old["runs"]:
        facts = runs.found[one["row"], one["seed"]]
        assert facts["all_embedding_mean_ap"] == one["all_embedding_mean_ap"]
        assert facts["commit"] and facts["machine"] and facts["date"]
    told = {(d["row"], d["which"], d["metric"]): d for d in old.get("differences", [])}
    for d in runs.differences() if told else []:
        before = told[d["row"], d["which"], d["metric"]]
        assert all(d[key] == pytest.approx(before[key]) for key in ("mean", "low", "high", "p"))
    other = runs_of("claim", tmp_path, data={**runs.setting["data"], "seed": 1})
    with pytest.raises(_runs.Unlike, match="data was"):
        other.merge(path)


def test_rows_of_the_claim_are_rows_of_the_board(benchmarks: None, tmp_path: Path) -> None:
    """By their options, whatever they are called; but never from another start than the seed's."""
    runs = runs_of("board", tmp_path)
    runs.start(3, {"start_hash": "another"})
    assert runs.merge(FOLDER / "results" / CLAIM) == 15
    assert {row: runs.seeds(row) for row in runs.made()} == {
        "agw": [0, 1, 2, 4, 5], "agw + erasing": [0, 1, 2, 4, 5], "mcl": [0, 1, 2, 4, 5]
    }  # fmt: skip
    assert len(runs.left_out) == 3 and all("two starts" in s for s in runs.left_out)


def test_a_result_is_written_checked_and_read_again(
    benchmarks: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import _runs
    import methods

    monkeypatch.setenv("OUT", str(tmp_path))
    runs = runs_of("claim", tmp_path)
    runs.merge(FOLDER / "results" / CLAIM)
    del runs.found["agw (plain)", 5]
    path = runs.write()
    text = path.with_suffix(".md").read_text()
    assert (
        "agw (erasing) minus mcl (erasing), embedding: −4.6 [−6.3, −2.9] mAP, better in 0 of 6"
        in text
    )
    assert "with 5 pairs nothing can be claimed" in text
    before = path.read_text()
    assert methods.main(["--table", str(path)]) == 0
    assert path.read_text() == before and path.with_suffix(".md").read_text() == text

    results = json.loads(before)["results"]
    for wrong, words in (
        ({"start_hash": ""}, "no start hash"),
        ({"start_hash": "x"}, "from two starts"),
        ({"config_hash": "x"}, "no configuration hash"),
        ({"all_pooled_mean_ap": 99.0}, "states 99.0 mAP"),
    ):
        found = runs_of("claim", tmp_path)
        found.merge(path)
        found.found["agw (plain)", 2].update(wrong)
        with pytest.raises(_runs.Unlike, match=words):
            found.check()
    for key in ("configurations", "per_query_ap"):
        lacking = {"results": {k: v for k, v in results.items() if k != key}}
        (tmp_path / "lacking.json").write_text(json.dumps(lacking))
        with pytest.raises(_runs.Unlike, match=f"lacks {key}"):
            _runs.load(tmp_path / "lacking.json")
    assert methods.main(["--table", str(FOLDER / "results" / OLD)]) == 2


def test_ap_of_queries_comes_back_within_half_a_thousandth(
    benchmarks: None, tmp_path: Path
) -> None:
    import _runs

    random = np.random.default_rng(0)
    written = {f"a row|{seed}|pooled": random.random(50, np.float32) for seed in range(3)}
    written["edges|0|embedding"] = np.array([0.0, 0.2555, 0.256, 1.0] + [0.5] * 46, np.float16)
    written |= {name: np.arange(50, dtype=np.int16) for name in ("pids", "camids")}
    _runs.save_queries(tmp_path / "q.npz", written)
    read = _runs.queries_of(tmp_path / "q.json", {"per_query_ap": "q.npz"})
    assert {*read} == {*written}
    assert all(np.abs(read[name] - written[name]).max() <= 0.0005 + 1e-9 for name in written)
    assert read["edges|0|embedding"][[0, 3]].tolist() == [0.0, 1.0]


OLD = "leaderboard-2026-11-24-h100-80gb-hbm3.json"  # without starts, hashes and queries


def test_the_leaderboard_is_what_the_results_say(benchmarks: None) -> None:
    import leaderboard

    page = leaderboard.PAGE.read_text(encoding="utf-8")
    assert leaderboard.filled(page) == page, "run `python benchmarks/leaderboard.py`"


def test_results_are_put_together_without_data(
    benchmarks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import methods
    from _runs import load

    monkeypatch.setenv("OUT", str(tmp_path))
    old = max((FOLDER / "results").glob("halo-2*.json"))
    words = [str(FOLDER / "sweeps" / "halo.toml"), "--rows", "halo,agw", "--merge", str(old),
             "--start", "s-{seed}.safetensors", "--work", str(tmp_path)]  # fmt: skip
    assert methods.main([*words, "--seeds", "0,1,2,3,4,5"]) == 0
    (path,) = tmp_path.glob("halo-2*.json")
    made, before = load(path), load(old)
    assert made.made() == ["halo", "agw"] and made.seeds("halo") == [*range(6)]
    both = [runs.values("halo", "embedding", "mean_ap") for runs in (made, before)]
    assert both[0] == both[1]
    assert methods.main([*words, "--seeds", "7"]) == 1  # which nobody has
    assert load(path).missing == ["halo, seed 7: in none of the results",
                                  "agw, seed 7: in none of the results"]  # fmt: skip


def test_a_run_that_failed_says_so_wherever_it_would_stand(
    benchmarks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Put together from results, and on the page."""
    import leaderboard
    import methods
    from _runs import load

    monkeypatch.setenv("OUT", str(tmp_path))
    old = max((FOLDER / "results").glob("mobilenetv2-0-2*.json"))
    words = [str(FOLDER / "sweeps" / "board.toml"), "--rows", "agw,halo", "--seeds", "0,1",
             "--arch", "mobilenetv2_100", "--name", "few", "--merge", str(old),
             "--start", "weights.pth", "--work", str(tmp_path)]  # fmt: skip
    assert methods.main(words) == 1
    (path,) = tmp_path.glob("few-2*.json")
    one, *others = load(path).missing
    assert one.startswith("halo, seed 0: failed: ") and "NaN in epoch 17" in one
    assert others == [f"{row}, seed 1: in none of the results" for row in ("agw", "halo")]
    assert load(path).seeds("agw") == [0]
    assert f"- {one}\n" in leaderboard.rows(load(path))


def test_the_leaderboard_ranks_and_agrees(benchmarks: None, tmp_path: Path) -> None:
    """Six methods in the published order but for the last two, and six seeds alike."""
    import leaderboard
    from _runs import Runs

    setting = {"data": {}, "part": "test", "modes": "all", "versions": {}}
    runs = Runs("board", setting, dict.fromkeys(leaderboard.PUBLISHED, "hash"))
    levels = (20.0, 30.0, 40.0, 50.0, 71.0, 70.0)
    for (row, level), seed in product(zip(leaderboard.PUBLISHED, levels), range(6)):
        value = level + seed + (row == "caj") * 0.1 * (-1) ** seed
        runs.found[row, seed] = {
            **{f"all_{which}_{m}": value for which in ("pooled", "embedding")
               for m in ("rank1", "mean_ap")},
            "gpu": "NVIDIA H200", "seconds_training": 400.0 + seed, "peak_gpu_bytes": 2**30,
            **({"cross": {"sysu, hard": {"embedding": {"rank1": 5.0, "mean_ap": 9.0}}}}
               if seed == 0 else {}),
        }  # fmt: skip
    words = leaderboard.agreement_words(runs)
    assert (
        "**τ = 0.87**, exact two-sided p = 0.017, 95 % interval for other seeds [0.87, 0.87]"
        in words
    )
    assert f"| `dns` | {leaderboard.published()['dns']} | 72.5 |" in words
    lines = leaderboard.rows(runs).splitlines()
    assert lines[2].startswith("| `deen` | 6 | 73.5 ± 1.9 (0.0; 1.9) |")
    assert lines[2].endswith("402 s (H200); 1.0 GiB |")
    assert "15 of 15 pairs are resolved" in leaderboard.pairs(runs)
    assert "| `agw` | 1 | 5.0 / 9.0 |" in leaderboard.cross(runs)
    del runs.found["dns", 5]
    assert "; 5 seeds, too few for an interval" in leaderboard.agreement_words(runs)
    assert "5 of 15 pairs of rows have fewer than 6 seeds" in leaderboard.pairs(runs)
    for seed in range(5):
        del runs.found["dns", seed]
    assert leaderboard.agreement_words(runs) == "Not yet: no run of `dns`.\n"


def searched(gains: dict[str, float], slow: dict[str, float], seeds: int = 1) -> Any:
    """Runs of rows with mAPs above the centre's 40, and steps so many times as long as its 2 ms."""
    from _runs import Runs

    setting = {"data": {}, "part": "val", "modes": "all", "versions": {}}
    runs = Runs("search", setting, dict.fromkeys(gains, "hash"))
    recipe = {"augment": {}, "pids_per_batch": 12, "images_per_pid": 4}
    runs.configurations["hash"] = {"recipe": recipe}
    for (row, gain), seed in product(gains.items(), range(seeds)):
        runs.found[row, seed] = {
            "config_hash": "hash", "images_per_second": 48_000 / slow.get(row, 1.0),
            "all_pooled_mean_ap": 40.0 + gain, "all_embedding_mean_ap": 30.0,
        }  # fmt: skip
    return runs


def test_the_search_goes_on_by_its_rule(benchmarks: None, tmp_path: Path) -> None:
    import best

    known = read_plain(best.SEARCH)
    axes: dict[str, dict[str, Any]] = {}
    for row, options in known["rows"].items():
        axis, value, _ = row.partition(": ")
        if value:
            axes.setdefault(axis, {}).update(options)
    names = [name for options in axes.values() for name in options]
    assert sorted(names) == sorted(set(names)), "an option is in two axes"

    gains = dict.fromkeys(known["rows"], 0.0) | {
        "stripes: 3": 5.0, "stripes: 6": 4.0, "shift: on": 3.0, "decay: cosine": 2.0,
        "body: 1": 1.0, "gate: on": 0.9, "colour: channel": 0.2,
    }  # fmt: skip
    slow = {"agw": 0.6, "stripes: 3": 1.1, "shift: on": 1.2, "gate: on": 1.5}
    runs = searched(gains, slow)
    assert best.step_ms(runs, "centre") == pytest.approx(2.0)
    assert best.winners(runs, best.GAIN) == ["stripes: 3", "shift: on", "decay: cosine", "body: 1"]
    written = best.finalists(runs)
    assert [*written["rows"]] == [  # all four would take 2.2 times agw's step
        "stripes: 3 + decay: cosine + body: 1",
        "stripes: 3 + decay: cosine",
        "stripes: 3",
        *best.RIVALS,
    ]  # fmt: skip
    assert best.affordable(runs, ["stripes: 3", "gate: on"]) == ["stripes: 3"]

    every = {"rows": {"all": best.combined(known, [f"{axis}: {value}" for axis, value in dict(
        row.split(": ") for row in known["rows"] if ": " in row).items()])}}  # fmt: skip
    (tmp_path / "every.json").write_text(json.dumps({"base": {**known["base"]}, **every}))
    args = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--start", "none"]
    methods = importlib.import_module("methods")
    (job,) = methods.composed(methods.arguments([str(tmp_path / "every.json"), *args])).jobs
    assert job.options.model.stripes == 6 and job.options.recipe.schedule.kind == "linear"
    assert job.options.method_options.shift and job.options.select == "held-out"


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


def test_steps_of_some_methods_leave_the_table_of_all(
    benchmarks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that failed is in the notes, and costs the others nothing."""
    import step

    def row(name: str, *_: Any) -> dict[str, Any]:
        if name == "dns":
            raise RuntimeError("no such GPU")
        return {"method": name, "ms": 10.0}

    kept: dict[str, dict[str, Any]] = {}
    monkeypatch.setattr(step, "ceilings", dict)
    monkeypatch.setattr(step, "method_row", row)
    monkeypatch.setattr(step.gc, "collect", lambda: None)  # takes a second here
    monkeypatch.setattr(step, "record", lambda name, _, **more: kept.update({name: more}))
    for only in ([], ["mcl", "dns"], ["dns"]):
        step.all_methods(only, 1, 1, ["auto"])
    assert list(kept) == ["step-methods", "step-methods-mcl-dns", "step-methods-dns"]
    assert [len(more["table"]) for more in kept.values()] == [len(METHODS) - 1, 1, 0]
    assert all(more["notes"][1:] == ["dns: RuntimeError: no such GPU"] for more in kept.values())

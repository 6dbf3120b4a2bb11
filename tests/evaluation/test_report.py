"""Reports: the contract's JSON, round trips, comparison, and averages that refuse."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from evaluation.examples import embeddings_of, sysu_like
from vireid.config import to_plain
from vireid.data import ProtocolOptions
from vireid.evaluation import (
    METRICS,
    Metric,
    Report,
    average_reports,
    compare,
    evaluate,
    groups_of,
)
from vireid.evaluation.report import below_chance
from vireid.evaluation.unlike import differences, differing_options
from vireid.methods import OPTIONS, RECIPES
from vireid.types import InputError

PROMISED = {"rank1", "rank5", "rank10", "rank20", "mean_ap", "mean_inp"}  # others script by them


def make(
    seed: int = 0,
    *,
    rerank: bool = False,
    options: dict | None = None,
    people: dict | None = None,
    **context,
) -> Report:
    dataset = sysu_like()
    dataset.__dict__["synthetic"] = people  # what a marker file in its folder would say
    rows = np.arange(len(dataset.samples))
    stated = {"method": "mcl", "arch": "resnet50", "seed": seed, "epoch_choice": "last epoch",
              "synthetic": True, "commit": "c0ffee", **context}  # fmt: skip
    return evaluate(
        dataset,
        ProtocolOptions(**{"num_trials": 3, **(options or {})}),
        embeddings_of(dataset, rows, seed),
        rows,
        rerank=rerank,
        context=stated,
    )


@pytest.fixture(scope="module")
def report() -> Report:
    return make(rerank=True)


def split(number: int, **context) -> Report:
    """As of RegDB's split, with numbers of another search."""
    made = make(number + 100 * context.get("seed", 0))
    protocol = replace(made.protocol, dataset="regdb", rule="regdb", shots=None, draw=None,
                       trials=(number,), split=number, seed=context.get("seed", 0))  # fmt: skip
    return replace(made, protocol=protocol)


def test_json_is_the_contract(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "all")
    assert report.folder == tmp_path / "all"
    plain = json.loads((tmp_path / "all" / "report.json").read_text())
    assert set(METRICS) >= PROMISED
    for source in (plain, plain["reranked"]):
        for name in ("pooled", "embedding"):
            assert list(source[name]) == list(METRICS)
            for numbers in source[name].values():
                assert numbers["mean"] == pytest.approx(np.mean(numbers["trials"]))
                assert numbers["std"] == pytest.approx(np.std(numbers["trials"]))
                assert len(numbers["trials"]) == 3
    protocol = plain["protocol"]
    stated = {"dataset", "scope", "shots", "direction", "draw", "trials", "embeddings", "metric",
              "tta", "reranking", "epoch_choice", "seed", "commit", "versions",
              "synthetic"}  # fmt: skip
    assert stated <= set(protocol)
    assert all(protocol[key] is not None for key in stated)


def test_a_report_is_printed_in_a_few_lines(report: Report) -> None:
    lines = str(report).splitlines()
    assert lines[0] == "mcl on synthetic people in the layout of SYSU-MM01"
    assert lines[1] == "all-search, single-shot, seeded draw, infrared to visible."
    names = ["embedding", "embedding, re-ranked", "pooled", "pooled, re-ranked"]
    assert sorted(line.split("  ")[0] for line in lines[2:-1]) == names
    rank1 = report.raw["pooled"]["rank1"]
    (pooled,) = (line for line in lines if line.startswith("pooled  "))
    assert f"Rank-1 {100 * rank1['mean']:.2f} ± {100 * rank1['std']:.2f}, mAP " in pooled
    assert ", mINP " in pooled
    assert lines[-1] == "Percent, mean ± deviation over 3 trials."
    assert len(repr(report)) < 150


def test_round_trip(report: Report, tmp_path: Path) -> None:
    assert Report.from_plain(json.loads(json.dumps(report.to_plain()))) == report
    loaded = Report.load(report.write(tmp_path).folder / "report.json")
    assert loaded == report and loaded.folder == tmp_path


def test_best_and_chance(report: Report) -> None:
    best = max(report.raw[name]["rank1"]["mean"] for name in report.raw)
    assert report.best()["rank1"]["mean"] == best
    assert report.chance["rank1"] == pytest.approx(1 / 12)


def test_markdown_says_what_must_not_be_missing(report: Report, tmp_path: Path) -> None:
    text = (report.write(tmp_path).folder / "report.md").read_text()
    mean = report.raw["pooled"]["rank1"]
    for words in (
        "synthetic",
        "all-search, single-shot, seeded draw, infrared to visible",
        f"{100 * mean['mean']:.2f} ± {100 * mean['std']:.2f}",
        "re-ranked",
        "random order",
        "95 % confidence",
        "\n12 people, 72 queries, 48 gallery images a draw.\n",
        "| Epoch chosen by | last epoch |",
        "| Gallery draw | seeded |",
        "Every trial",
        "Camera by camera",
        "Without a match",
    ):
        assert words in text, words


def test_few_people_have_no_interval_for_others(tmp_path: Path) -> None:
    """Nor many of whom few have a match; the rule is that of a comparison."""
    dataset = sysu_like(people=10, images=1)
    nobodys = [s for s in dataset.samples if s.pid == 10 and s.camid not in (3, 6)]
    samples = tuple(s for s in dataset.samples if s not in nobodys)
    rows = np.arange(len(samples))
    unmatched = replace(dataset, samples=samples, parts={**dataset.parts, "test": rows})
    for data, people in ((unmatched, 9), (sysu_like(people=1, images=1), 1), (dataset, 10)):
        rows, options = np.arange(len(data.samples)), ProtocolOptions(num_trials=1)
        made = evaluate(data, options, embeddings_of(data, rows), rows).write(tmp_path)
        text = (tmp_path / "report.md").read_text()
        said = "10 are needed" in text
        assert bool(made.confidence) == ("95 % confidence" in text) == (not said) == (people == 10)
        if said:
            verb = "identity is" if people == 1 else "identities are"
            assert f"- {people} query {verb} too few for an interval for other people" in text
        assert Report.load(tmp_path / "report.json") == made
    assert "\n10 people, 20 queries, 40 gallery images.\n" in text


def text_of(table) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    return stream.getvalue()


def test_terminal_table_fits_eighty_columns(report: Report) -> None:
    text = text_of(report.to_table())
    assert "…" not in text and "chance" in text and "re-ranked" in text
    assert "synthetic" in text


@pytest.mark.parametrize(
    ("plain", "words"),
    [
        ([], "is not a report"),
        ({"format": "other"}, "is not a report"),
        ({"format": "vireid-report-1", "protocol": 3}, "an object with named values"),
        ({"format": "vireid-report-1", "protocol": {"dataset": "sysu"}}, "lacks rule"),
    ],
)
def test_no_report_is_a_sentence(plain, words, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(plain))
    with pytest.raises(InputError, match=words):
        Report.load(path)


def test_missing_numbers_are_a_sentence(report: Report) -> None:
    plain = report.to_plain()
    plain.pop("pooled")
    with pytest.raises(InputError, match="pooled is missing"):
        Report.from_plain(plain)
    plain = report.to_plain()
    plain["pooled"] = {**plain["pooled"], "mean_ap": {"mean": 1}}
    with pytest.raises(InputError, match="mean_ap lacks"):
        Report.from_plain(plain)


def test_comparison_writes_three_tables(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "run_1" / "test" / "sysu-all")
    other = make(1)
    comparison = compare([report, other])
    assert comparison.differences == ()
    paths = comparison.write(tmp_path / "out")
    assert [path.name for path in paths] == [
        "comparison.md", "comparison.csv", "comparison.tex",
    ]  # fmt: skip
    rows = list(csv.DictReader(paths[1].open()))
    assert [row["embedding"] for row in rows] == [
        "pooled", "pooled, re-ranked", "embedding", "embedding, re-ranked", "pooled", "embedding",
    ]  # fmt: skip
    assert rows[0]["report"] == "run_1" and rows[4]["report"] == "report 2"
    assert float(rows[3]["rank1"]) == pytest.approx(
        report.reranked["embedding"]["rank1"]["mean"], abs=1e-6
    )
    assert rows[3]["re-ranking"].startswith("k-reciprocal") and rows[4]["re-ranking"] == "none"
    tex = paths[2].read_text()
    assert "run\\_1" in tex and tex.count(" \\\\\n") == 7 and "synthetic" in tex
    text = text_of(comparison.to_table())
    assert "±" in text and "…" not in text
    assert text.count("run_1") == 1  # the words of a report stand beside its first line only
    with pytest.raises(InputError, match="no report"):
        compare([])


def test_words_of_unlike_reports_stay_readable_in_a_terminal(report: Report) -> None:
    wide = make(1, options={"scope": "indoor", "direction": "visible_to_infrared"}, method="agw")
    text = text_of(compare([report, wide]).to_table())
    assert "indoor-search" in text and "visible to" in text and "embedding" in text
    assert max(map(len, text.splitlines())) <= 80


def test_names_are_safe_in_latex(report: Report, tmp_path: Path) -> None:
    report.write(tmp_path / "a^b~c\\d_e&{f}" / "test" / "all")
    tex = compare([report, make(1)]).to_latex()
    assert r"a\textasciicircum{}b\textasciitilde{}c\textbackslash{}d\_e\&\{f\} &" in tex


def test_trials_list_raw_and_reranked_side_by_side(report: Report, tmp_path: Path) -> None:
    text = (report.write(tmp_path).folder / "report.md").read_text()
    rows = [line.split(" | ")[:2] for line in text.split("## Every trial")[1].splitlines()]
    found = [(trial.strip("| "), name) for trial, name, *_ in filter(lambda r: len(r) > 1, rows)]
    assert found[2:6] == [
        ("0", "pooled"), ("0", "pooled, re-ranked"), ("1", "pooled"), ("1", "pooled, re-ranked"),
    ]  # fmt: skip


def test_one_trial_has_no_deviation(tmp_path: Path) -> None:
    text = (make(options={"num_trials": 1}).write(tmp_path).folder / "report.md").read_text()
    assert "Percent, of one trial." in text and "±" not in text


def test_own_definitions_are_marked() -> None:
    multi = make(options={"shots": 10})
    assert "10 shots, seeded draw (vireid's own)" in multi.protocol.search()
    assert any("vireid's own definition" in note for note in multi.notes)
    assert make().notes == () and "own" not in make().protocol.search()


def test_comparison_of_unlike_searches_warns(report: Report) -> None:
    comparison = compare([report, make(1, options={"scope": "indoor"})])
    assert comparison.differences == ("scope",)
    assert "must not be compared" in comparison.to_markdown()
    assert "must not be compared" in comparison.to_latex()


def test_average_over_seeds(tmp_path: Path) -> None:
    reports = [make(seed) for seed in (1, 2, 3)]
    average = average_reports(reports)
    means = [one.raw["pooled"]["rank1"]["mean"] for one in reports]
    assert average.raw["pooled"]["rank1"]["trials"] == means
    assert average.raw["pooled"]["rank1"]["std"] == pytest.approx(np.std(means, ddof=1))
    assert average.averaged["over"] == ["seed"] and average.averaged["reports"] == 3
    assert average.protocol.seed is None and average.protocol.method == "mcl"
    average.write(tmp_path)
    assert Report.load(tmp_path / "report.json") == average
    text = (tmp_path / "report.md").read_text()
    assert "Average of 3 reports** over training seeds (1, 2, 3)" in text
    assert "Average of 3 reports" in compare([average]).to_markdown()


def test_average_over_regdb_splits_then_seeds() -> None:
    by_seed = [average_reports([split(n, seed=seed) for n in range(1, 11)]) for seed in (0, 1)]
    assert by_seed[0].averaged["values"] == {"split": list(range(1, 11))}
    assert by_seed[0].protocol.split is None
    both = average_reports(by_seed)
    assert both.averaged["over"] == ["split", "seed"] and both.averaged["reports"] == 20
    assert both.averaged["values"]["split"] == list(range(1, 11))


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"options": {"scope": "indoor"}}, r"search \(all and indoor\)"),
        ({"options": {"shots": 10}}, r"shots \(1 and 10\)"),
        ({"options": {"direction": "visible_to_infrared"}}, "direction"),
        ({"options": {"num_trials": 2}}, "trials"),
        ({"method": "agw"}, r"method \(mcl and agw\)"),
        ({"tta": "flip"}, "test-time augmentation"),
        ({"epoch_choice": "validation identities"}, "epoch chosen by"),
        ({"synthetic": False}, "synthetic people"),
        ({"people": {"seed": 8, "preset": "hard"}}, "synthetic set"),
        ({"rerank": True}, "re-ranking"),
    ],
)
def test_average_of_unlike_reports_names_the_difference(other, words) -> None:
    with pytest.raises(InputError, match=words):
        average_reports([make(1), make(2, **other)])


def test_average_refuses_the_same_model_and_mixtures() -> None:
    with pytest.raises(InputError, match="at least two"):
        average_reports([make(1)])
    with pytest.raises(InputError, match="same seed and split"):
        average_reports([make(1), make(1)])
    with pytest.raises(InputError, match=r"of the same model \(Seed 2 and 2, weights"):
        average_reports([make(1), make(2), make(2)])
    leak = [split(n, seed=0) for n in (1, 2, 3)]
    again = replace(leak[1].protocol, split=4)  # one model tested on another split too
    with pytest.raises(InputError, match="Split 2 and 4"):
        average_reports([*leak, replace(leak[1], protocol=again)])
    with pytest.raises(InputError, match="differ in both"):
        average_reports([split(1, seed=0), split(2, seed=1)])
    with pytest.raises(InputError, match="averages of"):
        average_reports([average_reports([make(1), make(2)]), make(3)])


def test_a_new_metric_is_one_line_and_older_reports_are_read(
    report: Report, tmp_path: Path, monkeypatch
) -> None:
    old = json.loads(json.dumps(report.to_plain()))
    rank2 = Metric(head="Rank-2", of_query=lambda scores: scores.first <= 2, decimals=1)
    monkeypatch.setitem(METRICS, "rank2", rank2)
    new = make(1)
    assert 0 < new.raw["pooled"]["rank2"]["mean"] <= 1
    assert "Rank-2" in (new.write(tmp_path / "new").folder / "report.md").read_text()
    loaded = Report.from_plain(old)
    assert "rank2" not in loaded.raw["pooled"] and loaded == report
    text = (loaded.write(tmp_path / "old").folder / "report.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| pooled"))
    assert row.endswith("|  |"), "the metric is absent, its cell empty"
    comparison = compare([loaded, new])
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert rows[0]["rank2"] == "" and float(rows[-1]["rank2"]) > 0
    without = replace(make(2), raw={name: dict(table) for name, table in make(2).raw.items()})
    for table in without.raw.values():
        table.pop("rank2")
    mean = average_reports([without, new])
    assert "rank2" not in mean.raw["pooled"] and "mean_inp" in mean.raw["pooled"]
    assert "Rank-2" in comparison.to_latex() and comparison.to_table().row_count


def test_a_metric_that_is_no_fraction_is_not_printed_in_percent(
    report: Report, tmp_path: Path, monkeypatch
) -> None:
    everywhere = {"in_terminal": True, "in_brief": True, "in_comparison": True}
    first = Metric(head="First", of_query=lambda s: s.first, unit="rank", **everywhere)
    monkeypatch.setitem(METRICS, "mean_first", first)
    new = make(1)
    numbers = new.raw["pooled"]["mean_first"]
    assert 1 <= numbers["mean"] < 12, "twelve people in the gallery"
    cell = f"{numbers['mean']:.2f} ± {numbers['std']:.2f}"
    low, high = new.confidence["pooled"]["mean_first"]
    assert low < numbers["mean"] < high
    markdown = (new.write(tmp_path).folder / "report.md").read_text()
    assert f"{low:.2f} to {high:.2f}" in markdown
    comparison = compare([report, new])
    for text in (markdown, str(new), comparison.to_markdown()):
        assert cell in text and "Percent; First: rank, mean ± deviation" in text
    assert cell.replace("±", "$\\pm$") in comparison.to_latex()
    assert "Percent; First: rank, mean" in comparison.to_latex()
    for table in (new.to_table(), comparison.to_table()):
        text = " ".join(text_of(table).split())
        assert cell.replace(" ", "") in text and "percent; First: rank" in text
    (row,) = [r for r in csv.DictReader(io.StringIO(comparison.to_csv()))
              if r["embedding"] == "pooled" and r["mean_first"]]  # fmt: skip
    assert float(row["mean_first"]) == pytest.approx(numbers["mean"], abs=1e-6)


def trained(seed: int, **changes) -> dict:
    """The record of a training run."""
    options = {"seed": seed, "trial": 1, "method": "mcl", "recipe": {"lr": 0.1, "optim": "sgd"},
               **changes.pop("options", {})}  # fmt: skip
    return {"options": options, "options_hash": "0", "code": {}, "precision": "float32",
            "ranks": 1, "data_hash": "d" * 64, **changes}  # fmt: skip


def code(digest: str) -> dict:
    return {"method": {"name": "my.py:Mine", "sha256": digest * 64, "copies": []}}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"options": {"recipe": {"lr": 0.1, "optim": "adam"}}}, r"`optim` \(sgd and adam\)"),
        ({"options": {"recipe": {"lr": 0.2, "optim": "sgd"}}}, r"`lr` \(0.1 and 0.2\)"),
        ({"options": {"method_options": {"confusion": False}}}, r"`confusion` \(none and no\)"),
        ({"precision": "bfloat16"}, r"`precision` \(float32 and bfloat16\)"),
        ({"ranks": 2}, r"`ranks` \(1 and 2\)"),
        ({"code": code("b")}, r"`method` \(mcl and my.py:Mine \(bbbbbbbb\)\)"),
        ({"data_hash": "e" * 64}, r"training data's hash \(dddddddddddd and eeeeeeeeeeee\)"),
        ({"changes": ["torch was 1 and is 2, from epoch 3 on"]}, "torch was 1 and is 2"),
    ],
)
def test_average_of_unlike_recipes_names_the_difference(changes: dict, words: str) -> None:
    one = replace(make(1), record=trained(1))
    other = replace(make(2), record=trained(2, **changes))
    assert average_reports([one, replace(make(2), record=trained(2))]).averaged
    with pytest.raises(InputError, match=words):
        average_reports([one, other])
    assert groups_of([one, other, one]) == [[one, one], [other]]


def test_seeds_whose_epochs_were_chosen_alike_are_averaged() -> None:
    """Each seed has its own best number, and its own run that it was found in."""
    best = "best embedding mAP on validation identities"
    chosen = [make(n, epoch=n, epoch_choice=f"{best} ({50 + n}.25 %)") for n in (1, 2)]
    assert average_reports(chosen).protocol.epoch_choice == best
    refit = [
        make(n, epoch_choice=f"last epoch; the number of epochs is from {best} (5{n}.00 %) in the "
             f"run 'mcl-seed{n}'") for n in (1, 2)
    ]  # fmt: skip
    assert average_reports(refit).averaged
    with pytest.raises(InputError, match="epoch chosen by"):
        average_reports([chosen[0], refit[1]])


def test_a_report_without_a_record_is_not_averaged_with_one_that_has_it() -> None:
    kept = replace(make(1), record=trained(1))
    with pytest.raises(InputError, match=r"`record` \(stated and none\)"):
        average_reports([kept, make(2)])
    mean = average_reports([make(1), make(2)])
    assert any("kept no record" in note for note in mean.notes)


def test_options_that_a_methods_name_implies_are_not_named() -> None:
    """MCLNet has rho and AGW has none: only another rho than MCLNet's own is worth a word."""
    agw = replace(make(1), record=trained(1, options={"method": "agw"}))

    def mcl(rho: float) -> Report:
        own = {"rho": rho, "centers": "learned"}
        return replace(make(1), record=trained(1, options={"method_options": own}))

    usual = OPTIONS["mcl"]().rho
    assert differing_options([agw, mcl(usual)]) == {"method": ("agw", "mcl")}
    assert differing_options([agw, mcl(0.2)]).keys() == {"method", "method_options.rho"}
    assert differing_options([agw, mcl(usual), mcl(0.2)])["method_options.rho"] == (
        "–", str(usual), "0.2",
    )  # fmt: skip
    assert not [w for w in differences(agw, mcl(usual)) if "centers" in w or "rho" in w]
    # what its recipe gives is the method's as well, but not what another recipe would give

    def with_rate(recipe: str) -> Report:
        report = replace(
            make(1), record=trained(1, options={"method_options": {"discriminator_lr": 0.1}})
        )
        return replace(report, protocol=replace(report.protocol, recipe=recipe))

    assert differing_options([agw, with_rate("scratch")]).keys() == {"method"}
    assert not [w for w in differences(agw, with_rate("scratch")) if "discriminator" in w]
    assert "method_options.discriminator_lr" in differing_options([agw, with_rate("clean")])
    assert any(
        "`discriminator_lr` (0.1" in w or "`discriminator_lr` (none" in w
        for w in differences(agw, with_rate("clean"))
    )
    # without it, one way of training is unlike another: an option that is not stated is unknown
    unstated = replace(make(1), record=trained(1))
    assert differing_options([unstated, mcl(usual)]).keys() == {
        "method_options.rho", "method_options.centers",
    }  # fmt: skip


def test_a_table_leaves_out_what_one_recipe_says_of_each_method() -> None:
    """Methods in one recipe's name: only what is set otherwise is worth a place in each row."""

    def report(method: str, recipe: str, **changed: Any) -> Report:
        augment = to_plain(RECIPES[method][recipe].augment) | changed
        kept = trained(1, options={"method": method, "recipe": {"augment": augment}})
        protocol = replace(make(1).protocol, recipe=recipe, method=method)
        return replace(make(1), record=kept, protocol=protocol)

    pair = [report("agw", "scratch"), report("halo", "scratch")]
    assert "recipe.augment.second_view" in differing_options(pair)
    assert differing_options(pair, brief=True) == {}
    found = differing_options([pair[0], report("halo", "scratch", channel=0.5)], brief=True)
    assert found == {"recipe.augment.channel": ("0.35", "0.5")}
    mixed = [pair[0], report("agw", "clean")]  # nothing says which recipe a row has
    assert "recipe.augment.channel" in differing_options(mixed, brief=True)


def test_an_average_keeps_what_its_models_share(tmp_path: Path) -> None:
    reports = [replace(make(n), record=trained(n, start_hash=f"s{n}")) for n in (1, 2)]
    old = replace(reports[1].protocol, versions={"torch": "2.9", "vireid": "0.1"})
    mean = average_reports([reports[0], replace(reports[1], protocol=old)])
    assert mean.record["options"] == {k: v for k, v in trained(0)["options"].items() if k != "seed"}
    assert "start_hash" not in mean.record and "Each seed has a start of its own." in mean.notes
    assert mean.protocol.versions["torch"].endswith(", 2.9")
    assert Report.load(mean.write(tmp_path).folder / "report.json") == mean


def test_unlike_runs_are_rows_with_their_options_as_columns(tmp_path: Path) -> None:
    sgd = replace(make(1), record=trained(1))
    adam = replace(make(2), record=trained(2, options={"recipe": {"lr": 0.00035, "optim": "adam"}}))
    comparison = compare([sgd, adam, make(3)])
    assert comparison.options == {
        "recipe.lr": ("0.1", "0.00035", "not stated"),
        "recipe.optim": ("sgd", "adam", "not stated"),
    }
    lines = comparison.to_markdown().splitlines()
    assert "| lr | optim |" in next(line for line in lines if line.startswith("| Report |"))
    assert "| 0.00035 | adam |" in next(line for line in lines if "report 2" in line)
    rows = list(csv.DictReader(io.StringIO(comparison.to_csv())))
    assert rows[2]["optim"] == "adam" and rows[-1]["lr"] == "not stated"
    words = [cell.plain for cell in comparison.to_table().columns[0].cells]
    assert words[2].endswith("; lr 0.00035; optim adam")  # a value stands beside its option's name


def test_what_is_not_above_chance_is_called_so(report: Report, tmp_path: Path) -> None:
    best = {name: entry["mean"] for name, entry in report.best().items()}
    lucky = replace(report, chance={"rank1": -1.0, "mean_ap": -1.0})
    assert below_chance(lucky) == "" and "not above chance" not in str(lucky)
    poor = replace(report, chance={"rank1": -1.0, "mean_ap": best["mean_ap"]}, folder=None)
    number = f"{100 * best['mean_ap']:.2f}"
    words = f"The best test embedding is not above chance: mAP {number} (chance {number})."
    assert below_chance(poor) == words and words in str(poor)
    assert words in (poor.write(tmp_path).folder / "report.md").read_text()
    both = compare([lucky, poor])
    assert both.below_chance() == f"Not above chance: {tmp_path.name}: {words.split(': ')[1]}"
    again = replace(poor, protocol=replace(poor.protocol, reranking="k-reciprocal"))
    assert compare([lucky, poor, again]).below_chance() == (
        f"Not above chance: {tmp_path.name}, {poor.protocol.search()}: {words.split(': ')[1]}"
    )  # once, of both tests
    assert both.below_chance() in both.to_markdown()
    assert both.below_chance() in str(both.to_table().caption)
    assert "; chance: Rank-1 -100.00, mAP -100.00." in compare([lucky]).to_markdown()
    assert "; chance: " not in both.to_markdown()


def test_a_narrow_table_says_once_what_its_rows_share(report: Report) -> None:
    name = "sysu-mcl-resnet50-clean"
    reports = [
        replace(
            report,
            protocol=replace(report.protocol, scope=scope, seed=seed),
            folder=Path("runs") / f"{name}{way}-seed{seed}" / "test" / scope,
        )
        for way in ("", "-no-confusion")
        for seed in (0, 1)
        for scope in ("all", "indoor")
    ]

    def words(table: Any) -> list[str]:
        return [cell.plain for cell in table.columns[0].cells if cell.plain]

    table = compare(reports).to_table()
    shared = f"report: {name}-…; method: mcl, resnet50; search: single-shot"
    assert str(table.title).startswith(shared)
    assert words(table)[0] == "…-seed0; seed 0; all-search"
    assert words(table)[-1] == "…-no-confusion-seed1; seed 1; indoor-search"
    one = compare(reports[:2]).to_table()
    assert f"report: {name}-seed0" in str(one.title) and one.columns[0].header == "Search"
    assert words(one) == ["all-search", "indoor-search"]
    alone = compare(reports[:1]).to_table()
    assert words(alone) == [f"{name}-seed0"] and alone.columns[0].header == "Report"


def test_a_report_says_what_it_was_trained_with(tmp_path: Path) -> None:
    kept = trained(1, code=code("a"), changes=["torch was 1 and is 2, from epoch 3 on"],
                   architecture="MyNetwork")  # fmt: skip
    text = (replace(make(1), record=kept).write(tmp_path).folder / "report.md").read_text()
    for words in ("| recipe.lr | 0.1 |", "my.py:Mine, aaaaaaaaaaaaaaaa", "| network | MyNetwork |",
                  "| **changed** | torch was 1 and is 2"):  # fmt: skip
        assert words in text, words

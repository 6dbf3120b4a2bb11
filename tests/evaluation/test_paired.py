"""Comparisons in pairs: against hand-worked examples, scipy, and simulated experiments."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from evaluation.examples import embeddings_of, sysu_like
from vireid.data import ProtocolOptions
from vireid.evaluation import (
    Report,
    average_all,
    average_reports,
    compare_paired,
    evaluate,
    over_identities,
    sign_flip,
    t_interval,
)
from vireid.evaluation.paired import write_paired
from vireid.figures import paired_differences, save_figure
from vireid.runtime.record import Record
from vireid.types import InputError

GAINS = (0.011, 0.025, 0.018, 0.021, 0.012, 0.022)


def record(seed: int = 0, start: str | None = None, **options: Any) -> Record:
    chosen = {"seed": seed, "method": "mcl", "recipe": {"lr": 0.1}, "confusion": True, **options}
    return {"options": chosen, "options_hash": "0", "code": {}, "data_hash": "d" * 64,
            "start_hash": start, "precision": "float32", "ranks": 1}  # fmt: skip


@pytest.fixture(scope="module")
def base() -> Report:
    dataset = sysu_like()
    rows = np.arange(len(dataset.samples))
    return evaluate(dataset, ProtocolOptions(num_trials=2), embeddings_of(dataset, rows), rows,
                    context={"method": "mcl", "arch": "resnet50", "seed": 0})  # fmt: skip


def made(base: Report, seed: int, gain: float = 0.0, **more: Any) -> Report:
    """A report whose numbers are those of `base` and `gain`."""
    raw = {
        name: {
            metric: {**entry, "mean": 0.5 + 0.01 * seed + gain} for metric, entry in numbers.items()
        }
        for name, numbers in base.raw.items()
    }
    queries = {k: v + gain if "." in k else v for k, v in base.queries.items()}
    protocol = replace(base.protocol, seed=seed, weights_hash=f"{seed}{gain}")
    kept = more.pop("record", None) or record(seed, **more)
    return replace(base, protocol=protocol, raw=raw, queries=queries, record=kept)


def sides(base: Report, gains: tuple[float, ...] = GAINS, **more: Any) -> list[list[Report]]:
    ones = [made(base, seed, gain) for seed, gain in enumerate(gains)]
    return [ones, [made(base, seed, confusion=False) for seed in range(len(gains))]]


# Statistics ------------------------------------------------------------------------------------


def test_sign_flip_by_hand() -> None:
    # of the 8 sums ±1 ±2 ±3, two are as far from 0 as 6; of ±1 ±2, ±(2 - 1) and ±3 reach 1
    assert sign_flip([1, 2, 3]) == 2 / 8
    assert sign_flip([-1, 2]) == 1.0
    assert sign_flip([1] * 6) == 2 / 64 and sign_flip([1] * 5) == 0.0625
    assert sign_flip([0.0, 0.0]) == 1.0
    assert sign_flip([3]) == 1.0
    assert sign_flip([1, 1, 1, -1]) == 10 / 16  # sums of at least 2: 1 + 4, twice


def test_sign_flip_is_scipys_permutation_test() -> None:
    g = np.random.default_rng(0)
    for count in (3, 6, 9):
        values = g.normal(0.3, 1, count)
        found = stats.permutation_test(
            (values,), np.mean, permutation_type="samples", n_resamples=np.inf
        )
        assert sign_flip(values) == pytest.approx(found.pvalue, abs=1e-12)
    rounded = [0.1, 0.2, 0.3, -0.1, 0.2, 0.1]  # equal sums that rounding tells apart
    assert sign_flip(rounded) == sign_flip([1, 2, 3, -1, 2, 1])


def test_sign_flip_of_many_pairs_is_sampled() -> None:
    values = np.random.default_rng(1).normal(0.5, 1, 40)
    assert sign_flip(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.005)


def test_t_interval_by_hand() -> None:
    mean, low, high = t_interval([1.0, 2.0, 3.0])
    half = 4.302652729911275 / 3**0.5  # t of 2 degrees at 97.5 %, deviation 1
    assert (mean, low, high) == pytest.approx((2.0, 2 - half, 2 + half))
    again = stats.ttest_1samp(GAINS, 0).confidence_interval(0.95)
    assert t_interval(GAINS)[1:] == pytest.approx((again.low, again.high))


def test_t_interval_covers_the_truth_in_95_of_100_experiments() -> None:
    g = np.random.default_rng(0)
    covered = 0
    for _ in range(2000):
        _, low, high = t_interval(g.normal(1.8, 0.7, 6))
        covered += low <= 1.8 <= high
    assert abs(covered / 2000 - 0.95) < 3 * (0.95 * 0.05 / 2000) ** 0.5


def test_bootstrap_draws_whole_identities() -> None:
    pids = np.repeat(np.arange(40), 25)
    of_person = np.random.default_rng(2).normal(0.02, 0.1, 40)
    values = of_person[pids]  # queries of a person are alike
    mean, low, high = over_identities(values, np.ones(1000), pids)
    assert mean == pytest.approx(of_person.mean())
    assert high - low == pytest.approx(2 * 1.96 * of_person.std() / 40**0.5, rel=0.15)
    weights = np.where(pids < 39, 1, 0)  # a person without a match says nothing
    values[pids == 39] = np.nan
    assert over_identities(values, weights, pids).mean == pytest.approx(of_person[:39].mean())


# Comparisons -----------------------------------------------------------------------------------


def test_the_sentence_of_six_seeds(base: Report) -> None:
    (found,) = compare_paired(*sides(base))
    result = next(r for r in found.results if (r.embedding, r.metric) == ("embedding", "mean_ap"))
    low, high = (100 * end for end in t_interval(GAINS)[1:])
    words = f"+1.8 [{low:.1f}, {high:.1f}] mAP, better in 6 of 6 seeds, p = 0.031"
    assert result.sentence() == words
    assert result.std == pytest.approx(np.std(GAINS, ddof=1))
    assert result.of_identities().endswith("bootstrap over 12 query identities)")
    assert result.of_identities().startswith("for other people, these models fixed: [1.8, 1.8] mAP")
    assert result.identities is not None
    assert result.identities[0].mean == pytest.approx(np.mean(GAINS), abs=1e-6)
    assert found.differs == ("`confusion` (yes and no)",)
    assert found.one == "mcl, resnet50, confusion yes" and found.pairs[0] == "seed 0"


def test_few_identities_have_no_interval(base: Report) -> None:
    few = [[replace(r, queries={**r.queries, "pids": r.queries["pids"] % 9}) for r in side]
           for side in sides(base)]  # fmt: skip
    (found,) = compare_paired(*few)
    assert all(result.identities is None for result in found.results)
    assert not any("for other people, these" in sentence for sentence in found.sentences())
    assert any("9 query identities are too few" in note for note in found.notes)
    assert "| 0.031 |  |" in found.to_markdown()  # an empty cell


def test_sides_and_searches_have_names(base: Report) -> None:
    """Those of a sweep's rows; each search is in its heading."""
    ones, others = (
        [replace(r, protocol=replace(r.protocol, scope=scope)) for scope in ("all", "indoor")
         for r in side]
        for side in sides(base, GAINS[:1])
    )  # fmt: skip
    found = compare_paired(ones, others, names=("no confusion", "full"))
    heads = [one.to_markdown().splitlines()[0] for one in found]
    assert heads[0].startswith("## no confusion minus full: all-search")
    assert heads[1].startswith("## no confusion minus full: indoor-search")
    assert all("`confusion` (yes and no)" in one.differing() for one in found)
    none = replace(found[0].results[0], one=(0.5,), other=(0.5001,))
    assert none.sentence().startswith("0.0 Rank-1")  # no sign


def test_two_methods_are_named_once_and_briefly(base: Report) -> None:
    ones, others = sides(base)
    for report in others:
        report.record["options"] |= {"method": "agw", "own": ""}  # type: ignore[index]
    for report in ones:
        report.record["options"] |= {"method": "mcl", "own": "my.py:Gamma"}  # type: ignore[index]
    others = [replace(r, protocol=replace(r.protocol, method="agw")) for r in others]
    (found,) = compare_paired(ones, others)
    assert found.title() == "mcl, resnet50 minus agw, resnet50"
    assert {"`method` (mcl and agw)", "`own` (my.py:Gamma and none)"} <= set(found.differs)
    assert not any(entry.startswith("method (") for entry in found.differs)


def test_fewer_than_six_pairs_claim_nothing(base: Report) -> None:
    (found,) = compare_paired(*sides(base, GAINS[:5]))
    for result in found.results:
        assert "p =" not in result.sentence() and "nothing can be claimed" in result.sentence()
        assert "p can't go below 0.0625" in result.sentence()
        assert result.to_plain()["sign_flip_p"] is None
    assert "no claim" in found.to_markdown()
    (alone,) = compare_paired(*sides(base, GAINS[:1]))
    assert "with 1 pair nothing can be claimed" in alone.results[0].sentence()
    assert alone.results[0].interval is None and alone.results[0].to_plain()["std"] is None


def test_worse_is_said_as_plainly(base: Report) -> None:
    others, ones = sides(base)
    (found,) = compare_paired(ones, others)
    assert found.results[0].sentence().startswith("−1.8 [−2.4, −1.2] Rank-1, better in 0 of 6")


def test_a_side_is_one_way_of_training(base: Report) -> None:
    ones, others = sides(base)
    mixed = [*ones[:5], made(base, 5, recipe={"lr": 0.2})]
    with pytest.raises(InputError, match=r"stand on one side but differ in `lr` \(0.1 and 0.2\)"):
        compare_paired(mixed, others)
    with pytest.raises(InputError, match="second report of seed 0 on its side"):
        compare_paired([*ones, ones[0]], others)
    with pytest.raises(InputError, match="is an average"):
        compare_paired([average_reports(ones)], others)
    with pytest.raises(InputError, match="no report after `with`"):
        compare_paired(ones, [])
    indoor = [replace(r, protocol=replace(r.protocol, scope="indoor")) for r in others]
    with pytest.raises(InputError, match="share no search: they differ in search"):
        compare_paired(ones, indoor)
    assert len(compare_paired(ones, [*others, *indoor])) == 1


def test_pairs_are_of_one_seed_and_one_start(base: Report) -> None:
    ones, others = sides(base)
    (found,) = compare_paired(ones, others[1:])
    assert len(found.pairs) == 5
    assert found.unpaired == ("Seed 0 has no partner and is left out.",)
    with pytest.raises(InputError, match="No report has a partner of the same seed"):
        compare_paired(ones[:3], others[3:])

    def started(reports: list[Report], starts: list[str]) -> list[Report]:
        return [replace(r, record={**r.record, "start_hash": s}) for r, s in zip(reports, starts)]  # type: ignore[typeddict-item]

    own = [f"s{seed}" for seed in range(6)]
    (found,) = compare_paired(started(ones, own), started(others, [*own[:5], "x"]))
    assert len(found.pairs) == 5 and "Seed 5 started from other weights" in found.unpaired[0]
    # what all runs of a side start from is what is compared
    (found,) = compare_paired(started(ones, ["a"] * 6), started(others, ["b"] * 6))
    assert len(found.pairs) == 6


def regdb(base: Report, seed: int, split: int, gain: float, **more: Any) -> Report:
    one = made(base, seed, gain, **more)
    protocol = replace(one.protocol, dataset="regdb", split=split, trials=(split,),
                       weights_hash=f"{seed} {split} {gain}")  # fmt: skip
    return replace(one, protocol=protocol)


def test_splits_are_averaged_within_a_seed(base: Report) -> None:
    ones = [regdb(base, s, t, GAINS[s] + 0.001 * t) for s in range(6) for t in (1, 2, 3)]
    others = [regdb(base, s, t, 0.0, confusion=False) for s in range(6) for t in (1, 2, 3)]
    (found,) = compare_paired(ones, others)
    assert found.pairs == tuple(f"seed {seed}" for seed in range(6))
    assert found.results[0].values == pytest.approx([gain + 0.002 for gain in GAINS])
    (found,) = compare_paired(ones[:3], others[:3])  # one seed: the pairs are splits
    assert found.pairs == ("split 1", "split 2", "split 3")
    assert any("not independent" in note for note in found.notes)
    mean = average_all(ones)
    assert mean.averaged is not None and mean.averaged["over"] == ["split", "seed"]
    with pytest.raises(InputError, match=r"the splits that they are averages of"):
        average_all([*ones[:3], *ones[3:5]])


def test_unlike_embeddings_and_queries_are_left_out(base: Report) -> None:
    ones, others = sides(base)
    others = [replace(r, queries={**r.queries, "pids": r.queries["pids"] + 1}) for r in others]
    (found,) = compare_paired(ones, others)
    assert all(result.identities is None for result in found.results)
    less = [replace(r, raw={"embedding": r.raw["embedding"]}) for r in ones]
    less = [replace(r, protocol=replace(r.protocol, embeddings=("embedding",))) for r in less]
    (found,) = compare_paired(less, others)
    assert {result.embedding for result in found.results} == {"embedding"}


def test_what_is_written(base: Report, tmp_path: Path) -> None:
    comparisons = compare_paired(*sides(base))
    write_paired(comparisons, tmp_path)
    (plain,) = json.loads((tmp_path / "compare.json").read_text())
    first = plain["results"][0]
    assert first["sign_flip_p"] == 2 / 64 and first["n"] == 6
    assert first["differences"] == pytest.approx(GAINS)
    text = (tmp_path / "compare.md").read_text()
    assert "| +1.1 | +2.5 |" in text and "better in 6 of 6 seeds" in text
    assert "deviation of a sample (n - 1)" in text and "not corrected for the number" in text
    figure = paired_differences(comparisons)
    (axes,) = figure.axes
    (legend,) = figure.legends
    names = [text.get_text() for text in legend.get_texts()]
    assert names == ["each seed", "mean", "95 % interval (t)"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(dots) == 4 and list(dots[0].get_xdata()) == pytest.approx([100 * g for g in GAINS])
    path = save_figure(figure, tmp_path / "differences.png")
    with Image.open(path) as image:
        assert image.width > 400 and len(set(image.convert("L").tobytes())) > 20


def test_queries_travel_beside_the_report(base: Report, tmp_path: Path) -> None:
    loaded = Report.load(base.write(tmp_path).folder / "report.json")  # type: ignore[operator]
    assert loaded.queries.keys() == base.queries.keys()
    ap, matched = loaded.queries["pooled.mean_ap"], loaded.queries["matched"]
    assert np.average(ap, weights=matched) == pytest.approx(base.raw["pooled"]["mean_ap"]["mean"])
    (tmp_path / "queries.npz").write_bytes(b"junk")
    with pytest.raises(InputError, match=r"queries.npz' holds no readable arrays"):
        Report.load(tmp_path / "report.json")
    np.savez(tmp_path / "queries.npz", pids=np.arange(3), camids=np.arange(3), matched=np.ones(2))
    with pytest.raises(InputError, match="numbers of one set of queries"):
        Report.load(tmp_path / "report.json")
    average_reports([made(base, 0), made(base, 1)]).write(tmp_path)
    assert not (tmp_path / "queries.npz").exists()

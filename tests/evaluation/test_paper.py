"""Tables of a paper: rows, columns, the best, and how many seeds a number is of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from evaluation.test_paired import base, made  # noqa: F401 - a fixture
from vireid.evaluation import Report, average_all, paper_table
from vireid.types import InputError


def search(report: Report, **fields: Any) -> Report:
    return replace(report, protocol=replace(report.protocol, **fields))


@pytest.fixture
def ablation(base: Report) -> list[Report]:  # noqa: F811
    """Three ways of training, two seeds each, all and indoor; the third one all only."""
    reports = []
    for gain, options in ((0.02, {}), (0.01, {"confusion": False}), (0.0, {"recipe": {"lr": 0.5}})):
        for seed in (0, 1):
            report = made(base, seed, gain, **options)
            reports += [report, search(report, scope="indoor")] if gain else [report]
    return reports


def test_rows_columns_best_and_second(ablation: list[Report]) -> None:
    table = paper_table(ablation)
    assert table.rows == ("mcl, lr 0.1, confusion yes", "mcl, lr 0.1, confusion no",
                          "mcl, lr 0.5, confusion yes")  # fmt: skip
    assert table.columns == ("all", "indoor") and table.metrics == ("rank1", "mean_ap")
    assert [[place for _, place in row] for row in table.cells()] == [
        [1, 1, 1, 1], [2, 2, 0, 0], [0, 0, 0, 0]  # of two, none is second
    ]  # fmt: skip
    # seeds 0 and 1 have 0.50 and 0.51, and the gain; the deviation is that of a sample
    assert table.cells()[0][0][0] == "52.50 ± 0.71" and table.cells()[2][2][0] == ""
    assert "n = 2 seeds" in table.caption() and "test embedding: embedding" in table.caption()
    lines = table.to_markdown().splitlines()
    assert lines[2] == "| Method | all: Rank-1 | all: mAP | indoor: Rank-1 | indoor: mAP |"
    assert "| **52.50 ± 0.71** |" in lines[4] and "| <u>51.50 ± 0.71</u> |" in lines[5]


def test_chance_is_said_where_all_rows_share_it(base: Report) -> None:  # noqa: F811
    ways = [made(base, 0, gain, method=name) for gain, name in ((0.02, "a"), (0.0, "b"))]
    ways = [replace(one, chance={"rank1": 0.25, "mean_ap": 0.31}) for one in ways]
    indoor = [replace(search(one, scope="indoor"), chance={"rank1": 0.5}) for one in ways]
    chance = "Rank-1 25.00, mAP 31.00"
    assert f" Chance: {chance}. Percent" in paper_table(ways).caption()
    both = paper_table([*ways, *indoor]).caption()
    assert f" Chance: all: {chance}; indoor: Rank-1 50.00. Percent" in both
    low = [replace(one, chance={"rank1": 0.515, "mean_ap": 0.31}) for one in ways]
    places = [[place for _, place in row] for row in paper_table(low).cells()]
    assert places[0][0] == 1 and places[1][0] == 0  # 0.50 is below chance
    low = [replace(one, chance={"rank1": 0.9, "mean_ap": 0.9}) for one in ways]
    assert "bold" not in paper_table(low).caption()
    unlike = [ways[0], replace(ways[1], chance={"rank1": 0.26})]
    assert "Chance" not in paper_table(unlike).caption()


def test_latex_can_be_set(ablation: list[Report]) -> None:
    text = paper_table(ablation, metrics=("mINP",)).to_latex()
    assert "\\multicolumn{1}{c}{all} & \\multicolumn{1}{c}{indoor}" in text
    assert "\\cmidrule(lr){2-2} \\cmidrule(lr){3-3}" in text
    assert "\\textbf{52.50 $\\pm$ 0.71}" in text and "\\underline{51.50 $\\pm$ 0.71}" in text
    body = text[text.index("\\midrule") : text.index("\\bottomrule")]
    assert body.count(" & ") == 6 and body.count("\\\\\n") == 3  # every row has every cell
    assert text.count("{") == text.count("}")


def test_equal_numbers_share_their_place(base: Report) -> None:  # noqa: F811
    ways = [made(base, 0, 0.02, method=name) for name in ("a", "b")]
    ways.append(made(base, 0, 0.0, method="c"))
    ways = [search(r, method=name) for r, name in zip(ways, "abc")]
    table = paper_table(ways, metrics=("rank1",))
    assert [row[0][1] for row in table.cells()] == [1, 1, 2]
    assert table.rows == ("a", "b", "c") and "n = 1" in table.caption()
    assert "±" not in table.to_markdown().split("\n", 1)[1]


def test_data_sets_are_columns_and_splits_one_row(base: Report) -> None:  # noqa: F811
    sysu = [made(base, seed) for seed in (0, 1)]
    regdb = [
        search(made(base, seed, 0.001 * split, dataset="regdb"), dataset="regdb", split=split,
               trials=(split,), weights_hash=f"{seed} {split}")
        for seed in (0, 1) for split in range(1, 11)
    ]  # fmt: skip
    table = paper_table([*sysu, *regdb])
    assert table.rows == ("mcl",) and table.columns == ("SYSU-MM01", "RegDB")
    assert table.seeds == ((2, 2),)
    assert table.cells()[0][2][0] == "51.05 ± 0.71"
    averages = [average_all(sysu), average_all(regdb)]  # averages that were made before
    assert paper_table(averages).cells() == table.cells()


def test_what_has_no_table(ablation: list[Report]) -> None:
    with pytest.raises(InputError, match="There is no metric 'rank3'"):
        paper_table(ablation, metrics=("rank3",))
    with pytest.raises(InputError, match="There is no common test embedding 'part'"):
        paper_table(ablation, embedding="part")
    with pytest.raises(InputError, match="same seed"):
        paper_table([ablation[0], replace(ablation[0])])
    assert "test embedding: pooled" in paper_table(ablation, embedding="pooled").caption()


RERANKING = "k-reciprocal, k1 20, k2 6, weight 0.3"


def reranked(report: Report, gain: float = 0.2, words: str = RERANKING) -> Report:
    """The same test with re-ranking, whose numbers are higher by `gain`."""
    again = {
        name: {m: {**entry, "mean": entry["mean"] + gain} for m, entry in numbers.items()}
        for name, numbers in report.raw.items()
    }
    return replace(search(report, reranking=words), reranked=again)  # type: ignore[arg-type]


def firsts(table: Any) -> dict[str, tuple[str, int]]:
    return {name: row[0] for name, row in zip(table.rows, table.cells())}


def test_a_row_holds_raw_or_reranked_numbers_as_it_says(base: Report) -> None:  # noqa: F811
    """One model tested with re-ranking and without, and another without."""
    plain = [search(made(base, 0), method="mcl"), search(made(base, 0, 0.1, method="agw"),
                                                         method="agw")]  # fmt: skip
    mixed = [plain[0], reranked(plain[0]), plain[1]]
    for order in (mixed, mixed[::-1]):
        table = paper_table(order)
        assert firsts(table) == {"mcl": ("50.00", 0), "agw": ("60.00", 1)}
        assert "test embedding: embedding, without re-ranking. " in table.caption()
        table = paper_table(order, embedding="embedding, re-ranked")
        assert firsts(table) == {"mcl": ("70.00", 0)}
        assert f"re-ranked ({RERANKING}); left out: 1 report without re-ranking." in table.caption()
    assert "re-ranking" not in paper_table(plain).caption()
    with pytest.raises(InputError, match="none of the reports has numbers after re-ranking"):
        paper_table(plain, embedding="embedding, re-ranked")
    with pytest.raises(InputError, match="There is no common test embedding 'part, re-ranked'"):
        paper_table(mixed, embedding="part, re-ranked")
    twice = [*mixed, reranked(plain[0], 0.3, "k-reciprocal, k1 30")]
    assert firsts(paper_table(twice))["mcl"] == ("50.00", 0)
    table = paper_table(twice, embedding="embedding, re-ranked")
    assert firsts(table) == {f"mcl, {RERANKING}": ("70.00", 0),
                             "mcl, k-reciprocal, k1 30": ("80.00", 1)}  # fmt: skip


def test_reranked_tests_of_some_seeds_or_splits_change_no_raw_number(base: Report) -> None:  # noqa: F811
    seeds = [made(base, seed) for seed in (0, 1)]
    expected = paper_table(seeds).cells()
    assert paper_table([*seeds, reranked(seeds[1])]).cells() == expected
    assert paper_table([seeds[0], reranked(seeds[1])]).cells() == expected
    regdb = [
        search(made(base, 0, 0.001 * split), dataset="regdb", split=split, trials=(split,),
               weights_hash=f"w{split}")
        for split in range(1, 11)
    ]  # fmt: skip
    expected = paper_table(regdb).cells()
    assert paper_table([*regdb, *map(reranked, regdb[:3])]).cells() == expected
    again = paper_table([*regdb, *map(reranked, regdb)], embedding="embedding, re-ranked")
    assert again.cells()[0][0][0] == "70.55"
    averages = [average_all(regdb), average_all([reranked(one) for one in regdb])]
    assert paper_table(averages).cells() == expected
    assert paper_table(averages, embedding="embedding, re-ranked").cells() == again.cells()
    with pytest.raises(InputError, match="same seed"):  # twice the same test
        paper_table([seeds[0], reranked(seeds[0]), replace(seeds[0])])


def test_test_time_augmentation_is_a_column(base: Report) -> None:  # noqa: F811
    reports = [made(base, 0), search(made(base, 0, 0.1), tta="flip")]
    table = paper_table(reports)
    assert table.rows == ("mcl",) and [text for text, _ in table.cells()[0][::2]] == [
        "50.00", "60.00"
    ]  # fmt: skip
    assert table.columns == ("without test-time augmentation", "test-time augmentation flip")


def test_numbers_of_seeds_stand_beside_names_with_commas(base: Report) -> None:  # noqa: F811
    one = made(base, 0, 0.1, confusion=False)
    caption = paper_table([made(base, 0), made(base, 1), one]).caption()
    assert "n seeds (mcl, confusion yes: n = 2; mcl, confusion no: n = 1)" in caption
    indoor = search(made(base, 0), scope="indoor")
    caption = paper_table([made(base, 0), made(base, 1), indoor]).caption()
    assert "n seeds (mcl: n = 1 or 2)" in caption

"""Comparisons of runs that were tested unlike: what both sides have is compared, the rest told."""

from __future__ import annotations

import pytest

from evaluation.test_paired import GAINS, base, made, sides  # noqa: F401 - a fixture
from evaluation.test_paper import RERANKING, reranked, search
from vireid.evaluation import PairedComparison, Report, compare_paired
from vireid.types import InputError


def numbers(found: PairedComparison) -> dict[str, list[float]]:
    return {r.embedding: [round(v, 3) for v in r.values] for r in found.results
            if r.metric == "rank1"}  # fmt: skip


def test_one_test_by_hand_leaves_a_comparison_as_it_was(base: Report) -> None:  # noqa: F811
    ones, others = sides(base)
    (expected,) = compare_paired(ones, others)
    for side in (ones, others):
        by_hand = [
            (reranked(side[0]), f"Numbers after re-ranking ({RERANKING})"),
            (search(side[0], precision="float16"), "Reports with precision float16"),
            (search(side[0], epoch_choice="hand: the checkpoint after epoch 3",
                    weights_hash="of the epoch"),
             "Reports with epoch chosen by hand: the checkpoint after epoch 3"),
            (search(side[0], scope="indoor"), "Reports with search indoor"),
        ]  # fmt: skip
        for more, words in by_hand:
            for both in ([*side, more], [more, *side]):
                given = (both, others) if side is ones else (ones, both)
                (found,) = compare_paired(*given)
                assert found.results == expected.results and found.pairs == expected.pairs
                assert found.differs == expected.differs and found.search == expected.search
                told = (f"{words} are on one side only and are left out.",)
                assert found.unpaired == told
                assert told[0] in found.to_markdown()
            (found,) = compare_paired([more, *side], [*side, more])[:1]  # each side with itself
            assert found.unpaired == () and not any(any(v) for v in numbers(found).values())


def test_numbers_after_reranking_are_compared_with_their_like(base: Report) -> None:  # noqa: F811
    ones, others = sides(base)
    again = [reranked(r, 0.3) for r in ones], [reranked(r, 0.2) for r in others]
    raw, after = list(GAINS), [round(gain + 0.1, 3) for gain in GAINS]
    expected = {"embedding": raw, "embedding, re-ranked": after}
    for given in (
        again,
        ([*ones, *again[0]], [*again[1], *others]),
        (again[0], [*others, *again[1]]),
    ):
        (found,) = compare_paired(*given)
        assert expected.items() <= numbers(found).items() and found.unpaired == ()
        assert found.differs == ("`confusion` (yes and no)",)
    (found,) = compare_paired(again[0], others)  # raw numbers, whatever stands beside them
    assert numbers(found)["embedding"] == raw and found.differs == ("`confusion` (yes and no)",)
    assert "embedding, re-ranked" not in numbers(found) and "one side only" in found.unpaired[0]
    # after re-ranking there are fewer pairs
    first, second = compare_paired([*ones, again[0][2]], [*others, *again[1][1:4]])
    assert numbers(first)["embedding"] == raw and first.pairs[0] == "seed 0"
    assert numbers(second)["embedding, re-ranked"] == [after[2]] and second.pairs == ("seed 2",)
    assert second.heading().endswith(", re-ranked") and "embedding" not in numbers(second)
    (found,) = compare_paired([*ones, again[0][0]], [*others, again[1][1]])
    assert "left out. No report has a partner of the same seed" in found.unpaired[0]


def test_what_is_compared_is_named_where_a_search_has_several(base: Report) -> None:  # noqa: F811
    ones, others = sides(base)
    half = [[search(r, precision="float16") for r in side] for side in (ones, others)]
    ones, others = ([search(r, precision="float32") for r in side] for side in (ones, others))
    found = compare_paired([*ones, *half[0]], [*half[1], *others])
    assert [one.search.rpartition(", ")[2] for one in found] == [
        "precision float32", "precision float16"
    ]  # fmt: skip
    (found_one,) = compare_paired(half[0], others)  # alike on each side: it is said, as before
    assert any(words.startswith("precision (float16") for words in found_one.differs)
    with pytest.raises(InputError, match="stand on one side but differ in precision"):
        compare_paired([*ones[:3], *half[0][3:]], others)  # no test of all models

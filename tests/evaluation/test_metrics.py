"""Metrics: golden numbers, the slow reference, another library, properties, sentences."""

from __future__ import annotations

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.reference import score_by_loop
from vireid.data import facts_of
from vireid.evaluation import METRICS, Metric, chance, score, score_embeddings
from vireid.evaluation.metrics import Scores
from vireid.evaluation.ranking import Task, rank, rank_on_device
from vireid.types import InputError

RULES = ("sysu", "regdb", "llcm")

RULE_OF = {"sysu": "sysu", "pairwise": "regdb", "llcm": "llcm"}
# Kept as ranks within each row: all that a metric can see of a distance, and small.
GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "metrics.npz")
CASES = sorted({key.split("/")[0] for key in GOLDEN.files})


def check_golden(file, name: str, distance: np.ndarray) -> Scores:
    columns = [file[f"{name}/{key}"] for key in
               ("query_pids", "gallery_pids", "query_camids", "gallery_camids")]  # fmt: skip
    found = score(-distance, *columns, rule=RULE_OF[name.split("_")[0]])
    np.testing.assert_allclose(found.cmc, file[f"{name}/cmc"], atol=1e-6)
    assert found.mean_ap == pytest.approx(float(file[f"{name}/mAP"]), abs=1e-6)
    assert found.mean_inp == pytest.approx(float(file[f"{name}/mINP"]), abs=1e-6)
    return found


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    found = check_golden(GOLDEN, name, GOLDEN[f"{name}/rank"].astype(np.float32))
    assert found.num_queries + found.num_without_match == len(GOLDEN[f"{name}/query_pids"])
    if name == "pairwise_missing_identity":
        assert found.num_without_match == 9


def test_golden_distances_as_they_are() -> None:
    folder = os.environ.get("VIREID_GOLDEN")
    if not folder:
        pytest.skip("VIREID_GOLDEN names no folder with the whole metrics.npz")
    whole = np.load(Path(folder) / "metrics.npz")
    for name in sorted({key.split("/")[0] for key in whole.files}):
        check_golden(whole, name, whole[f"{name}/distance"])


def problem(seed: int, *, queries=30, images=60, people=9, cameras=6, values=0):
    """Random similarity and labels; with `values`, only so many different similarities."""
    g = np.random.default_rng(seed)
    if values:
        similarity = g.integers(0, values, (queries, images)).astype(np.float64)
    else:
        similarity = g.permuted(np.tile(np.arange(images, dtype=np.float64), (queries, 1)), axis=1)
    return (
        similarity,
        g.integers(0, people + 2, queries),
        g.integers(0, people, images),
        g.integers(1, cameras + 1, queries),
        g.integers(1, cameras + 1, images),
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RULES), st.sampled_from([0, 1, 3, 20]))
def test_equals_the_slow_reference_with_and_without_ties(seed, rule, values) -> None:
    case = problem(seed, values=values, images=25, people=7)
    found, slow = score(*case, rule=rule), score_by_loop(*case, rule)
    np.testing.assert_allclose(found.cmc, slow["cmc"], atol=1e-12)
    assert (found.mean_ap, found.mean_inp) == tuple(
        METRICS[m].of(found) for m in ("mean_ap", "mean_inp")
    )
    for name, metric in METRICS.items():
        assert metric.of(found) == pytest.approx(slow[name], abs=1e-12), name
    assert found.num_queries == slow["num_queries"]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RULES), st.sampled_from([0, 3]))
def test_sorting_twin_for_gpus_agrees(seed, rule, values) -> None:
    similarity, *labels = problem(seed, values=values)
    task = Task.of(*labels, facts_of(rule).rule)
    for one, other in zip(
        rank(similarity, task), rank_on_device(torch.from_numpy(similarity), task)
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RULES))
def test_gallery_order_does_not_matter_without_ties(seed, rule) -> None:
    similarity, query_pids, gallery_pids, query_camids, gallery_camids = problem(seed)
    new = np.random.default_rng(seed + 1).permutation(len(gallery_pids))
    one = score(similarity, query_pids, gallery_pids, query_camids, gallery_camids, rule=rule)
    other = score(similarity[:, new], query_pids, gallery_pids[new], query_camids,
                  gallery_camids[new], rule=rule)  # fmt: skip
    same(one, other)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(RULES),
    st.sampled_from([np.tanh, np.exp, lambda x: 3 * x - 7, lambda x: x**3]),
)
def test_monotone_change_of_the_similarity_does_not_matter(seed, rule, change) -> None:
    similarity, *labels = problem(seed, values=7)
    same(score(similarity, *labels, rule=rule), score(change(similarity / 7), *labels, rule=rule))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(RULES))
def test_perfect_ranking_gives_one_everywhere(seed, rule) -> None:
    _, query_pids, gallery_pids, *camids = problem(seed)
    similarity = (query_pids[:, None] == gallery_pids).astype(np.float64)
    found = score(similarity, query_pids, gallery_pids, *camids, rule=rule)
    assert (found.cmc == 1).all()
    assert found.mean_ap == found.mean_inp == 1


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 8), st.integers(1, 5), st.sampled_from(RULES))
def test_reversed_ranking_gives_the_formula(people, each, rule) -> None:
    """M matches last of G images: the i-th match is at rank G - M + i."""
    pids = np.repeat(np.arange(people), each)
    query_pids, total = np.arange(people), people * each
    similarity = -(query_pids[:, None] == pids).astype(np.float64)
    found = score(
        similarity, query_pids, pids, np.full(people, 6), np.full(total, 1), rule=rule, max_rank=50
    )
    places = np.arange(1, each + 1)
    assert found.mean_ap == pytest.approx(np.mean(places / (total - each + places)))
    assert found.mean_inp == pytest.approx(each / total)
    assert set(found.first) == {total - each + 1 if rule == "regdb" else people}


def same(one: Scores, other: Scores) -> None:
    np.testing.assert_allclose(one.cmc, other.cmc, atol=1e-12)
    np.testing.assert_allclose(one.ap, other.ap, rtol=1e-12)
    np.testing.assert_allclose(one.inp, other.inp, rtol=1e-12)


def test_agrees_with_torchmetrics() -> None:
    from torchmetrics.functional.retrieval import retrieval_average_precision

    g = np.random.default_rng(3)
    similarity = g.random((25, 70)).astype(np.float32)
    query_pids, gallery_pids = g.integers(0, 6, 25), g.integers(0, 6, 70)
    found = score(similarity, query_pids, gallery_pids, rule="regdb")
    for q in range(25):
        expected = retrieval_average_precision(
            torch.from_numpy(similarity[q]), torch.from_numpy(gallery_pids == query_pids[q])
        )
        assert found.ap[q] == pytest.approx(float(expected), abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_torch_of_any_precision(dtype) -> None:
    similarity, *labels = problem(5)
    tensor = torch.from_numpy(similarity).to(dtype).requires_grad_()
    found = score(tensor, *[torch.from_numpy(column) for column in labels])
    same(found, score(similarity, *labels))  # 60 different whole numbers fit all of them


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("chunk_bytes", [1, 3000, 2**28])
def test_chunks_of_embeddings(dtype, chunk_bytes) -> None:
    g = np.random.default_rng(1)
    _, *labels = problem(2)
    query, gallery = (g.standard_normal((n, 16)).astype(dtype) for n in (30, 60))
    whole = query.astype(np.float32) @ gallery.astype(np.float32).T
    found = score_embeddings(query, gallery, *labels, chunk_bytes=chunk_bytes)
    same(found, score(whole, *labels))
    tensors = torch.from_numpy(query), torch.from_numpy(gallery)
    same(score_embeddings(*tensors, *labels, chunk_bytes=chunk_bytes), found)


def test_threads_do_not_matter() -> None:
    case = problem(9, queries=70)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(score(*case))
    finally:
        torch.set_num_threads(before)
    same(*found)


def test_sysu_rule_by_hand() -> None:
    """A query of camera 3: the image of camera 2 vanishes, whatever its identity."""
    gallery_pids, gallery_camids = np.array([7, 5, 5, 8, 5]), np.array([1, 2, 4, 2, 5])
    similarity = np.array([[0.5, 0.9, 0.2, 0.8, 0.1]])
    found = score(similarity, [5], gallery_pids, [3], gallery_camids)
    assert found.first.tolist() == [2] and found.kept.tolist() == [3]
    assert found.mean_ap == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.mean_inp == pytest.approx(2 / 3)
    assert score(similarity, [5], gallery_pids, [6], gallery_camids).first.tolist() == [1]


def test_collapse_counts_people_and_regdb_images() -> None:
    gallery_pids, camids = np.array([1, 1, 1, 2, 3]), np.full(5, 1)
    similarity = np.array([[0.9, 0.8, 0.7, 0.6, 0.1]])
    firsts = {rule: score(similarity, [2], gallery_pids, [6], camids, rule=rule).first[0]
              for rule in RULES}  # fmt: skip
    assert firsts == {"sysu": 2, "llcm": 2, "regdb": 4}


def test_a_metric_counts_queries_with_a_match_only() -> None:
    metric = Metric(head="First", of_query=lambda scores: scores.first, unit="rank")
    found = score(np.array([[0.9, 0.8], [0.9, 0.8], [0.9, 0.8]]), [2, 1, 9], [1, 2], rule="regdb")
    assert found.first.tolist() == [2, 1, 0]
    assert metric.of(found) == 1.5 and METRICS["rank1"].of(found) == 0.5
    assert (metric.text(1.5), METRICS["rank1"].text(0.5)) == ("1.50", "50.00")
    averaged = Metric(head="First", of_query=lambda scores: scores.first.mean())
    with pytest.raises(InputError, match=r"First gives .* for 3 queries"):
        averaged.of(found)


def test_ties_go_to_the_smaller_index() -> None:
    assert score(np.zeros((1, 4)), [1], [0, 1, 2, 3], rule="regdb").first[0] == 2


def test_fewer_identities_than_ranks() -> None:
    found = score(np.array([[0.1, 0.2]]), [1], [1, 0], [3], [1, 1])
    assert found.cmc.tolist() == [0] + [1] * 19


def test_chance_is_the_mean_over_all_orders() -> None:
    gallery_pids = [1, 1, 0, 2, 3, 4]
    orders = np.array(list(itertools.permutations(range(6))), np.float64)
    found = score(orders, [1] * len(orders), gallery_pids, rule="regdb")
    guess = chance(found)
    assert guess["rank1"] == pytest.approx(found.at(1))
    assert guess["mean_ap"] == pytest.approx(found.mean_ap)
    lone = score(np.ones((1, 1)), [1], [1], rule="regdb")
    assert chance(lone) == {"rank1": 1, "mean_ap": 1}


S = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((S[0], [1], [1, 2, 3], [1], [1, 1, 1]), "similarity is"),
        ((S.astype(int), [1, 2], [1, 2, 3], [1, 1], [1, 1, 1]), "floating-point"),
        ((S, [1], [1, 2, 3], [1, 1], [1, 1, 1]), r"query_pids has shape \(1,\)"),
        ((S, [1, 2], [1, 2], [1, 1], [1, 1, 1]), r"gallery_pids has shape \(2,\)"),
        ((S, [1, 2], [1, 2, 3], [1], [1, 1, 1]), "query_camids has shape"),
        ((S, [1, 2], [1, 2, 3], [1, 1], [1.0, 1, 1]), "whole numbers"),
        ((S, [1, 2], [1, 2, 3], None, None), "skips gallery images by their camera"),
        ((S, [8, 9], [1, 2, 3], [1, 1], [1, 1, 1]), "None of the 2 queries"),
        ((S + np.nan, [1, 2], [1, 2, 3], [1, 1], [1, 1, 1]), "NaN or infinite"),
        ((S - np.inf, [1, 2], [1, 2, 3], [1, 1], [1, 1, 1]), "NaN or infinite"),
        ((S[:0], [], [1, 2, 3], [], [1, 1, 1]), "0 queries"),
    ],
)
def test_wrong_input_is_a_sentence(arguments, words) -> None:
    with pytest.raises(InputError, match=words):
        score(*arguments)


def test_more_sentences() -> None:
    with pytest.raises(InputError, match="no rule 'market'"):
        score(S, [1, 2], [1, 2, 3], rule="market")
    with pytest.raises(InputError, match="max_rank"):
        score(S, [1, 2], [1, 2, 3], rule="regdb", max_rank=0)
    with pytest.raises(InputError, match="4 dimensions"):
        score_embeddings(np.ones((2, 4), np.float32), np.ones((3, 5), np.float32), [1, 2],
                         [1, 2, 3], rule="regdb")  # fmt: skip
    with pytest.raises(InputError, match="NaN"):
        rank_on_device(torch.tensor([[torch.nan]]), Task.of(*np.ones((4, 1), int), 0))

"""From protocol and embeddings to a report, against the slow reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluation.examples import embeddings_of, sysu_like
from evaluation.reference import llcm_trial, regdb_trial, rerank_by_loop, score_by_loop
from vireid.data import ProtocolOptions, load_dataset, rows_of, trials
from vireid.evaluation import METRICS, bootstrap, evaluate, evaluator, score, search
from vireid.types import InputError

DIRECTIONS = ("infrared_to_visible", "visible_to_infrared")


def expect(numbers, slow, trial: int) -> None:
    """One trial's numbers in a report are those of the slow reference."""
    for metric in METRICS:
        assert numbers[metric]["trials"][trial] == pytest.approx(slow[metric], abs=1e-9), metric


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("trial", range(1, 11))
def test_regdb_equals_the_slow_reference(regdb_root: Path, trial: int, direction: str) -> None:
    dataset = load_dataset("regdb", regdb_root, trial=trial)
    options = ProtocolOptions(direction=direction)
    rows = rows_of(trials(dataset, options))
    embeddings = embeddings_of(dataset, rows, trial)
    report = evaluate(dataset, options, embeddings, rows)
    listed = regdb_trial(regdb_root, trial)
    query, gallery = listed["thermal"], listed["visible"]
    if direction == "visible_to_infrared":
        query, gallery = gallery, query
    for name in ("pooled", "embedding"):
        expect(report.raw[name], by_path(embeddings, name, query, gallery, "regdb"), 0)
    protocol = report.protocol
    assert (protocol.split, protocol.trials, protocol.shots, protocol.draw) == (
        trial, (trial,), None, None,
    )  # fmt: skip


@pytest.mark.parametrize("variant", ["standard", "legacy-deen"])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_llcm_equals_the_slow_reference(llcm_root: Path, direction: str, variant: str) -> None:
    dataset = load_dataset("llcm", llcm_root)
    options = ProtocolOptions(direction=direction, variant=variant)
    rows = rows_of(trials(dataset, options))
    embeddings = embeddings_of(dataset, rows, 4)
    report = evaluate(dataset, options, embeddings, rows)
    assert report.protocol.trials == tuple(range(10))
    assert report.protocol.variant == variant
    assert any("legacy-deen" in note for note in report.notes) == (variant != "standard")
    kinds = ("nir", "vis") if direction == "infrared_to_visible" else ("vis", "nir")
    for seed in range(10):
        query, _ = llcm_trial(llcm_root, kinds[0], seed)
        _, gallery = llcm_trial(llcm_root, kinds[1], seed)
        if variant == "legacy-deen" and direction == "visible_to_infrared":
            query, gallery = gallery, query  # as DEEN's public script swaps them
        slow = by_path(embeddings, "embedding", query, gallery, "llcm")
        expect(report.raw["embedding"], slow, seed)


def by_path(embeddings, name, query, gallery, rule) -> dict:
    place = {path: i for i, path in enumerate(embeddings.paths)}
    sides = []
    for side in (query, gallery):
        paths, pids, camids = zip(*side)
        vectors = embeddings.vectors[name][[place[path] for path in paths]]
        sides.append((vectors, np.array(pids), np.array(camids)))
    (left, *query_labels), (right, *gallery_labels) = sides
    return score_by_loop(
        left @ right.T, query_labels[0], gallery_labels[0], query_labels[1], gallery_labels[1], rule
    )


def test_sysu_raw_and_reranked_and_camera_pairs() -> None:
    dataset, options = sysu_like(), ProtocolOptions(num_trials=2)
    rows = rows_of(trials(dataset, options))
    shuffled = np.random.default_rng(0).permutation(rows)
    embeddings = embeddings_of(dataset, shuffled)
    report = evaluate(dataset, options, embeddings, shuffled, rerank=True)
    place = {int(row): i for i, row in enumerate(shuffled)}
    for number, trial in enumerate(trials(dataset, options)):
        vectors = embeddings.vectors["pooled"]
        left = vectors[[place[int(row)] for row in trial.query]]
        right = vectors[[place[int(row)] for row in trial.gallery]]
        labels = [dataset.pids[trial.query], dataset.pids[trial.gallery],
                  dataset.camids[trial.query], dataset.camids[trial.gallery]]  # fmt: skip
        expect(report.raw["pooled"], score_by_loop(left @ right.T, *labels, "sysu"), number)
        again = score_by_loop(-rerank_by_loop(left, right), *labels, "sysu")
        expect(report.reranked["pooled"], again, number)
    pairs = {(r["query_camid"], r["gallery_camid"]): r for r in report.camera_pairs["pooled"]}
    assert set(pairs) == {(3, 1), (3, 4), (3, 5), (6, 1), (6, 2), (6, 4), (6, 5)}
    one, some, others = 0.0, labels[2] == 3, labels[3] == 4
    for trial in trials(dataset, options):
        left = vectors[[place[int(row)] for row in trial.query]][some]
        right = vectors[[place[int(row)] for row in trial.gallery]][others]
        part = score_by_loop(left @ right.T, labels[0][some], labels[1][others],
                             labels[2][some], labels[3][others], "sysu")  # fmt: skip
        one += part["cmc"][0] / 2
    assert pairs[3, 4]["rank1"] == pytest.approx(one)
    assert list(report.raw) == ["pooled", "embedding"]
    assert report.protocol.reranking == "k-reciprocal, k1 20, k2 6, weight 0.3"
    # 12 people in the gallery, whatever the camera: guessing finds one in 12
    assert report.chance["rank1"] == pytest.approx(1 / 12)
    assert report.counts["gallery"] == [48, 48]


def test_numbers_camera_by_camera_are_left_out_where_there_are_too_many(monkeypatch) -> None:
    dataset, options = sysu_like(), ProtocolOptions(num_trials=1)
    rows = rows_of(trials(dataset, options))
    embeddings = embeddings_of(dataset, rows)
    whole = evaluate(dataset, options, embeddings, rows)
    monkeypatch.setattr(evaluator, "_MOST_PAIRS", 7)  # there are 2 x 4
    report = evaluate(dataset, options, embeddings, rows)
    assert report.camera_pairs == {} and report.raw == whole.raw
    assert "8 pairs of cameras" in report.notes[-1] and whole.notes == ()


def test_large_galleries_are_scored_in_chunks_with_the_same_result(monkeypatch) -> None:
    dataset, options = sysu_like(), ProtocolOptions(num_trials=1)
    rows = rows_of(trials(dataset, options))
    embeddings = embeddings_of(dataset, rows)
    whole = evaluate(dataset, options, embeddings, rows)
    monkeypatch.setattr(search, "_WHOLE_BYTES", 0)
    assert evaluate(dataset, options, embeddings, rows) == whole


def test_an_image_without_an_embedding_is_a_sentence() -> None:
    dataset, options = sysu_like(), ProtocolOptions()
    rows = np.arange(len(dataset.samples) - 1)
    with pytest.raises(InputError, match=r"have no embedding, the first is 'cam6/0012/0002.jpg'"):
        evaluate(dataset, options, embeddings_of(dataset, rows), rows)
    with pytest.raises(InputError, match="rows of shape"):
        evaluate(dataset, options, embeddings_of(dataset, rows), rows[1:])


def test_context_fills_the_protocol() -> None:
    dataset, options = sysu_like(), ProtocolOptions(scope="indoor", num_trials=1)
    rows = rows_of(trials(dataset, options))
    context = {"method": "mcl", "seed": 3, "epoch": 9, "epoch_choice": "last epoch",
               "commit": "abc", "synthetic": True, "tta": "flip", "precision": "float32",
               "skipped_images": ["a.jpg"], "nothing": None}  # fmt: skip
    protocol = evaluate(dataset, options, embeddings_of(dataset, rows), rows,
                        context=context).protocol  # fmt: skip
    assert (protocol.method, protocol.seed, protocol.epoch, protocol.tta) == ("mcl", 3, 9, "flip")
    assert protocol.synthetic is True and protocol.scope == "indoor"
    assert protocol.other == {"skipped_images": ["a.jpg"]}
    assert {"vireid", "torch", "numpy", "python"} <= set(protocol.versions)
    assert context["seed"] == 3, "the caller's dictionary is the caller's"


def test_bootstrap_draws_whole_identities() -> None:
    g = np.random.default_rng(0)
    query_pids, gallery_pids = np.repeat(np.arange(30), 4), np.arange(30)
    good = np.isin(query_pids, np.arange(15))  # half the people are always found, half never
    match = query_pids[:, None] == gallery_pids
    similarity = np.where(good[:, None], match, ~match) + 1e-3 * g.random(match.shape)
    scores = score(similarity, query_pids, gallery_pids, rule="regdb")
    found = bootstrap([scores], [query_pids])
    low, high = found["rank1"]
    # 30 coin throws: deviation sqrt(0.25 / 30) = 0.091, whatever the number of images each
    assert low == pytest.approx(0.5 - 1.96 * 0.091, abs=0.03)
    assert high == pytest.approx(0.5 + 1.96 * 0.091, abs=0.03)
    assert bootstrap([scores], [query_pids]) == found
    perfect = score(match.astype(float), query_pids, gallery_pids, rule="regdb")
    assert bootstrap([perfect] * 3, [query_pids] * 3)["mean_ap"] == [1, 1]


def test_bootstrap_leaves_out_queries_without_a_match() -> None:
    scores = score(np.array([[1.0, 0], [0, 1], [1, 0]]), [0, 1, 9], [0, 1], rule="regdb")
    found = bootstrap([scores], [np.array([0, 1, 9])])
    assert found["rank1"] == [1, 1]

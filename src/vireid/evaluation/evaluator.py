"""From a protocol and embeddings to a report: every trial, every test embedding."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.config import to_plain
from vireid.data.gallery import searches_whole_gallery, trials
from vireid.data.matches import count_matches
from vireid.data.registry import name_of_rule
from vireid.evaluation.measures import METRICS
from vireid.evaluation.metrics import Scores, chance, score
from vireid.evaluation.protocol import Protocol
from vireid.evaluation.report import Report, summary
from vireid.evaluation.reranking import rerank as reranked_distance
from vireid.evaluation.search import Search, search_trials
from vireid.evaluation.significance import count_identities, too_few
from vireid.evaluation.tables import Numbers
from vireid.runtime.provenance import versions
from vireid.types import Embeddings, InputError

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset, ProtocolOptions, SearchOptions, Trial
    from vireid.runtime.record import Record

_RESAMPLES = 1000
_MOST_PAIRS = 400  # of cameras, each searched by itself; more make a table that nobody reads
_BESIDE = ("complete", "masks")  # of a synthetic set, without effect on its images


def evaluate(
    dataset: Dataset,
    options: ProtocolOptions,
    embeddings: Embeddings,
    rows: np.ndarray,
    *,
    drawn: Sequence[Trial] | None = None,
    keep: Callable[[Search], object] | None = None,
    rerank: bool = False,
    context: Mapping[str, Any] | None = None,
    record: Record | None = None,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> Report:
    """Score embeddings by a data set's protocol.

    Args:
        dataset, options: define the trials.
        embeddings: one row for each entry of `rows`; every array in `vectors` is scored.
        rows: (n,) int64 rows into `dataset.samples`, at least those that the trials name.
        drawn: the trials, where `vireid.data.trials` has drawn them already.
        keep: called with the first trial's search by the test embedding with the higher Rank-1
            in it, from which figures are drawn.
        rerank: also score after k-reciprocal re-ranking with k1, k2 and weight.
        context: what else the number is a number of; entries with the name of a field of
            `Protocol` (method, arch, trained_on, epoch, epoch_choice, seed, commit, synthetic,
            tta, weights_hash, precision, data_hash …) fill that field, the others go to
            `Protocol.other`.
        record: of the training run that the weights are from.

    Raises:
        InputError: an image of a trial has no embedding, or no query has a match.
    """
    options = options.of(dataset.facts)
    drawn = trials(dataset, options) if drawn is None else drawn
    raw: dict[str, list[Scores]] = {}
    reranked: dict[str, list[Scores]] = {}
    pairs: dict[str, list[dict[tuple[int, int], Scores]]] = {}
    best: Search | None = None
    num_pairs = _num_camera_pairs(dataset, drawn)
    for search in search_trials(dataset, drawn, embeddings, rows):
        name = search.name
        if name not in raw and (best is None or _order(search) < _order(best)):
            best = search
        raw.setdefault(name, []).append(search.scores)
        if num_pairs <= _MOST_PAIRS:
            pairs.setdefault(name, []).append(search.camera_pairs())
        if rerank:
            distance = reranked_distance(search.query, search.gallery, k1=k1, k2=k2, weight=weight)
            reranked.setdefault(name, []).append(
                score(-distance, *search.labels, rule=dataset.rule)
            )
    if best is None:
        raise InputError("The embeddings hold no array to score.")
    if keep is not None:
        keep(best)
    queries = _queries(dataset, drawn, raw)
    too_few_people = too_few(count_identities(queries["pids"], queries["matched"]))
    return Report(
        protocol=_protocol(
            dataset, options, drawn, tuple(raw), embeddings, dict(context or {}),
            f"k-reciprocal, k1 {k1}, k2 {k2}, weight {weight}" if rerank else "none",
        ),
        raw={name: _numbers(scores) for name, scores in raw.items()},
        reranked={name: _numbers(scores) for name, scores in reranked.items()},
        confidence={} if too_few_people else {
            name: bootstrap(scores, [dataset.pids[t.query] for t in drawn])
            for name, scores in raw.items()
        },
        camera_pairs={name: _pair_rows(of_trials) for name, of_trials in pairs.items()},
        curves={
            name: np.mean([s.cmc for s in scores], axis=0).tolist() for name, scores in raw.items()
        },
        queries=queries,
        record=record,
        notes=(
            *dataset.notes,
            *_unmatched(dataset, options),
            *_marks(dataset, options, num_pairs),
            *filter(None, [too_few_people]),
        ),
        **_counts(dataset, drawn, next(iter(raw.values()))),
    )  # fmt: skip


def _unmatched(dataset: Dataset, options: SearchOptions) -> list[str]:
    """Why some queries don't count."""
    found = count_matches(dataset, options)
    return [str(found)] if found.matched < found.queries else []


def _order(search: Search) -> tuple[float, str]:
    """The higher Rank-1 first, then by name."""
    return -search.scores.at(1), search.name


def _counts(dataset: Dataset, drawn: Sequence[Trial], scores: Sequence[Scores]) -> dict[str, Any]:
    """What doesn't depend on the embedding: the report's `counts` and `chance`."""
    guesses = [chance(one) for one in scores]
    return {
        "counts": {
            "queries": [s.num_queries for s in scores],
            "without_match": [s.num_without_match for s in scores],
            "gallery": [len(t.gallery) for t in drawn],
            "identities": [len(np.unique(dataset.pids[t.query])) for t in drawn],
        },
        "chance": {key: float(np.mean([guess[key] for guess in guesses])) for key in guesses[0]},
    }


def _queries(
    dataset: Dataset, drawn: Sequence[Trial], raw: Mapping[str, Sequence[Scores]]
) -> dict[str, np.ndarray]:
    """The report's `queries`, in the order of the protocol."""
    found, first = np.unique(np.concatenate([t.query for t in drawn]), return_index=True)
    rows, back = found[np.argsort(first)], np.argsort(np.argsort(first))
    places = [back[np.searchsorted(found, trial.query)] for trial in drawn]
    matched = np.zeros(len(rows), np.int64)
    for place, one in zip(places, next(iter(raw.values()))):
        np.add.at(matched, place[one.has_match], 1)
    table = {"pids": dataset.pids[rows], "camids": dataset.camids[rows], "matched": matched}
    for name, scores in raw.items():
        for key, metric in METRICS.items():
            if metric.in_brief:
                sums = np.zeros(len(rows))
                for place, one in zip(places, scores):
                    np.add.at(sums, place[one.has_match], metric.values(one))
                mean = sums / np.where(matched > 0, matched, np.nan)
                table[f"{name}.{key}"] = mean.astype(np.float32)
    return table


def bootstrap(
    scores: Sequence[Scores],
    query_pids: Sequence[np.ndarray],
    *,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Confidence intervals for other people, of each metric that is `in_brief`.

    Whole identities are drawn with replacement from those of the queries, the same draw for
    all trials, and the mean over the trials is taken; the gallery stays. The interval is the
    percentile one. It says nothing about other training seeds.

    Args:
        scores: one for each trial.
        query_pids: for each trial, the identity of each query.

    Returns:
        metric → [low, high].
    """
    metrics = {name: metric for name, metric in METRICS.items() if metric.in_brief}
    identities = np.unique(np.concatenate(query_pids))
    drawn = np.random.default_rng(seed).multinomial(
        len(identities), np.full(len(identities), 1 / len(identities)), size=resamples
    )
    means = []
    for one, pids in zip(scores, query_pids):
        columns = [metric.values(one) for metric in metrics.values()]
        table = np.stack([*columns, np.ones(one.num_queries)], axis=1).astype(np.float64)
        sums = np.zeros((len(identities), len(metrics) + 1))
        np.add.at(sums, np.searchsorted(identities, pids[one.has_match]), table)
        total = drawn @ sums
        # a draw of identities none of which has a match says nothing
        means.append(total[:, :-1] / np.where(total[:, -1:] > 0, total[:, -1:], np.nan))
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(np.mean(means, axis=0), [tail, 100 - tail], axis=0)
    return {metric: [float(low[i]), float(high[i])] for i, metric in enumerate(metrics)}


def _num_camera_pairs(dataset: Dataset, drawn: Sequence[Trial]) -> int:
    """Cameras of the queries times cameras of the gallery, over all trials."""
    sides = zip(*((trial.query, trial.gallery) for trial in drawn))
    query, gallery = (len(np.unique(dataset.camids[np.concatenate(rows)])) for rows in sides)
    return query * gallery


def _marks(dataset: Dataset, options: SearchOptions, num_pairs: int) -> list[str]:
    """What a reader must know of a protocol that isn't the usual one, or of what is left out."""
    marks = []
    if options.shots > 1 and options.draw == "seeded":
        marks.append(
            "The seeded multi-shot gallery is vireid's own definition (random.sample of up to "
            f"{options.shots} sorted files); no published code defines one. Do not compare it with "
            "other seeded multi-shot numbers."
        )
    if num_pairs > _MOST_PAIRS:
        marks.append(
            f"Queries and gallery form {num_pairs:,} pairs of cameras, too many for numbers camera "
            f"by camera (at most {_MOST_PAIRS})."
        )
    if options.variant in dataset.facts.variants:
        marks.append(dataset.facts.variants[options.variant].note)
    return marks


def _pair_rows(trials: Sequence[dict[tuple[int, int], Scores]]) -> list[dict[str, Any]]:
    rows = []
    for pair in sorted(set().union(*trials)):
        scores = [trial[pair] for trial in trials if pair in trial]
        rows.append(
            {
                "query_camid": pair[0],
                "gallery_camid": pair[1],
                "queries": round(float(np.mean([s.num_queries for s in scores])), 1),
                "rank1": float(np.mean([s.at(1) for s in scores])),
                "mean_ap": float(np.mean([s.mean_ap for s in scores])),
            }
        )
    return rows


def _numbers(scores: Sequence[Scores]) -> Numbers:
    return {name: summary([metric.of(one) for one in scores]) for name, metric in METRICS.items()}


def _protocol(
    dataset: Dataset,
    options: SearchOptions,
    drawn: Sequence[Trial],
    names: Sequence[str],
    embeddings: Embeddings,
    context: dict[str, Any],
    reranking: str,
) -> Protocol:
    stated: dict[str, Any] = {
        "synthetic": dataset.synthetic is not None,
        "tta": str(embeddings.preprocessing.get("tta") or "none"),
        "weights_hash": embeddings.weights_hash or None,
        "versions": versions(),
    }
    of_network = (
        "method", "arch", "trained_on", "recipe", "epoch", "epoch_choice", "seed", "commit",
        "precision", "data_hash",
    )  # fmt: skip
    for key in (*of_network, *stated):
        if context.get(key) is not None:
            stated[key] = context[key]
        context.pop(key, None)
    if stated["tta"] == "flip":
        stated["metric"] = "dot product of the flips' sums"
    return Protocol(
        **search_fields(dataset, options),
        preprocessing=to_plain({k: v for k, v in embeddings.preprocessing.items() if k != "tta"}),
        trials=tuple(trial.number for trial in drawn),
        embeddings=tuple(names),
        reranking=reranking,
        other=to_plain({key: value for key, value in context.items() if value is not None}),
        **stated,
    )


def search_fields(dataset: Dataset, options: SearchOptions) -> dict[str, Any]:
    """The fields of `Protocol` that say which search it is, by data set and options alone."""
    made, whole = dataset.synthetic, searches_whole_gallery(dataset, options)
    return {
        "dataset": dataset.name,
        "synthetic_set": {k: v for k, v in made.items() if k not in _BESIDE} if made else None,
        "part": options.part,
        "rule": name_of_rule(dataset.rule),
        "scope": options.scope,
        "shots": None if whole else options.shots,
        "draw": None if whole else options.draw,
        "direction": options.direction,
        "variant": options.variant,
        "split": dataset.trial if dataset.facts.splits > 1 else None,
    }

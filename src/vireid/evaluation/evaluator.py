"""From a protocol and embeddings to a report: every trial, every test embedding."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from vireid.config import to_plain
from vireid.evaluation.metrics import Rule, Scores, chance, score, score_embeddings
from vireid.evaluation.products import product
from vireid.evaluation.report import METRICS, RANKS, Protocol, Report, summary
from vireid.evaluation.reranking import rerank as reranked_distance
from vireid.types import Embeddings, InputError
from vireid.version import __version__

if TYPE_CHECKING:
    from vireid.data.protocol import Dataset, ProtocolOptions, Trial

_WHOLE_BYTES = 2**30  # up to this size the similarity of all trials' images is kept whole
_RESAMPLES = 1000
_BESIDE = ("complete", "masks")  # of a synthetic set, without effect on its pictures
_ORDER = ("pooled", "embedding", "part")

# A part of a trial's queries and gallery images (indices; None = all) → its scores.
_Search = Callable[[np.ndarray | None, np.ndarray | None], Scores]


def evaluate(
    dataset: Dataset,
    options: ProtocolOptions,
    embeddings: Embeddings,
    rows: np.ndarray,
    *,
    rerank: bool = False,
    context: Mapping[str, Any] | None = None,
    k1: int = 20,
    k2: int = 6,
    weight: float = 0.3,
) -> Report:
    """Score embeddings by a data set's protocol.

    Args:
        dataset, options: define the trials.
        embeddings: one row for each entry of `rows`; every array in `vectors` is scored.
        rows: (n,) int64 rows into `dataset.samples`, at least those that the trials name.
        rerank: also score after k-reciprocal re-ranking with k1, k2 and weight.
        context: what else the number is a number of; entries with the name of a field of
            `Protocol` (method, arch, trained_on, epoch, epoch_choice, seed, commit, synthetic,
            tta, weights_hash, precision …) fill that field, the others go to `Protocol.other`.

    Raises:
        InputError: an image of a trial has no embedding, or no query has a match.
    """
    from vireid.data.gallery import trials

    rows = np.asarray(rows)
    if rows.shape != (len(embeddings),):
        raise InputError(
            f"There are {len(embeddings)} embeddings and rows of shape {rows.shape}; one row "
            "number for each embedding was expected."
        )
    drawn = trials(dataset, options)
    place = np.full(len(dataset.samples), -1, np.int64)
    place[rows] = np.arange(len(rows))
    names = sorted(embeddings.vectors, key=lambda n: (_ORDER.index(n) if n in _ORDER else 9, n))
    raw: dict[str, list[Scores]] = {name: [] for name in names}
    after: dict[str, list[Scores]] = {name: [] for name in names}
    pairs: dict[str, list[dict[tuple[int, int], Scores]]] = {name: [] for name in names}
    sides = [_places(dataset, trial, place) for trial in drawn]
    labels = [_Labels(dataset, trial) for trial in drawn]
    for name in names:
        vectors = embeddings.vectors[name]
        similarity = _similarity_of(vectors, sides)
        for (query, gallery), known in zip(sides, labels):
            if similarity is None:
                search = _search_in_chunks(vectors[query], vectors[gallery], known, dataset.rule)
            else:
                search = _search(similarity(query, gallery), known, dataset.rule)
            raw[name].append(search(None, None))
            pairs[name].append(_camera_pairs(search, known, dataset.rule))
            if rerank:
                distance = reranked_distance(
                    vectors[query], vectors[gallery], k1=k1, k2=k2, weight=weight
                )
                after[name].append(score(-distance, *known.all(), rule=dataset.rule))
    first = raw[names[0]]
    guesses = [chance(scores) for scores in first]
    return Report(
        protocol=_protocol(
            dataset, options, drawn, names, embeddings, dict(context or {}),
            f"k-reciprocal, k1 {k1}, k2 {k2}, weight {weight}" if rerank else "none",
        ),
        raw={name: _numbers(raw[name]) for name in names},
        reranked={name: _numbers(after[name]) for name in names} if rerank else {},
        confidence={
            name: bootstrap(raw[name], [dataset.pids[t.query] for t in drawn]) for name in names
        },
        camera_pairs={name: _pair_rows(pairs[name]) for name in names},
        curves={name: np.mean([s.cmc for s in raw[name]], axis=0).tolist() for name in names},
        counts={
            "queries": [s.num_queries for s in first],
            "without_match": [s.num_without_match for s in first],
            "gallery": [len(t.gallery) for t in drawn],
            "identities": [len(np.unique(dataset.pids[t.query])) for t in drawn],
        },
        chance={key: float(np.mean([guess[key] for guess in guesses])) for key in guesses[0]},
        notes=(*dataset.notes, *_marks(options)),
    )  # fmt: skip


def bootstrap(
    scores: Sequence[Scores],
    query_pids: Sequence[np.ndarray],
    *,
    resamples: int = _RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Confidence intervals of Rank-1, mean AP and mean INP for other people.

    Whole identities are drawn with replacement from those of the queries, the same draw for
    all trials, and the mean over the trials is taken; the gallery stays. The interval is the
    percentile one. It says nothing about other training seeds.

    Args:
        scores: one for each trial.
        query_pids: for each trial, the identity of each query.

    Returns:
        metric → [low, high].
    """
    known = np.unique(np.concatenate(query_pids))
    drawn = np.random.default_rng(seed).multinomial(
        len(known), np.full(len(known), 1 / len(known)), size=resamples
    )
    totals = []
    for one, pids in zip(scores, query_pids):
        valid = one.first > 0
        columns = np.stack(
            [one.first[valid] == 1, one.ap[valid], one.inp[valid], np.ones(valid.sum())], axis=1
        ).astype(np.float64)
        sums = np.zeros((len(known), 4))
        np.add.at(sums, np.searchsorted(known, pids[valid]), columns)
        total = drawn @ sums
        # a draw of identities none of which has a match says nothing
        totals.append(total[:, :3] / np.where(total[:, 3:] > 0, total[:, 3:], np.nan))
    tail = 100 * (1 - level) / 2
    low, high = np.nanpercentile(np.mean(totals, axis=0), [tail, 100 - tail], axis=0)
    return {
        metric: [float(low[i]), float(high[i])]
        for i, metric in enumerate(("rank1", "mean_ap", "mean_inp"))
    }


def _marks(options: ProtocolOptions) -> list[str]:
    """What a reader must know of a protocol that isn't the usual one."""
    marks = []
    if options.shots > 1 and options.draw == "seeded":
        marks.append(
            "The seeded multi-shot gallery is vireid's own definition (random.sample of up to "
            f"{options.shots} sorted files); no published code defines one. Do not compare it with "
            "other seeded multi-shot numbers."
        )
    if options.variant == "legacy-deen":
        marks.append(
            "legacy-deen: query and gallery are swapped as in DEEN's public test script (a drawn "
            "set of infrared queries, all visible images as the gallery). This is another task "
            "than LLCM's visible to infrared; compare it with numbers of that script only."
        )
    return marks


class _Labels:
    """Identities and cameras of a trial's queries and gallery images."""

    def __init__(self, dataset: Dataset, trial: Trial) -> None:
        self.query_pids = dataset.pids[trial.query]
        self.gallery_pids = dataset.pids[trial.gallery]
        self.query_camids = dataset.camids[trial.query]
        self.gallery_camids = dataset.camids[trial.gallery]

    def all(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        return self.query_pids, self.gallery_pids, self.query_camids, self.gallery_camids

    def part(
        self, some: np.ndarray | None, others: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        left = slice(None) if some is None else some
        right = slice(None) if others is None else others
        return (
            self.query_pids[left],
            self.gallery_pids[right],
            self.query_camids[left],
            self.gallery_camids[right],
        )


def _places(dataset: Dataset, trial: Trial, place: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    sides = place[trial.query], place[trial.gallery]
    wanted = np.concatenate([trial.query, trial.gallery])
    absent = wanted[np.concatenate(sides) < 0]
    if len(absent):
        raise InputError(
            f"{len(absent)} of the {len(wanted)} images of trial {trial.number} have no embedding, "
            f"the first is '{dataset.samples[absent[0]].path}'. Embed every row that the trials "
            "name; images that can't be read have to leave the data set before (--skip-broken)."
        )
    return sides


def _similarity_of(
    vectors: np.ndarray, sides: Sequence[tuple[np.ndarray, np.ndarray]]
) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """A function of one trial's rows that returns their similarity (Q, G), or None where the
    similarity of all trials' images is too large to be kept.

    The draws of a gallery overlap, and one large product is faster than many small ones."""
    queries = np.unique(np.concatenate([query for query, _ in sides]))
    images = np.unique(np.concatenate([gallery for _, gallery in sides]))
    if 4 * len(queries) * len(images) > _WHOLE_BYTES:
        return None
    whole = product(vectors[queries], vectors[images])

    def of(query: np.ndarray, gallery: np.ndarray) -> np.ndarray:
        return whole[np.ix_(np.searchsorted(queries, query), np.searchsorted(images, gallery))]

    return of


def _search(similarity: np.ndarray, labels: _Labels, rule: Rule) -> _Search:
    def search(some: np.ndarray | None, others: np.ndarray | None) -> Scores:
        part = similarity if some is None or others is None else similarity[np.ix_(some, others)]
        return score(part, *labels.part(some, others), rule=rule)

    return search


def _search_in_chunks(
    query: np.ndarray, gallery: np.ndarray, labels: _Labels, rule: Rule
) -> _Search:
    def search(some: np.ndarray | None, others: np.ndarray | None) -> Scores:
        left = query if some is None else query[some]
        right = gallery if others is None else gallery[others]
        return score_embeddings(left, right, *labels.part(some, others), rule=rule)

    return search


def _camera_pairs(search: _Search, labels: _Labels, rule: Rule) -> dict[tuple[int, int], Scores]:
    """Scores of each camera's queries against each camera's gallery images, where some match."""
    found = {}
    for query_camid in np.unique(labels.query_camids).tolist():
        some = np.flatnonzero(labels.query_camids == query_camid)
        for gallery_camid in np.unique(labels.gallery_camids).tolist():
            if rule == "sysu" and (query_camid, gallery_camid) == (3, 2):
                continue  # skipped by the rule
            if rule == "llcm" and query_camid == gallery_camid:
                continue  # every match is skipped by the rule
            others = np.flatnonzero(labels.gallery_camids == gallery_camid)
            if np.isin(labels.query_pids[some], labels.gallery_pids[others]).any():
                found[query_camid, gallery_camid] = search(some, others)
    return found


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


def _numbers(scores: Sequence[Scores]) -> dict[str, dict[str, Any]]:
    out = {f"rank{k}": summary([s.at(k) for s in scores]) for k in RANKS}
    out["mean_ap"] = summary([s.mean_ap for s in scores])
    out["mean_inp"] = summary([s.mean_inp for s in scores])
    return {metric: out[metric] for metric in METRICS}


def _protocol(
    dataset: Dataset,
    options: ProtocolOptions,
    drawn: Sequence[Trial],
    names: Sequence[str],
    embeddings: Embeddings,
    context: dict[str, Any],
    reranking: str,
) -> Protocol:
    roles, made = dataset.roles, dataset.synthetic
    whole = dataset.rule == "regdb" or (
        roles is not None and bool((roles[dataset.parts[options.part]] >= 0).any())
    )
    stated: dict[str, Any] = {
        "synthetic": made is not None,
        "tta": str(embeddings.preprocessing.get("tta") or "none"),
        "weights_hash": embeddings.weights_hash or None,
        "versions": {
            "vireid": __version__,
            "torch": version("torch"),
            "numpy": np.__version__,
            "python": platform.python_version(),
        },
    }
    free = ("method", "arch", "trained_on", "epoch", "epoch_choice", "seed", "commit", "precision")
    for key in (*free, *stated):
        if context.get(key) is not None:
            stated[key] = context[key]
        context.pop(key, None)
    return Protocol(
        dataset=dataset.name,
        synthetic_set={k: v for k, v in made.items() if k not in _BESIDE} if made else None,
        preprocessing=to_plain({k: v for k, v in embeddings.preprocessing.items() if k != "tta"}),
        part=options.part,
        rule=dataset.rule,
        scope=options.scope,
        shots=None if whole else options.shots,
        draw=None if whole else options.draw,
        direction=options.direction,
        variant=options.variant,
        trials=tuple(trial.number for trial in drawn),
        split=dataset.trial if dataset.name == "regdb" else None,
        embeddings=tuple(names),
        reranking=reranking,
        other=to_plain({key: value for key, value in context.items() if value is not None}),
        **stated,
    )

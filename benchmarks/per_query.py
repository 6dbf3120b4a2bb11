"""Average precision of each query of a run's test, averaged over the trials, as an .npz file.

    python benchmarks/per_query.py --run RUN --data DIR --out FILE.npz

It embeds and scores as `vireid test` does, so the mean over the queries is the report's mean AP.
Arrays: one of each test embedding (Q,) float16, fractions, no number where a query has no match;
`pids`, `camids` (Q,) int16 of the queries, in the order of the protocol.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from vireid.data import ProtocolOptions, load_dataset, prepare, trials
from vireid.embed import load
from vireid.evaluation import score_embeddings


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="sysu")
    parser.add_argument("--mode", default="all")
    parser.add_argument("--part", default="test")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    options = ProtocolOptions(part=args.part, scope=args.mode)
    found = average_precision(args.run, args.dataset, args.data, options)
    np.savez(args.out, **found)  # type: ignore[arg-type]


def average_precision(
    run: Path, dataset: str, root: Path, options: ProtocolOptions
) -> dict[str, np.ndarray]:
    """The arrays that the head of this file describes."""
    embedder, data = load(run), load_dataset(dataset, root)
    store = prepare(data, size=embedder.size)
    drawn = trials(data, options)
    rows = np.unique(np.concatenate([np.concatenate([t.query, t.gallery]) for t in drawn]))
    vectors = embedder.embed_store(store, data, rows).vectors
    query = drawn[0].query
    found = {
        "pids": data.pids[query].astype(np.int16),
        "camids": data.camids[query].astype(np.int16),
    }
    for name, of_rows in vectors.items():
        total = np.zeros(len(query))
        for trial in drawn:
            if not np.array_equal(trial.query, query):
                raise SystemExit("per_query.py: the trials of this protocol have other queries.")
            sides = [np.searchsorted(rows, side) for side in (trial.query, trial.gallery)]
            scores = score_embeddings(
                *(of_rows[side] for side in sides),
                *(data.pids[side] for side in (trial.query, trial.gallery)),
                *(data.camids[side] for side in (trial.query, trial.gallery)),
                rule=data.rule,
            )
            total += np.where(scores.first > 0, scores.ap, np.nan)
        found[name] = (total / len(drawn)).astype(np.float16)
    return found


if __name__ == "__main__":
    main()

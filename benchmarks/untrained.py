"""The floor of a leaderboard: what features that nothing has learned reach on a test set.

    python benchmarks/untrained.py --data DIR [--modes all,indoor] [--arch resnet18]

Raw pixels (36 x 18, without their mean), colour histograms (8 levels a channel in three stripes)
and a network with random weights, under the protocol of `methods.py`, beside guessing: the same
raw pixels with the query identities exchanged.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _common import record
from _vectors import embeddings_of
from methods import data_facts
from synthetic import features

from vireid.data import ProtocolOptions, load_dataset, prepare, trials
from vireid.data.protocol import Dataset
from vireid.embed.embedder import Embedder
from vireid.evaluation import evaluate
from vireid.methods import Sizes, build_method, method_class
from vireid.types import Embeddings, InputError, Modality

RENAMINGS = 20


def described(data: Dataset, rows: np.ndarray) -> dict[str, np.ndarray]:
    """(n, D) float32 rows of length 1 for each kind of feature."""
    found = [features(data.root / data.samples[row].path) for row in rows]
    out = {}
    for name in found[0]:
        matrix = np.stack([one[name] for one in found]).astype(np.float32)
        out[name] = matrix / np.linalg.norm(matrix, axis=1, keepdims=True)
    return out


def random_network(data: Dataset, rows: np.ndarray, arch: str, seed: int) -> Embeddings:
    torch.manual_seed(seed)
    options = method_class("agw").model_defaults(arch, "none")
    method = build_method(
        "agw",
        options,
        Sizes(num_pids=len(np.unique(data.pids)), num_cameras=len(np.unique(data.camids))),
    )
    embedder = Embedder(method, {}, precision="float32")
    return embedder.embed_store(prepare(data, size=embedder.size), data, rows, progress=True)


def percent(report: dict[str, Any], which: str) -> str:
    return " / ".join(f"{100 * report[which][m]['mean']:.2f}" for m in ("rank1", "mean_ap"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--dataset", default="sysu")
    parser.add_argument("--modes", default="all,indoor")
    parser.add_argument("--arch", default="resnet18")
    parser.add_argument("--seed", type=int, default=0, help="of the random network")
    options = parser.parse_args()
    try:
        data = load_dataset(options.dataset, options.data)
    except InputError as error:
        print(f"untrained.py: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    drawn = [t for m in options.modes.split(",") for t in trials(data, ProtocolOptions(scope=m))]
    rows = np.unique(np.concatenate([np.r_[t.query, t.gallery] for t in drawn]))
    simple = described(data, rows)
    kinds: dict[str, tuple[Embeddings, str]] = {}
    for name, vectors in simple.items():
        kinds[name] = (embeddings_of(data, rows, {"pooled": vectors}), "pooled")
    network = random_network(data, rows, options.arch, options.seed)
    for which in sorted(network.vectors):
        kinds[f"random {options.arch}, {which}"] = (network, which)
    table = []
    results: dict[str, Any] = {"setting": data_facts(options.data, options.dataset), "rows": table}
    for name, (embeddings, which) in kinds.items():
        line = {"row": name}
        for mode in options.modes.split(","):
            report = evaluate(data, ProtocolOptions(scope=mode), embeddings, rows, context={})
            line[f"{mode} R1 / mAP"] = percent(report.to_plain(), which)
        table.append(line)
        print(line, flush=True)
    table.append(chance(data, rows, simple["raw pixels"], options.modes.split(",")))
    notes = [
        "Synthetic people; test identities; Rank-1 / mAP in %, infrared to visible, single-shot, "
        "seeded draw, 10 trials, no re-ranking.",
        f"guessing: raw pixels whose images bear each other's names, mean of {RENAMINGS} ways.",
    ]
    path = record("untrained", results, table=table, notes=notes)
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


def chance(data: Dataset, rows: np.ndarray, vectors: np.ndarray, modes: list[str]) -> dict:
    """Rank-1 and mAP where images of an identity and camera stand for another identity's."""
    g = np.random.default_rng(0)
    pids = np.unique(data.pids[rows])
    infrared = np.flatnonzero(data.modality[rows] == Modality.INFRARED)
    line = {"row": "guessing"}
    of = {pid: infrared[data.pids[rows][infrared] == pid] for pid in pids}
    for mode in modes:
        found = []
        for _ in range(RENAMINGS):
            changed = vectors.copy()
            for pid, other in zip(pids, g.permutation(pids), strict=True):
                mine, theirs = of[pid], of[other]
                changed[mine] = vectors[np.resize(theirs, len(mine))]
            embeddings = embeddings_of(data, rows, {"pooled": changed})
            report = evaluate(data, ProtocolOptions(scope=mode), embeddings, rows, context={})
            plain = report.to_plain()["pooled"]
            found.append((plain["rank1"]["mean"], plain["mean_ap"]["mean"]))
        line[f"{mode} R1 / mAP"] = " / ".join(f"{100 * v:.2f}" for v in np.mean(found, axis=0))
    return line


if __name__ == "__main__":
    main()

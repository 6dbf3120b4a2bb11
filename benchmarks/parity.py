"""Graph against eager: the same losses over 500 steps, measured against rounding's own noise.

    python benchmarks/parity.py [--recipes published,clean] [--steps 500] [--method mcl] [--runs 4]
    python benchmarks/parity.py --recipes clean --options ema=0.99 clip_norm=5 freeze_epochs=5

Every recipe is judged by itself, in its own number format; the time of a step on both engines
stands beside. Every run starts from one seed and sees the same batches. Training is chaotic: a
weight moved by one part in ten million changes single losses within some steps, so each engine
runs several times with such other roundings. The criterion is a permutation test and stands in the
result: were the labels "eager" and "graph" exchanged among the curves in every possible way, how
often would the two groups be as far from each other as they are?
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from itertools import combinations, product
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _common import record  # noqa: E402

from vireid.bench import StepBench, random_data  # noqa: E402

WINDOW = 25  # steps whose mean is compared
LEVEL = 0.05  # of the test


def curve(
    data: Any, steps: int, *, nudge: int = 0, **options: Any
) -> tuple[np.ndarray, dict[str, Any]]:
    """Total loss of each step, and what ran; with `nudge`, a seed, weights are first moved by one
    part in ten million, without it later steps are timed."""
    bench = StepBench(*data, lr=0.02, **options)
    if nudge:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(nudge)
            for parameter in bench.run.optimisers.parameters:
                sign = torch.rand(parameter.shape, generator=generator).to(parameter.device)
                parameter.mul_(1 + 1e-7 * (2 * sign - 1))
    precision = bench.run.precision.why
    print(f"{precision}; {bench.engine.why}", flush=True)
    found = np.array(bench.losses(steps))
    facts = {} if nudge else {"precision": precision, **bench.time(min(100, steps))}
    bench.close()
    return found, facts


def windows(values: np.ndarray) -> np.ndarray:
    """Means of consecutive windows; of each step where there are few."""
    width = min(WINDOW, max(1, len(values) // 4))
    return values[: len(values) // width * width].reshape(-1, width).mean(1)


def distance(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How far two curves are apart."""
    by_window = windows(a) - windows(b)
    return {
        "rms of windows": float(np.sqrt(np.mean(by_window**2))),
        "largest window": float(np.abs(by_window).max()),
        "mean": float(np.mean(a - b)),
        "largest of first 10 steps": float(np.abs(a - b)[:10].max()),
    }


def apart(distances: np.ndarray, first: Sequence[int], second: Sequence[int]) -> float:
    """How much farther two groups of curves are from each other than within themselves.

    Args:
        distances: (N, N) between all curves.
        first: numbers of the curves of one group; second: of the other.
    """
    across = distances[np.ix_(first, second)].mean()
    within = [distances[a, b] for group in (first, second) for a, b in combinations(group, 2)]
    return float(across - np.mean(within))


def judge(eager: list[np.ndarray], graph: list[np.ndarray]) -> dict[str, Any]:
    """Whether the graph's curves can be told from the eager ones, by rms of windows."""
    curves = [*eager, *graph]
    distances = np.array([[distance(a, b)["rms of windows"] for b in curves] for a in curves])
    everyone = range(len(curves))
    found = apart(distances, everyone[: len(eager)], everyone[len(eager) :])
    exchanged = [
        apart(distances, chosen, [n for n in everyone if n not in chosen])
        for chosen in combinations(everyone, len(eager))
    ]
    p = float(np.mean([value >= found - 1e-12 for value in exchanged]))
    among = [distances[a, b] for a, b in combinations(range(len(eager)), 2)]
    across = distances[: len(eager), len(eager) :]
    return {
        "eager among themselves, mean": float(np.mean(among)),
        "eager among themselves, largest": float(np.max(among)),
        "graph to eager, mean": float(across.mean()),
        "graph to eager, largest": float(across.max()),
        "graph farther by": found,
        "ways to exchange": len(exchanged),
        "p": p,
        "within the noise": p >= LEVEL,
    }


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The curves as a figure, and their differences from the first one below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    first = windows(next(iter(curves.values())))
    for name, values in curves.items():
        found = windows(values)
        x = (np.arange(len(found)) + 0.5) * (len(values) // len(found))
        style = {"color": "black" if name.startswith("graph") else "tab:orange", "alpha": 0.6}
        top.plot(x, found, label=name, **style)
        bottom.plot(x, found - first, **style)
    top.set(ylabel=f"sum of losses (means of {WINDOW} steps)")
    lines = {name.split(",")[0]: line for name, line in zip(curves, top.lines, strict=True)}
    top.legend(lines.values(), lines.keys())
    bottom.set(xlabel="step", ylabel="difference from the first")
    figure.savefig(path, dpi=110)
    # 16 colours are plenty for two, and a quarter of the bytes
    with Image.open(path) as drawn:
        few = drawn.convert("RGB").quantize(16, dither=Image.Dither.NONE)
    few.save(path, optimize=True)


def judged(
    data: Any, steps: int, runs: int, engines: dict[str, str], **options: Any
) -> dict[str, Any]:
    """One recipe's curves, the verdict on them, and the time of its steps."""
    curves: dict[str, np.ndarray] = {}
    timed = {}
    for number, (name, engine) in product(range(runs), engines.items()):
        label = f"{name}, rounding {number}"
        # Kernels can be chosen for captured steps only.
        given = options | ({"kernels": "auto"} if engine == "eager" else {})
        curves[label], facts = curve(data, steps, engine=engine, nudge=number, **given)
        print(label, np.round(curves[label][[0, 1, 2, -3, -2, -1]], 4), facts, flush=True)
        if facts:
            timed[name] = facts
    groups = [[v for name, v in curves.items() if name.startswith(kind)] for kind in engines]
    last = {kind: np.mean([windows(v)[-4:] for v in g]) for kind, g in zip(engines, groups)}
    return {
        **judge(*groups),
        "timed": timed,
        "mean loss of the last 4 windows": {kind: float(value) for kind, value in last.items()},
        "curves": curves,
    }


def sentences(recipe: str, found: dict[str, Any]) -> list[str]:
    """What a recipe's curves and times come to."""
    return [
        f"{recipe}: rms of the differences of means of {WINDOW} steps: eager among themselves "
        f"{found['eager among themselves, mean']:.4g} (mean), graph to eager "
        f"{found['graph to eager, mean']:.4g}.",
        f"{recipe}: exchanging the labels in all {found['ways to exchange']} ways, the groups are "
        f"at least as far apart in a share p = {found['p']:.3f} of them: "
        f"{'within' if found['within the noise'] else 'NOT within'} the noise (p >= {LEVEL}).",
        f"{recipe}: mean loss of the last {4 * WINDOW} steps: "
        + ", ".join(f"{k} {v:.4f}" for k, v in found["mean loss of the last 4 windows"].items())
        + ".",
        f"{recipe}: a step takes "
        + ", ".join(f"{facts['ms']} ms ({kind})" for kind, facts in found["timed"].items())
        + f"; {found['timed']['graph']['precision']}.",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--recipes", default="published,clean", help="names, with commas")
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--runs", type=int, default=4, help="of each engine")
    parser.add_argument("--kernels", default="auto", help="of the captured step")
    parser.add_argument("--options", nargs="*", default=[], help="of the recipe, NAME=NUMBER")
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    size = (288, 144) if cuda else (64, 32)
    data = random_data(arguments.identities * 36, num_pids=arguments.identities, size=size)
    common = {"method": arguments.method, "arch": arguments.arch, "device": arguments.device,
              "kernels": arguments.kernels}  # fmt: skip
    given = dict(option.split("=") for option in arguments.options)
    common |= {key: float(value) if "." in value else int(value) for key, value in given.items()}
    engines = {"eager": "eager", "graph": "graph" if cuda else "eager"}
    recipes = arguments.recipes.split(",")
    found = {
        recipe: judged(data, arguments.steps, arguments.runs, engines, recipe=recipe, **common)
        for recipe in recipes
    }
    curves = {recipe: results.pop("curves") for recipe, results in found.items()}
    results: dict[str, Any] = {
        "criterion": f"p >= {LEVEL} in the exact permutation test of the labels, by the mean rms "
        f"of the differences of means of {WINDOW} steps",
        "steps": arguments.steps,
        "options": given,
        "recipes": {
            recipe: {
                **found[recipe],
                "curves": {k: [round(v, 5) for v in curve] for k, curve in curves[recipe].items()},
            }
            for recipe in recipes
        },
    }
    table = [
        {"recipe": recipe, "against eager, rounding 0": name, **distance(values, first)}
        for recipe in recipes
        for first in [curves[recipe]["eager, rounding 0"]]
        for name, values in curves[recipe].items()
        if values is not first
    ]
    notes = [line for recipe in recipes for line in sentences(recipe, found[recipe])]
    if not cuda:
        notes.append("Without a GPU 'graph' is eager too: this only tries the script.")
    kernels = [] if arguments.kernels == "auto" else [arguments.kernels]
    name = "-".join(["parity", arguments.method, *recipes, *kernels, *given]).replace("_", "-")
    path = record(name, results, table=table, notes=notes)
    for recipe in recipes:
        more = f"-{recipe}" if len(recipes) > 1 else ""
        draw(curves[recipe], path.with_name(f"{path.stem}{more}.png"))
    print(path.with_suffix(".md").read_text())
    print(path, os.environ.get("OUT", ""))


if __name__ == "__main__":
    main()

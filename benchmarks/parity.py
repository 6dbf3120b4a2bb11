"""Graph against eager: the same losses over 500 steps, measured against rounding's own noise.

    python benchmarks/parity.py [--steps 500] [--method mcl] [--identities 60]

Runs from one seed on the same batches: eager, three times eager with another rounding (weights
moved by one part in ten million, twice; cuDNN's other algorithms), the captured graph, and eager
in float32. The criterion is computed and stands in the result: by means of 25 steps, the graph's
curve is no farther from the eager ones than they are from each other.
"""

from __future__ import annotations

import argparse
import itertools
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from _common import record  # noqa: E402

from vireid.bench import StepBench, random_data  # noqa: E402

WINDOW = 25  # steps whose mean is compared


def curve(
    data: Any, steps: int, *, nudge: int = 0, other_algorithms: bool = False, **options: Any
) -> np.ndarray:
    """Total loss of each step.

    Args:
        nudge: a seed; weights are first moved by one part in ten million.
        other_algorithms: cuDNN's deterministic algorithms instead of the fastest.
    """
    bench = StepBench(*data, lr=0.02, **options)
    if other_algorithms:  # after the engine's own switches
        torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True
    if nudge:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(nudge)
            for parameter in bench.optimisers.parameters:
                sign = torch.rand(parameter.shape, generator=generator).to(parameter.device)
                parameter.mul_(1 + 1e-7 * (2 * sign - 1))
    print(bench.engine.why, flush=True)
    found = np.array(bench.losses(steps))
    bench.close()
    return found


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


def judge(eager: list[np.ndarray], graph: np.ndarray) -> dict[str, Any]:
    """Whether the graph is as near to the eager curves as they are to each other."""
    among = [distance(a, b) for a, b in itertools.combinations(eager, 2)]
    graphs = [distance(graph, one) for one in eager]
    out: dict[str, Any] = {}
    for name in ("rms of windows", "largest window"):
        out[name] = {
            "eager among themselves, median": float(np.median([d[name] for d in among])),
            "eager among themselves, largest": max(d[name] for d in among),
            "graph to eager, median": float(np.median([d[name] for d in graphs])),
        }
    rms = out["rms of windows"]
    out["within the noise"] = (
        rms["graph to eager, median"] <= rms["eager among themselves, largest"]
    )
    return out


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The curves as a picture, and their differences from the first one below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 6), layout="constrained")
    FigureCanvasAgg(figure)
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    first = windows(next(iter(curves.values())))
    for name, values in curves.items():
        found = windows(values)
        x = (np.arange(len(found)) + 0.5) * (len(values) // len(found))
        style = {"color": "black", "linewidth": 2} if name == "graph" else {"alpha": 0.7}
        top.plot(x, found, label=name, **style)
        bottom.plot(x, found - first, **style)
    top.set(ylabel=f"sum of losses (means of {WINDOW} steps)")
    top.legend(fontsize="small")
    bottom.set(xlabel="step", ylabel="difference from eager")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument(
        "--no-float32", action="store_true", help="leave out the eager float32 curve (slow)"
    )
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    size = (288, 144) if cuda else (64, 32)
    data = random_data(arguments.identities * 36, num_pids=arguments.identities, size=size)
    common = {"method": arguments.method, "arch": arguments.arch, "device": arguments.device}
    runs: dict[str, dict[str, Any]] = {
        "eager": {"engine": "eager"},
        "eager, weights nudged": {"engine": "eager", "nudge": 9},
        "eager, nudged otherwise": {"engine": "eager", "nudge": 10},
        "eager, other cuDNN algorithms": {"engine": "eager", "other_algorithms": True},
        "graph": {"engine": "graph" if cuda else "eager"},
        "eager, float32": {"engine": "eager", "precision": "float32"},
    }
    if arguments.no_float32:
        del runs["eager, float32"]
    curves = {}
    for name, options in runs.items():
        curves[name] = curve(data, arguments.steps, **common, **options)
        print(name, np.round(curves[name][[0, 1, 2, -3, -2, -1]], 4), flush=True)
    family = [values for name, values in curves.items() if name in list(runs)[:4]]
    verdict = judge(family, curves["graph"])
    results: dict[str, Any] = {
        "criterion": "graph to eager (median over the four eager runs of one precision) is not "
        "more than the largest distance among those four, by the rms of the "
        f"differences of means of {WINDOW} steps",
        **verdict,
        "steps": arguments.steps,
        "pairs": {
            f"{a} | {b}": distance(curves[a], curves[b])
            for a, b in itertools.combinations(curves, 2)
        },
        "curves": {name: [round(v, 5) for v in values.tolist()] for name, values in curves.items()},
    }
    table = [
        {"against eager": name, **distance(values, curves["eager"])}
        for name, values in curves.items()
        if name != "eager"
    ]
    rms = verdict["rms of windows"]
    notes = [
        f"Criterion: {results['criterion']}. Graph to eager "
        f"{rms['graph to eager, median']:.4g}; eager among themselves "
        f"{rms['eager among themselves, median']:.4g} (median) to "
        f"{rms['eager among themselves, largest']:.4g} (largest): "
        f"{'within' if verdict['within the noise'] else 'NOT within'} the noise.",
        f"Mean loss of the last window: eager {windows(curves['eager'])[-1]:.4f}, graph "
        f"{windows(curves['graph'])[-1]:.4f}.",
    ]
    if not cuda:
        notes.append("Without a GPU 'graph' is a second eager run: this only tries the script.")
    path = record(f"parity-{arguments.method}", results, table=table, notes=notes)
    draw(curves, path.with_suffix(".png"))
    print(path.with_suffix(".md").read_text())
    print(path, os.environ.get("OUT", ""))


if __name__ == "__main__":
    main()

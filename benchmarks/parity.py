"""Graph against eager: the same losses over 500 steps, measured against rounding's own noise.

    python benchmarks/parity.py [--steps 500] [--method mcl] [--identities 60]

Three runs from one seed on the same batches: eager, graph, and eager with another rounding (its
weights moved by one part in ten million). The graph's curve must not be farther from eager's
than the third is.
"""

from __future__ import annotations

import argparse
import json
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


def curve(data: Any, steps: int, *, nudge: float = 0.0, **options: Any) -> np.ndarray:
    """Total loss of each step."""
    bench = StepBench(*data, lr=0.02, **options)
    if nudge:
        with torch.no_grad():
            generator = torch.Generator().manual_seed(9)
            for parameter in bench.optimisers.parameters:
                sign = torch.rand(parameter.shape, generator=generator).to(parameter.device)
                parameter.mul_(1 + nudge * (2 * sign - 1))
    found = np.array(bench.losses(steps))
    bench.close()
    return found


def smooth(values: np.ndarray, width: int = 25) -> np.ndarray:
    """Running mean."""
    return np.convolve(values, np.ones(width) / width, mode="valid")


def distance(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """How far two curves are apart."""
    return {
        "rms": float(np.sqrt(np.mean((a - b) ** 2))),
        "rms_smoothed": float(np.sqrt(np.mean((smooth(a) - smooth(b)) ** 2))),
        "mean": float(np.mean(a - b)),
        "first_10_max": float(np.abs(a - b)[:10].max()),
    }


def draw(curves: dict[str, np.ndarray], path: Path) -> None:
    """The smoothed curves as a picture."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, values in curves.items():
        axes.plot(smooth(values), label=name)
    axes.set(xlabel="step", ylabel="sum of losses (mean of 25 steps)")
    axes.legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--method", default="mcl")
    parser.add_argument("--identities", type=int, default=60)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", default="resnet50")
    arguments = parser.parse_args()
    cuda = torch.cuda.is_available() and arguments.device != "cpu"
    size = (288, 144) if cuda else (64, 32)
    data = random_data(arguments.identities * 36, num_pids=arguments.identities, size=size)
    common = {"method": arguments.method, "arch": arguments.arch, "device": arguments.device}
    runs: dict[str, dict[str, Any]] = {
        "eager": {"engine": "eager"},
        "graph": {"engine": "graph" if cuda else "eager"},
        "eager, other rounding": {"engine": "eager", "nudge": 1e-7},
        "eager, float32": {"engine": "eager", "precision": "float32"},
    }
    curves = {}
    for name, options in runs.items():
        curves[name] = curve(data, arguments.steps, **common, **options)
        print(name, np.round(curves[name][[0, 1, 2, -3, -2, -1]], 4), flush=True)
    results: dict[str, Any] = {
        f"{name} against eager": distance(values, curves["eager"])
        for name, values in curves.items()
        if name != "eager"
    }
    graph, noise = results["graph against eager"], results["eager, other rounding against eager"]
    results["within the noise"] = graph["rms_smoothed"] <= 1.5 * noise["rms_smoothed"]
    results["curves"] = {
        name: [round(v, 5) for v in values.tolist()] for name, values in curves.items()
    }
    table = [
        {"pair": name, **values}
        for name, values in results.items()
        if isinstance(values, dict) and "rms" in values
    ]
    path = record(f"parity-{arguments.method}", results, table=table)
    draw(curves, path.with_suffix(".png"))
    print(json.dumps({k: v for k, v in results.items() if k != "curves"}, indent=1))
    print(path, os.environ.get("OUT", ""))


if __name__ == "__main__":
    main()

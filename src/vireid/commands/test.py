"""test: the numbers of trained weights under a published protocol."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import next_step
from vireid.console import results
from vireid.testing import TestOptions

# Flags of the published codes and of DEEN → what to give here.
FOREIGN = {
    "--tvsearch": "Here it is --direction: infrared-to-visible, visible-to-infrared or both.",
    "--test-batch": "Testing picks its batch by itself; leave the flag out.",
    "--workers": "Images are decoded once, by `vireid prepare` or the first run; leave it out.",
    "--img-h": "The size of the images is the weights' own; leave the flag out.",
    "--img-w": "The size of the images is the weights' own; leave the flag out.",
    "--model-path": "Name the run's folder or its weights file by --resume.",
}


def test(
    *,
    resume: Path,
    options: TestOptions,
    method: str | None = None,
    out: Path | None = None,
    gpu: int | None = None,
    device: str = "auto",
) -> int:
    """Test trained weights: find each query of one modality among the gallery of the other.

    Args:
        resume: a run's folder, or a weights file (.safetensors).
        method: path/to/my.py:MyMethod, where the weights are of a method of your own.
        out: folder of the report (default: RUN/test/NAME); with both directions, one folder
            each in it.
        gpu: number of the GPU, from 0.
        device: auto, cpu or cuda:N.
    """
    from vireid.runtime.device import resolve_device
    from vireid.testing import evaluate

    reports = evaluate(resume, options, method=method, device=resolve_device(gpu, device), out=out)
    for report in reports:
        results.print(report.to_table())
    folders = [str(report.folder) for report in reports]
    figures = ", ranks.jpg, cmc.png, similarity.png" if options.pictures else ""
    next_step(
        f"{' and '.join(f'{folder}/report.json' for folder in folders)} (with report.md{figures})",
        f"vireid report {' '.join(folders)} OTHER   (to compare runs)",
    )
    return 0


setattr(test, "foreign", FOREIGN)  # noqa: B010 - read by `commands.flags`

"""test: the numbers of trained weights under a published protocol."""

from __future__ import annotations

from pathlib import Path

from vireid.commands.common import AFRESH, going_on, next_step
from vireid.console import quoted, results, warn
from vireid.testing import TestOptions

# Flags of the published codes and of DEEN → what to give here.
FOREIGN = {
    "--tvsearch": "Here it is --direction: infrared-to-visible, visible-to-infrared or both.",
    "--test-batch": "Testing picks its batch by itself; leave the flag out.",
    "--workers": "Images are decoded once, by `vireid prepare` or the first run; leave it out.",
    "--img-h": "The size of the images is the weights' own; leave the flag out.",
    "--img-w": "The size of the images is the weights' own; leave the flag out.",
    "--model-path": "Name the run's folder or its weights file by --resume.",
    "--weights": "Name the weights to test by --resume: a run, a file, synth or hf://USER/NAME.",
}


@going_on(AFRESH)
def test(
    *,
    resume: str,
    epoch: int | None = None,
    options: TestOptions,
    method: str | None = None,
    arch: str | None = None,
    out: Path | None = None,
    gpu: int | None = None,
    device: str = "auto",
) -> int:
    """Test trained weights: find each query of one modality among the gallery of the other.

    Args:
        resume: Weights to test: a run's folder, a weights file (.safetensors), a checkpoint in a
            run's folder, synth (shipped in the package), or hf://USER/NAME (on the Hugging Face
            Hub).
        epoch: Of a run's folder, test the checkpoint after this many epochs instead of the
            weights.
        method: Your own method, if the weights were trained with one: path/to/my.py:MyMethod.
        arch: Your own backbone, if the weights have one: path/to/my.py:MyNet.
        out: Folder of the report (default: RUN/test/NAME, and RUN/test/NAME-epochN for a
            checkpoint); with both directions, it gets one folder for each.
        gpu: GPU to compute on, by its number from 0; short for --device cuda:N.
        device: Where to compute: auto (a GPU if there is one), cpu, cuda:N or mps.
    """
    from vireid.runtime.device import device_named
    from vireid.testing import evaluate

    reports = evaluate(
        resume,
        options,
        epoch=epoch,
        method=method,
        arch=arch,
        device=device_named(gpu, device),
        out=out,
    )
    from vireid.evaluation.report import below_chance

    for report in reports:
        results.print(report.to_table())
        if words := below_chance(report):
            warn(words)
    folders = [str(report.folder) for report in reports]
    figures = ", ranks.jpg, cmc.png, similarity.png" if options.figure_queries else ""
    next_step(
        f"{' and '.join(f'{folder}/report.json' for folder in folders)} (with report.md{figures})",
        f"vireid report {' '.join(map(quoted, folders))} OTHER   # to compare runs",
    )
    return 0


setattr(test, "foreign", FOREIGN)  # noqa: B010 - read by `commands.flags`

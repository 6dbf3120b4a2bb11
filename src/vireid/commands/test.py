"""test: the numbers of trained weights under a published protocol."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from vireid.commands.common import next_step
from vireid.commands.testing import SearchRequest, test_weights
from vireid.console import results


def test(
    *,
    resume: Path,
    dataset: str | None = None,
    data_root: Path | None = None,
    camera_pattern: str | None = None,
    mode: str = "all",
    shots: int = 1,
    draw: str = "seeded",
    direction: str | None = None,
    protocol: str = "standard",
    part: str = "test",
    trial: str | None = None,
    trials: int = 10,
    rerank: bool = False,
    tta: str = "none",
    out: Path | None = None,
    pictures: int = 8,
    gpu: int | None = None,
    device: str = "auto",
    precision: str = "auto",
    skip_broken: bool = False,
) -> int:
    """Test trained weights: find each query of one modality among the gallery of the other.

    Args:
        resume: a run's folder, or a weights file (.safetensors).
        dataset: sysu, regdb, llcm, folder or path/to/my.py:MY_SET (default: the run's).
        data_root: the data set's folder (default: the run's).
        camera_pattern: folder: regular expression that finds the camera's number in a file's
            name (default: the run's).
        mode: which cameras are searched: all, or indoor (SYSU-MM01).
        shots: gallery images for each identity and camera: 1 or 10 (SYSU-MM01).
        draw: seeded or official gallery draw (SYSU-MM01; official reads
            exp/rand_perm_cam.mat).
        direction: infrared-to-visible, visible-to-infrared or both (default: as the data set is
            usually tested: RegDB and LLCM in both, the others infrared-to-visible).
        protocol: standard, or legacy-deen (LLCM from visible to infrared only: queries and
            gallery as DEEN's script swaps them; marked in the report).
        part: test, or val for the validation identities.
        trial: RegDB's split (default: the run's; another one is refused, because the model was
            trained on people whom it tests).
        trials: gallery draws to average.
        rerank: add k-reciprocal re-ranked numbers beside the raw ones.
        tta: none or flip (sum of the image's and its mirror image's embedding).
        out: folder of the report (default: RUN/test/NAME); with both directions, one folder
            each in it.
        pictures: queries in the figure of ranked results; 0 for no figures.
        gpu: number of the GPU, from 0.
        device: auto, cpu or cuda:N.
        precision: auto, bfloat16, float16 or float32.
        skip_broken: leave out images that cannot be decoded, and list them.
    """
    flags = locals()
    from vireid.runtime.device import resolve_device

    request = SearchRequest(
        **{field.name: flags[field.name] for field in dataclasses.fields(SearchRequest)}
    )
    folders = []
    for report in test_weights(resume, request, device=resolve_device(gpu, device), out=out):
        results.print(report.to_table())
        folders.append(report.folder)
    shown = " and ".join(f"{folder}/report.json" for folder in folders)
    next_step(
        f"{shown} (with report.md{', ranks.jpg, cmc.png, similarity.png' if pictures else ''})",
        f"vireid report {' '.join(str(folder) for folder in folders)} OTHER   (to compare runs)",
    )
    return 0

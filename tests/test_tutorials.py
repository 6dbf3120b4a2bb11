"""Every block of the tutorials, and every example of code of one's own, does what it says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
from command_kit import run
from PIL import Image

from vireid.training.journal import read_log

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted((ROOT / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What keeps a command to seconds; the last value of a flag counts.
QUICK = shlex.split(
    "--size 64 32 --epochs 1 --steps-per-epoch 2 --pids-per-batch 2 --images-per-pid 2 --device cpu"
)
OWN = ("my_augment", "my_backbone", "my_dataset", "my_method", "track_with_mlflow",
       "track_with_wandb")  # fmt: skip


def make_shots(folder: Path) -> None:
    """Images named as the tutorial on data sets says."""
    g = np.random.default_rng(0)
    for pid in range(1, 10):
        for camera in ("v1", "v2", "i1"):
            for frame in range(2):
                path = folder / "gallery" / f"{pid:04d}_{camera}_{frame:03d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(g.integers(0, 255, (64, 32, 3), dtype=np.uint8)).save(path)


@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_tutorial(
    page: Path, sysu_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    Path("people").symlink_to(sysu_root)
    make_shots(Path("shots"))
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    for kind, text in blocks:
        if kind == "python":
            name = re.match(r"# (\w+\.py)\n", text)
            assert name, "a file's first line names it"
            Path(name[1]).write_text(text)
            continue
        for line in text.splitlines():
            program, command, *words = shlex.split(line)
            assert program == "vireid"
            if command == "synthesize":  # `people` is there
                continue
            small = ["--arch", "test_resnet"] if "resnet18" in words else []
            quick = [*small, *QUICK] if command == "train" else []
            quick = ["--device", "cpu"] if command == "test" else quick
            assert run(command, *words, *quick) == 0, line
    runs = list(Path("runs").iterdir())
    assert runs and all(read_log(run / "log.jsonl")[-1]["losses"] for run in runs)


def test_there_is_a_tutorial_for_each_thing_of_ones_own() -> None:
    assert [page.stem for page in TUTORIALS] == [
        "own-backbone", "own-data-set", "own-loss", "own-view",
    ]  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_examples_are_short_and_listed(name: str) -> None:
    lines = (ROOT / "examples" / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    pages = [*(ROOT / "docs").rglob("*.md"), ROOT / "CONTRIBUTING.md", ROOT / "README.md"]
    assert any(f"examples/{name}.py" in page.read_text(encoding="utf-8") for page in pages)

"""Running commands in this process as a user would, on a network and images that are tiny."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vireid.cli import main

TINY: dict[str, Any] = {
    "size": [64, 32],
    "model": {
        "arch": "test_resnet",
        "pretrained": "none",
        "nonlocal_channels": 1,
        "pooling": "gem",
        "backbone_scale": 1.0,
    },
    "recipe": {
        "name": "scratch",
        "epochs": 1,
        "lr": 0.01,
        "pids_per_batch": 2,
        "images_per_pid": 1,
        "schedule": {"kind": "cosine", "warmup_steps": 2},
    },
    "steps_per_epoch": 2,
    "log_every": 1,
}


def run(*words: object) -> int:
    """The exit code of `vireid WORDS…`."""
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    return int(end.value.code or 0)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed on standard error, on one line."""
    return " ".join(capsys.readouterr().err.split())


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The sentence with which a command refuses; nothing may be on standard output."""
    capsys.readouterr()
    assert run(*words) == 2
    shown = capsys.readouterr()
    assert shown.out == "" and "Traceback" not in shown.err
    return " ".join(shown.err.split())


def tiny_config(folder: Path, **changes: Any) -> Path:
    """A config.json for a run of seconds."""
    path = folder / "tiny.json"
    path.write_text(json.dumps(TINY | changes))
    return path


def train(folder: Path, root: Path, *words: object) -> int:
    """`vireid train` of a tiny network into `folder`."""
    config = tiny_config(folder.parent)
    flags = ("--config", config, "--data-root", root, "--device", "cpu", "--run", folder)
    return run("train", *flags, *words)

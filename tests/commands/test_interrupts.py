"""Ctrl-C in long commands: each says how to go on, once."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_kit import run, said

from vireid.commands.common import AFRESH, KEPT, NO_CHECKPOINT
from vireid.runtime.signals import StopRequest

# command → its flags, the function in which it is interrupted, what is said
LONG = {
    "synthesize": ("--out OUT", "vireid.synthetic.write_dataset", AFRESH),
    "prepare": ("--data-root OUT", "vireid.data.load_dataset", AFRESH),
    "train": (
        "--data-root OUT --run OUT/run --device cpu",
        "vireid.training.run.train",
        NO_CHECKPOINT,
    ),
    "test": ("--resume OUT", "vireid.testing.evaluate", AFRESH),
    "sweep": ("OUT/sweep.toml", "vireid.sweep.read_sweep", KEPT),
    "embed": ("--images OUT --out OUT/out --device cpu", "vireid.embed.load", AFRESH),
    "index create": ("--index OUT/i --embeddings OUT/e", "vireid.embed.load_embeddings", AFRESH),
    "index add": ("--index OUT/i --embeddings OUT/e", "vireid.embed.load_embeddings", AFRESH),
    "index update": ("--index OUT/i --embeddings OUT/e", "vireid.embed.load_embeddings", AFRESH),
    "index compact": ("--index OUT/i", "vireid.index.open_index", AFRESH),
    "demo": ("--out OUT", "vireid.commands.demo.run_demo", AFRESH),
}


@pytest.mark.parametrize("command", LONG)
def test_a_long_command_says_how_to_go_on(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    flags, where, how = LONG[command]

    def interrupted(*args: object, **words: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(where, interrupted)
    words = [word.replace("OUT", str(tmp_path)) for word in flags.split()]
    assert run(*command.split(), *words) == 130
    assert said(capsys) == f"{how} vireid: interrupted."


@pytest.mark.parametrize(
    ("command", "part"),
    [("synthesize", "cam1/0001/0001.jpg"), ("embed", "out.parts/part-000000.json"),
     ("demo", "people/cam1/0001/0001.jpg")],
)  # fmt: skip
def test_finished_parts_are_kept_where_there_are_any(
    command: str, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    (tmp_path / part).parent.mkdir(parents=True)
    (tmp_path / part).touch()
    monkeypatch.setitem(LONG, command, (*LONG[command][:2], KEPT))
    test_a_long_command_says_how_to_go_on(command, tmp_path, monkeypatch, capsys)


def test_a_run_is_gone_on_with_from_its_newest_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    """Also where a second Ctrl-C ended it at once; nothing is added where it says so itself."""
    asked, told = StopRequest(), [False, True]

    def interrupted(*args: object, **words: object) -> None:
        (tmp_path / "one" / "checkpoints").mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / "checkpoints" / "epoch-0001-step-000000.pt").touch()
        raise asked.interruption("Go on so.") if told.pop() else KeyboardInterrupt

    monkeypatch.setattr("vireid.training.run.train", interrupted)
    words = ("train", "--data-root", tmp_path, "--device", "cpu", "--run", tmp_path / "one")
    assert run(*words) == 130 and said(capsys) == "Go on so. vireid: interrupted."
    (tmp_path / "one" / "checkpoints" / "epoch-0001-step-000000.pt").unlink()
    assert run(*words) == 130
    expected = f"The newest checkpoint is kept. Go on with: vireid train --resume {tmp_path}/one"
    assert said(capsys) == f"{expected} vireid: interrupted."


WHOLE = {
    "demo": ("--out OUT --device cpu", KEPT),
    "train": (
        "--dataset regdb --trial all --pretrained none --data-root DATA --run OUT/run --device cpu "
        "--pids-per-batch 4",
        "The trials go on with: vireid train --resume OUT/run",
    ),
}


@pytest.mark.parametrize("command", WHOLE)
def test_what_a_training_is_a_part_of_goes_on_as_a_whole(
    command: str, tmp_path: Path, regdb_root: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    flags, how = (text.replace("OUT", str(tmp_path)) for text in WHOLE[command])
    flags = flags.replace("DATA", str(regdb_root))
    (tmp_path / "people").mkdir()
    (tmp_path / "people" / "images.csv").touch()

    def interrupted(*args: object, **words: object) -> None:
        raise StopRequest().interruption("Go on with: vireid train --resume RUN")

    monkeypatch.setattr("vireid.commands.demo._check_people", lambda *_: None)
    monkeypatch.setattr("vireid.training.run.train", interrupted)
    assert run(command, *flags.split()) == 130
    message = said(capsys)
    assert message.endswith(f"{how} vireid: interrupted.") and message.count("o on with") <= 1
    assert "RUN" not in message

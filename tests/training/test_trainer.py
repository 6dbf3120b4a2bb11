"""Runs: what they leave, how they stop, go on, and refuse."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from training_kit import run, tiny_data, tiny_options

from vireid import weights
from vireid.methods import Method
from vireid.training import checkpoint
from vireid.training.engines import Engine, build_engine
from vireid.training.journal import read_log
from vireid.training.run import _began, _warn_of_warm_up
from vireid.training.step import Step
from vireid.training.trainer import train
from vireid.types import InputError


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of mcl that was never disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    result = run(folder, tiny_options("mcl"))
    assert result.epoch == 3 and result.images_per_second > 0 and result.peak_cpu_bytes > 1e8
    return folder


def hash_of(folder: Path) -> str:
    return weights.read_weights(folder)[1]["weights_hash"]


def test_what_a_run_leaves(finished: Path) -> None:
    names = {path.name for path in finished.iterdir()}
    assert names == {"config.json", "log.jsonl", "checkpoints", "weights.safetensors",
                     "curves.png", "batch.png", "record.json"}  # fmt: skip
    lines = read_log(finished / "log.jsonl")
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert [line["epoch"] for line in epochs] == [0, 1, 2]
    assert {"identity", "triplet", "confusion"} <= epochs[0]["losses"].keys()
    assert epochs[-1]["losses"]["identity"] < epochs[0]["losses"]["identity"]
    assert len(lines) == 3 * 4  # three step lines and one of the epoch
    method, metadata = weights.load_weights(finished)
    assert method.name == "mcl" and metadata["epoch"] == 3 and metadata["chosen"] == "last epoch"
    assert metadata["seed"] == 0 and metadata["size"] == [64, 32]
    assert len(checkpoint.list_checkpoints(finished / "checkpoints")) == 2
    assert "newest checkpoint" in checkpoint.describe_run(finished)


def test_same_seed_same_bits_other_seed_others(finished: Path, tmp_path: Path) -> None:
    run(tmp_path / "again", tiny_options("mcl", keep=1))
    assert hash_of(tmp_path / "again") == hash_of(finished)
    run(tmp_path / "other", tiny_options("mcl", seed=1, recipe={"epochs": 1}))
    assert hash_of(tmp_path / "other") != hash_of(finished)


def test_ctrl_c_saves_and_going_on_equals_never_stopping(
    finished: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "vireid"  # no shell would find it
    program.touch()
    monkeypatch.setattr(sys, "argv", [str(program)])
    before = signal.getsignal(signal.SIGINT)  # ignored, where a shell started us behind itself
    folder = tmp_path / "stopped"
    seen = []

    def stop(method, epoch: int) -> dict[str, float]:
        seen.append(epoch)
        if epoch == 2:
            os.kill(os.getpid(), signal.SIGINT)
        assert not method.training
        return {"mean_ap": 0.5}

    with pytest.raises(KeyboardInterrupt) as interruption:
        run(folder, tiny_options("mcl", eval_every=1), evaluate=stop)
    assert seen == [1, 2]
    shown = capsys.readouterr().err
    assert "Stopped in epoch 3 after 0 steps; the state is saved." in shown
    assert str(interruption.value) == f"Go on with: {program} train --resume {folder}"
    assert "Go on with" not in shown, "what the training is a part of may go on otherwise"
    assert signal.getsignal(signal.SIGINT) is before
    # The evaluation is no part of what the numbers depend on.
    result = run(folder, tiny_options("mcl"), resume=True)
    assert result.epoch == 3 and hash_of(folder) == hash_of(finished)
    again = run(folder, tiny_options("mcl"), resume=True)
    assert again.images_per_second == 0.0
    assert "The run already has 3 epochs; nothing is left to do." in capsys.readouterr().err
    assert [line["epoch"] for line in read_log(folder / "log.jsonl")
            if line["kind"] == "epoch"] == [0, 1, 2]  # fmt: skip


def test_mid_epoch_resume_and_damaged_newest(
    finished: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mid"
    options = tiny_options("mcl", checkpoint_steps=3, keep=9)
    lengths = []

    def record(name: str, step: Step, *, steps: int, **words: Any) -> Engine:
        lengths.append(steps)
        return build_engine(name, step, steps=steps, **words)

    monkeypatch.setattr("vireid.training.assemble.build_engine", record)
    run(folder, options)
    assert hash_of(folder) == hash_of(finished)
    paths = checkpoint.list_checkpoints(folder / "checkpoints")
    assert [p.name for p in paths[:2]] == ["epoch-0003-step-000000.pt", "epoch-0002-step-000003.pt"]
    for path in paths[:1]:
        path.write_bytes(path.read_bytes()[:-7])
    for path in paths[2:]:
        path.unlink()
    (folder / "weights.safetensors").unlink()
    run(folder, options, resume=True)
    # What is left of a run must not choose the engine: it would go on with other roundings.
    assert lengths[0] == lengths[1] > 0
    words = capsys.readouterr().err.replace("\n", " ")
    assert "epoch-0003-step-000000.pt' is damaged" in words and "The one before is used" in words
    assert hash_of(folder) == hash_of(finished)
    first = [line for line in read_log(finished / "log.jsonl") if line["kind"] == "epoch"]
    last = [line for line in read_log(folder / "log.jsonl") if line["kind"] == "epoch"]
    assert [line["losses"] for line in first] == [line["losses"] for line in last]


def test_average_clipping_freezing_and_an_early_step_resume(tmp_path: Path) -> None:
    """From inside an epoch, bit for bit, and the average is tested beside the weights."""
    options = tiny_options(
        "mcl",
        recipe={"ema": 0.9, "clip_norm": 5.0, "freeze_epochs": 1},
        method_options={"discriminator_step": "before"},
        eval_every=1,
        checkpoint_steps=3,
        keep=9,
    )
    sums: list[float] = []

    def evaluate(method: Method, epoch: int) -> dict[str, float]:
        sums.append(float(method.state_dict()["model.classifier.weight"].double().sum()))
        return {"mean_ap": 0.5}

    whole, folder = tmp_path / "whole", tmp_path / "folder"
    result = run(whole, options, evaluate=evaluate)
    assert result.metrics.keys() == {"mean_ap", "ema_mean_ap"}
    raw, averaged = (weights.read_weights(whole / name) for name in ("", "weights_ema.safetensors"))
    for found, (tensors, _) in zip(sums[-2:], (raw, averaged)):
        assert found == pytest.approx(float(tensors["model.classifier.weight"].double().sum()))
    assert averaged[1]["averaged"] == 0.9 and "averaged" not in raw[1]
    assert sums[-1] != sums[-2]

    shutil.copytree(whole, folder)
    for path in checkpoint.list_checkpoints(folder / "checkpoints")[:-2]:
        path.unlink()
    run(folder, options, evaluate=evaluate, resume=True)
    for before, name in ((raw, ""), (averaged, "weights_ema.safetensors")):
        assert weights.read_weights(folder / name)[1]["weights_hash"] == before[1]["weights_hash"]


@pytest.mark.parametrize("method", ["ddag", "dns", "deen"])
def test_dropout_and_moving_averages_are_resumed(method: str, tmp_path: Path) -> None:
    """Random numbers that are drawn on the device inside a step go on where they were, and so does
    what a method keeps besides its parameters."""
    words = {"recipe": {"epochs": 1}, "checkpoint_steps": 2, "keep": 9}
    folder = tmp_path / "run"
    run(folder, tiny_options(method, **words))
    expected = hash_of(folder)
    checkpoint.list_checkpoints(folder / "checkpoints")[0].unlink()  # back to step 2
    (folder / "weights.safetensors").unlink()
    run(folder, tiny_options(method, **words), resume=True)
    assert hash_of(folder) == expected


def test_a_resume_says_what_has_changed(finished: Path, tmp_path: Path, capsys) -> None:
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    checkpoint.list_checkpoints(folder / "checkpoints")[0].unlink()  # as after two epochs
    config = (folder / "config.json").read_text()
    for epochs in (1, 2):  # its weights would be said to be of another schedule
        wrong = rf"`epochs` is {epochs}, but .* has trained 2 epochs already"
        with pytest.raises(InputError, match=wrong):
            run(folder, tiny_options("mcl", recipe={"epochs": epochs}), resume=True)
    assert (folder / "config.json").read_text() == config
    assert "other options" not in capsys.readouterr().err
    changed = tiny_options("mcl", recipe={"epochs": 4}, keep=5, eval_every=2, data_root="x.py")
    run(folder, changed, resume=True)
    assert (
        "It goes on with other options than before: `data_root` was None and is 'x.py'; "
        "`eval_every` was 0 and is 2; `keep` was 2 and is 5; `recipe.epochs` was 3 and is 4.\n"
    ) in capsys.readouterr().err
    run(folder, changed, resume=True)
    assert "other options" not in capsys.readouterr().err


def test_refusals(finished: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="already holds a run"):
        run(finished, tiny_options("mcl"))
    with pytest.raises(InputError, match=r"other options: .*`seed` was 0 and is 5"):
        run(finished, tiny_options("mcl", seed=5), resume=True)
    with pytest.raises(InputError, match="There is no checkpoint"):
        run(tmp_path / "absent", tiny_options(), resume=True)
    with pytest.raises(InputError, match="6"):
        run(tmp_path / "many", tiny_options(recipe={"pids_per_batch": 9}))
    dataset, store = tiny_data()
    with pytest.raises(InputError, match="are damaged: 1 image has changed"):
        train(tiny_options(), dataset, replace(store, unchecked={0: 1}), tmp_path / "flipped")
    with pytest.raises(InputError, match="Valid: last, val, held-out"):
        tiny_options(select="nonsense")
    assert tiny_options(select="VAL").eval_every == 1
    with pytest.raises(InputError, match="`keep` is 0"):
        tiny_options(keep=0)


def test_a_run_killed_before_its_first_checkpoint_starts_again(tmp_path: Path) -> None:
    folder = tmp_path / "early"
    options = tiny_options(recipe={"epochs": 1})
    with pytest.raises(RuntimeError, match="broken"):
        run(folder, tiny_options(recipe={"epochs": 1}, eval_every=1), evaluate=_broken)
    assert not checkpoint.list_checkpoints(folder / "checkpoints")
    assert run(folder, options, resume=True).epoch == 1


def _broken(method, epoch):
    raise RuntimeError("broken")


@pytest.mark.parametrize("clip_norm, more", [(None, ", a `clip_norm` of 5"), (1e30, "")])
def test_a_loss_that_is_no_number_ends_the_run(
    tmp_path: Path, clip_norm: float | None, more: str
) -> None:
    options = tiny_options(recipe={"lr": 1e30, "clip_norm": clip_norm})
    advice = rf"Use a smaller `lr`{more} or a longer warm-up\.$"
    with pytest.raises(InputError, match=rf"became (NaN|infinite) in epoch 1\. {advice}"):
        run(tmp_path / "nan", options)
    assert not (tmp_path / "nan" / "weights.safetensors").exists()


def test_the_epoch_is_chosen_by_one_named_criterion(tmp_path: Path) -> None:
    found = {  # the mean of all would choose the third, the default the second
        1: {"embedding_mean_ap": 0.2, "pooled_mean_ap": 0.1},
        2: {"embedding_mean_ap": 0.6, "pooled_mean_ap": 0.0},
        3: {"embedding_mean_ap": 0.4, "pooled_mean_ap": 0.9},
    }
    for criterion, epoch, words in (("embedding_mean_ap", 2, "best embedding mAP"),
                                    ("pooled_mean_ap", 3, "best pooled mAP")):  # fmt: skip
        folder = tmp_path / criterion
        options = tiny_options(select="val", criterion=criterion, recipe={"epochs": 3},
                               steps_per_epoch=1)  # fmt: skip
        run(folder, options, evaluate=lambda method, epoch: found[epoch])
        metadata = weights.read_weights(folder)[1]
        assert metadata["epoch"] == epoch == metadata["steps"]
        value = 100 * found[epoch][criterion]
        assert metadata["chosen"] == f"{words} on validation identities ({value:.2f} %)"
        lines = [line for line in read_log(folder / "log.jsonl") if line["kind"] == "epoch"]
        assert [line["epoch"] + 1 for line in lines if line["best"]][-1] == epoch
    with pytest.raises(InputError, match="`criterion` is part_rank1, which the evaluation doesn't"):
        run(tmp_path / "none", replace(options, criterion="part_rank1"),
            evaluate=lambda method, epoch: found[epoch])  # fmt: skip


def test_a_run_is_ended_inside_its_schedule(finished: Path, tmp_path: Path) -> None:
    """The first epochs of a longer run, bit for bit: rates too."""
    run(tmp_path / "two", tiny_options("mcl", stop_epoch=2))
    path = finished / "checkpoints" / "epoch-0002-step-000000.pt"
    longer = torch.load(path, weights_only=True)["method"]
    shorter = weights.read_weights(tmp_path / "two")[0]
    assert longer.keys() == shorter.keys()
    assert all(torch.equal(longer[name].float(), shorter[name].float()) for name in longer)
    rates = [[line["lr"] for line in read_log(folder / "log.jsonl") if line["epoch"] < 2]
             for folder in (finished, tmp_path / "two")]  # fmt: skip
    assert rates[0] == rates[1] and rates[0][-1] > 0.005  # far from the end of the cosine
    with pytest.raises(InputError, match="`stop_epoch` is 4, but the run has 3 `epochs`"):
        tiny_options(stop_epoch=4)


def test_an_evaluation_costs_a_twentieth_of_the_epochs_unless_told(tmp_path: Path) -> None:
    for epochs, every in ((3, 1), (39, 1), (40, 2), (81, 4)):
        assert tiny_options(select="val", recipe={"epochs": epochs}).eval_every == every
    assert tiny_options(select="val", eval_every=7, recipe={"epochs": 81}).eval_every == 7
    assert tiny_options(recipe={"epochs": 81}).eval_every == 0


def test_broken_images_and_single_modality_are_left_out(tmp_path: Path, capsys) -> None:
    dataset, store = tiny_data()
    lost = [i for i, s in enumerate(dataset.samples) if s.pid == 3 and s.modality == 1]
    store.valid[lost] = False
    options = tiny_options(recipe={"epochs": 1})
    train(options, dataset, store, tmp_path / "run")
    sizes = weights.read_weights(tmp_path / "run")[1]["sizes"]
    assert sizes["num_pids"] == 5
    assert f"{len(lost)} broken images were left out" in capsys.readouterr().err
    store.valid[np.flatnonzero(dataset.modality == 1)] = False
    with pytest.raises(InputError, match="needs"):
        train(options, dataset, store, tmp_path / "none")


def test_a_cut_log_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    line = {"kind": "step", "epoch": 0, "step": 1, "losses": {"identity": 1.0}, "lr": 0.1}
    path.write_text(json.dumps(line) + '\n{"kind": "st')
    assert len(read_log(path)) == 1


@pytest.mark.parametrize("field", ["warmup_steps", "warmup_epochs"])
def test_a_run_within_its_warm_up_names_what_is_in_force(field: str, capsys) -> None:
    options = replace(tiny_options(), steps_per_epoch=2)
    schedule = replace(options.recipe.schedule, kind="steps", warmup_epochs=40, warmup_steps=0)
    schedule = replace(schedule, **{field: 40})
    options = replace(options, recipe=replace(options.recipe, schedule=schedule))
    _warn_of_warm_up(options, tiny_data()[0])
    said = capsys.readouterr().err.replace("\n", " ")
    assert f"Lower `{field}`, or train for longer." in said


def test_only_a_run_that_left_nothing_counts_as_not_begun(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("config.json", "record.json", "log.jsonl", "batch.png"):
        (tmp_path / name).touch()
    assert not _began(tmp_path)
    (tmp_path / "checkpoints" / "epoch-0000-step-000020.pt").touch()
    assert _began(tmp_path)
    (tmp_path / "checkpoints" / "epoch-0000-step-000020.pt").unlink()
    (tmp_path / "log.jsonl").write_text("{}\n")
    assert _began(tmp_path)

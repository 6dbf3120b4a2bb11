"""What a user's own augmentation, batches and callbacks are given, and what is refused of them."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from training_kit import run, tiny_data, tiny_options

from vireid import weights
from vireid.config import to_plain
from vireid.data import Augment, AugmentOptions
from vireid.data.augment import MEAN, STD
from vireid.data.sampler import IdentitySampler, check_batches, sampler_class
from vireid.own_code import UnnamedCode, code_in, named_again
from vireid.training import Callback, train_options
from vireid.training.callbacks import load_callbacks
from vireid.training.defaults import Choices, defaults
from vireid.training.options import TrainOptions
from vireid.types import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
HAZE = f"{EXAMPLES / 'my_augment.py'}:Haze"
SIZE = (64, 32)


def short(**changes: Any) -> TrainOptions:
    """One epoch of three steps."""
    torch.set_num_threads(1)
    options = tiny_options("base", steps_per_epoch=3, **changes)
    return replace(options, recipe=replace(options.recipe, epochs=1))


def hash_of(folder: Path) -> str:
    return weights.read_weights(folder)[1]["weights_hash"]


def write(folder: Path, text: str) -> Path:
    path = folder / "mine.py"
    path.write_text("import numpy as np\nimport torch\n" + text)
    return path


# Augmentation ---------------------------------------------------------------------------------


def test_own_augmentation_sees_images_before_normalisation() -> None:
    """Haze pulls towards grey; everything else is drawn as it is without it."""
    plain = Augment(AugmentOptions(erase=0.5, channel=0.3), SIZE)
    hazy = Augment(AugmentOptions(erase=0.5, channel=0.3, own=HAZE), SIZE)
    drawn = [a.draw(8, 4, 2, seed=1, epoch=3) for a in (plain, hazy)]
    assert np.array_equal(drawn[0], drawn[1][..., :8]) and drawn[1].shape == (2, 8, 10)
    numbers = drawn[1][..., 8:].view(np.float32)
    changed = (numbers > 0).any(2)
    assert 0 < changed.sum() < 16 and numbers.max() <= 0.4
    images = torch.from_numpy(tiny_data()[1].images[:8])
    before, after = (a(images, torch.from_numpy(d[0])) for a, d in zip((plain, hazy), drawn))
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in (MEAN, STD))
    share = torch.from_numpy(numbers[0])
    x = torch.linspace(0, 1, SIZE[1])
    grey = (share[:, :1] * (1 - x) + share[:, 1:] * x)[:, None, None]
    expected = ((before * std + mean) * (1 - grey) + 0.5 * grey - mean) / std
    there = drawn[1][0][:, 6] == 0  # erased pixels are erased after it
    torch.testing.assert_close(after[there], expected[there], atol=1e-5, rtol=1e-5)
    still = there & ~changed[0]
    torch.testing.assert_close(after[still], before[still], atol=1e-6, rtol=0)


def test_own_augmentation_can_be_a_view_of_its_own() -> None:
    """Rows of the second view are told apart; Haze doubles there."""
    hazy = Augment(AugmentOptions(second_view=True, own=HAZE), SIZE)
    numbers = hazy.draw(300, 200, 4, seed=0, epoch=0)[..., 8:].view(np.float32)
    assert numbers[:, :100].max() <= 0.4 < numbers[:, 100:200].max() <= 0.8
    assert numbers[:, 200:].max() <= 0.4


def test_own_augmentation_repeats_in_compiled_code() -> None:
    hazy = Augment(AugmentOptions(pad=2, erase=0.5, own=HAZE), SIZE)
    draws = torch.from_numpy(hazy.draw(8, 4, 1, seed=1, epoch=0)[0])
    images = torch.from_numpy(tiny_data()[1].images[:8])
    compiled = torch.compile(hazy, backend="aot_eager", fullgraph=True, dynamic=False)
    assert torch.equal(compiled(images, draws), hazy(images, draws))


def test_run_with_own_augmentation_resumes_bit_for_bit(tmp_path: Path) -> None:
    one = short(recipe={"augment": AugmentOptions(pad=4, own=HAZE)}, checkpoint_steps=2)
    two = replace(one, recipe=replace(one.recipe, epochs=2))
    run(tmp_path / "whole", two)
    run(tmp_path / "again", one)
    run(tmp_path / "again", two, resume=True)
    run(tmp_path / "plain", replace(two, recipe=replace(two.recipe, augment=AugmentOptions(pad=4))))
    whole, again, plain = (hash_of(tmp_path / name) for name in ("whole", "again", "plain"))
    assert whole == again != plain


def test_no_file_has_code_run(tmp_path: Path) -> None:
    """What a configuration names is taken where the user names it, too; it may have moved."""
    moved = tmp_path / "my_augment.py"
    moved.write_bytes((EXAMPLES / "my_augment.py").read_bytes())
    sampler = write(tmp_path, NEAREST.format("visible, infrared"))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({
        "recipe": {"augment": {"own": "gone/my_augment.py:Haze"}}, "sampler": f"{sampler}:Mine",
        "callbacks": [f"{sampler}:One"], "model": {"arch": f"{sampler}:Net"},
    }))  # fmt: skip
    given: dict[str, Any] = {}
    for name, value in {
        "arch": f"{sampler}:Net", "augment": f"{moved}:Haze", "sampler": f"{sampler}:Mine",
        "callback": (f"{sampler}:One",),
    }.items():  # fmt: skip
        with pytest.raises(UnnamedCode, match=f"give it as `{name}`"):
            defaults(path, Choices(**given))
        given[name] = value
    found = defaults(path, Choices(**given))
    assert found.recipe.augment.own == f"{moved}:Haze" and found.sampler == f"{sampler}:Mine"
    assert code_in(to_plain(found)) == {
        "arch": [f"{sampler}:Net"], "augment": [f"{moved}:Haze"], "sampler": [f"{sampler}:Mine"],
        "callback": [f"{sampler}:One"],
    }  # fmt: skip
    assert f"--sampler {sampler}:Mine" in named_again(found)
    assert "sampler" not in named_again(found, training=False)


def test_flag_puts_it_on_top_of_the_recipe() -> None:
    chosen = train_options(augment=HAZE, recipe="published", arch="resnet18")
    usual = train_options(recipe="published", arch="resnet18")
    assert chosen.recipe.augment == replace(usual.recipe.augment, own=HAZE)


@pytest.mark.parametrize(
    ("draw", "forward", "words"),
    [
        ("np.zeros((steps, 2, 1))", "image", r"shape \(2, 2, 1\).*\(2, 4, 1\) were expected"),
        ("np.full((steps, 4, 1), 'a')", "image", "returned <U1"),
        ("np.random.random((steps, 4, 1))", "image", "`draw` uses random numbers of its own"),
        ("np.zeros((steps, 4, 1))", "image + torch.rand(1)", "`forward` draws random numbers"),
        ("np.zeros((steps, 4, 1))", "image[:, :1]", "the same type and shape were expected"),
        ("np.zeros((steps, 4, 1))", "image / 0", "NaN or infinite"),
        ("np.zeros((steps, 4, 1))", "nothing", "fails on four images, in line .*NameError"),
    ],
)
def test_wrong_augmentations(tmp_path: Path, draw: str, forward: str, words: str) -> None:
    path = write(
        tmp_path,
        "from vireid.data import OwnAugment\n"
        "class Mine(OwnAugment):\n"
        "    columns = 1\n"
        f"    def draw(self, generator, steps, rows): return {draw}\n"
        f"    def forward(self, image, draws): return {forward}\n",
    )
    with pytest.raises(InputError, match=words):
        Augment(AugmentOptions(own=f"{path}:Mine"), SIZE)


def test_names_of_augmentations(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"path/to/my\.py:MyAugment was expected"):
        AugmentOptions(own="haze")
    with pytest.raises(InputError, match=r"no class 'Fog' that extends .*OwnAugment.*: Haze"):
        Augment(AugmentOptions(own=HAZE.replace("Haze", "Fog")), SIZE)
    with pytest.raises(InputError, match=r"file '.*none\.py' does not exist"):
        Augment(AugmentOptions(own=f"{tmp_path}/none.py:Fog"), SIZE)


def test_reading_values_on_the_host_is_said(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from vireid.data import OwnAugment\n"
        "class Mine(OwnAugment):\n"
        "    columns = 1\n"
        "    def draw(self, generator, steps, rows):\n"
        "        return np.zeros((steps, len(rows.visible), 1))\n"
        "    def forward(self, image, draws):\n"
        "        return image if draws.sum() > 0 else image * 1\n",
    )
    options = short(recipe={"augment": AugmentOptions(own=f"{path}:Mine")})
    result = run(tmp_path / "run", options)
    assert "augmentation 'Mine' reads values of tensors on the host (line 9" in result.engine


# Batches --------------------------------------------------------------------------------------

NEAREST = """
from vireid.data import IdentitySampler
class Mine(IdentitySampler):
    def compose(self, generator):
        visible, infrared = super().compose(generator)
        return {}
"""


def test_own_batches(tmp_path: Path) -> None:
    path = write(tmp_path, NEAREST.format("visible[:, ::-1], infrared[:, ::-1]"))
    usual, other = short(), short(sampler=f"{path}:Mine")
    run(tmp_path / "usual", usual)
    run(tmp_path / "other", other)
    assert hash_of(tmp_path / "usual") != hash_of(tmp_path / "other")
    labels = (np.repeat(np.arange(6), 4), np.tile([0, 0, 1, 1], 6))
    numbers: dict[str, Any] = {"pids_per_batch": 3, "images_per_pid": 2, "seed": 1}
    plain = IdentitySampler(*labels, **numbers).epoch(4)
    mine = sampler_class(other.sampler)(*labels, **numbers).epoch(4)
    assert np.array_equal(mine, np.concatenate([plain[:, 5::-1], plain[:, :5:-1]], axis=1))


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ("infrared, visible", "images of the other modality among the visible ones"),
        ("visible[:, :1], infrared", r"shape \(\d, 1\) for visible images"),
        ("visible * 1.0, infrared", "returned float64"),
        ("visible + 1000, infrared", "there are 24 training rows, from 0"),
        ("visible, infrared[np.random.permutation(len(infrared))]", "composes other batches"),
        ("nothing", "fails, in line 8 of .*NameError"),
    ],
)
def test_wrong_batches(tmp_path: Path, returned: str, words: str) -> None:
    path = write(tmp_path, NEAREST.format(returned))
    labels = (np.repeat(np.arange(6), 4), np.tile([0, 0, 1, 1], 6))
    cls = sampler_class(f"{path}:Mine")
    with pytest.raises(InputError, match=words):
        check_batches(cls(*labels, pids_per_batch=2, images_per_pid=1, seed=1))


def test_names_of_samplers_and_callbacks() -> None:
    for field in ("sampler", "callbacks"):
        value: Any = "random" if field == "sampler" else ("random",)
        with pytest.raises(InputError, match=f"`{field}` is 'random'"):
            short(**{field: value})


def test_samplers_and_callbacks_are_options_as_all_others(tmp_path: Path) -> None:
    own = f"{tmp_path / 'my.py'}:Mine"
    found = train_options(sampler=own, callback=[own])
    assert (found.sampler, found.callbacks) == (own, (own,))
    with pytest.raises(InputError, match="`sampler` is 'random'"):
        train_options(sampler="random")


# Callbacks ------------------------------------------------------------------------------------


class Listener(Callback):
    """Notes what it is told."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []

    def on_start(self, run: Path, config: Any) -> None:
        self.told.append(("start", (run.name, config["recipe"]["epochs"])))

    def on_step(self, line: Any) -> None:
        self.told.append(("step", line["global_step"]))

    def on_evaluate(self, epoch: int, metrics: Any) -> None:
        self.told.append(("evaluate", (epoch, metrics)))

    def on_epoch(self, line: Any) -> None:
        self.told.append(("epoch", line["metrics"]))

    def on_end(self, state: str) -> None:
        self.told.append(("end", state))


class Broken(Callback):
    """Fails when it is told of a step."""

    def on_step(self, line: Any) -> None:
        raise RuntimeError("no connection")


def test_callbacks_are_told_in_order_and_change_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listener, options = Listener(), short(eval_every=1)
    found = {"all/mean_ap": 0.5}
    run(
        tmp_path / "run", options,
        evaluate=lambda method, epoch: found, callbacks=[Broken(), listener],
    )  # fmt: skip
    assert listener.told == [
        ("start", ("run", 1)), ("step", 1), ("step", 2), ("evaluate", (1, found)),
        ("epoch", found), ("end", "finished"),
    ]  # fmt: skip
    words = " ".join(capsys.readouterr().err.split())
    assert words.count("'Broken' failed in `on_step` and is left out from here on") == 1
    run(tmp_path / "alone", options, evaluate=lambda method, epoch: found)
    assert hash_of(tmp_path / "run") == hash_of(tmp_path / "alone")


def test_callbacks_hear_of_a_failure(tmp_path: Path) -> None:
    listener = Listener()

    def fails(*_: Any) -> dict[str, float]:
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError):
        run(tmp_path / "run", short(eval_every=1), evaluate=fails, callbacks=[listener])
    assert listener.told[-1] == ("end", "failed")


@pytest.mark.curves
def test_tensorboard_has_configuration_and_images(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run(tmp_path / "run", short(tensorboard=True))
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"loss/identity", "lr", "images_per_second"} <= set(tags["scalars"])
    assert set(tags["images"]) == {"batch", "curves"}
    assert [event.step for event in events.Scalars("lr")] == [1, 2, 3]
    (text,) = events.Tensors("configuration/text_summary")
    assert b'"pids_per_batch": 4' in text.tensor_proto.string_val[0]


def test_wandb_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    tracker = SimpleNamespace(
        log=lambda values, step: calls.append(("log", sorted(values), step)),
        finish=lambda exit_code: calls.append(("finish", exit_code)),
    )
    module = SimpleNamespace(init=lambda **facts: calls.append(("init", facts["name"])) or tracker)
    monkeypatch.setitem(sys.modules, "wandb", module)
    callbacks = (f"{EXAMPLES / 'track_with_wandb.py'}:WandB",)
    run(tmp_path / "run", short(callbacks=callbacks))
    assert calls[0] == ("init", "run") and calls[-1] == ("finish", 0)
    assert ("log", ["epoch", "loss/identity", "loss/triplet", "lr"], 3) in calls


def test_mlflow_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    names = ("start_run", "log_dict", "log_metrics", "log_artifact", "end_run")

    def noted(name: str) -> Any:
        return lambda *words, **more: calls.append((name, words, more))

    module = SimpleNamespace(**{name: noted(name) for name in names})
    monkeypatch.setitem(sys.modules, "mlflow", module)
    run(tmp_path / "run", short(callbacks=(f"{EXAMPLES / 'track_with_mlflow.py'}:MLflow",)))
    assert [call[0] for call in calls] == list(names)
    assert calls[2][2] == {"step": 3} and {"identity", "triplet", "lr"} <= set(calls[2][1][0])
    assert calls[-1][1] == ("FINISHED",)


def test_callback_that_cannot_be_made(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "from vireid.training import Callback\n"
        "class Mine(Callback):\n"
        "    def __init__(self, key): pass\n",
    )
    with pytest.raises(InputError, match=r"Callback 'Mine' can't be made, in '.*TypeError"):
        load_callbacks([f"{path}:Mine"])

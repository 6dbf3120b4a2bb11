"""Options: checked when made, described once, read strictly through every door."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
from command_kit import refused, run, said
from hypothesis import given
from hypothesis import strategies as st

from vireid.commands.flags import Flags, option_flags
from vireid.commands.train import train
from vireid.config import Options, from_plain, meanings, option, overlay, read_plain, to_plain
from vireid.console import warn
from vireid.methods import RECIPES
from vireid.models.options import ModelOptions
from vireid.sweep import read_sweep
from vireid.testing import TestOptions
from vireid.training.defaults import train_options
from vireid.training.naming import run_name
from vireid.training.options import FOREIGN, MAY_CHANGE, TrainOptions
from vireid.types import InputError


@dataclass(frozen=True, kw_only=True)
class Inner(Options):
    share: float = option(0.5, above=0, at_most=1)
    """A share."""


@dataclass(frozen=True, kw_only=True)
class Outer(Options):
    kind: Literal["one", "two-fold"] = option("one", aliases={"double": "two-fold"})
    """A kind,
    on two lines."""
    count: int = option(3, at_least=1, rare=True)
    """A count."""
    course: Literal["up", "down"] = option("up", flag="schedule")
    """Up or down."""
    sides: tuple[float, float] = option((1, 2), at_least=0)
    """Two sides."""
    inner: Inner = option(Inner())  # noqa: RUF009
    """The rest."""


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"count": 0}, "`count` is 0; it must be at least 1."),
        ({"count": 1.5}, "`count` is 1.5; a whole number was expected."),
        ({"count": True}, "a whole number was expected"),
        ({"kind": "three"}, "`kind` is 'three'. Valid: one, two-fold."),
        ({"course": "away"}, "`course` is 'away'. Valid: up, down."),
        ({"sides": (1, -1)}, "`sides` is (1.0, -1.0); every number must be at least 0."),
        ({"sides": (1,)}, "2 values were expected"),
        ({"inner": Inner, "count": float("nan")}, "was expected"),
    ],
)
def test_a_wrong_value_gets_a_sentence(values: dict, words: str) -> None:
    with pytest.raises(InputError) as error:
        Outer(**values)
    assert words in str(error.value)


@pytest.mark.parametrize("share", [0, 1.01, float("nan"), float("inf"), -1])
def test_limits(share: float) -> None:
    with pytest.raises(InputError, match=r"`share` is .*; it must be above 0 and at most 1"):
        Inner(share=share)


def test_choices_are_spelled_as_the_code_spells_them() -> None:
    for word in ("two-fold", "TWO_FOLD", "TwoFold", "double"):
        assert Outer(kind=word).kind == "two-fold"  # type: ignore[arg-type]


def test_meanings_stand_under_the_fields() -> None:
    assert meanings(Outer)["kind"] == "A kind, on two lines."
    assert set(meanings(Outer)) == {field.name for field in dataclasses.fields(Outer)}


@given(st.integers(1, 99), st.floats(0, 9), st.floats(0.01, 1))
def test_plain_values_and_back(count: int, side: float, share: float) -> None:
    options = Outer(count=count, sides=(side, 1.0), inner=Inner(share=share))
    assert from_plain(Outer, json.loads(json.dumps(to_plain(options)))) == options


def test_files_are_read_by_their_ending(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text("seed = 3\n[recipe]\nlr = 0.02\n")
    (tmp_path / "a.json").write_text('{"seed": 3, "recipe": {"lr": 0.02}}')
    assert read_plain(tmp_path / "a.toml") == read_plain(tmp_path / "a.json")
    options = train_options(tmp_path / "a.toml")
    assert options.seed == 3 and options.recipe.lr == 0.02
    (tmp_path / "b.toml").write_text("seed = \n")
    with pytest.raises(InputError, match="not readable TOML"):
        read_plain(tmp_path / "b.toml")
    with pytest.raises(InputError, match="There is no file"):
        read_plain(tmp_path / "c.toml")


def test_a_file_is_not_written_as_an_option(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.toml").write_text("model = 3\n")
    with pytest.raises(InputError, match=r"^c\.toml: model is "):
        train_options(Path("c.toml"))


def test_overlay() -> None:
    under = {"a": {"b": 1, "c": 2}, "d": 3}
    assert overlay(under, {"a": {"b": 9}, "e": 4}) == {"a": {"b": 9, "c": 2}, "d": 3, "e": 4}
    assert under["a"] == {"b": 1, "c": 2}


@pytest.mark.parametrize("method", RECIPES)
def test_every_option_of_a_run_is_a_flag_or_a_key(method: str, capsys) -> None:
    """What is printed is read again, and each flag of it changes what it says."""
    assert run("train", "--method", method, "--print-config") == 0
    plain = json.loads(capsys.readouterr().out)
    options = TrainOptions.read(plain, "printed")
    assert options == train_options(method=method)
    flags = option_flags(options)
    for name in ("size", "schedule", "milestones", "warmup_epochs", "weight_decay", "momentum",
                 "pad", "erase_area", "log_every", "steps_per_epoch"):  # fmt: skip
        assert name in flags
    assert ("discriminator_lr" in flags) == (method == "mcl")
    assert {field.name for field in dataclasses.fields(options)} >= set(MAY_CHANGE)


def test_nested_options_by_flag(capsys) -> None:
    words = ("--milestones", 5, 9, "--factors", 0.5, 0.1, "--size", 256, 128, "--erase-area", 0.02,
             0.3, "--dataset", "regdb", "--trial", "ALL", "--no-confusion", "--schedule",
             "STEPS")  # fmt: skip
    assert run("train", *words, "--print-config") == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain["recipe"]["schedule"]["milestones"] == [5, 9] and plain["size"] == [256, 128]
    assert plain["recipe"]["augment"]["erase_area"] == [0.02, 0.3] and plain["trial"] == "all"
    assert plain["method_options"]["confusion"] is False
    assert "--milestones" in refused(capsys, "train", "--milestones", 5)


def test_options_of_other_programs_are_answered_by_ours(capsys) -> None:
    """At the command line by flags, from Python and files by names."""
    command = Flags("vireid train", train, [])
    for theirs, answer in FOREIGN.items():
        assert theirs not in command.names
        assert command.with_dashes(answer) in refused(capsys, "train", f"--{theirs}", 3)
        with pytest.raises(InputError) as error:
            train_options(method="agw", **{theirs: 3})
        assert str(error.value) == f"There is no option '{theirs}'. {answer}"
    assert "P is --pids-per-batch, K is" in refused(capsys, "train", "--batch-size", 3)
    assert "Here it is --direction" in refused(capsys, "test", "--resume", "x", "--tvsearch", 1)
    for name in ("--num_pos", "--img_h", "--test-batch", "--erasing_p", "--tvsearch"):
        assert "has no flag" in refused(capsys, "train", name, 3)


def test_sentences_name_options_as_flags() -> None:
    command = Flags("vireid train", train, [])
    assert command.with_dashes("`recipe.lr` is 0.") == "--lr is 0."
    assert command.with_dashes("or turn `confusion` off.") == "or --no-confusion."
    assert command.with_dashes("Run `vireid test`; `terms` is missing.") == (
        "Run `vireid test`; `terms` is missing."
    )


def test_what_a_command_says_names_its_flags(capsys) -> None:
    def command(*, warmup_epochs: int = 10, short: bool = True) -> None:
        warn("Lower `schedule.warmup_epochs`, or turn `short` off.")

    Flags("vireid try", command, []).call()
    warn("Lower `warmup_epochs`.")
    assert said(capsys) == (
        "Warning: Lower --warmup-epochs, or --no-short. Warning: Lower `warmup_epochs`."
    )


def test_all_wrong_values_are_told_at_once(tmp_path: Path, capsys) -> None:
    """On the command line, in a file and from Python; of all parts of a run."""
    words = ("--lr", -1, "--epochs", "x", "--seed", -3, "--erase", 7, "--engine", "fast")
    message = refused(capsys, "train", *words)
    for word in ("--lr is -1.0;", "--epochs: 'x' was given", "--seed is -3", "--erase is 7.0",
                 "--engine is 'fast'. Valid: auto,"):  # fmt: skip
        assert message.count(word) == 1
    assert "'x' was given" in refused(capsys, "bench", "--steps", "x", "--gpu", "y")
    recipe = {"lr": -1, "epochs": "x", "schedule": {"floor": 3}}
    plain = {"seed": -1, "keeep": 1, "recipe": recipe, "method_options": {"hidden": 0}}
    (tmp_path / "c.json").write_text(json.dumps(plain))
    message = refused(capsys, "train", "--config", tmp_path / "c.json")
    for word in ("--lr is -1.0;", "recipe.epochs is 'x'", "--floor is 3.0", "--hidden is 0",
                 "'keeep'", "--seed is -1"):  # fmt: skip
        assert message.count(word) == 1
    with pytest.raises(InputError) as found:
        train_options(lr=-1, epochs=0, seed=-1, hidden=0)
    for word in ("`lr` is -1.0", "`epochs` is 0", "`seed` is -1", "`hidden` is 0"):
        assert str(found.value).count(word) == 1
    words = ("--identities", 0, "--images", 0, "--seed", -1, "--layout", "z")
    message = refused(capsys, "synthesize", "--out", tmp_path / "people", *words)
    for word in ("--identities is 0", "--images is 0", "--seed is -1", "no layout 'z'"):
        assert message.count(word) == 1
    assert "test_identities" not in message and "--test-identities" not in message


def test_an_unknown_word_is_told_with_the_name_of_its_option(capsys) -> None:
    """Many names are no nouns in the singular: "there is no kernels 'x'" reads badly."""
    with pytest.raises(InputError) as found:
        train_options(kernels="x", centers="y", select="lost", schedule="up")
    for word in ("`kernels` is 'x'. Valid: auto,", "`centers` is 'y'.", "`schedule` is 'up'.",
                 "`select` is 'lost'. Did you mean 'last'? Valid: last, val"):  # fmt: skip
        assert str(found.value).count(word) == 1
    assert "--kernels is 'x'. Valid: auto, own" in refused(capsys, "bench", "--kernels", "x")
    assert "--tta is 'x'. Valid: none" in refused(capsys, "test", "--resume", "y", "--tta", "x")
    words = ("--images", "i", "--out", "o", "--dtype", "int8", "--precision", "int8")
    message = refused(capsys, "embed", *words)
    assert "--dtype is 'int8'. Valid:" in message and "--precision is 'int8'. Valid:" in message


def test_from_python() -> None:
    options = train_options(method="agw", recipe="scratch", lr=0.02, triplet="published", pad=3)
    assert options.recipe.augment.pad == 3 and options.method_options.triplet == "published"  # type: ignore[attr-defined]
    with pytest.raises(InputError, match="Did you mean 'epochs'"):
        train_options(epoch=3)
    assert train_options(optim="adam").recipe.lr == 0.00035
    assert train_options(optim="adam", lr=0.1).recipe.lr == 0.1
    assert train_options(recipe="finetune", optim="sgd").recipe.lr == 0.05
    assert train_options(recipe="finetune", optim="adam").recipe.lr == 0.0005


def test_the_options_page_is_current() -> None:
    script = Path(__file__).parents[1] / "tools" / "options_table.py"
    done = subprocess.run([sys.executable, str(script), "--check"], check=False)
    assert done.returncode == 0, "docs/options.md is stale: run python tools/options_table.py"


def test_a_path_is_taken_for_its_text(tmp_path: Path) -> None:
    """By every option that takes a place or a name; what is neither is refused."""
    file = tmp_path / "weights.safetensors"
    made = train_options(pretrained=file, data_root=tmp_path, arch=Path("resnet18"))
    assert made == train_options(pretrained=str(file), data_root=str(tmp_path), arch="resnet18")
    assert ModelOptions(pretrained=file) == ModelOptions(pretrained=str(file))  # type: ignore[arg-type]
    assert TestOptions(data_root=tmp_path).data_root == str(tmp_path)  # type: ignore[arg-type]
    with pytest.raises(
        InputError, match=r"`pretrained` is 3; text was expected\. `method` is True; text was"
    ):
        train_options(pretrained=3, method=True)


def test_a_recipe_that_is_gone_is_told_at_every_door(tmp_path: Path) -> None:
    """Its old runs' configurations, which are whole, are read as before."""
    (tmp_path / "old.json").write_text('{"recipe": {"name": "best"}}')
    for ask in (
        lambda: train_options(method="agw", recipe="best"),
        lambda: train_options(method="agw", recipe="Best"),
        lambda: train_options(tmp_path / "old.json"),
    ):
        with pytest.raises(InputError, match="It was scratch with 16 identities a batch"):
            ask()
    (tmp_path / "other.json").write_text('{"method": "halo", "recipe": {"name": "published"}}')
    (tmp_path / "sweep.json").write_text('{"base": {"method": "halo", "recipe": "published"}}')
    for ask in (
        lambda: train_options(method="halo", recipe="Published"),
        lambda: train_options(tmp_path / "other.json"),
        lambda: read_sweep(tmp_path / "sweep.json"),
    ):
        with pytest.raises(
            InputError, match=r"'halo' has no .*recipes: clean, scratch, finetune\..*are base,"
        ):
            ask()
    (tmp_path / "old.json").write_text('{"recipe": {"name": "mine", "lr": 0.2}}')
    with pytest.raises(InputError, match=r"old\.json: There is no recipe 'mine'"):
        train_options(tmp_path / "old.json")
    whole = to_plain(train_options(method="agw", recipe="scratch", pids_per_batch=16))
    whole["recipe"]["name"] = "best"
    (tmp_path / "old.json").write_text(json.dumps(whole))
    read = train_options(tmp_path / "old.json").recipe
    assert (read.name, read.pids_per_batch, read.lr) == ("best", 16, 0.05)


@pytest.mark.parametrize(
    ("stated", "asked"), [("Scratch", None), ("Scratch", "scratch"), ("scratch", "SCRATCH")]
)
def test_a_recipe_in_a_file_may_be_spelled_as_at_the_command(
    tmp_path: Path, stated: str, asked: str | None
) -> None:
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"recipe": {"name": stated, "lr": 0.2}}))
    options = train_options(file, method="agw", pretrained="none", recipe=asked)
    assert options == train_options(method="agw", pretrained="none", recipe="scratch", lr=0.2)
    assert run_name(options) == "sysu-agw-resnet50-scratch-lr0.2-seed0"


def test_another_start_than_the_files_keeps_the_rate_of_the_recipe(tmp_path: Path) -> None:
    """`halo` trains the whole network at one rate from ImageNet weights, too."""
    for method, rate in (("halo", 1.0), ("agw", 0.1)):
        (tmp_path / "mine.json").write_text('{"model": {"pretrained": "none"}}')
        options = train_options(tmp_path / "mine.json", method=method, pretrained="imagenet")
        assert options == train_options(method=method) and options.model.backbone_scale == rate
        whole = to_plain(train_options(method=method, pretrained="none", recipe="clean"))
        (tmp_path / "mine.json").write_text(json.dumps(whole))
        options = train_options(tmp_path / "mine.json", pretrained="imagenet")
        assert options == train_options(method=method)

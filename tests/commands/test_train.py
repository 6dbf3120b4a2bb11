"""train: a run folder, going on with it, choosing the epoch, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import command_kit
import fakes
import pytest
from command_kit import refused, run, said, tiny_config

import vireid
from vireid.methods import RECIPES
from vireid.methods.options import OPTIONS, BaselineOptions, MCLOptions
from vireid.training.defaults import train_options
from vireid.training.options import TrainOptions
from vireid.types import InputError
from vireid.weights import read_weights


def facts(folder: Path) -> dict:
    return read_weights(folder)[1]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--method", "agw"), "--method was 'mcl' and is 'agw'"),
        (("--recipe", "clean"), "--recipe was 'scratch' and is 'clean'"),
        (("--optim", "adam"), "--optim was 'sgd' and is 'adam'"),
        (("--augment", "dns"), "--augment was 'channel' and is 'dns'"),
        (("--pretrained", "synth"), "--pretrained was 'none' and is 'synth'"),
        (("--arch", "resnet18", "--pad", 3), "--arch was 'test_resnet' and is 'resnet18'; --pad"),
        (("--steps-per-epoch", 3), "--steps-per-epoch was 2 and is 3"),
    ],
)
def test_a_run_that_would_be_another_is_refused_in_the_users_own_words(
    trained: Path, words: tuple, told: str, capsys
) -> None:
    """And not in those of the options that follow from them."""
    refusal = refused(capsys, "train", "--resume", trained, "--device", "cpu", *words)
    assert f"can't go on with other options: {told}" in refusal
    assert refusal.count(" was ") == sum(str(word).startswith("--") for word in words)


@pytest.mark.curves
def test_words_in_any_case_and_a_whole_run(tmp_path: Path, sysu_root: Path, capsys) -> None:
    parent = tmp_path / "parent"
    words = ("--dataset", "SYSU-MM01", "--data_root", sysu_root, "--method", "Baseline")
    more = ("--arch", "Test-ResNet", "--pretrained", "NONE", "--optim", "ADAM")
    rest = ("--recipe", "Scratch", "--augment", "PLAIN", "--precision", "FP32", "--engine", "Eager",
            "--device", "CPU")  # fmt: skip
    config = tiny_config(tmp_path)
    name = ("--model_path", parent, "--run", "one", "--eval-every", 1, "--config", config)
    assert run("train", *words, *more, *rest, *name) == 0
    message = said(capsys)
    one = parent / "one"
    for file in ("config.json", "log.jsonl", "weights.safetensors", "curves.png", "batch.png"):
        assert (one / file).is_file(), file
    assert "img/s; peak memory" in message and f"Next: vireid test --resume {one}" in message
    assert "validation identities are trained on too" in message
    assert "\x1b" not in message
    options = json.loads((one / "config.json").read_text())
    assert options["method"] == "base" and options["recipe"]["lr"] == 0.00035
    assert options["model"]["arch"] == "test_resnet" and options["recipe"]["precision"] == "float32"
    assert facts(one)["chosen"] == "last epoch"


def test_going_on(trained: Path, tmp_path: Path, sysu_root: Path, capsys) -> None:
    one = tmp_path / "one"
    shutil.copytree(trained, one)
    before = (one / "summary.json").read_text()
    assert run("train", "--resume", one, "--device", "cpu") == 0
    message = said(capsys)
    assert "nothing is left to do" in message and "Wrote" not in message
    assert (one / "summary.json").read_text() == before
    (one / "summary.json").unlink()  # as a run leaves it that is interrupted at its very end
    assert run("train", "--resume", one, "--device", "cpu") == 0
    assert json.loads((one / "summary.json").read_text())["epochs"] == json.loads(before)["epochs"]
    again = ("--resume", one, "--data-root", sysu_root, "--device", "cpu")
    assert run("train", *again, "--method", "mcl", "--seed", 0, "--epochs", 2) == 0
    assert facts(one)["epoch"] == 2
    same = ("--model-path", tmp_path, "--run", "one")
    assert run("train", "--resume", one, "--device", "cpu", *same) == 0
    assert "its own folder" in refused(capsys, "train", "--resume", one, "--run", "one")
    assert "its own folder" in refused(capsys, "train", "--resume", one, "--run", "other")
    refusal = refused(capsys, "train", *again, "--lr", 0.5)
    assert "--lr was 0.01 and is 0.5" in refusal and "Resuming" not in refusal
    refusal = refused(capsys, "train", *again, "--max-steps", 2)
    assert "--max-steps is 2, but the run" in refusal and "trained 4 steps already" in refusal
    assert run("train", *again, "--max-steps", 5) == 0
    assert "--max-steps 5 makes 3 epochs of 2 steps in this run." in said(capsys)
    assert facts(one)["epoch"] == 3
    assert run("train", *again, "--max-steps", 6) == 0
    assert "nothing is left to do" in said(capsys)
    assert "contradict" in refused(
        capsys, "train", *again, "--max-steps", 8, "--steps-per-epoch", 2
    )
    assert "already holds a run" in refused(
        capsys, "train", "--config", tiny_config(tmp_path), "--data-root", sysu_root, "--run", one
    )
    assert "is not a run" in refused(capsys, "train", "--resume", tmp_path)


def test_steps_of_a_run_from_python(tmp_path: Path, sysu_root: Path, capsys) -> None:
    """The same words go on with the run, whatever they make of its epochs."""
    config = tiny_config(tmp_path, steps_per_epoch=0)
    options = train_options(config, data_root=str(sysu_root), method="base", device="cpu")
    vireid.train(options, tmp_path / "one", max_steps=3)
    assert vireid.train(options, tmp_path / "one", max_steps=3, resume=True).epoch == 1
    assert "nothing is left to do" in said(capsys)
    with pytest.raises(InputError, match=r"was 3 and is 0 \(`max_steps` sets it\)"):
        vireid.train(options, tmp_path / "one", resume=True)


def test_the_epoch_is_chosen_on_validation_identities(
    tmp_path: Path, sysu_root: Path, capsys
) -> None:
    one = tmp_path / "one"
    assert command_kit.train(one, sysu_root, "--select", "VAL", "--epochs", 2) == 0
    assert f"--resume {one} --refit" in said(capsys)
    best = facts(one)
    assert best["part"] == "fit" and "best embedding mAP on validation identities" in best["chosen"]
    assert run("train", "--resume", one, "--refit", "--device", "cpu") == 0
    again = facts(tmp_path / "one-refit")
    message = said(capsys)
    assert f"the same {best['steps']} steps of the same schedule" in message
    assert "It ends where the schedule was then: at a learning rate of" in message
    assert again["part"] == "train" and again["epoch"] == best["epoch"]
    assert again["steps"] == best["steps"]
    before, after = (json.loads((folder / "config.json").read_text())["recipe"]
                     for folder in (one, tmp_path / "one-refit"))  # fmt: skip
    assert before == after  # the schedule too, not squeezed into fewer epochs
    assert best["chosen"] in again["chosen"] and "'one'" in again["chosen"]
    assert run("test", "--resume", one, "--part", "val", "--figure-queries", 0, "--trials", 1) == 0
    message = refused(capsys, "test", "--resume", tmp_path / "one-refit", "--part", "val")
    assert "have seen" in message
    assert "--select val" in refused(
        capsys, "train", "--resume", tmp_path / "one-refit", "--refit", "--device", "cpu"
    )
    shutil.rmtree(one)  # told before it is trained again
    words = ("--config", tiny_config(tmp_path), "--data-root", sysu_root, "--device", "cpu")
    message = refused(capsys, "train", *words, "--run", one, "--select", "val", "--refit")
    assert f"'{one}-refit' already holds a run" in message and not one.exists()


def test_a_criterion_that_there_is_not_is_refused_before_training(
    tmp_path: Path, sysu_root: Path, capsys
) -> None:
    words = ("train", "--config", tiny_config(tmp_path), "--data-root", sysu_root, "--device",
             "cpu", "--run", tmp_path / "one", "--select", "val", "--criterion")  # fmt: skip
    message = refused(capsys, *words, "embedding_map")
    assert "--criterion is embedding_map" in message and "pooled_rank1" in message
    assert not (tmp_path / "one").exists()


def test_own_images_with_and_without_cameras(tmp_path: Path, folder_root: Path, capsys) -> None:
    own = ("--dataset", "folder")
    config = ("--config", tiny_config(tmp_path), "--data-root", folder_root, "--device", "cpu")
    message = refused(capsys, "train", *own, *config, "--run", tmp_path / "one")
    assert "--no-camera-centers" in message
    assert command_kit.train(tmp_path / "one", folder_root, *own, "--no-camera-centers") == 0
    pattern = (*own, "--camera-pattern", r"c(\d+)_")
    assert command_kit.train(tmp_path / "two", folder_root, *pattern) == 0
    for name in ("one", "two"):
        assert run("test", "--resume", tmp_path / name, "--figure-queries", 0, "--trials", 1) == 0
    assert facts(tmp_path / "two")["sizes"]["num_cameras"] == 4
    assert capsys.readouterr().out.count("own data") == 2


def test_a_table_is_found_again_on_resume(tmp_path: Path, folder_root: Path) -> None:
    shutil.copytree(folder_root, tmp_path / "people")
    lines = ["path,pid,modality,camid"]
    for path in sorted((tmp_path / "people").glob("*/*/*.png")):
        modality, pid, name = path.parts[-3:]
        lines.append(f"{modality}/{pid}/{name},{pid.removeprefix('person')},{modality},{name[1]}")
    table = tmp_path / "people" / "mine.csv"
    table.write_text("\n".join(lines) + "\n")
    one = tmp_path / "one"
    assert command_kit.train(one, table, "--dataset", "folder") == 0
    assert run("train", "--resume", one, "--device", "cpu", "--epochs", 2) == 0
    assert run("test", "--resume", one, "--figure-queries", 0, "--trials", 1) == 0


def test_a_users_own_method(tmp_path: Path, sysu_root: Path, capsys, monkeypatch) -> None:
    """Its file is named as seen from here, its options are flags."""
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(Path(__file__).parents[2] / "examples" / "my_method.py", mine / "my.py")
    config = tiny_config(tmp_path)
    monkeypatch.chdir(mine)
    data = os.path.relpath(sysu_root)
    words = ("--config", config, "--data-root", data, "--device", "cpu")
    one = tmp_path / "one"
    assert run("train", *words, "--run", one, "--method", "my.py:MyMethod",
               "--hetero-weight", 0.5) == 0  # fmt: skip
    assert facts(one)["method_options"]["hetero_weight"] == 0.5
    assert "hetero_weigh" in refused(capsys, "train", *words, "--method", "my.py:MyMethod",
                                     "--hetero_weigh", 0.5)  # fmt: skip
    assert run("train", "--method", "my.py:MyMethod", "--help") == 0
    assert "--hetero-weight X" in capsys.readouterr().out
    monkeypatch.chdir(tmp_path)
    quick = ("test", "--resume", "one", "--figure-queries", 0, "--trials", 1)
    asked, command = refused(capsys, *quick).split(" Then: ")  # no file has code run
    assert "Code is run only where you name it yourself" in asked
    assert command == f"vireid {' '.join(map(str, quick))} --method {mine / 'my.py'}:MyMethod"
    assert run(*quick, "--method", "mine/my.py:MyMethod") == 0
    report = json.loads(next(one.glob("test/*/report.json")).read_text())
    assert report["protocol"]["method"] == "my-method"
    words = (*words[:3], sysu_root, *words[4:])
    (mine / "bad.py").write_text("import torch\nimport nothing_of_this_name\n")
    message = refused(capsys, "train", *words, "--method", "mine/bad.py:Mine")
    assert "cannot be run (line 2): ModuleNotFoundError" in message
    (mine / "worse.py").write_text("class Mine\n")
    assert "(line 1): SyntaxError" in refused(
        capsys, "train", *words, "--method", "mine/worse.py:Mine"
    )
    (mine / "my.py").unlink()
    message = refused(capsys, *quick, "--method", "mine/my.py:MyMethod")
    assert f"'{mine / 'my.py'}', which does not exist" in message


def test_a_configuration_of_an_earlier_version_is_refused(tmp_path: Path, capsys) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"method": "mcl", "part": "train", "max_steps": 0}))
    for words in (("train", "--config", file), ("train", "--resume", tmp_path), ("info", tmp_path)):
        message = refused(capsys, *words)
        assert "'max_steps' is now 'steps_per_epoch', 'part' is now 'select'" in message


def test_a_part_of_a_configuration(tmp_path: Path, sysu_root: Path, capsys) -> None:
    """What a file leaves out comes from the recipe and the method; flags go before it."""
    file = tmp_path / "part.json"

    def options(plain: dict, **changes: Any) -> TrainOptions:
        file.write_text(json.dumps(plain))
        return train_options(file, pretrained="none", **changes)

    resolved = options(
        {"method_options": {"hidden": 64}, "recipe": {"schedule": {"warmup_steps": 9}}}
    )
    scratch = RECIPES["mcl"]["scratch"]
    assert resolved.method == "mcl"
    assert resolved.method_options == MCLOptions(hidden=64, discriminator_lr=0.1)
    assert resolved.recipe == dataclasses.replace(
        scratch, schedule=dataclasses.replace(scratch.schedule, warmup_steps=9)
    )
    named = {"method": "AGW", "recipe": {"name": "published", "lr": 0.02}, "log_every": 5}
    resolved = options(named, epochs=3)
    assert resolved.method == "agw" and resolved.log_every == 5
    assert resolved.recipe == dataclasses.replace(RECIPES["agw"]["published"], lr=0.02, epochs=3)
    assert options(named, recipe="scratch").recipe == RECIPES["agw"]["scratch"]
    other = options({"method": "mcl", "method_options": {"hidden": 64}}, method="base")
    assert other.method_options == BaselineOptions()
    words = ("train", "--config", file, "--data-root", sysu_root, "--device", "cpu")
    for plain, expected in (
        ({"recipe": {"lrr": 1}}, "recipe has an unknown key 'lrr'. Did you mean 'lr'?"),
        ({"recipe": {"lrr": 1, "epocs": 2}}, "'lr'? Another one is 'epocs'."),
        ({"recipe": 3}, "recipe is 3"),
        ([1], "an object with named values was expected"),
        ({"method_options": {"hiddenn": 64}}, "Did you mean 'hidden'?"),
        ({"network": {"arch": "resnet18"}}, "has the section [network]"),
        ({"network": {"arch": "resnet18"}}, "`. Here it is [model]."),
        ({"method": {"hidden": 4}}, "`. Here it is [method_options]."),
        ({"augmentation": {"erase": 1}}, "`. Here it is [recipe.augment]."),
    ):
        file.write_text(json.dumps(plain))
        assert expected in refused(capsys, *words), plain


def test_options_that_a_method_lacks_are_answered_by_those_it_has(sysu_root: Path, capsys) -> None:
    for method, flag in (("mcl", "--margin"), ("ddag", "--rho"), ("base", "--no-confusion")):
        words = ("--method", method, flag, *(() if flag.startswith("--no") else (1,)))
        message = refused(capsys, "train", "--data-root", sysu_root, *words)
        shown = message.partition("Its own are: ")[2].rstrip(".").split(", ")
        own = {field.name for field in dataclasses.fields(OPTIONS[method])}
        assert {name[2:].replace("-", "_") for name in shown} == own, message


def test_published_without_pretrained_weights_warns_of_what_is_so(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", images=1)
    (root / "cam1" / "0001" / "0001.jpg").write_bytes(b"no image")  # ends it before it trains
    words = ("train", "--data-root", root, "--device", "cpu", "--arch", "test_resnet",
             "--pretrained", "none", "--recipe", "published")  # fmt: skip
    assert "erasing up to 0.8" in refused(capsys, *words, "--method", "mcl")
    message = refused(capsys, *words, "--method", "agw")
    assert "meant for ImageNet weights" in message and "erasing" not in message


def test_ablations(tmp_path: Path, sysu_root: Path) -> None:
    off = ("--no-confusion", "--no-identity-centers", "--no-camera-centers")
    assert command_kit.train(tmp_path / "one", sysu_root, *off) == 0
    line = json.loads((tmp_path / "one" / "log.jsonl").read_text().splitlines()[-1])
    assert set(line["losses"]) == {"identity", "triplet"}


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, sysu_root: Path, capsys) -> None:
    one = tmp_path / "one"

    def interrupt() -> None:
        log = one / "log.jsonl"
        for _ in range(600):
            if log.is_file() and log.read_text().count("\n") >= 2:
                os.kill(os.getpid(), signal.SIGINT)
                return
            time.sleep(0.05)

    thread = threading.Thread(target=interrupt)
    thread.start()
    assert command_kit.train(one, sysu_root, "--epochs", 300) == 130
    thread.join()
    assert f"vireid train --resume {one}" in said(capsys)
    done = facts(one)["epoch"]
    assert run("train", "--resume", one, "--device", "cpu", "--epochs", done + 1) == 0
    assert facts(one)["epoch"] == done + 1


def test_a_full_disk_leaves_the_checkpoint_before(trained: Path, tmp_path: Path, capsys) -> None:
    """A limit on the size of a file acts like a disk that fills up while it is written."""
    one = tmp_path / "one"
    shutil.copytree(trained, one)
    before = {path.name: path.read_bytes() for path in one.glob("checkpoints/*.pt")}
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        code = run("train", "--resume", one, "--device", "cpu", "--epochs", 2)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    message = said(capsys)
    assert code == 2 and "could not be written" in message, message
    assert {path.name: path.read_bytes() for path in one.glob("checkpoints/*.pt")} == before
    assert not list(one.rglob("*.tmp"))
    assert run("train", "--resume", one, "--device", "cpu", "--epochs", 2) == 0


def test_impossible_values(tmp_path: Path, sysu_root: Path, capsys) -> None:
    config = ("--config", tiny_config(tmp_path), "--data-root", sysu_root, "--device", "cpu")
    one = ("train", *config, "--run", tmp_path / "one")
    for words, expected in {
        ("--method", "mclnet2"): "Valid: base, agw, ddag, mcl, caj, dns, deen, rle, halo.",
        ("--method", "nope.py:Mine"): "does not exist",
        ("--arch", "resnet19"): "Did you mean",
        ("--recipe", "pub"): "Valid: published, clean, scratch, finetune.",
        ("--recipe", "best"): "--pids-per-batch 16 for the same.",
        ("--optim", "rmsprop"): "Valid: sgd, adam, adamw.",
        ("--augment", "wild"): "Valid: none, plain, published, channel, caj, dns,",
        ("--engine", "turbo"): "Valid: auto, eager, compiled, graph.",
        ("--select", "best"): "Valid: last, val, held-out.",
        ("--nonlocal-channels", 0): "at least 1",
        ("--lr", 0): "above 0",
        ("--lr", "inf"): "a finite number",
        ("--seed", -1): "at least 0",
        ("--epochs", 0): "above 0",
        ("--max-steps", 0): "at least 1",
        ("--identity-weight", -1): "at least 0",
        ("--label-smoothing", 1): "below 1",
        ("--pids-per-batch", 70): "Set --pids-per-batch to 8 or less",
        ("--pids-per-batch", 1): "at least 2 identities",
        ("--method", "base", "--centers", "frozen"): "has no option --centers",
        (
            "--method",
            "agw",
            "--hiden",
            4,
        ): "--hiden. Did you mean --hidden? That is an option of mcl.",
        ("--epochs", 2, "--max-steps", 3): "contradict",
        ("--trial", 3): "has one split only",
        ("--trial", "all"): "has one split only",
        ("--refit",): "add --select val",
        ("--engine", "graph"): "needs a CUDA GPU",
        ("--kernels", "own"): "--kernels own works only",
        ("--gpu", 97): "GPUs present:",
        ("--gpu", 0): "contradict",
        ("--pretrained", tmp_path / "nope.pth"): "does not exist",
        ("--config", tmp_path / "nope.json"): "There is no file",
    }.items():
        flags = one if words[0] != "--gpu" or words[1] != 97 else (*one, "--device", "auto")
        assert expected in refused(capsys, *flags, *words), words
    assert not (tmp_path / "one").exists()


def test_weights_of_another_network(trained: Path, tmp_path: Path, sysu_root: Path, capsys) -> None:
    weights = ("--pretrained", trained / "weights.safetensors")
    assert command_kit.train(tmp_path / "one", sysu_root, *weights) == 0
    message = refused(
        capsys, "train", "--config", tiny_config(tmp_path), "--data-root", sysu_root,
        "--device", "cpu", "--run", tmp_path / "two", "--arch", "resnet14t", *weights,
    )  # fmt: skip
    assert "do not fit the network resnet14t" in message


def test_bad_data(tmp_path: Path, capsys, monkeypatch) -> None:
    config = ("--config", tiny_config(tmp_path), "--device", "cpu", "--run", tmp_path / "run")
    small = {"train": 3, "val": 2, "test": 2, "images": 1}

    def sentence(root: Path) -> str:
        return refused(capsys, "train", *config, "--data-root", root)

    assert "does not exist" in sentence(tmp_path / "nowhere")
    monkeypatch.delenv("VIREID_DATA", raising=False)
    assert "--data-root" in refused(capsys, "train", *config)
    day = fakes.make_sysu(tmp_path / "day", **small)
    shutil.rmtree(day / "cam3")
    shutil.rmtree(day / "cam6")
    assert "no infrared image" in sentence(day)
    letter = fakes.make_sysu(tmp_path / "letter", **small)
    (letter / "exp" / "train_id.txt").write_text("1,2,x3\n")
    assert "'x3'" in sentence(letter)
    broken = fakes.make_sysu(tmp_path / "broken", **small)
    file = broken / "cam1" / "0001" / "0001.jpg"
    file.write_bytes(file.read_bytes()[:300])
    assert "cam1/0001/0001.jpg" in sentence(broken)
    assert run("train", *config, "--data-root", broken, "--skip-broken") == 0
    assert "skipped (cannot be decoded): cam1/0001/0001.jpg" in said(capsys)


def test_an_identity_of_one_modality(tmp_path: Path, capsys) -> None:
    root = fakes.make_sysu(tmp_path / "sysu", train=4, val=2, test=3, images=1)
    for pid in ("0001", "0008"):  # one to train on, one to test on
        shutil.rmtree(root / "cam3" / pid)
        shutil.rmtree(root / "cam6" / pid)
    shutil.rmtree(root / "cam4")
    (root / ".DS_Store").write_bytes(b"x")
    (root / "cam1" / "0002" / "Thumbs.db").write_bytes(b"x")
    (root / "cam1" / "0002" / "0001.jpg").rename(root / "cam1" / "0002" / "0001.JPG")
    one = tmp_path / "one"
    assert command_kit.train(one, root) == 0
    message = said(capsys)
    assert message.count("left out of training: 1.") == 1
    assert run("test", "--resume", one, "--figure-queries", 0, "--trials", 1) == 0
    report = json.loads(next(one.glob("test/*/report.json")).read_text())
    assert report["counts"]["gallery"] == [9]  # all three identities by three cameras


@pytest.mark.parametrize("place", ["file", "file/run"])
def test_a_file_where_the_run_should_be(
    place: str, tmp_path: Path, sysu_root: Path, capsys
) -> None:
    (tmp_path / "file").write_text("I was here before.")
    message = refused(
        capsys, "train", "--config", tiny_config(tmp_path), "--data-root", sysu_root,
        "--device", "cpu", "--run", tmp_path / place,
    )  # fmt: skip
    assert "is a file" in message
    assert (tmp_path / "file").read_text() == "I was here before."


@pytest.fixture
def locked(tmp_path: Path) -> Iterator[Path]:
    """A folder that this user, root included, may not write to."""
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    immutable = False
    if os.access(folder, os.W_OK):
        chattr = shutil.which("chattr")
        if not chattr or subprocess.run([chattr, "+i", folder], capture_output=True).returncode:
            pytest.skip("this user may write to every folder, and chattr can't forbid it here")
        immutable = True
    yield folder
    if immutable:
        subprocess.run(["chattr", "-i", folder], check=True)


def test_a_folder_that_may_not_be_written_to(locked: Path, sysu_root: Path, capsys) -> None:
    config = ("--config", tiny_config(locked.parent), "--data-root", sysu_root, "--device", "cpu")
    message = refused(capsys, "train", *config, "--run", locked / "run")
    assert "may not be written to" in message

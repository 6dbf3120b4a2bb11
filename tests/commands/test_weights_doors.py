"""What a file of weights is, and what a word means, is told alike at every door."""

from __future__ import annotations

import argparse
import gzip
import json
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import command_kit
import fakes
import pytest
import torch
from command_kit import refused, run, said
from safetensors.torch import save_file

import vireid
from vireid.commands.data import _after_run
from vireid.files import file_hash
from vireid.models import ModelOptions, build_model
from vireid.models.pretrained import input_statistics
from vireid.models.whereabouts import find_weights
from vireid.training import train_options
from vireid.types import InputError
from vireid.weights import load_weights, read_weights

if TYPE_CHECKING:
    from server_kit import World

SHIPPED = "mobilenetv2_100"  # the network in the package
PUBLISHED = {
    "classifier.weight": torch.zeros(3, 2048),
    "base_resnet.base.layer1.0.conv1.weight": torch.zeros(1),
}


def _zip(path: Path, *names: str) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")


def _tar(path: Path) -> None:
    inner = path.with_name("inner.t")
    inner.write_bytes(b"x")
    with tarfile.open(path, "w") as archive:
        archive.add(inner, "inner.t")


PAGE = "\n<!DOCTYPE html>\n<html><title>Google Drive - Virus scan warning</title></html>"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 287654321\n"
ELSE: dict[str, tuple[Callable[[Path], object], str]] = {
    "page": (lambda path: path.write_text(PAGE), "is a saved web page, not weights"),
    "page with a mark": (lambda path: path.write_text("\ufeff<html>", "utf-8"), "a saved web page"),
    "error of a store": (lambda path: path.write_text("<?xml version='1.0'?>"), "saved web page"),
    "pointer": (lambda path: path.write_text(POINTER), "is a Git-LFS pointer: a few lines of text "
                "in the place of the file itself (274 MiB). Run `git lfs pull`"),
    "zip": (lambda path: _zip(path, "a/", "a/README", "a/b.txt", "a/c.txt", "a/best.t"),
            "is a zip archive that is no checkpoint; it holds a/best.t, a/README, a/b.txt …. Unp"),
    "empty zip": (lambda path: _zip(path), "no checkpoint; it holds nothing"),
    "program": (lambda path: _zip(path, "a/data.pkl", "a/constants.pkl"), "a TorchScript program"),
    "tar": (_tar, "is a tar archive. Unpack it"),
    "gzip": (lambda path: path.write_bytes(gzip.compress(b"x" * 99)), "is a gzip archive"),
    "words": (lambda path: path.write_text("epoch,loss\n1,0.5é", "utf-8"), "is text, not weights"),
    "array": (lambda path: path.write_bytes(b"\x93NUMPY\1\0"), "is a NumPy array"),
}  # fmt: skip


def doors(index: Path, root: Path) -> dict[str, Callable[[Path, pytest.CaptureFixture], str]]:
    """Every way in for a file of weights → the sentence with which it refuses one."""

    def command(*words: object, flag: object = None) -> Callable:
        def refuse(path: Path, capsys: pytest.CaptureFixture) -> str:
            return refused(capsys, *words, *([flag] if flag else []), path)

        return refuse

    def python(call: Callable[[Path], object]) -> Callable:
        def refuse(path: Path, _: pytest.CaptureFixture) -> str:
            with pytest.raises(InputError) as caught:
                call(path)
            return str(caught.value)

        return refuse

    out = index.parent / "out.safetensors"
    images = ("--images", root / "cam3", "--modality", "infrared", "--out", out)
    query = ("--image", next(root.glob("cam3/*/*")), "--modality", "infrared")
    config = command_kit.tiny_config(index.parent)
    new = ("--config", config, "--data-root", root, "--device", "cpu", "--run", index.parent / "r")
    return {
        "import-weights": command("import-weights", "--out", out),
        "import_published": python(vireid.import_published),
        "embed": command("embed", *images, flag="--weights"),
        "search": command("search", "--index", index, *query, flag="--weights"),
        "serve": command("serve", "--port", 0, "--index", index, flag="--weights"),
        "test": command("test", "--device", "cpu", flag="--resume"),
        "export-weights": command("export-weights"),
        "load": python(vireid.load),
        "evaluate": python(vireid.evaluate),
        "train": command("train", *new, flag="--pretrained"),
        "pretrained": python(
            lambda path: build_model(ModelOptions(arch="resnet18", pretrained=str(path)), 4)
        ),
    }  # fmt: skip


TRAINS = ("train", "pretrained")
IMPORTS = ("import-weights", "import_published")


@pytest.fixture(scope="module")
def ways_in(world: World, tmp_path_factory: pytest.TempPathFactory, sysu_root: Path) -> dict:
    folder = tmp_path_factory.mktemp("doors")
    shutil.copytree(world.index, folder / "index")
    return doors(folder / "index", sysu_root)


@pytest.mark.parametrize("what", ELSE)
def test_what_is_no_checkpoint_is_named(what: str, ways_in: dict, tmp_path: Path, capsys) -> None:
    write, sentence = ELSE[what]
    path = tmp_path / "best.t"
    write(path)
    shutil.copy(path, tmp_path / "best.safetensors")
    before = sorted(tmp_path.iterdir())
    for file in (path, tmp_path / "best.safetensors"):
        for door, refuse in ways_in.items():
            if door == "train" and what != "page":
                continue  # reads the data set first; `pretrained` is the same reader
            found = refuse(file, capsys)
            assert sentence in found and str(file) in found, door
            assert len(found) < 500
    assert sorted(tmp_path.iterdir()) == before  # nothing half-written


@pytest.mark.parametrize("ending", ["t", "safetensors"])
def test_a_published_checkpoint_is_sent_to_import_weights(
    ending: str, ways_in: dict, tmp_path: Path, capsys
) -> None:
    path = tmp_path / f"best.{ending}"
    if ending == "t":
        wrapped = {f"module.{key}": value for key, value in PUBLISHED.items()}
        torch.save({"state_dict": wrapped, "args": argparse.Namespace(lr=0.1)}, path)
    else:
        save_file(PUBLISHED, path)
    for door, refuse in ways_in.items():
        found = refuse(path, capsys)
        assert ("`vireid import-weights" in found) == (door not in IMPORTS), (door, found)
        if door in TRAINS or (ending == "safetensors" and door not in IMPORTS):
            assert "is a checkpoint of " in found, (door, found)


def test_words_are_words_whatever_lies_beside(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    people = fakes.make_sysu(tmp_path / "people", train=2, val=1, test=2, images=1)
    for name in ("synth", "Synth", "none", "imagenet"):
        Path(name).mkdir(exist_ok=True)
    shutil.copy(world.weights, "synth/weights.safetensors")  # even a run's folder
    shipped = read_weights("synth")[1]["weights_hash"]
    assert shipped not in (None, world.embedder.weights_hash)
    for word in ("synth", "SYNTH "):
        assert vireid.load(word, device="cpu").weights_hash == shipped
        assert load_weights(word)[1]["weights_hash"] == shipped
    for folder in ("./synth", Path("synth"), tmp_path / "synth"):
        assert vireid.load(folder, device="cpu").weights_hash == world.embedder.weights_hash
    with pytest.raises(InputError, match="holds no weights"):
        vireid.load("./Synth", device="cpu")

    image = next(people.glob("cam3/*/*"))
    query = ("--modality", "infrared", "--image", image)
    for command in (
        ("search", *query),
        ("serve", "--port", 0),
    ):  # the index is of the folder's weights
        words = (*command, "--index", world.index, "--weights", "synth")
        assert shipped[:8] in refused(capsys, *words)
    images = ("--images", image.parent, "--modality", "infrared", "--out", "e.safetensors")
    assert run("embed", *images, "--weights", "synth", "--device", "cpu", "--workers", 1) == 0
    assert vireid.embed.load_embeddings("e.safetensors").weights_hash == shipped
    assert run("index", "create", "--index", "night", "--embeddings", "e.safetensors") == 0
    assert "search --index night --weights synth --image FILE --modality visible" in said(capsys)
    assert "--arch is mobilenetv2_100" in refused(capsys, "export-weights", "synth")
    assert "test --resume synth --data-root DIR" in _after_run({}, "synth", Path("x"), 0)
    assert run("info", "synth", "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["hash"] == shipped
    assert facts["hash as a start"] == file_hash(find_weights("synth"))  # a run's `start hash`
    test = ("--data-root", people, "--device", "cpu", "--figure-queries", 0, "--trials", 1)
    Path("synth/config.json").write_text("{}")
    assert "Name another folder by --out" in refused(capsys, "test", "--resume", "synth", *test)
    assert run("test", "--resume", "synth", *test, "--out", "report") == 0

    start = build_model(train_options(pretrained="Synth").model, 4)  # with its network
    assert torch.equal(
        start.layer3[1].bn2.weight, read_weights("synth")[0]["model.layer3.1.bn2.weight"]
    )
    build_model(ModelOptions(arch="resnet18", pretrained="none"), 4)
    with pytest.raises(InputError, match=r"the folder './synth'; a file was expected. Of a run"):
        build_model(ModelOptions(arch="resnet18", pretrained="./synth"), 4)

    def fetch(repository: str, *_: object, **more: object) -> None:
        raise InputError(repository)

    monkeypatch.setattr("vireid.models.pretrained.fetch", fetch)
    with pytest.raises(InputError, match=r"timm/resnet18.tv_in1k"):
        build_model(ModelOptions(arch="resnet18", pretrained="ImageNet"), 4)


def test_a_start_of_ours_brings_its_network(world: World, tmp_path: Path, capsys) -> None:
    """At every door, unless another one is named."""

    def network(file: Path | None = None, **options: object) -> tuple[str, int]:
        model = train_options(file, **options).model
        return model.arch, model.last_stage

    theirs = world.embedder.method.architecture
    assert theirs not in (SHIPPED, "resnet50")
    assert network() == network(pretrained="none") == ("resnet50", 4)
    assert network(pretrained=" Synth") == network(pretrained="synth", arch=SHIPPED)
    assert network(pretrained="synth", method="agw") == (SHIPPED, 4)
    assert network(pretrained="synth", last_stage=2) == (SHIPPED, 2)
    assert network(pretrained="synth", arch="resnet50") == ("resnet50", 4)
    assert network(pretrained="synth", arch="MobileNetV2_100") == (SHIPPED, 4)
    assert network(pretrained=str(world.weights)) == (theirs, 4)
    part = tmp_path / "part.safetensors"
    facts = {"vireid": json.dumps({"model": {"arch": "resnet18", "last_stage": 3}})}
    save_file({"model.a": torch.zeros(1)}, part, metadata=facts)
    assert network(pretrained=str(part)) == ("resnet18", 3)
    assert network(pretrained=str(part), arch="ResNet-18")[1] == 3
    file = tmp_path / "c.json"
    file.write_text(json.dumps({"model": {"pretrained": str(part)}}))
    assert network(file) == ("resnet18", 3) and network(file, arch="resnet34") == ("resnet34", 4)
    file.write_text(json.dumps({"model": {"pretrained": str(part), "last_stage": 2}}))
    assert network(file) == ("resnet18", 2)
    assert run("train", "--pretrained", "synth", "--print-config") == 0
    shown = json.loads(capsys.readouterr().out)["model"]
    assert (shown["arch"], shown["last_stage"]) == (SHIPPED, 4)


def test_a_start_brings_nothing_that_can_not_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def start(name: str, **network: object) -> str:
        facts = {"vireid": json.dumps({"model": network})}
        save_file({"model.a": torch.zeros(1)}, name, metadata=facts)
        return name

    wrong = start("a.safetensors", arch="resnet18", last_stage="x")
    with pytest.raises(InputError, match=r"The network in 'a.safetensors': last_stage is 'x'"):
        train_options(pretrained=wrong)
    for word in ("imagenet", "none"):  # words are words, whatever lies beside
        start(word, arch="resnet34", last_stage=2, input_mean=[0, 0, 0], input_std=[1, 1, 1])
        model = train_options(pretrained=word).model
        assert (model.arch, model.last_stage) == ("resnet50", 4)
        assert input_statistics(model)[0] != (0, 0, 0)
    assert (
        train_options(pretrained="a" * 5000).model.last_stage == 4
    )  # no name that a file can have


def test_the_word_for_shipped_weights_mistyped(
    ways_in: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    meant = "Did you mean 'synth'? "
    for door in ("embed", "search", "serve", "test", "export-weights", "load", "pretrained"):
        assert meant in ways_in[door](Path("Synt"), capsys), door
        assert "Did you mean" not in ways_in[door](Path("other"), capsys), door
    assert meant in refused(capsys, "info", "synthe")

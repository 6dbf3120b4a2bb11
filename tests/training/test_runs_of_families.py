"""Every family of backbones through a whole run: train, resume, weights, vectors, test."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from command_kit import refused, tiny_config
from command_kit import run as run_command
from safetensors.torch import save_file
from torch import nn
from training_kit import SIZE, run, tiny_data, tiny_options

from vireid import weights
from vireid.embed import Embedder, load
from vireid.methods import Sizes, build_method, method_class
from vireid.models import ModelOptions
from vireid.models.pretrained import input_statistics
from vireid.own_code import UnnamedCode
from vireid.training.checkpoint import describe_run
from vireid.training.options import TrainOptions
from vireid.types import InputError

EXAMPLES = Path(__file__).parents[2] / "examples"
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# timm's own small networks for tests, where a family has one; its smallest member otherwise.
SMALL = {
    "EfficientNet": ("test_efficientnet", IMAGENET),
    "MobileNet": ("mobilenetv3_small_050", IMAGENET),
    "ConvNeXt": ("test_convnext", HALF),
    "RegNet": ("regnetx_002", IMAGENET),
    "Swin": (f"{Path(__file__).resolve()}:small_swin", IMAGENET),
    "ViT": ("test_vit", HALF),
}


def small_swin() -> nn.Module:
    """timm has no small one; this is a user's own network, too."""
    return timm.create_model(
        "swin_tiny_patch4_window7_224", num_classes=0, strict_img_size=False,
        embed_dim=24, depths=(2, 2, 2, 2), num_heads=(1, 1, 2, 2),
    )  # fmt: skip


def options(arch: str, method: str = "mcl", **network: Any) -> TrainOptions:
    base = tiny_options(method, steps_per_epoch=2)
    model = method_class(method).model_defaults(arch, "none", **network)
    return replace(base, model=model, recipe=replace(base.recipe, epochs=1, pids_per_batch=3))


@pytest.mark.parametrize(("arch", "statistics"), SMALL.values(), ids=SMALL)
def test_train_and_embed(arch: str, statistics: tuple, tmp_path: Path) -> None:
    """With the default method, whose network has non-local blocks and GeM."""
    torch.set_num_threads(1)
    result = run(tmp_path / "run", options(arch))
    assert result.epoch == 1
    embedder = load(tmp_path / "run", device="cpu", arch=arch if ".py:" in arch else None)
    assert embedder.method.model_options.arch == arch
    assert embedder.method.input_statistics == statistics
    described = embedder.preprocessing
    assert (tuple(described["mean"]), tuple(described["std"])) == statistics
    _, store = tiny_data()
    vectors = embedder.embed(store.images[:3], "infrared").embedding
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3


def test_resumed_bit_for_bit(tmp_path: Path) -> None:
    whole = replace(options("test_vit", "base"), checkpoint_steps=1)
    whole = replace(whole, recipe=replace(whole.recipe, epochs=2))
    first = replace(whole, recipe=replace(whole.recipe, epochs=1))
    run(tmp_path / "whole", whole)
    run(tmp_path / "run", first)
    run(tmp_path / "run", whole, resume=True)
    hashes = [weights.read_weights(tmp_path / name)[1]["weights_hash"] for name in ("whole", "run")]
    assert hashes[0] == hashes[1], describe_run(tmp_path / "run")


def test_input_statistics_are_those_of_the_weights() -> None:
    def of(arch: str, pretrained: str = "none", **more: object) -> tuple:
        return input_statistics(ModelOptions(arch=arch, pretrained=pretrained, **more))  # type: ignore[arg-type]

    assert of("resnet50") == of("resnet50", "imagenet") == IMAGENET
    assert of("tf_efficientnet_lite2") == of("vit_small_patch16_224") == HALF
    assert of("vit_small_patch16_224", "dino") == IMAGENET  # the tag's, not the network's
    given = ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert of("resnet50", input_mean=given[0], input_std=given[1]) == given


def test_input_statistics_reach_training_vectors_and_the_next_run(tmp_path: Path) -> None:
    """A network that takes 0.5 sees other values in training and in embedding, and weights pass
    their statistics on to what starts from them."""
    changed = options("resnet10t", "base", input_mean=HALF[0], input_std=HALF[1])
    run(tmp_path / "half", changed)
    run(tmp_path / "usual", options("resnet10t", "base"))
    first, second = (weights.read_weights(tmp_path / name)[1] for name in ("half", "usual"))
    assert first["weights_hash"] != second["weights_hash"]
    assert first["model"]["input_mean"] == [0.5] * 3
    started = ModelOptions(
        arch="resnet10t", pretrained=str(tmp_path / "half" / "weights.safetensors")
    )
    assert input_statistics(started) == HALF
    embedder = load(tmp_path / "half", device="cpu")
    _, store = tiny_data()
    images = store.images[:2]
    wanted = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = embedder.method.embed(wanted, 2)["embedding"].numpy()
    found = embedder.embed(images, "visible").embedding
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_weights_from_before_took_imagenets_statistics(tmp_path: Path) -> None:
    model = ModelOptions(arch="test_vit", pretrained="none")
    method = build_method("base", model, Sizes(num_pids=4))
    metadata = weights.method_metadata("base", model, Sizes(num_pids=4), None)
    metadata["model"] = {
        name: value for name, value in metadata["model"].items() if not name.startswith("input")
    }
    weights.save_weights(tmp_path / "old.safetensors", method, {**metadata, "size": list(SIZE)})
    assert method.input_statistics == HALF
    assert weights.load_weights(tmp_path / "old.safetensors")[0].input_statistics == IMAGENET
    assert isinstance(load(tmp_path / "old.safetensors", device="cpu"), Embedder)


@pytest.mark.parametrize("header", ["[", "[1]", '{"model": 3}', '{"model": {}}'])
def test_headers_that_say_nothing_of_a_network(header: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"vireid": header})
    assert input_statistics(ModelOptions(arch="test_vit", pretrained=str(path))) == HALF
    wrong = '{"model": {"input_mean": ["a", 1, 2], "input_std": [1, 1, 1]}}'
    save_file({"a": torch.zeros(1)}, path, {"vireid": wrong})
    with pytest.raises(InputError, match="input_mean"):
        input_statistics(ModelOptions(arch="test_vit", pretrained=str(path)))


def test_backbone_of_ones_own(
    tmp_path: Path, folder_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """examples/my_backbone.py from the command line: trained, tested, started from again."""
    arch = EXAMPLES / "my_backbone.py"
    words = ("train", "--dataset", "folder", "--data-root", folder_root, "--device", "cpu",
             "--config", tiny_config(tmp_path), "--camera-pattern", r"c(\d+)_",
             "--arch", f"{arch}:SmallNet")  # fmt: skip
    assert run_command(*words, "--model-path", tmp_path) == 0
    (folder,) = tmp_path.glob("folder-mcl-*SmallNet*")
    embedder = load(folder, device="cpu", arch=f"{arch}:SmallNet")
    assert embedder.method.model.dims == (32, 64, 128, 256)
    assert embedder.method.input_statistics == HALF
    with pytest.raises(UnnamedCode, match=r"needs the network 'SmallNet'.*give it as `arch`"):
        load(folder, device="cpu")
    named = ("--arch", f"{arch}:SmallNet", "--device", "cpu")
    assert "--arch" in refused(capsys, "test", "--resume", folder, *named[2:])
    assert run_command("test", "--resume", folder, *named) == 0
    assert "--arch" in refused(capsys, "train", "--resume", folder, *named[2:])
    assert run_command("train", "--resume", folder, *named, "--epochs", "2") == 0
    (report,) = folder.rglob("report.json")
    assert json.loads(report.read_text())["protocol"]["arch"] == "SmallNet"
    for bad, sentence in {
        f"{arch}:Missing": "no function or class 'Missing' that makes a network",
        f"{tmp_path}/none.py:Net": "file '.*none.py' does not exist",
        f"{bad_networks(tmp_path)}:three": "no attributes `stem`, a module, and `stages`",
        f"{bad_networks(tmp_path)}:number": "returned a value of type int; a network",
        f"{bad_networks(tmp_path)}:flat": "its parts, run in a row, give something else",
    }.items():
        assert re.search(sentence, refused(capsys, *words[:-1], bad, "--run", tmp_path / "no"))
    assert not (tmp_path / "no").exists()


def bad_networks(folder: Path) -> Path:
    """A file of functions that make no network that could be taken apart."""
    path = folder / "bad.py"
    path.write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self, stages, stem=None):\n"
        "        super().__init__()\n"
        "        self.stem, self.stages = stem or nn.Conv2d(3, 4, 4, 4), nn.ModuleList(stages)\n"
        "def three(): return Net([nn.Identity()] * 3)\n"
        "def number(): return 5\n"
        "def flat(): return Net([nn.ReLU(), nn.ReLU(), nn.ReLU(), nn.Flatten()])\n"
    )
    return path

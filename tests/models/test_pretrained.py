"""First weights: from timm, from files, from our own runs, and their refusals."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from vireid.models import ModelOptions, TwoStream, build_model
from vireid.types import InputError


def build(pretrained: str | Path, arch: str = "resnet18", **options: object) -> TwoStream:
    return build_model(ModelOptions(arch=arch, pretrained=str(pretrained), **options), 4)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def resnet18() -> dict[str, torch.Tensor]:
    """A state with a classifier, as torchvision and timm save it."""
    torch.manual_seed(7)
    return timm.create_model("resnet18", num_classes=10).state_dict()


@pytest.mark.parametrize("ending", ["safetensors", "pth"])
def test_backbone_file_fills_both_stems_and_the_body(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, ending: str
) -> None:
    path = tmp_path / f"resnet18.{ending}"
    if ending == "pth":  # an old file: no counts of batches, wrapped, from DataParallel
        old = {f"module.{k}": v for k, v in resnet18.items() if "num_batches" not in k}
        torch.save({"state_dict": old, "epoch": 3}, path)
    else:
        save_file(resnet18, path)
    model = build(path)
    for stem in (model.stem_visible, model.stem_infrared):
        assert torch.equal(stem.conv1.weight, resnet18["conv1.weight"])
    assert torch.equal(model.layer4[1].bn2.weight, resnet18["layer4.1.bn2.weight"])
    assert model.stem_visible.conv1.weight is not model.stem_infrared.conv1.weight


def test_weights_of_ours_keep_the_stems_apart(tmp_path: Path) -> None:
    torch.manual_seed(1)
    first = build("none", nonlocal_channels=1)
    torch.nn.init.normal_(first.stem_infrared.conv1.weight)
    torch.nn.init.normal_(first.nonlocal2[0].bn.weight)
    path = tmp_path / "weights.safetensors"
    state = {f"model.{key}": value for key, value in first.state_dict().items()}
    save_file(state | {"identity_centers.centers": torch.zeros(4, 512)}, path)
    again = build(path, nonlocal_channels=1)
    for key, value in first.state_dict().items():
        if not key.startswith("classifier."):
            assert torch.equal(again.state_dict()[key], value), key
    plain = build(path)  # without non-local blocks
    assert torch.equal(plain.layer1[0].conv1.weight, first.layer1[0].conv1.weight)
    more = build(path, nonlocal_channels=1, pooling="gem")
    assert torch.equal(more.nonlocal2[0].bn.weight, first.nonlocal2[0].bn.weight)


def test_file_of_another_arch(resnet18: dict[str, torch.Tensor], tmp_path: Path) -> None:
    path = tmp_path / "resnet18.safetensors"
    save_file(resnet18, path)
    with pytest.raises(InputError, match=r"do not fit the network resnet34: tensors \d+ missing"):
        build(path, "resnet34")
    with pytest.raises(InputError, match="another shape"):
        build(path, "resnet50")
    ours = tmp_path / "ours.safetensors"
    save_file({f"model.{k}": v for k, v in build("none").state_dict().items()}, ours)
    with pytest.raises(InputError, match="do not fit the network resnet50"):
        build(ours, "resnet50")


def test_missing_and_empty_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.pth', which does not exist"):
        build(tmp_path / "no.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(InputError, match="holds no named tensors"):
        build(tmp_path / "list.pth")


def test_unknown_tag_lists_those_of_the_arch() -> None:
    with pytest.raises(InputError, match=r"tags for it: .*a1_in1k"):
        build("a99_in1k")
    with pytest.raises(InputError, match=r"tv_in1k\) for the network vit_small_patch14_dinov2"):
        build("imagenet", "vit_small_patch14_dinov2")


def test_no_network_names_the_file_and_the_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(urllib.request, "urlopen", unreachable)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with pytest.raises(InputError, match=r"Fetch https://\S+resnet18.tv_in1k\S+model.safetensors"):
        build("imagenet")
    with pytest.raises(InputError, match="name the file as `pretrained`"):
        build("imagenet")


def test_no_shipped_weights_for_an_arch() -> None:
    with pytest.raises(InputError, match="no weights trained on synthetic people"):
        build("synth", "resnet34")

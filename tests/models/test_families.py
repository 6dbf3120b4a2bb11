"""Networks of timm besides ResNets: how they are split, and what is the same for all of them."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor, nn

from vireid.methods import Sizes, build_method, method_class
from vireid.models import ModelOptions, TwoStream, build_model, splitting
from vireid.models.backbone import create
from vireid.models.families import FAMILIES, arch_choices
from vireid.models.layouts import ChannelsLast, Tokens
from vireid.models.splitting import split
from vireid.models.tokens import resize_grid
from vireid.types import Batch

SMALLEST = {
    "ResNet": "resnet10t",
    "EfficientNet": "efficientnet_lite0",
    "MobileNet": "mobilenetv3_small_050",
    "ConvNeXt": "convnext_atto",
    "RegNet": "regnetx_002",
    "Swin": "swin_tiny_patch4_window7_224",
    "ViT": "vit_tiny_patch16_224",
    "DeiT": "deit_tiny_distilled_patch16_224",
    "DINOv2": "vit_small_patch14_reg4_dinov2",
    "CLIP": "vit_xsmall_patch16_clip_224",
}
IMAGE = torch.randn(4, 3, 64, 32, generator=torch.Generator().manual_seed(0))


def small(arch: str, **options: object) -> TwoStream:
    torch.manual_seed(0)
    return build_model(ModelOptions(arch=arch, pretrained="none", **options), 5)  # type: ignore[arg-type]


def test_every_family_is_named_and_tested() -> None:
    assert {family.title for family in FAMILIES} == set(SMALLEST)
    known = set(timm.list_models())
    assert all(arch in known for family in FAMILIES for arch in family.archs)
    assert all(f"{family.title}: {family.archs[0]}" in arch_choices() for family in FAMILIES)


@pytest.mark.parametrize("arch", SMALLEST.values(), ids=SMALLEST)
def test_split_network_with_everything_on_top(arch: str) -> None:
    """Non-local blocks, private stages, GeM and a backward pass, whatever blocks pass on."""
    patch = 14 if "patch14" in arch else 16
    image = IMAGE if patch == 16 else torch.randn(4, 3, 4 * patch, 2 * patch)
    model = small(arch, nonlocal_channels=1, pooling="gem", private_stages=1)
    output = model.train()(image, 2)
    assert output.feature_map.shape == (4, model.dim, 4, 2)
    assert model.strides[-1] == patch and len(model.strides) == 5
    assert torch.isfinite(output.pooled).all() and (output.pooled >= 0).all()
    output.logits.square().sum().backward()
    lacking = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert lacking == []
    for name in ("stem", "layer1"):
        visible, infrared = (
            dict(model.get_submodule(f"{name}_{word}").named_parameters())
            for word in ("visible", "infrared")
        )
        assert visible.keys() == infrared.keys() != set()


@pytest.mark.parametrize("method", ["ddag", "dns", "deen", "rle"])
@pytest.mark.parametrize("arch", ["test_efficientnet", "test_convnext", "test_vit"])
def test_parts_of_methods_take_the_maps_of_every_family(method: str, arch: str) -> None:
    """Gates, aggregation, part attention and stripes work on maps, whatever blocks pass on."""
    torch.manual_seed(0)
    model = method_class(method).model_defaults(arch, "none")
    built = build_method(method, model, Sizes(num_pids=4)).train()
    labels = torch.arange(4).repeat_interleave(2).repeat(2)
    image = torch.randn(16, 3, 96, 64)
    terms = built(Batch(image, labels, labels * 0, (torch.arange(16) >= 8).long(), 8))
    sum(terms.values()).backward()  # type: ignore[union-attr]
    assert all(torch.isfinite(value) for value in terms.values())
    built.eval()
    with torch.no_grad():
        assert set(built.test_embeddings) == set(built.embed(image, 8))


@pytest.mark.parametrize("arch", ["test_efficientnet", "test_convnext", "test_vit"])
def test_networks_without_memory_have_the_same_tensors(arch: str) -> None:
    """Weights files are compared with such a network first, before memory is taken for one."""
    with torch.device("meta"):
        described = small(arch, nonlocal_channels=1).state_dict()
    built = small(arch, nonlocal_channels=1).state_dict()
    assert {k: v.shape for k, v in described.items()} == {k: v.shape for k, v in built.items()}
    assert all(value.is_meta for value in described.values())


def test_another_family_is_proven_not_listed() -> None:
    """A network is taken for what it does, also where no family names it."""
    assert small("densenet121").eval()(IMAGE, 2).feature_map.shape == (4, 1024, 4, 2)


def whole(arch: str, size: int = 64) -> tuple[nn.Module, Tensor]:
    """A network of timm that takes any size, and an image."""
    torch.manual_seed(1)
    network = create(arch).eval()
    for parameter in network.parameters():  # layer scales of 1e-6 would hide a stage
        if parameter.ndim == 1:
            nn.init.normal_(parameter, 0.5, 0.1)
    return network, torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize("arch", ["convnext_atto", "swin_tiny_patch4_window7_224"])
@torch.no_grad()
def test_undone_stride_of_even_kernels_keeps_even_places(arch: str) -> None:
    """Where the merging of 2 x 2 places stood with its stride, it gives the same without."""
    network, image = whole(arch)
    shrinking = split(network, arch, last_stride=2)
    x = shrinking.stem(image)
    for stage in shrinking.stages[:3]:
        x = stage(x)
    before = shrinking.stages[3][0](x)
    dense = split(network, arch).stages[3][0](x)
    places = (slice(None), slice(None, None, 2), slice(None, None, 2))
    if isinstance(shrinking.layout, ChannelsLast):
        assert dense.shape[1:3] == x.shape[1:3]
        torch.testing.assert_close(dense[places], before)
    else:
        assert dense.shape[2:] == x.shape[2:]
        torch.testing.assert_close(dense[(slice(None), *places)], before)


@torch.no_grad()
def test_swin_shifts_windows_of_the_larger_last_map() -> None:
    """timm leaves the shift out where a map has one window, which the last one has no longer."""
    network, _ = whole(SMALLEST["Swin"])
    assert [block.shift_size for block in network.layers[3].blocks] == [(0, 0), (0, 0)]
    blocks = split(network, "swin").stages[3]
    assert [blocks[1].shift_size, blocks[2].shift_size] == [(0, 0), (3, 3)]


@pytest.mark.parametrize(
    "arch", ["resnet10t", "convnext_atto", "mobilenetv3_small_050", SMALLEST["Swin"]]
)
@torch.no_grad()
def test_a_second_network_is_split_as_the_first_without_a_trial(
    arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, image = whole(arch)
    first, other = (copy.deepcopy(network) for _ in range(2))
    monkeypatch.setattr(splitting, "_CUTS", {})
    backbones = [split(first, arch)]
    monkeypatch.setattr(splitting, "_trial", None)
    backbones.append(split(other, arch))
    maps = []
    for backbone in backbones:
        x = backbone.stem(image)
        for stage in backbone.stages:
            x = stage(x)
        maps.append(x)
    assert torch.equal(*maps)
    assert backbones[0][2:] == backbones[1][2:]
    assert [[*part.state_dict()] for part in backbones[0][:2]] == [
        [*part.state_dict()] for part in backbones[1][:2]
    ]
    with pytest.raises(TypeError):  # another stride is another question
        split(network, arch, last_stride=2)


@pytest.mark.parametrize(
    "arch", ["deit_tiny_distilled_patch16_224", "vit_small_patch14_reg4_dinov2", "test_vit2"]
)
@torch.no_grad()
def test_tokens_are_those_of_timm_at_any_size(arch: str) -> None:
    torch.manual_seed(1)
    network = create(arch).eval()
    side = network.patch_embed.patch_size[0]
    image = torch.randn(2, 3, 5 * side, 3 * side)
    for parameter in (network.pos_embed, network.cls_token):
        if parameter is not None:
            nn.init.normal_(parameter)
    expected = network.forward_features(image)
    backbone = split(network, arch)
    assert isinstance(backbone.layout, Tokens)
    x = backbone.stem(image)
    for stage in backbone.stages:
        x = stage(x)
    torch.testing.assert_close(x, expected, atol=1e-4, rtol=1e-4)
    size = (image.shape[2], image.shape[3])
    feature_map = backbone.layout.map_of(x, size)
    assert feature_map.shape[2:] == (5, 3)
    assert torch.equal(feature_map[:, :, 1, 2], x[:, backbone.layout.prefix + 5])
    assert torch.equal(backbone.layout.with_map(x, feature_map), x)
    thrice = backbone.layout.with_map(x, torch.cat([feature_map] * 3))
    assert torch.equal(thrice, torch.cat([x] * 3))


def test_overlapping_patches_and_class_token() -> None:
    model = small("vit_tiny_patch16_224", patch_stride=12, pooling="token").eval()
    with torch.no_grad():
        output = model(IMAGE, 2)
        tokens = model.body(IMAGE, 2)
    assert output.feature_map.shape[2:] == (5, 2)  # (64 - 16) / 12 + 1, (32 - 16) / 12 + 1
    assert torch.equal(output.pooled, tokens[:, 0])
    assert model.strides == (12,) * 5


def test_places_of_another_grid_are_resized_as_timm_does() -> None:
    from timm.layers import resample_abs_pos_embed

    places = torch.randn(1, 49, 8, requires_grad=True)
    expected = resample_abs_pos_embed(places, (9, 4), (7, 7), num_prefix_tokens=0)
    found = resize_grid(places, (7, 7), (9, 4))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    (gradient,) = torch.autograd.grad(found.square().sum(), places)
    (wanted,) = torch.autograd.grad(expected.square().sum(), places)
    torch.testing.assert_close(gradient, wanted, atol=1e-4, rtol=1e-4)


def test_gem_counts_values_below_zero_as_zero() -> None:
    model = small("convnext_atto", pooling="gem")
    pooled = model.pool(torch.tensor([[[[-2.0, 1.0], [2.0, -1.0]]]]))
    assert float(pooled) == pytest.approx((9 / 4) ** (1 / 3))
    assert not small("resnet10t", pooling="gem").pool.signed

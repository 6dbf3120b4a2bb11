"""The two-stream network: how it is put together, for any ResNet of timm."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn

from vireid.methods import Sizes
from vireid.models import ModelOptions, TwoStream, build_model, two_stream
from vireid.models.backbone import create
from vireid.models.layers import GeneralisedMean, NonLocal
from vireid.models.splitting import split
from vireid.types import InputError
from vireid.weights import method_metadata, save_weights


def small(arch: str = "resnet18", **options: object) -> TwoStream:
    torch.manual_seed(0)
    return build_model(ModelOptions(arch=arch, pretrained="none", **options), 5)  # type: ignore[arg-type]


IMAGE = torch.randn(4, 3, 96, 48, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("arch", ["resnet18", "ResNet-34", "resnet50"])
def test_unchanged_but_for_the_last_stride(arch: str) -> None:
    """With equal stems, it is timm's network with strides of layer4 set to 1."""
    model = small(arch).eval()
    timms = timm.create_model(arch.lower().replace("-", ""), num_classes=0)
    state = {k.removeprefix("stem_visible."): v for k, v in model.state_dict().items()}
    timms.load_state_dict({key: state[key] for key in timms.state_dict()})
    timms.eval()
    for layer in timms.layer4[0].modules():
        if isinstance(layer, nn.Conv2d):
            layer.stride = (1, 1)
    with torch.no_grad():
        ours, theirs = model.feature_map(IMAGE, 2), timms.forward_features(IMAGE)
    assert ours.shape[2:] == (6, 3)
    assert torch.allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize(
    "arch", ["resnet26d", "seresnext26d_32x4d", "resnet26t", "ecaresnet26t", "resnetblur18"]
)
def test_other_members_of_the_family(arch: str) -> None:
    model = small(arch, nonlocal_channels=1, pooling="gem").eval()
    with torch.no_grad():
        output = model(IMAGE, 2)
    assert output.feature_map.shape[2:] == (6, 3)
    assert output.pooled.shape == output.embedding.shape == (4, model.dim)
    assert output.logits.shape == (4, 5)


def test_shortcut_of_d_variants_loses_its_pooling() -> None:
    backbone = split(create("resnet26d"), "resnet26d")
    pools = [m for m in backbone.stages[3].modules() if isinstance(m, nn.AvgPool2d)]
    assert pools == []
    assert any(isinstance(m, nn.AvgPool2d) for m in backbone.stages[2].modules())


def test_nonlocal_blocks_follow_the_last_blocks_of_stages_2_and_3() -> None:
    model = small("resnet50", nonlocal_channels=2)
    assert [len(model.nonlocal2), len(model.nonlocal3)] == [2, 3]
    calls: list[str] = []
    for name, module in model.named_modules():
        if name.startswith(("layer2.", "layer3.", "nonlocal")) and name.count(".") == 1:
            module.register_forward_hook(lambda *_, name=name: calls.append(name))
    model.eval().feature_map(IMAGE[:1], 1)
    assert calls == [
        *("layer2.0", "layer2.1", "layer2.2", "nonlocal2.0", "layer2.3", "nonlocal2.1"),
        *("layer3.0", "layer3.1", "layer3.2", "layer3.3", "nonlocal3.0"),
        *("layer3.4", "nonlocal3.1", "layer3.5", "nonlocal3.2"),
    ]
    assert [len(small(nonlocal_channels=1).nonlocal3)] == [2]  # resnet18 has two blocks a stage


def test_nonlocal_equals_its_definition_and_starts_as_identity() -> None:
    torch.manual_seed(0)
    block = NonLocal(8, 3).double().eval()
    x = torch.randn(2, 8, 5, 4, dtype=torch.float64)
    assert torch.equal(block(x), x)
    nn.init.normal_(block.bn.weight)
    nn.init.normal_(block.bn.bias)
    theta, phi, g = (part.flatten(2).transpose(1, 2) for part in block.theta_phi_g(x).chunk(3, 1))
    f = theta @ phi.transpose(1, 2) / 20
    y = (f @ g).transpose(1, 2).reshape(2, 3, 5, 4)
    assert torch.allclose(block(x), block.bn(block.w(y)) + x)


def test_generalised_mean() -> None:
    x = torch.rand(2, 3, 4, 5)
    assert torch.allclose(GeneralisedMean()(x), (x**3).mean((2, 3)).pow(1 / 3), atol=1e-5)
    zero = torch.zeros(1, 1, 2, 2, requires_grad=True)
    GeneralisedMean()(zero).sum().backward()
    assert zero.grad is not None and torch.isfinite(zero.grad).all()


def test_each_modality_goes_through_its_own_stem() -> None:
    model = small().eval()
    nn.init.normal_(model.stem_infrared.conv1.weight)
    with torch.no_grad():
        both = model.embed(IMAGE, 2)["pooled"]
        assert torch.allclose(both[:2], model.embed(IMAGE[:2], 2)["pooled"], atol=1e-6)
        assert torch.allclose(both[2:], model.embed(IMAGE[2:], 0)["pooled"], atol=1e-6)
        assert not torch.allclose(both[2:], model.embed(IMAGE[2:], 2)["pooled"], atol=1e-3)
        assert torch.allclose(both.norm(dim=1), torch.ones(4))


def test_initialisation_and_what_is_not_trained() -> None:
    model = small("resnet50")
    assert abs(float(model.neck.weight.detach().mean()) - 1) < 1e-3
    assert abs(float(model.neck.weight.detach().std()) - 0.01) < 1e-3
    assert abs(float(model.classifier.weight.detach().std()) - 0.001) < 1e-4
    assert model.classifier.bias is None
    assert not model.neck.bias.requires_grad and "neck.bias" in model.state_dict()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"arch": "resnet5"}, "Did you mean 'resnet50'|Among those that work"),
        ({"arch": "hrnet_w18_small"}, "does not split into a stem and four stages"),
        ({"arch": "resnet18", "pooling": "token"}, "the network resnet18 has no class token"),
        ({"arch": "resnet18", "patch_stride": 8}, "resnet18 has no patches that could overlap"),
        ({"arch": "test_vit", "patch_stride": 17}, "`patch_stride` is 17; 1 to 16 was expected"),
        ({"arch": "test_vit", "last_stride": 2}, "works on tokens, whose number no stage changes"),
        ({"input_mean": (0.5, 0.5, 0.5)}, "`input_mean` and `input_std` belong together"),
        ({"arch": "resnet50.a1_in1k"}, "`arch` to resnet50 and `pretrained` to a1_in1k"),
        ({"nonlocal_channels": 0}, "`nonlocal_channels` is 0; it must be at least 1"),
        ({"nonlocal_channels": -3}, "`nonlocal_channels` is -3"),
        ({"pooling": "max"}, "Valid: gem, average, token"),
        ({"backbone_scale": 0.0}, "must be above 0"),
        ({"pretrained": " "}, "`pretrained` is empty"),
        ({"private_stages": 4}, "at least 0 and at most 3"),
        ({"private_stages": 3, "last_stage": 2}, "the network ends after stage 2"),
        ({"stripes": 0}, "`stripes` is 0"),
    ],
)
def test_wrong_options_get_a_sentence(options: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        build_model(ModelOptions(**{"pretrained": "none", **options}), 5)


def test_private_stages_are_a_modalitys_own() -> None:
    shared, model = small().eval(), small(private_stages=2, nonlocal_channels=1).eval()
    names = {name for name, _ in model.named_children()}
    assert {"layer2_visible", "layer2_infrared", "nonlocal2_infrared", "layer3"} <= names
    assert not names & {"layer1", "layer2", "nonlocal2"}
    with torch.no_grad():
        before = model.embed(IMAGE, 2)["pooled"]
        # both start as the one shared stage does
        assert torch.allclose(before, shared.embed(IMAGE, 2)["pooled"], atol=1e-6)
        nn.init.ones_(model.layer2_infrared[0].bn2.weight)  # 0 at first: the branch adds nothing
        nn.init.normal_(model.nonlocal2_infrared[0].bn.weight)
        after = model.embed(IMAGE, 2)["pooled"]
        assert torch.allclose(before[:2], after[:2], atol=1e-6)
        assert not torch.allclose(before[2:], after[2:], atol=1e-3)


def test_streams_wait_for_each_other_and_rows_for_both(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is handed to a GPU, in its order; `x` is kept until the second stream has read it."""
    done: list[tuple[str, ...]] = []

    class Stream:
        def __init__(self, name: str) -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            done.append((self.name, "waits for", other.name))

    @contextmanager
    def on(stream: Stream) -> Iterator[None]:
        here.append(stream.name)
        yield
        here.pop()

    def run(name: str) -> Tensor:
        done.append((here[-1], "runs", name))
        return torch.zeros(())

    here = ["main"]
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("main"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(two_stream, "_side_stream", lambda device: Stream("side"))
    monkeypatch.setattr(
        Tensor, "record_stream", lambda x, stream: done.append(("x", "stays for", stream.name))
    )
    two_stream._at_once([partial(run, "visible"), partial(run, "infrared")], torch.zeros(2))
    assert done == [
        ("side", "waits for", "main"),
        ("main", "runs", "visible"),
        ("side", "runs", "infrared"),
        ("x", "stays for", "side"),
        ("main", "waits for", "side"),
    ]


def test_a_network_that_went_to_the_cpu_has_one_stream() -> None:
    model = build_model(ModelOptions(arch="test_resnet", pretrained="none"), num_pids=2)
    model.side_by_side = True  # as after a training on a GPU
    assert model(torch.zeros(4, 3, 32, 32), 2).logits.shape == (4, 2)


def test_stages_after_the_last_one_are_left_out() -> None:
    model, whole = small(last_stage=3).eval(), small().eval()
    assert not hasattr(model, "layer4") and model.dim == model.neck.num_features == 256
    maps: list[torch.Tensor] = []
    whole.layer3[-1].register_forward_hook(lambda _, __, x: maps.append(x))
    with torch.no_grad():
        whole(IMAGE, 2)
        assert torch.equal(model(IMAGE, 2).feature_map, maps[0])


def test_stripes_have_necks_and_classifiers_of_their_own() -> None:
    model = small(stripes=3).eval()
    with torch.no_grad():
        output, found = model(IMAGE, 2), model.embed(IMAGE, 2)
    assert len(output.stripes) == 3
    bands = output.feature_map.split(2, dim=2)
    for stripe, band, neck in zip(output.stripes, bands, model.stripe_necks):
        assert torch.allclose(stripe.pooled, band.mean((2, 3)), atol=1e-6)
        assert torch.allclose(stripe.embedding, neck(stripe.pooled))
        assert stripe.logits.shape == (4, 5)
    parts = [*(stripe.pooled for stripe in output.stripes), output.pooled]
    assert torch.allclose(found["pooled"], nn.functional.normalize(torch.cat(parts, 1)))
    head = {id(p) for part in model.head() for p in part.parameters()}
    assert {id(p) for p in model.stripe_classifiers.parameters()} < head
    with pytest.raises(InputError, match="2 stripes of equal height instead of 3"):
        small(stripes=3)(IMAGE[:, :, :64], 2)


def test_a_trained_shift() -> None:
    model = small(neck_shift_trained=True, stripes=2)
    assert all(neck.bias.requires_grad for neck in (model.neck, *model.stripe_necks))


def test_a_network_of_a_methods_own() -> None:
    class Doubling(TwoStream):
        def after_stage(self, number: int, x: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
            assert x.shape[1] == self.dims[number - 1]
            assert before.shape[2] == x.shape[2] * (2 if number in (2, 3) else 1)
            return torch.cat([x, x]) if number == 3 else x

    options = ModelOptions(arch="resnet18", pretrained="none")
    model = build_model(options, 5, Doubling).eval()
    with torch.no_grad():
        assert model(IMAGE, 2).pooled.shape == (8, model.dim)


def test_first_weights_of_ours_fit_other_forms_of_the_network(tmp_path: Path) -> None:
    theirs = {"arch": "resnet18", "last_stage": 3, "pretrained": "none"}
    options = ModelOptions(**theirs)  # type: ignore[arg-type]
    made = build_model(options, 5)
    state = {f"model.{name}": value for name, value in made.state_dict().items()}
    facts = method_metadata("agw", options, Sizes(num_pids=5, num_cameras=2), None)
    save_weights(tmp_path / "a.safetensors", state, facts)
    theirs["pretrained"] = str(tmp_path / "a.safetensors")
    whole = build_model(ModelOptions(**theirs), 5)  # type: ignore[arg-type]
    for changes in ({"private_stages": 1}, {"last_stage": 2}, {"stripes": 2}):
        given = ModelOptions(**{**theirs, **changes})  # type: ignore[arg-type]
        state = build_model(given, 5).state_dict()
        assert torch.equal(state["layer2.0.conv1.weight"], whole.layer2[0].conv1.weight)
        for word in ("", "_visible", "_infrared"):
            if f"layer1{word}.0.conv1.weight" in state:
                own = state[f"layer1{word}.0.conv1.weight"]
                assert torch.equal(own, whole.layer1[0].conv1.weight)
        assert torch.equal(state["neck.running_mean"], whole.neck.running_mean) == (
            "last_stage" not in changes
        )
    with pytest.raises(InputError, match="Set `arch` to resnet18 and `last_stage` to 3"):
        build_model(ModelOptions(**{**theirs, "last_stage": 4}), 5)  # type: ignore[arg-type]


def test_one_identity_is_refused() -> None:
    with pytest.raises(InputError, match="at least 2 are needed"):
        build_model(ModelOptions(arch="resnet18", pretrained="none"), 1)

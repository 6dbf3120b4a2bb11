"""What is particular to each method, and how wrong input is answered."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_contract import EXAMPLE, make, make_batch

from vireid.methods import RECIPES, Sizes, build_method, method_class, recipes_of, resolve_method
from vireid.methods.options import AGWOptions, MCLOptions
from vireid.methods.recipe import Schedule
from vireid.training.defaults import Choices, defaults
from vireid.types import InputError


def test_mcl_terms_and_switches() -> None:
    batch = make_batch()
    everything = {"identity", "triplet", "discriminator", "confusion", "identity_centers",
                  "camera_centers"}  # fmt: skip
    assert set(make("mcl")(batch)) == everything
    switches = {
        "confusion": {"discriminator", "confusion"},
        "identity_centers": {"identity_centers"},
        "camera_centers": {"camera_centers"},
    }
    for switch, gone in switches.items():
        assert set(make("mcl", **{switch: False})(batch)) == everything - gone


def test_mcl_discriminator_and_encoder_do_not_train_each_other() -> None:
    method, batch = make("mcl"), make_batch()
    terms = method(batch)
    discriminator = [p for p in method.discriminator.parameters() if p.requires_grad]
    encoder = method.model.layer4[0].downsample[1].weight

    def gradients(term: str, of: list) -> list:
        return list(torch.autograd.grad(terms[term], of, retain_graph=True, allow_unused=True))

    assert gradients("discriminator", [encoder]) == [None]
    assert gradients("confusion", discriminator) == [None] * len(discriminator)
    assert all(g.any() for g in gradients("discriminator", discriminator))
    assert gradients("confusion", [encoder])[0].any()
    together = torch.autograd.grad(
        torch.stack(list(terms.values())).sum(), discriminator, retain_graph=True
    )
    for one, other in zip(together, gradients("discriminator", discriminator)):
        assert torch.allclose(one, other)


def test_mcl_weights_and_centers() -> None:
    batch = make_batch()
    plain, doubled = make("mcl"), make("mcl", camera_center_weight=0.001, triplet_weight=2.0)
    doubled.load_state_dict(plain.state_dict())
    a, b = plain(batch), doubled(batch)
    assert torch.allclose(2 * a["camera_centers"], b["camera_centers"])
    assert torch.allclose(2 * a["triplet"], b["triplet"])
    assert torch.allclose(a["identity_centers"], b["identity_centers"])
    frozen = make("mcl", centers="frozen")
    assert not any("centers" in name for name, _ in frozen.named_parameters())
    assert "identity_centers.centers" in frozen.state_dict()
    assert frozen.identity_centers.centers.shape == (5, frozen.model.dim)
    assert frozen.camera_centers.centers.shape == (2, frozen.model.dim)


def test_mcl_groups() -> None:
    groups = {group.name: group for group in make("mcl").groups()}
    assert groups["backbone"].lr_scale == 1.0  # from scratch
    assert groups["head"].lr_scale == groups["additions"].lr_scale == 1.0
    assert groups["discriminator"].optimiser == "sgd" and groups["head"].optimiser is None
    assert not groups["discriminator"].scheduled
    assert method_class("mcl").model_defaults().backbone_scale == 0.1  # with ImageNet weights


def test_ddag_graph_weight_follows_the_epoch_before() -> None:
    method, batch = make("ddag"), make_batch()
    method.epoch_started(0, None)
    assert float(method(batch)["graph"].detach()) == 0
    method.epoch_started(1, {"identity": 2.0, "triplet": 0.5, "part": 1.5, "graph": 9.0})
    assert float(method.graph_scale) == pytest.approx(1 / 5)
    method.epoch_started(2, None)  # resumed without means: as saved
    assert float(method.graph_scale) == pytest.approx(1 / 5)
    assert float(method(batch)["graph"].detach()) > 0


def test_ddag_switches() -> None:
    batch = make_batch()
    no_part = make("ddag", part=False)
    assert set(no_part(batch)) == {"identity", "triplet", "graph"}
    assert no_part.test_embeddings == ("embedding", "pooled")
    assert set(no_part.eval().embed(batch.image, 2)) == {"embedding", "pooled"}
    assert set(make("ddag", graph=False)(batch)) == {"identity", "triplet", "part"}


def test_agw_arithmetic_and_label_smoothing_reach_the_losses() -> None:
    assert make("agw", triplet="published").triplet.arithmetic == "published"
    batch = make_batch()
    plain, smooth = make("agw"), make("agw", label_smoothing=0.1)
    smooth.model.classifier.weight.data.mul_(1000)
    plain.load_state_dict(smooth.state_dict())
    assert not torch.allclose(plain(batch)["identity"], smooth(batch)["identity"])


def test_recipes_are_those_of_the_published_code() -> None:
    published = RECIPES["mcl"]["published"]
    assert (published.lr, published.epochs, published.momentum) == (0.1, 201, 0.9)
    assert (published.augment.erase, published.augment.erase_area) == (0.8, (0.1, 0.8))
    factors = [published.schedule.factor(epoch, 1, 201) for epoch in (0, 9, 10, 19, 20, 49, 50)]
    assert factors == pytest.approx([0.1, 1, 1, 1, 0.1, 0.1, 0.01])
    for name in ("base", "agw", "ddag"):
        assert RECIPES[name]["published"].epochs == 81
        assert RECIPES[name]["published"].augment.erase == 0
        assert RECIPES[name]["clean"].method_options == {}
    assert published.precision == "float32" and RECIPES["mcl"]["clean"].precision == "auto"
    options = defaults(None, Choices(recipe="published")).method_options
    assert options == MCLOptions(triplet="published", centers="frozen", discriminator_step="before")
    assert defaults(None, Choices(method="mcl")).recipe == RECIPES["mcl"]["clean"]
    of_agw = defaults(None, Choices(method="agw", recipe="published")).method_options
    assert of_agw == AGWOptions(triplet="published")
    scratch = RECIPES["mcl"]["scratch"]
    assert (scratch.lr, scratch.schedule.kind, scratch.augment.channel) == (0.05, "cosine", 0.35)
    assert scratch.schedule.factor(199, 400, 20) == 1
    assert scratch.schedule.factor(8000, 400, 20) == pytest.approx(0)
    assert recipes_of(f"{EXAMPLE}:MyMethod") == RECIPES["base"]


def test_schedules() -> None:
    """Hand-worked: 4 epochs of 10 steps, warm-up over one of them or over 5 steps."""
    by_epoch, by_step = {"warmup_epochs": 2}, {"warmup_steps": 5}

    def factors(steps: tuple[int, ...], **options: Any) -> list[float]:
        schedule = Schedule(**options)
        return [schedule.factor(step, 10, 4) for step in steps]

    assert factors((0, 9, 10, 19, 20, 39), kind="constant", **by_epoch) == [0.5, 0.5, 1, 1, 1, 1]
    assert factors((0, 4, 5), kind="constant", **by_step) == pytest.approx([0.2, 1, 1])
    linear = factors((4, 5, 22, 40), kind="linear", floor=0.1, **by_step)
    assert linear == pytest.approx([1, 1, 0.1 + 0.9 * 18 / 35, 0.1])
    cosine = factors((0, 10, 20, 30, 40), kind="cosine", **by_epoch)
    assert cosine == pytest.approx([0.5, 1, 1, 0.5, 0])
    steps = factors((4, 9, 20, 30), milestones=(2, 3), factors=(0.5, 0.25), **by_step)
    assert steps == [1, 1, 0.5, 0.25]


def test_names() -> None:
    assert [resolve_method(n) for n in ("MCL", "baseline", "Base", "MCLNet")] == [
        "mcl", "base", "base", "mcl"]  # fmt: skip
    assert resolve_method("a.py:B") == f"{Path.cwd() / 'a.py'}:B"


@pytest.mark.parametrize(
    ("name", "options", "sizes", "words"),
    [
        (
            "mlc",
            {},
            {},
            r"Did you mean 'mcl'\? Valid: base, agw, ddag, mcl, caj, .*halo\. .*my\.py:MyMethod",
        ),
        ("absent.py:X", {}, {}, "absent.py', which does not exist"),
        (f"{EXAMPLE}:Nothing", {}, {}, "no class 'Nothing'.*MyMethod"),
        ("base", {"margn": 0.2}, {}, "Did you mean 'margin'"),
        ("base", {"margin": -0.2}, {}, "`margin` is -0.2; it must be at least 0"),
        ("mcl", {"triplet_weight": -1.0}, {}, "`triplet_weight` is -1.0"),
        ("mcl", {"identity_center_weight": -1.0}, {}, "`identity_center_weight` is -1.0"),
        ("mcl", {"rho": float("nan")}, {}, "`rho` is nan"),
        ("mcl", {"centers": "fixed"}, {}, "Valid: learned, frozen"),
        ("mcl", {"hidden": 0}, {}, "`hidden` is 0"),
        ("mcl", {}, {"num_cameras": 0}, "no camids.*turn `camera_centers` off"),
        ("mcl", {}, {"num_cameras": 1}, "one camera only.*turn `camera_centers` off"),
        ("ddag", {"heads": 0}, {}, "`heads` is 0"),
        ("ddag", {"dropout": 1.0}, {}, "`dropout` is 1.0"),
        ("agw", {"label_smoothing": 1.0}, {}, "`label_smoothing` is 1.0"),
    ],
)
def test_wrong_input_gets_a_sentence(
    name: str, options: dict[str, Any], sizes: dict[str, int], words: str
) -> None:
    defaults = method_class("base").model_defaults("resnet18", "none")
    with pytest.raises(InputError, match=words):
        build_method(name, defaults, Sizes(**{"num_pids": 4, "num_cameras": 2, **sizes}), options)


def test_without_camera_ids() -> None:
    model = method_class("mcl").model_defaults("resnet18", "none")
    method = build_method("mcl", model, Sizes(num_pids=5), {"camera_centers": False})
    assert "camera_centers" not in method(make_batch())


def test_a_file_that_is_not_python(tmp_path: Path) -> None:
    path = tmp_path / "my.py"
    path.write_text("class MyMethod:\n    pass\n")
    with pytest.raises(InputError, match="Those that do: none"):
        method_class(f"{path}:MyMethod")


def test_a_method_without_losses(tmp_path: Path) -> None:
    path = tmp_path / "my.py"
    path.write_text("from vireid.methods import Method\nclass MyMethod(Method):\n    pass\n")
    with pytest.raises(InputError, match=r"'MyMethod' in '.*my\.py' has no `terms"):
        method_class(f"{path}:MyMethod")


def test_the_network_in_the_package_is_trained_gently(monkeypatch: pytest.MonkeyPatch) -> None:
    """By `finetune`, unless a method has no such recipe; other starts have theirs."""
    for name, pretrained in (
        ("finetune", "synth"), ("scratch", "none"), ("clean", "imagenet"), ("clean", "mine.pth"),
    ):  # fmt: skip
        assert {defaults(None, Choices(method=m, pretrained=pretrained)).recipe.name
                for m in RECIPES} == {name}  # fmt: skip
    for recipes in RECIPES.values():
        one, other = recipes["finetune"], recipes["scratch"]
        assert (one.optim, one.lr, one.schedule.warmup_steps) == ("adamw", 0.0005, 5)
        schedule = replace(one.schedule, warmup_steps=200)
        assert other == replace(one, name="scratch", optim="sgd", lr=0.05, schedule=schedule)
    with monkeypatch.context() as patched:
        patched.delitem(RECIPES["agw"], "finetune")  # a method whose own recipes have other names
        assert defaults(None, Choices(method="agw", pretrained="synth")).recipe.name == "clean"


def test_options_and_recipes_need_no_torch() -> None:
    code = (
        "import sys, vireid.methods, vireid.models, vireid.losses, vireid.methods.options, "
        "vireid.methods.recipes, vireid.models.options\n"
        "from vireid.methods import METHODS, OPTIONS, RECIPES, resolve_method\n"
        "resolve_method('mcl')\nsys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

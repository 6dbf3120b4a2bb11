"""CAJ, DNS, DEEN and RLE against the published codes' own objectives and embeddings."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from published_kit import golden_net, is_dead
from test_contract import make
from torch import Tensor, nn

from vireid.data.augment import MEAN, STD
from vireid.losses import WeightedTripletLoss
from vireid.methods import Method, Sizes, build_method, method_class
from vireid.methods.published import _place, form_of, parse_published, published_net
from vireid.models import ModelOptions, TwoStream
from vireid.models.layouts import ChannelsFirst
from vireid.models.splitting import Backbone
from vireid.training.defaults import Choices, defaults
from vireid.training.optimisers import Optimisers
from vireid.training.options import TrainOptions
from vireid.types import Batch, InputError

GOLDEN = Path(__file__).parent.parent / "golden"
NUM_PIDS = 7


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {k: file[k] for k in file.files if k.startswith(("step", "schedule", "embeddings"))}


# Whole objectives -----------------------------------------------------------------------------

# method → options of a network whose map is its input, and our terms of each published number
STEPS: dict[str, tuple[dict[str, Any], dict[str, tuple[str, ...]]]] = {
    "caj": (
        {"pooling": "gem", "nonlocal_channels": 1},
        {"identity": ("identity",), "triplet": ("triplet",)},
    ),
    "dns": (
        {"pooling": "gem", "private_stages": 2, "last_stage": 2, "neck_shift_trained": True},
        {"identity": ("identity",), "circle_over_B": ("circle",), "dd": ("modality",)},
    ),
    "deen": (
        {"last_stage": 2},
        {"identity": ("identity",), "triplet": ("triplet",), "cpm_weighted": ("pairs",)},
    ),
    "rle": (
        {"stripes": 3},
        {"identity": ("identity",), "triplet": ("triplet",)},
    ),
}


def on_maps(name: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> Method:
    """The method on a network that takes last maps for images, with the file's weights."""
    file = golden(name)
    dim = file["step/map_visible"].shape[1]

    def build(chosen: ModelOptions, num_pids: int, network: type[TwoStream]) -> TwoStream:
        backbone = Backbone(
            stem=nn.Sequential(),
            stages=nn.ModuleList(nn.Sequential() for _ in range(4)),
            stem_dim=dim,
            dims=(dim,) * 4,
            strides=(1,) * 5,
            layout=ChannelsFirst(),
            signed=False,
            arch="none",
        )
        return network(backbone, chosen, num_pids)

    monkeypatch.setattr("vireid.methods.base.build_model", build)
    cls = method_class(name)
    chosen = ModelOptions(pretrained="none", **STEPS[name][0])
    method = cls(chosen, Sizes(num_pids=NUM_PIDS), cls.Options(**options)).double()
    for key, tensor in method.state_dict().items():
        for theirs in places(method, key, tensor):
            tensor.copy_(torch.from_numpy(file[f"step/weights/{theirs}"]).reshape(tensor.shape))
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return method


def places(method: Method, name: str, tensor: Tensor) -> list[str]:
    """Where the step's file has a tensor of ours; nowhere, if it lies before the maps."""
    place = _place(name, tuple(tensor.shape), form_of(method))
    known = golden(method.name)
    return [key for key in (place.names if place else []) if f"step/weights/{key}" in known]


def batch_of(name: str) -> Batch:
    file = golden(name)
    parts = [k for k in ("visible", "augmented", "infrared") if f"step/map_{k}" in file]
    maps = [torch.from_numpy(file[f"step/map_{part}"].copy()) for part in parts]
    half = file.get("step/pid_label_per_modality")
    labels = file["step/labels"] if half is None else np.tile(half, 2)
    modality = torch.cat([torch.full((len(m),), int(p == "infrared")) for m, p in zip(maps, parts)])
    num_visible = int((modality == 0).sum())
    image = torch.cat(maps).requires_grad_()
    return Batch(image, torch.from_numpy(labels), modality, modality, num_visible)


@pytest.mark.parametrize("name", STEPS)
def test_the_objective_and_its_gradients(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = golden(name)
    published = {"triplet": "published"} if name == "caj" else {}
    method, batch = on_maps(name, monkeypatch, **published), batch_of(name)
    terms = method(batch)
    total = torch.stack(list(terms.values())).sum()
    assert float(total.detach()) == pytest.approx(float(file["step/total"]), rel=1e-8)
    for key, ours in STEPS[name][1].items():
        found = sum(float(terms[term].detach()) for term in ours)
        assert found == pytest.approx(float(file[f"step/{key}"]), rel=1e-8)
    total.backward()
    parts = [k for k in ("visible", "augmented", "infrared") if f"step/map_{k}" in file]
    assert batch.image.grad is not None
    expected = np.concatenate([file[f"step/map_{part}_grad"] for part in parts])
    near(batch.image.grad, expected)
    checked = set()
    for key, parameter in method.named_parameters():
        for theirs in places(method, key, parameter):
            if parameter.grad is not None:
                near(parameter.grad.flatten(), file[f"step/grad/{theirs}"].flatten())
                checked.add(f"step/grad/{theirs}")
    lacking = {key for key in file if key.startswith("step/grad/")} - checked
    assert all(key.endswith("bias") for key in lacking)  # necks' shifts, which are not trained


def near(found: Tensor, expected: np.ndarray) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found.numpy(), expected, rtol=0, atol=1e-7 * scale + 1e-12)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("dns", {"circle_weight": 12.0}),  # without the second division by the 12 rows
        ("dns", {"circle_cosines": "half"}),
        ("deen", {"overlap_weight": 0.03}),  # divided by the rows of one branch
        ("rle", {"margin": 0.0}),
    ],
)
def test_mutants_miss_the_objective(
    name: str, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert misses(on_maps(name, monkeypatch, **options))


def test_caj_without_the_square_misses_the_objective(monkeypatch: pytest.MonkeyPatch) -> None:
    method = on_maps("caj", monkeypatch, triplet="published")
    assert not misses(method)
    method.triplet = WeightedTripletLoss("published")
    assert misses(method)


def misses(method: Method) -> bool:
    """Whether the sum of the terms is not the published total."""
    total = sum(float(value.detach()) for value in method(batch_of(method.name)).values())
    return abs(total / float(golden(method.name)["step/total"]) - 1) > 1e-7


def test_stripes_before_and_after_their_necks(monkeypatch: pytest.MonkeyPatch) -> None:
    file, method = golden("rle"), on_maps("rle", monkeypatch)
    batch = batch_of("rle")
    with torch.no_grad():
        found = method.eval().embed(batch.image, batch.num_visible)
    near(found["pooled"], file["step/eval_pooled_unit"])
    near(found["embedding"], file["step/eval_embedding_unit"])


# Whole networks -------------------------------------------------------------------------------

NETWORKS = [
    ("caj", "embeddings"), ("dns", "embeddings"),
    pytest.param("rle", "embeddings", marks=pytest.mark.long), ("rle", "embeddings_regdb"),
    pytest.param("deen", "embeddings", marks=pytest.mark.long), ("deen", "embeddings_regdb"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "part"), NETWORKS)
def test_embeddings_are_those_of_the_published_code(name: str, part: str) -> None:
    """Of the first two of the four published images: files are to be small."""
    file = golden(name)
    variant = name + part.removeprefix("embeddings")
    statistics = {
        key.split("statistics/")[1]: value
        for key, value in file.items()
        if "statistics/" in key and key.startswith(("embeddings/", f"{part}/"))
    }  # the variant's own go before the others
    net = golden_net(variant, statistics, int(file["embeddings/weight_seed"]))
    method = parse_published({"net": net}, "golden").build(name).eval()
    back = published_net(method)
    assert {k: v.shape for k, v in back.items()} == {k: v.shape for k, v in net.items()}
    for key, tensor in net.items():
        assert is_dead(key, variant) or torch.equal(back[key], tensor), key
    pixels = torch.from_numpy(file["embeddings/images"]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(value)[:, None, None] for value in (MEAN, STD))
    image = (pixels - mean) / std
    flips = f"{part}/similarity_flip_sum" in file
    sums: list[dict[str, Tensor]] = []
    for modality in ("visible", "infrared"):
        visible = len(image) if modality == "visible" else 0
        with torch.no_grad():
            found = method.embed(image, visible)
            if flips:
                mirrored = method.embed(image.flip(3), visible)
                sums.append({key: found[key] + mirrored[key] for key in found})
        for ours, theirs in (("pooled", "pool"), ("embedding", "bn")):
            expected = file[f"{part}/{modality}/{theirs}"]
            vectors = found[ours]
            if name == "deen":  # three features, each of length 1
                vectors = math.sqrt(3) * vectors.unflatten(1, (3, -1)).transpose(0, 1)
                vectors = vectors[:, : expected.shape[1]]
            assert np.abs(vectors[: len(expected)].numpy() - expected).max() < 2e-5
    if flips:
        gallery, query = sums
        of_features = 6 if name == "deen" else 2  # vectors of length 1 that the published sum has
        for ours, theirs in SIMILARITIES[name].items():
            scale = of_features if ours == "sum" else of_features / 2
            found = scale * query[ours].double() @ gallery[ours].double().T
            assert np.abs(found.numpy() - file[f"{part}/{theirs}"]).max() < 1e-4, ours


SIMILARITIES = {
    "rle": {
        "sum": "similarity_flip_sum",
        "weighted": "similarity_flip_0.8_0.2",
        "pooled": "similarity_flip_pool",
    },
    "deen": {"sum": "similarity_flip_sum", "weighted": "similarity_flip_0.1_0.9"},
}


# How they are trained -------------------------------------------------------------------------

# method → published group → our groups
GROUPS = {
    "caj": {"everything else": ["backbone"], "neck": ["head"], "classifier": ["head"]},
    "dns": {
        "everything else": ["backbone"],
        "layer3": ["stage 3"],
        "layer4": ["stage 4"],
        "neck": ["head"],
        "classifier": ["head"],
        "modality classifiers": ["additions"],
    },
    "deen": {"everything else": ["backbone"], "neck": ["head"], "classifier": ["head"]},
    "rle": {"everything else": ["backbone"], "four necks and four classifiers": ["head"]},
}


@pytest.mark.parametrize("name", GROUPS)
def test_rates_are_those_of_the_published_schedule(name: str) -> None:
    file = golden(name)
    options = defaults(None, Choices(method=name, recipe="published"))
    network = replace(options.model, arch="resnet10t", pretrained="none", backbone_scale=0.1)
    method = build_method(name, network, Sizes(num_pids=NUM_PIDS), options.method_options)
    optimisers = Optimisers(method, options.recipe, torch.device("cpu"))
    places = {group.name: i for i, group in enumerate(optimisers.groups)}
    assert set(places) == {ours for groups in GROUPS[name].values() for ours in groups}
    columns = [places[GROUPS[name][str(group)][0]] for group in file["schedule/groups"]]
    if name != "dns":
        for epoch, expected in zip(file["schedule/epochs"], file["schedule/lr"]):
            row = optimisers.rate_table(int(epoch), 2, options.recipe.epochs)[0]
            np.testing.assert_allclose(row[columns], expected, rtol=1e-6)
        return
    steps = int(file["schedule/steps_per_epoch"]) + 1
    for (epoch, step), expected in zip(file["schedule/epoch_step"], file["schedule/lr"]):
        if step > 0:  # the published code is one step late, and at step 0 out of order
            table = optimisers.rate_table(int(epoch), steps, options.recipe.epochs)
            np.testing.assert_allclose(
                table[int(step) - 1][columns], expected, rtol=1e-5, atol=1e-9
            )


def test_recipes_differ_between_data_sets_as_published() -> None:
    def recipe(method: str, dataset: str) -> TrainOptions:
        return defaults(None, Choices(method=method, recipe="published", dataset=dataset))

    assert [recipe("deen", name).model.last_stage for name in ("sysu", "regdb", "llcm")] == [
        4,
        3,
        4,
    ]
    assert [recipe("rle", name).model.last_stage for name in ("sysu", "regdb", "llcm")] == [4, 3, 4]
    assert recipe("dns", "regdb").recipe.lr == 0.1 and recipe("dns", "llcm").recipe.lr == 0.2
    areas = [recipe("deen", name).recipe.augment.erase_area for name in ("sysu", "llcm")]
    assert areas == [(0.2, 0.8), (0.02, 0.4)]
    rle = recipe("rle", "regdb")
    assert rle.recipe.augment.radical_arithmetic == "published"
    assert rle.recipe.augment.grey == 0.5 and rle.method_options.embedding_share == 0.1  # type: ignore[attr-defined]
    clean = defaults(None, Choices(method="rle", recipe="clean", dataset="regdb"))
    assert clean.recipe.augment.radical_arithmetic == "exact" and clean.recipe.augment.grey == 0.5
    assert recipe("rle", "sysu").size == (384, 192) and recipe("deen", "sysu").size == (384, 144)
    assert recipe("caj", "sysu").size == (288, 144)
    assert recipe("caj", "sysu").recipe.augment.visible_views == 2


# What is particular ---------------------------------------------------------------------------


def test_a_triplet_at_its_limit_is_said() -> None:
    published = make("caj", triplet="published", triplet_weight=2.0)
    assert published.trouble({"triplet": 175.9}) == ""
    assert "stood at its limit of 176" in published.trouble({"triplet": 176.0})
    assert make("caj").trouble({"triplet": 88.0}) == ""
    assert published.triplet.limit == 88 and make("caj").triplet.limit is None


def test_dns_has_a_triplet_only_where_asked() -> None:
    assert not hasattr(make("dns"), "triplet")
    assert hasattr(make("dns", triplet_weight=1.0), "triplet")


@pytest.mark.parametrize(
    ("arch", "dtype"),
    [("test_resnet", torch.bfloat16), ("test_convnext", torch.float32), ("test_resnet", None)],
)
def test_dns_projects_a_map_in_the_precision_that_it_has(
    arch: str, dtype: torch.dtype | None
) -> None:
    """Under autocast, and without; the terms are float32, and the gradient comes back."""
    torch.manual_seed(0)
    options = method_class("dns").model_defaults(arch, "none")
    method = build_method("dns", options, Sizes(num_pids=2)).train()
    seen: list[torch.dtype] = []
    first = method.model.projection.mlp[1]
    first.register_forward_hook(lambda _, given, made: seen.append(made.dtype))
    labels = torch.tensor([0, 1, 0, 1])
    batch = Batch(torch.randn(4, 3, 64, 64), labels, labels, torch.tensor([0, 0, 1, 1]), 2)
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is not None):
        terms = method(batch)
    assert seen == [dtype or torch.float32]
    assert {term.dtype for term in terms.values()} == {torch.float32}
    terms["alignment"].backward()
    assert first.weight.grad is not None and first.weight.grad.dtype == torch.float32


@pytest.mark.parametrize("network", [{"last_stage": 1}, {"last_stage": 3, "private_stages": 3}])
def test_deen_needs_shared_stages_after_its_expansion(network: dict[str, int]) -> None:
    with pytest.raises(InputError, match="expands the map before its last stage"):
        make("deen", network)


def test_regdbs_networks_end_a_stage_earlier() -> None:
    network = {"arch": "resnet18", "last_stage": 3}
    deen, rle = (make(name, network) for name in ("deen", "rle"))
    assert deen.model.dim == rle.model.dim == 256 and deen.model.expanded == 2
    assert set(deen.model.aggregations) == {"1", "2"}

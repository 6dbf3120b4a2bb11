"""What every method promises, a user's own included."""

from __future__ import annotations

import io
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vireid.methods import METHODS, Method, Sizes, build_method, method_class
from vireid.types import Batch

EXAMPLE = Path(__file__).parents[2] / "examples" / "my_method.py"
NAMES = [*METHODS, f"{EXAMPLE}:MyMethod"]
NUM_PIDS = 5
SMALL = {"arch": "test_resnet", "pretrained": "none"}
PARTS = {"deen": 3, "rle": 4}  # features of an image, before or after the neck


@pytest.fixture(params=NAMES, ids=[*METHODS, "my_method"])
def method(request: pytest.FixtureRequest) -> Method:
    return make(request.param)


def make(name: str, network: dict[str, Any] | None = None, **options: object) -> Method:
    """A small network; one camera a modality."""
    torch.manual_seed(0)
    model = method_class(name).model_defaults(**{**SMALL, **(network or {})})
    return build_method(name, model, Sizes(num_pids=NUM_PIDS, num_cameras=2), options)


def make_batch(seed: int = 0, pids: int = 2, images: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(NUM_PIDS, generator=generator)[:pids].repeat_interleave(images)
    half = len(labels)
    modality = torch.arange(2 * half) // half
    return Batch(
        image=torch.randn(2 * half, 3, 80, 32, generator=generator),  # high enough for stripes
        pid_label=torch.cat([labels, labels]),
        camera_label=modality.clone(),
        modality=modality,
        num_visible=half,
    )


def optimisers(method: Method, lr: float = 0.01) -> list[torch.optim.SGD]:
    return [
        torch.optim.SGD(
            [
                {"params": group.parameters, "lr": lr * group.lr_scale}
                for group in method.groups()
                if group.optimiser == kind
            ],
            momentum=0.9,
        )
        for kind in dict.fromkeys(group.optimiser for group in method.groups())
    ]


def step(method: Method, batch: Batch, optims: list[torch.optim.SGD]) -> dict[str, Tensor]:
    terms = method(batch)
    for optim in optims:
        optim.zero_grad()
    torch.stack(list(terms.values())).sum().backward()
    for optim in optims:
        optim.step()
    return terms


def test_every_parameter_is_owned_once_and_learns(method: Method) -> None:
    owned = [id(p) for group in method.groups() for p in group.parameters]
    trainable = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    assert len(owned) == len(set(owned))
    assert set(owned) == set(trainable)
    moved: set[int] = set()
    optims = optimisers(method)
    for number in range(3):
        means = {"identity": 1.6, "triplet": 0.3, "part": 1.6} if number else None
        method.epoch_started(number, means)
        terms = step(method, make_batch(number, pids=4), optims)
        for name, value in terms.items():
            assert value.shape == () and torch.isfinite(value), name
        moved |= {id(p) for p in method.parameters() if p.grad is not None and p.grad.any()}
    assert [name for key, name in trainable.items() if key not in moved] == []


def test_two_identities_and_one_image_of_each_modality(method: Method) -> None:
    batch = make_batch(pids=2, images=1)
    optims = optimisers(method)
    for _ in range(2):
        terms = step(method, batch, optims)
        assert all(torch.isfinite(value) for value in terms.values())
    assert all(torch.isfinite(p).all() for p in method.parameters())


def test_embeddings(method: Method) -> None:
    method.eval()
    batch = make_batch()
    with torch.no_grad():
        for num_visible in (0, batch.num_visible, len(batch.image)):
            found = method.embed(batch.image, num_visible)
            assert tuple(sorted(found)) == tuple(sorted(method.test_embeddings))
            for name, vectors in found.items():
                # several features after one another: of branches, of stripes, of both embeddings
                count = PARTS.get(method.name, 1) * (2 if name in ("sum", "weighted") else 1)
                assert vectors.shape == (len(batch.image), count * method.model.dim)
                assert torch.allclose(vectors.norm(dim=1), torch.ones(len(vectors)))


@pytest.mark.parametrize("name", NAMES, ids=[*METHODS, "my_method"])
def test_saved_and_loaded_is_equal_and_goes_on_equally(name: str) -> None:
    first = make(name)
    optims = optimisers(first)
    step(first, make_batch(0), optims)
    file = io.BytesIO()
    torch.save({"method": first.state_dict(), "optims": [o.state_dict() for o in optims]}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    second = make(name)
    second.load_state_dict(saved["method"], strict=True)
    others = optimisers(second)
    for optim, state in zip(others, saved["optims"]):
        optim.load_state_dict(state)
    for method, owned in ((first, optims), (second, others)):
        torch.manual_seed(5)  # dropout
        step(method, make_batch(1), owned)
    for (key, a), b in zip(first.state_dict().items(), second.state_dict().values()):
        assert torch.equal(a, b), key


def test_terms_are_one_graph_without_looking_at_values(method: Method) -> None:
    """What the compiled engine and the captured step need."""
    batch = make_batch(pids=3)
    method.epoch_started(1, {"identity": 1.0})
    for module in method.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    output = method.model(batch.image, batch.num_visible)
    torch.manual_seed(1)
    plain = method.terms(output, batch)
    torch.manual_seed(1)
    compiled = torch.compile(method.terms, backend="eager", fullgraph=True)(output, batch)
    assert plain.keys() == compiled.keys()
    for name, value in plain.items():
        if name != "graph":  # dropout draws differently
            assert torch.allclose(value, compiled[name], rtol=1e-4), name


@pytest.mark.long
def test_whole_forward_is_one_graph(method: Method) -> None:
    compiled = torch.compile(method, backend="aot_eager", fullgraph=True)
    terms = compiled(make_batch())
    torch.stack(list(terms.values())).sum().backward()
    assert all(torch.isfinite(value) for value in terms.values())


def test_bfloat16_autocast_keeps_losses_in_float32(method: Method) -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = method(make_batch())
    assert {value.dtype for value in terms.values()} == {torch.float32}
    assert all(torch.isfinite(value) for value in terms.values())


@pytest.mark.parametrize("name", NAMES, ids=[*METHODS, "my_method"])
def test_triplet_sees_all_ranks(name: str) -> None:
    """Two ranks with the same rows: the batch-hard or weighted triplet over both."""
    method, batch = make(name, triplet_weight=1.0), make_batch(pids=3)
    output = method.model(batch.image, batch.num_visible)
    method.gather = lambda rows: torch.cat([rows, rows])
    both = method.terms(output, batch)["triplet"]
    labels = batch.pid_label.repeat(len(output.pooled) // len(batch.pid_label))
    expected = method.triplet(torch.cat([output.pooled] * 2), torch.cat([labels] * 2))
    assert torch.allclose(both, expected)


@pytest.mark.parametrize("name", NAMES, ids=[*METHODS, "my_method"])
def test_every_weight_weighs(name: str) -> None:
    """No weight among the options is accepted and then passed over, with stripes or without."""
    batch = make_batch(pids=3)

    def terms(**options: object) -> dict[str, Tensor]:
        method = make(name, {"stripes": 2}, **options)
        method.epoch_started(0, None)
        method.epoch_started(1, {"identity": 1.0})
        torch.manual_seed(1)  # of dropout
        return {term: value.detach() for term, value in method(batch).items()}

    defaults = {f.name: f.default for f in fields(method_class(name).Options)}
    weights = {key: value or 1.0 for key, value in defaults.items() if key.endswith("_weight")}
    plain = terms(**weights)  # a term that is off by default is turned on
    for weight in weights:
        heavy = terms(**weights | {weight: 2 * weights[weight]})
        moved = [term for term in plain if not torch.equal(plain[term], heavy[term])]
        assert len(moved) == 1, weight
        assert torch.allclose(2 * plain[moved[0]], heavy[moved[0]]), weight


def test_recipes(method: Method) -> None:
    assert all(recipe.name == name for name, recipe in method.recipes.items())
    published = {"published"} - ({"published"} if method.name == "halo" else set())  # it is ours
    assert method.recipes.keys() == {"clean", "scratch", "finetune"} | published

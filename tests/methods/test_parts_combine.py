"""Parts of one method on the network of another, and parts of several papers in one file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from test_contract import make, make_batch, optimisers, step

ROOT = Path(__file__).parents[2]
SEARCHED = f"{ROOT / 'benchmarks/sweeps/parts.py'}:Parts"
EVERY_PART: dict[str, Any] = {
    "confusion": True, "identity_centers": True, "camera_centers": True, "triplet_kind": "squared",
    "shift": True, "gate": True, "circle_weight": 0.1, "retrieval_weight": 0.5,
    "discrepancy_weight": 0.1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("mcl", {"stripes": 3}),
        ("agw", {"private_stages": 2}),
        ("ddag", {"last_stage": 3, "stripes": 2}),
        ("dns", {"nonlocal_channels": 2, "private_stages": 1}),
        ("deen", {"private_stages": 1, "stripes": 2, "pooling": "gem"}),
        ("rle", {"neck_shift_trained": True, "nonlocal_channels": 1}),
        (f"{ROOT / 'examples/combined_method.py'}:Combined", {"stripes": 2}),
    ],
    ids=lambda value: value.rsplit(":")[-1] if isinstance(value, str) else None,
)
def test_everything_learns(name: str, network: dict[str, Any]) -> None:
    method = make(name, network)
    optims, moved = optimisers(method), set()
    for number in range(3):
        method.epoch_started(number, {"identity": 1.6} if number else None)
        terms = step(method, make_batch(number, pids=4), optims)
        assert all(torch.isfinite(value) for value in terms.values())
        moved |= {k for k, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {k for k, p in method.named_parameters() if p.requires_grad}
    found = method.eval().embed(make_batch().image, 4)
    assert set(found) == set(method.test_embeddings)


def test_the_parts_that_are_searched_combine_in_one_graph() -> None:
    """All of them at once learn, and are off by themselves: then the method is `agw`."""
    network = {"stripes": 2, "private_stages": 1}
    method, plain = make(SEARCHED, network, **EVERY_PART), make("agw", network)
    optims, moved = optimisers(method), set()
    for number in range(3):
        step(method, make_batch(number, pids=4), optims)
        moved |= {k for k, p in method.named_parameters() if p.grad is not None and p.grad.any()}
    assert moved == {k for k, p in method.named_parameters() if p.requires_grad}
    terms = torch.compile(method, backend="eager", fullgraph=True)(make_batch(pids=3))
    assert {"confusion", "circle", "retrieval", "discrepancy", "camera_centers"} < set(terms)

    off = make(SEARCHED, network)
    off.load_state_dict(plain.state_dict())
    batch = make_batch(pids=3)
    found, usual = off(batch), plain(batch)
    assert found.keys() == usual.keys()
    assert all(torch.equal(found[name], usual[name]) for name in usual)


def test_stripes_add_to_the_terms_that_a_method_has() -> None:
    """As published for RLE: means over stripes of identity and triplet loss."""
    batch = make_batch(pids=3)
    method = make("mcl", {"stripes": 2}, identity_weight=2.0)
    output = method.model(batch.image, batch.num_visible)
    plain, added = method.terms(output, batch), method.stripe_terms(output, batch)
    identity = [
        torch.nn.functional.cross_entropy(s.logits, batch.pid_label) for s in output.stripes
    ]
    triplet = [method.triplet(s.pooled, batch.pid_label) for s in output.stripes]
    torch.testing.assert_close(added["identity"], sum(identity))  # twice their mean
    torch.testing.assert_close(added["triplet"], sum(triplet) / 2)
    assert set(added) < set(plain)
    assert make("mcl").stripe_terms(output._replace(stripes=()), batch) == {}


def test_the_pictures_of_the_methods_are_those_that_the_script_draws() -> None:
    """Run `python docs/method_pictures.py` after changing it."""
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs/method_pictures.py")
    assert spec is not None and spec.loader is not None
    pictures = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pictures)
    for name in pictures.PICTURES:
        kept = (ROOT / f"docs/images/method_{name}.svg").read_text(encoding="utf-8")
        assert pictures.draw(name) == kept


def test_halo_is_what_was_searched() -> None:
    """Same first weights, same losses and gradients, bit for bit."""
    found = []
    for method in (make("halo"), make(SEARCHED, circle_weight=0.1)):
        terms = method(make_batch(pids=4))
        sum(terms.values()).backward()  # type: ignore[union-attr]
        found.append((terms, dict(method.named_parameters())))
    (ours, weights), (searched, others) = found
    assert ours.keys() == searched.keys() == {"identity", "triplet", "circle"}
    assert all(torch.equal(ours[name], searched[name]) for name in ours)
    assert weights.keys() == others.keys()
    for name, weight in weights.items():
        assert torch.equal(weight, others[name])
        assert weight.grad is None or torch.equal(weight.grad, others[name].grad), name

"""DDAG's attentions equal the published code's, values and gradients."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vireid.models.attention import BatchGraph, PartAttention, horizontal_parts

FILE = Path(__file__).parent.parent / "golden" / "ddag.npz"
CONVOLUTIONS = {"query": "fc1.0", "key": "fc2", "value": "fc3"}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return dict(np.load(FILE))


def close(ours: Tensor | None, theirs: np.ndarray) -> bool:
    assert ours is not None
    return np.abs(ours.detach().numpy() - theirs).max() <= 1e-5 * np.abs(theirs).max()


def test_part_attention(golden: dict[str, np.ndarray]) -> None:
    def weight(name: str) -> Tensor:
        return torch.tensor(golden[f"part/weights/{name}"]).double()

    part = PartAttention(48).double()
    state = {"gate": weight("gate"), "bn.num_batches_tracked": torch.tensor(0)}
    for ours, theirs in CONVOLUTIONS.items():
        state[f"{ours}.weight"] = weight(f"{theirs}.weight").squeeze(-1)
        state[f"{ours}.bias"] = weight(f"{theirs}.bias")
    for kind in ("weight", "bias", "running_mean", "running_var"):
        state[f"bn.{kind}"] = weight(f"bottleneck.{kind}")
    part.load_state_dict(state)
    for mode in ("eval", "train"):  # in the order in which the golden values were made
        part.train(mode == "train")
        feature_map = torch.tensor(golden["part/map"]).double().requires_grad_()
        embedding = torch.tensor(golden["part/neck_feature"]).double().requires_grad_()
        output = part(feature_map, embedding)
        wave = torch.cos(torch.arange(output.numel(), dtype=torch.float64)).view_as(output)
        (output * wave).sum().backward()
        assert close(output, golden[f"part/{mode}/output"])
        assert close(feature_map.grad, golden[f"part/{mode}/map_grad"])
        assert close(embedding.grad, golden[f"part/{mode}/neck_feature_grad"])


def test_graph_attention(golden: dict[str, np.ndarray]) -> None:
    def heads(kind: str, *names: str) -> Tensor:
        return torch.tensor(np.stack([golden[f"graph/weights/{n}/{kind}"] for n in names])).double()

    graph = BatchGraph(48, 20, heads=4, head_dim=32, dropout=0.0).double()
    names = [f"head{i}" for i in range(4)]
    graph.load_state_dict(
        {
            "hidden.weight": heads("W", *names),
            "hidden.a": heads("a", *names),
            "out.weight": heads("W", "out"),
            "out.a": heads("a", "out"),
        }
    )
    pooled = torch.tensor(golden["graph/pooled"]).double().requires_grad_()
    pids = torch.tensor(golden["graph/pids"])
    log_probabilities = graph(pooled, pids)
    loss = F.nll_loss(log_probabilities, pids)
    loss.backward()
    assert close(log_probabilities, golden["graph/log_probabilities"])
    assert close(loss, golden["graph/loss"])
    assert close(pooled.grad, golden["graph/pooled_grad"])


@pytest.mark.parametrize("height", [18, 7, 3, 2])
def test_bands_are_those_of_adaptive_pooling(height: int) -> None:
    feature_map = torch.randn(2, 5, height, 4)
    expected = F.adaptive_avg_pool2d(feature_map, (3, 1)).squeeze(-1)
    assert torch.allclose(horizontal_parts(feature_map, 3), expected, atol=1e-6)


def test_dropout_of_the_graph_is_off_in_evaluation() -> None:
    graph = BatchGraph(8, 5, heads=2, head_dim=4, dropout=0.5).eval()
    pooled, pids = torch.randn(6, 8), torch.tensor([0, 0, 1, 1, 2, 2])
    assert torch.equal(graph(pooled, pids), graph(pooled, pids))

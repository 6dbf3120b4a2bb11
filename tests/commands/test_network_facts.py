"""What a network is made of: parts counted by hand, whatever the network."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from command_kit import run
from torch import nn

from vireid.bench import cost_of, parts_of
from vireid.bench.network import REST, TRAINING
from vireid.embed import Embedder
from vireid.methods import Sizes, build_method
from vireid.models import ModelOptions
from vireid.types import Modality

SIZE = (64, 32)


def method(name: str = "base", **changes):
    options = ModelOptions(arch="resnet18", pretrained="none", **changes)
    return build_method(name, options, Sizes(num_pids=10, num_cameras=6))


def test_parts_by_hand() -> None:
    found = parts_of(method(), SIZE)
    # the stem: 64 filters of 7 x 7 x 3 at half the size
    assert found["stem_visible"].multiply_adds == 64 * 7 * 7 * 3 * 32 * 16
    assert found["stem_visible"].activations == 64 * 32 * 16
    assert found["stem_visible"].parameters == 64 * 7 * 7 * 3 + 128
    assert found["stem_infrared"] == (found["stem_visible"].parameters, 0, 0)
    # stage 1: two blocks of two convolutions 64 -> 64, 3 x 3, at a quarter of the size
    assert found["layer1"].multiply_adds == 4 * 64 * 64 * 9 * 16 * 8
    assert found["layer1"].activations == 4 * 64 * 16 * 8
    assert found["classifier"] == (512 * 10, 0, 0)  # embedding never uses it
    assert TRAINING not in found and REST not in found


def test_every_parameter_and_product_is_in_one_part() -> None:
    network = method("mcl", nonlocal_channels=1, pooling="gem")
    found = parts_of(network, SIZE)
    assert sum(part.parameters for part in found.values()) == sum(
        p.numel() for p in network.parameters()
    )
    assert found["nonlocal3"].multiply_adds > 0 and found[TRAINING].parameters > 0
    infrared = parts_of(network, SIZE, Modality.INFRARED)
    assert infrared["stem_infrared"].multiply_adds == found["stem_visible"].multiply_adds
    assert network.training  # as it was before

    class Own(nn.Module):
        """A network of one's own, with a product outside its parts."""

        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3, 5))
            self.body = nn.Linear(5, 4, bias=False)

        def embed(self, image: torch.Tensor, num_visible: int) -> dict[str, torch.Tensor]:
            return {"embedding": self.body(image.mean((2, 3)) @ self.scale)}

    network.model = Own()  # type: ignore[assignment]
    found = parts_of(network, SIZE)
    assert found["body"] == (20, 20, 4) and found[REST] == (15, 15, 5)


def test_what_an_image_costs() -> None:
    embedder = Embedder(method(), {"size": list(SIZE)}, device="cpu", precision="float32")
    cost = cost_of(embedder, batch=2)
    assert cost["ms_one"] > 0 and cost["ms_in_batch"] > 0 and cost["batch"] == 2
    assert cost["weights_bytes"] == 4 * sum(p.numel() for p in embedder.method.parameters())
    assert cost["peak_bytes"] > cost["weights_bytes"] and cost["device"] == "cpu"


@pytest.mark.parametrize("target", ["", "weights.safetensors"])
def test_info_shows_the_network(trained: Path, target: str, capsys) -> None:
    assert run("info", trained / target, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    parts = facts["network"]["parts"]
    total = facts["network"]["total"]
    assert total["multiply_adds"] == sum(part["multiply_adds"] for part in parts.values())
    assert facts["network"]["architecture"] == facts["architecture"] == "test_resnet"
    assert run("info", trained / target) == 0
    shown = capsys.readouterr().out
    assert "multiply-adds" in shown and "nonlocal2" in shown and "8 at a time" in shown

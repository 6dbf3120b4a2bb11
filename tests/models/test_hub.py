"""Weights on the Hugging Face Hub, by its own client from a hub on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_kit import Hub, serving
from huggingface_hub import constants

import vireid
from vireid.models import ModelOptions, build_model
from vireid.models.hub import cached_weights, fetch, on_hub
from vireid.models.pretrained import locate
from vireid.models.whereabouts import find_weights
from vireid.testing import run_of
from vireid.types import InputError

if TYPE_CHECKING:
    from server_kit import World

MAIN = "hf://user/name"


@pytest.fixture
def hub(world: World, tmp_path: Path) -> Iterator[Hub]:
    content = world.weights.read_bytes()
    hub = Hub()
    hub.repositories["user/name"] = {
        "main": {"weights.safetensors": content},
        "v1": {"weights.safetensors": content, "run.py": b"raise SystemExit('code of the hub')"},
        "bare": {"README.md": b"nothing"},
    }
    with serving(hub, tmp_path / "cache"):
        yield hub


def test_weights_by_name(hub: Hub, world: World) -> None:
    assert vireid.load(MAIN, device="cpu").weights_hash == world.embedder.weights_hash
    assert find_weights("HF://user/name@v1 ").read_bytes() == world.weights.read_bytes()
    asked = [one.split("/resolve/") for one in hub.asked if "/resolve/" in one]
    got = {file for whose, file in asked if whose.startswith("GET")}
    assert got == {"main/weights.safetensors"}  # the same bytes are fetched once, and no code
    start = build_model(ModelOptions(arch="test_resnet", pretrained=MAIN), 4)
    trained = dict(world.embedder.method.named_parameters())["model.stem_infrared.conv1.0.weight"]
    assert start.stem_infrared.conv1[0].weight.equal(trained)
    assert run_of(MAIN) == Path("name")


def test_the_cache_answers_where_the_hub_does_not(hub: Hub) -> None:
    main = hub.repositories["user/name"]["main"]
    main["weights.safetensors"] = b"older"
    assert cached_weights(MAIN) is None
    assert find_weights(MAIN).read_bytes() == b"older"
    assert cached_weights(MAIN) == find_weights(MAIN)
    main["weights.safetensors"] = b"newer"
    hub.asked.clear()
    assert find_weights(MAIN).read_bytes() == b"older"
    assert not hub.asked  # one revision throughout a process
    for name, value in (("HF_HUB_OFFLINE", True), ("ENDPOINT", "http://127.0.0.1:9")):
        fetch.cache_clear()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(constants, name, value)
            assert find_weights(MAIN).read_bytes() == b"older"
            sentence = (
                r"could not be fetched \(.+\)\. Fetch http://\S+/user/name/resolve/v1/weights"
            )
            with pytest.raises(InputError, match=sentence):
                find_weights(f"{MAIN}@v1")
    fetch.cache_clear()
    assert find_weights(MAIN).read_bytes() == b"newer"


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("hf://name", "names no repository of the Hugging Face Hub. Write hf://USER/NAME"),
        ("hf://user/name/weights.safetensors", "names no repository"),
        ("hf://user/name@", "names no repository"),
        ("hf://../name", "no repository of the name '../name'"),
        ("hf://user/other", "shows you no repository 'user/other'. Correct the name; if it is"),
        ("hf://user/name@v9", "has no revision 'v9'. Name a branch, a tag or a commit"),
        ("hf://user/name@bare", "holds no file weights.safetensors"),
    ],
)
def test_what_the_hub_has_not(hub: Hub, source: str, sentence: str) -> None:
    assert on_hub(source)
    for call in (lambda: vireid.load(source), lambda: locate(source, "resnet18")):
        with pytest.raises(InputError) as caught:
            call()
        assert sentence in str(caught.value)

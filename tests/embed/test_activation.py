"""Where similarity comes from: a planted patch is found, and moves the map when it moves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vireid.embed import Embedder, similarity_maps
from vireid.methods import Sizes, build_method
from vireid.models.options import ModelOptions
from vireid.types import InputError, Modality

SIZE = (96, 48)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    torch.manual_seed(0)
    options = ModelOptions(arch="resnet18", pretrained="none", pooling="average")
    method = build_method("base", options, Sizes(num_pids=4, num_cameras=2), None)
    return Embedder(method, {"size": list(SIZE)}, device="cpu")


def patch(top: int, left: int) -> np.ndarray:
    image = np.full((*SIZE, 3), 90, np.uint8)
    stripes = (np.arange(24) // 3 % 2 * 255).astype(np.uint8)
    image[top : top + 24, left : left + 24] = stripes[:, None, None]
    return image


def test_the_maximum_moves_with_the_patch(embedder: Embedder) -> None:
    images = np.stack([patch(0, 0), patch(72, 24), patch(0, 24)])
    plain = embedder.embed(patch(36, 12)[None], "infrared").pooled
    empty = embedder.embed(np.full((1, *SIZE, 3), 90, np.uint8), "visible").pooled
    query = plain - empty  # what the patch adds
    similarity, maps = similarity_maps(
        embedder, images, Modality.VISIBLE, query, embedding="pooled"
    )
    assert maps.shape == (3, 6, 3) and maps.max() == 1 and maps.min() >= 0
    vectors = embedder.embed(images, "visible").pooled
    np.testing.assert_allclose(similarity, (vectors @ query.T)[:, 0], atol=1e-5)
    rows, columns = zip(*(np.unravel_index(m.argmax(), m.shape) for m in maps))
    assert rows[0] <= 1 and rows[1] >= 4 and rows[2] <= 1
    assert columns[0] < columns[1]


def test_other_weights_give_another_map(embedder: Embedder) -> None:
    images = patch(0, 0)[None]
    query = embedder.embed(images, "infrared").pooled
    _, before = similarity_maps(embedder, images, Modality.VISIBLE, query, embedding="pooled")
    torch.manual_seed(5)
    other = build_method(
        "base",
        ModelOptions(arch="resnet18", pretrained="none", pooling="average"),
        Sizes(num_pids=4, num_cameras=2),
        None,
    )
    shuffled = Embedder(other, {"size": list(SIZE)}, device="cpu")
    _, after = similarity_maps(shuffled, images, Modality.VISIBLE, query, embedding="pooled")
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] < 0.7


def test_the_network_is_left_as_it_was(embedder: Embedder, monkeypatch) -> None:
    image = patch(0, 0)[None]
    query = embedder.embed(image, "visible").pooled
    similarity_maps(embedder, image, Modality.VISIBLE, query, embedding="pooled")
    assert "body" not in vars(embedder.method.model)
    assert all(p.grad is None for p in embedder.method.parameters())
    monkeypatch.setattr(embedder.method, "embed", lambda image, _: {"pooled": image.mean((2, 3))})
    with pytest.raises(InputError, match="without `body`"):
        similarity_maps(embedder, image, Modality.VISIBLE, query[:, :3], embedding="pooled")

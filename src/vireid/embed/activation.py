"""Where in an image the network sees what makes it similar to a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from vireid.data.augment import normalise
from vireid.embed.embedder import Embedder
from vireid.types import InputError, Modality


def similarity_maps(
    embedder: Embedder,
    images: np.ndarray,
    modality: Modality,
    queries: np.ndarray,
    *,
    embedding: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Similarity of images to queries, and where in the images it comes from.

    The map of an image is the positive part of Σ_c ∂s/∂F_c · F_c: what each place of the last
    feature map F (C, h, w) adds to the cosine s, beyond what any place would.

    Args:
        images: (N, H, W, 3) uint8 of the weights' size.
        modality: of all images.
        queries: (N, D) vectors, one for each image, or (1, D) for all.
        embedding: name of the vectors; the weights' default if None.

    Returns:
        (N,) similarities and (N, h, w) maps, each at most 1 at its largest place.

    Raises:
        InputError: the method's network has no feature map.
    """
    name = embedding or embedder.default_embedding
    device = embedder.device
    wanted = torch.as_tensor(queries, device=device, dtype=torch.float32)
    found = []
    for start in range(0, len(images), 32):
        rows = slice(start, start + 32)
        image = normalise(
            torch.as_tensor(np.ascontiguousarray(images[rows]), device=device),
            *embedder.method.input_statistics,
        )
        visible = len(image) if modality == Modality.VISIBLE else 0
        target = wanted if len(wanted) == 1 else wanted[rows]
        with torch.enable_grad(), _watched(embedder) as maps:
            vectors = embedder.method.embed(image, visible)[name].float()
            similarity = (vectors * target).sum(1)
            if not maps:
                raise InputError(
                    f"The method '{embedder.method.name}' makes '{name}' without `body` of its "
                    "network, so there is no map to show."
                )
            (slope,) = torch.autograd.grad(similarity.sum(), maps[-1])
        layout = embedder.method.model.layout
        places = (
            layout.map_of(slope * maps[-1], (image.shape[2], image.shape[3])).sum(1).clamp_min(0)
        )
        most = places.flatten(1).amax(1).clamp_min(torch.finfo(places.dtype).tiny)
        found.append((similarity.detach().cpu(), (places / most[:, None, None]).detach().cpu()))
    return tuple(torch.cat(part).float().numpy() for part in zip(*found))  # type: ignore[return-value]


@contextmanager
def _watched(embedder: Embedder) -> Iterator[list[Tensor]]:
    """What the network's last stage returns meanwhile, as leaves that gradients reach."""
    model, maps = embedder.method.model, []
    original = getattr(model, "body", None)

    def watched(image: Tensor, num_visible: int) -> Tensor:
        with torch.no_grad():
            found = original(image, num_visible)  # type: ignore[misc]
        maps.append(found.detach().float().requires_grad_())
        return maps[-1]

    if original is None:
        yield maps
        return
    model.body = watched  # type: ignore[method-assign]
    try:
        yield maps
    finally:
        del model.body  # the class's own is seen again

"""Whole training steps of the published loops (tests/golden/steps), and ours for them.

The files hold four float64 steps of each method on images without augmentation; how they and
their start weights were made stands in `start_weights` and `run_steps`. They are computed with
the published losses, backward passes, optimisers and learning rates.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vireid.data import AugmentOptions
from vireid.data.augment import Augment
from vireid.methods import Method, Sizes, build_method, method_class
from vireid.methods.recipe import Recipe
from vireid.runtime.precision import choose_precision
from vireid.runtime.ranks import World
from vireid.training.optimisers import Optimisers
from vireid.training.step import Labels, Plan, Step
from vireid.training.store import DeviceStore

STEPS = Path(__file__).parent / "golden" / "steps"
CPU = torch.device("cpu")
SIZE = (64, 32)

# file → method, recipe, and options in which the file differs from the recipe
GOLDEN: dict[str, tuple[str, str, dict[str, Any]]] = {
    "base": ("base", "published", {}),
    "agw": ("agw", "published", {}),
    "ddag": ("ddag", "published", {}),
    "mcl_published": ("mcl", "published", {}),
    "mcl_clean": ("mcl", "clean", {"centers": "frozen", "triplet": "published"}),
}


class Result(NamedTuple):
    """What the steps gave: by step and term, by step and tensor, by step and group."""

    losses: list[dict[str, float]]
    digests: list[dict[str, np.ndarray]]
    rates: list[dict[str, float]]


def golden(name: str) -> dict[str, np.ndarray]:
    with np.load(STEPS / f"{name}.npz") as file:
        return dict(file)


@cache
def start_tensor(name: str, shape: tuple[int, ...]) -> Tensor:
    """The start of a tensor, rounded to float32."""
    return torch.tensor(start_value(name, shape), dtype=torch.float32)


def start_value(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The start of a tensor, by the rule that made the golden files."""
    a = np.random.default_rng(zlib.crc32(name.encode()) + 20261122).standard_normal(shape)
    last = name.rsplit(".", 1)[-1]
    if last in ("num_batches_tracked", "graph_scale"):
        return np.zeros(shape)
    if last == "running_mean":
        return 0.1 * a
    if last == "running_var":
        return 1 + 0.1 * np.abs(a)
    if last == "centers":
        return a
    if last == "gate":
        return 1 / 3 + 0.1 * a
    if last == "bias":
        return 0.2 * a
    if last == "a":
        return 0.3 * a
    if len(shape) == 1:
        return (1 + 0.1 * a) * (0.3 if "bn3" in name or "nonlocal" in name else 1)
    if name == "model.classifier.weight":
        return 0.02 * a
    if name.startswith("graph"):
        return a * math.sqrt(1 / shape[1])
    if name.startswith("part"):
        return a * math.sqrt(0.1 / math.prod(shape[1:]))
    return a * math.sqrt(2 / math.prod(shape[1:])) * (0.1 if "nonlocal" in name else 1)


def load_start(method: Method) -> None:
    """Give the method the golden start weights, rounded to float32."""
    state = {
        name: start_tensor(name, tuple(value.shape)) for name, value in method.state_dict().items()
    }
    method.load_state_dict(state)


class _Float64(nn.Module):
    """Images normalised in float32, then converted."""

    def __init__(self, augment: Augment) -> None:
        super().__init__()
        self.augment = augment

    def forward(self, images: Tensor, draws: Tensor) -> Tensor:
        return self.augment(images, draws).double()


@contextmanager
def _golden_dropout(seed: int) -> Iterator[None]:
    """Dropout with the masks of one NumPy generator, in the order of the forward pass."""
    generator = np.random.default_rng(seed)

    def dropout(x: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        assert training and not inplace
        return x * torch.from_numpy(generator.random(tuple(x.shape)) >= p) / (1 - p)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(F, "dropout", dropout)
        yield


def _conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Tensor:
    """A convolution as one product: PyTorch's own in float64 goes image by image on a CPU, which
    takes thrice as long."""
    assert groups == 1 and dilation == (1, 1)
    kernel = (weight.shape[2], weight.shape[3])
    size = [(n + 2 * p - k) // s + 1 for n, p, k, s in zip(x.shape[2:], padding, kernel, stride)]
    if kernel == (1, 1):
        columns = x[:, :, :: stride[0], :: stride[1]].flatten(2)
    else:
        columns = F.unfold(x, kernel, dilation, padding, stride)
    y = torch.einsum("oi,bip->bop", weight.flatten(1), columns).unflatten(2, size)
    return y if bias is None else y + bias[:, None, None]


def make(
    name: str, *, recipe: str | None = None, arch: str = "resnet50", **changes: Any
) -> tuple[Method, Recipe]:
    """The method and recipe of a golden file.

    Args:
        recipe, arch: others than the file's.
        changes: to the method's options.
    """
    method_name, recipe_name, options = GOLDEN[name]
    cls = method_class(method_name)
    chosen_recipe = cls.recipes[recipe or recipe_name]
    fields = set(cls.Options.__dataclass_fields__)
    chosen = {k: v for k, v in chosen_recipe.method_options.items() if k in fields}
    model = cls.model_defaults(arch, "none", backbone_scale=0.1)
    sizes = Sizes(num_pids=395 if method_name == "mcl" else 23, num_cameras=6)
    method = build_method(method_name, model, sizes, {**chosen, **options, **changes})
    return method, replace(chosen_recipe, augment=AugmentOptions(pad=0, flip=0.0))


def run_steps(
    name: str,
    *,
    steps: int = 4,
    precision: str = "float64",
    mutate: Callable[[Method], None] = lambda _: None,
    wrap: Callable[[Step], None] = lambda _: None,
    **changes: Any,
) -> Result:
    """Take the steps of a golden file by the package's own `Step`, in float64 as the file's were,
    or in another precision."""
    file = golden(name)
    method, recipe = make(name, **changes)
    load_start(method)
    exact = precision == "float64"
    method.to(torch.float64 if exact else torch.float32).train()
    mutate(method)
    optimisers = Optimisers(method, recipe, CPU)
    modality = np.zeros(len(file["pid"]), np.int64)
    modality[np.unique(file["rows"][:, 8:])] = 1
    augment = Augment(recipe.augment, SIZE)
    labels = Labels(pid=file["pid"], camera=file["camera"], modality=modality)
    step = Step(
        method,
        _Float64(augment) if exact else augment,  # type: ignore[arg-type]
        DeviceStore(file["images"], np.arange(len(file["images"])), CPU),
        labels,
        optimisers,
        precision=choose_precision("float32" if exact else precision, CPU),
        world=World(rank=0, local_rank=0, size=1, device=CPU),
        steps=2,
        batch=16,
    )
    wrap(step)
    keys = [str(key) for key in file["keys"]]
    result = Result([], [], [])
    means: dict[str, float] | None = None
    for number in range(steps):
        epoch, inside = int(file["epochs"][number]), number % 2
        if inside == 0:
            method.epoch_started(epoch, means)
            plan = Plan(
                epoch=epoch,
                positions=file["rows"][number : number + 2].astype(np.int64),
                draws=np.zeros((2, 16, 8), np.int32),
                rates=optimisers.rate_table(epoch, 2, recipe.epochs),
            )
            step.load(plan)
            step.clear_sums()
        before = step.read_sums()
        with _golden_dropout(1000 * epoch + inside), pytest.MonkeyPatch.context() as patch:
            if exact:
                patch.setattr(F, "conv2d", _conv2d)
            step.once()
        sums = step.read_sums()
        result.losses.append({term: value - before.get(term, 0.0) for term, value in sums.items()})
        means = {term: value / (inside + 1) for term, value in sums.items()}
        state = method.state_dict()
        result.digests.append({key: digest(state[key]) for key in keys if key in state})
        rates = plan.rates[inside].tolist()
        result.rates.append(dict(zip([group.name for group in optimisers.groups], rates)))
    return result


def digest(tensor: Tensor) -> np.ndarray:
    """Sum, Euclidean norm, dot product with cos(0, 1, 2, …)."""
    flat = tensor.detach().double().contiguous().flatten().numpy()
    return np.array([flat.sum(), np.linalg.norm(flat), flat @ _cosines(flat.size)])


@cache
def _cosines(size: int) -> np.ndarray:
    return np.cos(np.arange(size))


def deviations(name: str, result: Result) -> tuple[float, float, float]:
    """Largest deviation from the golden file: of losses (relative), of digests and of the
    running means behind untrained biases (both as shares of the norm)."""
    file = golden(name)
    keys, terms = [str(key) for key in file["keys"]], [str(term) for term in file["terms"]]
    loss = digests = means = 0.0
    for number, (found, tensors) in enumerate(zip(result.losses, result.digests)):
        for term, value in zip(terms, file["losses"][number]):
            loss = max(loss, abs(found[term] - value) / max(abs(value), 1e-3))
        for key, value in zip(keys, file["digests"][number]):
            off = float(np.abs(tensors[key] - value).max() / value[1])
            if key.endswith("running_mean") and ("nonlocal" in key or key.split(".")[0] in LOOSE):
                means = max(means, off)
            else:
                digests = max(digests, off)
    return loss, digests, means


LOOSE = ("discriminator", "part")  # whose batch norms follow untrained biases

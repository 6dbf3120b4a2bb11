"""Small runs for the tests of training: a data set in memory, options, and processes to kill."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import forks
import numpy as np
import torch

from vireid.bench import random_data
from vireid.data import AugmentOptions, Dataset, PixelStore
from vireid.embed import load, save_embeddings
from vireid.losses import WeightedTripletLoss
from vireid.methods import method_class
from vireid.methods.recipe import Recipe, Schedule
from vireid.runtime.ranks import World, gather_rows, join
from vireid.training.gradient_mean import GradientMean, buckets
from vireid.training.sync_batch_norm import synchronise
from vireid.training.trainer import TrainOptions, TrainResult, train

SIZE = (64, 32)


def tiny_data(num_pids: int = 6) -> tuple[Dataset, PixelStore]:
    """Identities with 2 images in each of six cameras."""
    return random_data(12 * num_pids, size=SIZE, num_pids=num_pids)


def tiny_options(method: str = "base", arch: str = "test_resnet", **changes: Any) -> TrainOptions:
    """A run of 3 epochs of 4 steps on the CPU with a network of 0.5 M parameters."""
    recipe = Recipe(
        name="test",
        epochs=3,
        lr=0.02,
        pids_per_batch=4,
        images_per_pid=2,
        schedule=Schedule(kind="cosine", warmup_steps=3),
        augment=AugmentOptions(pad=4, erase=0.5, channel=0.3, grey=0.2),
    )
    recipe = replace(recipe, **changes.pop("recipe", {}))
    cls = method_class(method)
    given: dict[str, Any] = {
        "method": method,
        "method_options": cls.Options(**changes.pop("method_options", {})),
        "model": cls.model_defaults(arch, "none"),
        "recipe": recipe,
        "size": SIZE,
        "device": "cpu",
        "steps_per_epoch": 4,
        "log_every": 1,
    }
    return TrainOptions(**(given | changes))


def run(folder: Path, options: TrainOptions, *, num_pids: int = 6, **more: Any) -> TrainResult:
    """Train on `tiny_data`."""
    dataset, store = tiny_data(num_pids)
    return train(options, dataset, store, folder, **more)


def check_gradients(world: World) -> None:
    """Averaged gradients of a loss over gathered rows are those of one process."""
    generator = torch.Generator().manual_seed(1)
    rows, labels = torch.randn(8, 5, generator=generator), torch.arange(8) // 2
    weight = torch.randn(5, 3, generator=generator)
    loss = WeightedTripletLoss()
    alone, shared = torch.nn.Parameter(weight.clone()), torch.nn.Parameter(weight.clone())
    loss(rows @ alone, labels).backward()
    own = slice(world.rank * 4, world.rank * 4 + 4)
    both = loss(gather_rows(rows[own] @ shared), gather_rows(labels[own]))
    averaged([shared], world, both)
    torch.testing.assert_close(shared.grad, alone.grad)
    check_layouts(world)
    check_overlap(world)
    for shape, plain in (((8, 5), torch.nn.BatchNorm1d), ((8, 5, 3, 2), torch.nn.BatchNorm2d)):
        check_batch_norm(world, shape, plain)


def averaged(parameters: list[torch.nn.Parameter], world: World, loss: torch.Tensor) -> None:
    mean = GradientMean([parameters], world)
    mean.backward(loss)
    assert list(mean.arrivals()) == [0]


def check_batch_norm(world: World, shape: tuple[int, ...], plain: type[torch.nn.Module]) -> None:
    """Batch norm over two ranks is batch norm of both halves together, gradients included."""
    generator = torch.Generator().manual_seed(3)
    x, ask = (3 + torch.randn(shape, generator=generator) for _ in range(2))
    alone, holder = plain(5), torch.nn.Sequential(plain(5))
    holder.load_state_dict({f"0.{name}": value for name, value in alone.state_dict().items()})
    synchronise(holder)
    whole, half = x.clone().requires_grad_(), x.chunk(2)[world.rank].clone().requires_grad_()
    expected, found = alone(whole), holder(half)
    torch.testing.assert_close(found, expected.chunk(2)[world.rank])
    (expected * ask).sum().backward()
    wanted = (found * ask.chunk(2)[world.rank]).sum()
    averaged([*holder.parameters()], world, wanted)
    torch.testing.assert_close(half.grad, whole.grad.chunk(2)[world.rank])
    for one, other in zip(alone.parameters(), holder.parameters()):
        torch.testing.assert_close(2 * other.grad, one.grad, rtol=1e-4, atol=1e-4)
    for one, other in zip(alone.buffers(), holder.buffers()):
        torch.testing.assert_close(other, one)
    torch.testing.assert_close(holder.eval()(x), alone.eval()(x))


def check_layouts(world: World) -> None:
    """Several buckets; odd sizes, channels-last kernels and one without a gradient among them."""
    generator = torch.Generator().manual_seed(2)
    shapes = [(1,), (4, 3, 3, 2), (7,), (8, 4), (2, 4, 1, 1), (5,)]
    parameters = [torch.nn.Parameter(torch.zeros(shape)) for shape in shapes]
    parameters[1] = torch.nn.Parameter(torch.zeros(shapes[1]).to(memory_format=torch.channels_last))
    every = [
        [torch.empty_like(p).copy_(torch.randn(p.shape, generator=generator)) for p in parameters]
        for _ in range(2)
    ]
    mean = GradientMean(buckets(parameters, 160), world)
    assert len(mean.buckets) == 3
    for _ in range(2):  # it can be used again
        for parameter in parameters:
            parameter.grad = None
        asked = zip(parameters[:-1], every[world.rank])
        mean.backward(sum((p * gradient).sum() for p, gradient in asked))  # type: ignore[arg-type]
        assert list(mean.arrivals()) == [0, 1, 2]
        for parameter, one, other in zip(parameters[:-1], *every):
            assert parameter.grad is not None and parameter.grad.stride() == parameter.stride()
            torch.testing.assert_close(parameter.grad, (one + other) / 2)
        assert parameters[-1].grad is None


def check_overlap(world: World) -> None:
    """Gradients of the last layer travel before those of the first are there."""
    first, last = (torch.nn.Parameter(torch.ones(4, 4)) for _ in range(2))
    mean = GradientMean(buckets([first, last], 64), world)
    seen: list[int] = []
    first.register_hook(lambda _: seen.append(len(mean.travelling)))
    mean.backward((torch.ones(1, 4) @ first @ last).sum())
    assert seen == [1]
    assert list(mean.arrivals()) == [0, 1]
    assert not mean.travelling


def start(
    folder: Path, log: Path, environment: dict[str, str] | None = None, **words: Any
) -> BaseProcess:
    """Train in a process of its own (to be killed); what it says goes to the file `log`."""
    return forks.start(log, _train, folder, words, **(environment or {}))


def _train(folder: Path, words: dict[str, Any]) -> None:
    resume, embed = words.pop("resume", False), words.pop("embed", False)
    num_pids = words.pop("num_pids", 6)
    run(folder, tiny_options(**words), num_pids=num_pids, resume=resume)
    if not embed:
        return
    world = join("cpu")
    check_gradients(world)
    dataset, store = tiny_data()
    rows = np.arange(len(dataset.samples))
    found = load(folder, device="cpu").embed_store(store, dataset, rows, batch_size=8)
    if world.first:
        save_embeddings(folder / "embeddings.safetensors", found)

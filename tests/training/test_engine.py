"""Parts of a step: precision, threads, stores, optimisers, what can be compiled."""

from __future__ import annotations

import copy
import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.backends.debugging import aot_eager
from training_kit import SIZE, tiny_data, tiny_options
from triton_kit import quicken

from vireid.bench import StepBench, random_data
from vireid.cores import sensible_threads, usable_cores
from vireid.methods import Method, ParameterGroup, Sizes, build_method, method_class
from vireid.models.fusing import fits, fuse
from vireid.runtime.device import use_compile_cache
from vireid.runtime.precision import choose_precision
from vireid.runtime.ranks import join
from vireid.training import Assembly, engines
from vireid.training.engines import attempts, build_engine, in_pieces
from vireid.training.optimisers import Optimisers
from vireid.training.store import DeviceStore, HostStore, place_images
from vireid.types import InputError

CPU = torch.device("cpu")


def bench(method: str = "base", **options) -> StepBench:
    dataset, store = tiny_data()
    return StepBench(dataset, store, device="cpu", method=method, arch="test_resnet",
                     recipe="scratch", pids_per_batch=4, images_per_pid=2, **options)  # fmt: skip


def small_method(name: str = "mcl", **options: Any) -> Method:
    torch.manual_seed(0)
    model = method_class(name).model_defaults("test_resnet", "none")
    return build_method(name, model, Sizes(num_pids=6, num_cameras=6), options)


def test_precision_on_a_cpu() -> None:
    assert choose_precision("auto", CPU).name == "float32"
    assert choose_precision("bfloat16", CPU).dtype == torch.bfloat16
    with pytest.raises(InputError, match="float16 needs a CUDA GPU"):
        choose_precision("float16", CPU)


def test_threads_respect_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert sensible_threads() == 3
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert sensible_threads(10_000) == 1
    assert 1 <= sensible_threads() == usable_cores()


def test_host_store_gives_each_step_its_images() -> None:
    images = np.random.default_rng(0).integers(0, 255, (50, 4, 3, 3), dtype=np.uint8)
    rows = np.arange(10, 40)
    positions = np.random.default_rng(1).integers(0, 30, (9, 8))
    store = HostStore(images, rows, 8, CPU)
    for first in (0, 4):  # a second start drops what waits
        store.start(positions[first:])
        for chosen in positions[first : first + 5]:
            store.next()
            assert np.array_equal(store.images.numpy(), images[rows[chosen]])
    store.close()
    device = DeviceStore(images, rows, CPU)
    table = device.index_table(30)
    assert table is not None
    assert np.array_equal(device.images[table[positions[0]]].numpy(), images[rows[positions[0]]])
    assert isinstance(place_images("host", images, rows, 8, CPU), DeviceStore)


def test_every_engine_starts_from_the_same_state() -> None:
    """Warm-up steps are undone: the prepared engine continues as if nothing had run."""
    plain, prepared = bench("mcl"), bench("mcl")
    step = prepared.run.step
    state = {k: v.clone() for k, v in step.method.state_dict().items()}
    from vireid.training.engines import _Snapshot

    snapshot = _Snapshot(step)
    step.once()
    snapshot.restore()
    assert all(torch.equal(v, state[k]) for k, v in step.method.state_dict().items())
    assert plain.losses(3) == prepared.losses(3)


def test_kernels_are_kept_in_our_cache_unless_the_user_chose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "vireid" / "compiled"
    chosen_by_torch = Path(tempfile.gettempdir()) / "torchinductor_somebody"
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(chosen_by_torch))
    assert use_compile_cache() == kept and kept.is_dir()
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(kept)
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "mine"))
    assert use_compile_cache() == tmp_path / "mine"


def test_running_variance_of_a_float32_step_keeps_its_digits() -> None:
    """PyTorch's batch norm on a CPU sums channels-last maps one value after another: with this
    many values the running variance would be off by 4e-6 of itself, in a full batch by 3e-5."""
    size = (288, 144)
    dataset, store = random_data(72, size=size, num_pids=6)
    options = tiny_options(size=size)
    assembly = Assembly(options, dataset, store, join("cpu"))
    batches = []
    assembly.method.register_forward_pre_hook(lambda _, inputs: batches.append(inputs[0]))
    exact = copy.deepcopy(assembly.method).double()
    assembly.begin_epoch(0, 0, None)
    assembly.prepare(steps=1)
    assembly.advance()
    assembly.close()
    batch = batches[-1]
    with torch.no_grad():
        exact.model(batch.image.double(), batch.num_visible)
    wanted = dict(exact.named_buffers())
    variances = {k: v for k, v in assembly.method.named_buffers() if k.endswith("running_var")}
    assert any("stem_infrared" in name for name in variances)
    for name, variance in variances.items():
        error = (variance.double() / wanted[name] - 1).abs().max().item()
        assert error < 1e-6, f"{name} is off by {error:.1e} of itself"


def test_a_step_on_our_own_kernels_is_the_same_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the captured engine runs it, in Triton's interpreter where there is no GPU."""
    pytest.importorskip("triton")
    quicken()
    from vireid.models import norm_kernels

    # The interpreter takes about as long for any tile, so few large ones.
    large = {"ROWS": 512, "COLUMNS": 64}
    monkeypatch.setattr("vireid.models.fused.TILE", large)
    monkeypatch.setattr("vireid.models.fused_layers.TILE", {"ROWS": 8, "COLUMNS": 128})
    monkeypatch.setattr("vireid.models.fused_layers._POSITIONS", 128)
    monkeypatch.setattr("vireid.models.fused.SUMS", large | {"STAGES": 1})
    monkeypatch.setattr("vireid.models.fused_stem.FORWARD", {"ROWS": 1024})
    monkeypatch.setattr("vireid.models.fused_stem.BACKWARD", {"ROWS": 1024})
    for room in ("fused", "fused_layers"):
        monkeypatch.setattr(f"vireid.models.{room}.FEW", {"PARTS": 64, "COLUMNS": 64})

    used: list[set[object]] = [set()]

    def launch(kernel: Any, *args: Any, **words: Any) -> None:
        kinds = {name: value for name, value in words.items() if name != "grid"}
        used[-1].add((kernel.fn.__name__, *sorted(kinds.items())))
        launched(kernel, *args, **words)

    launched = type(norm_kernels.moments).run
    monkeypatch.setattr(type(norm_kernels.moments), "run", launch)

    def curve(own: bool) -> list[float]:
        made = bench("agw", engine="eager")
        if own:
            assert fits(made.run.method)
            fuse(made.run.method, dtype=torch.float32, device=CPU)
            used.append(set())
        return made.losses(2)  # the second tells of the gradients

    np.testing.assert_allclose(curve(own=True), curve(own=False), rtol=1e-3)
    assert used[1] and used[1] <= used[0]  # all were made before, as far as constants tell


def test_a_closed_body_is_compiled_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what a method's network adds to it, by itself; losses stay what they are."""
    sizes: list[int] = []

    def counted(graph: torch.fx.GraphModule, inputs: object) -> Callable[..., Any]:
        sizes.append(len(graph.graph.nodes))
        return graph.forward

    def compile_(function: Callable[..., Any], **words: Any) -> Callable[..., Any]:
        return compiled(function, dynamic=False, backend=counted)

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", compile_)
    torch._dynamo.reset()
    wanted, made = bench("dns", engine="eager").losses(2), bench("dns", engine="eager")
    step = made.run.step
    engines._close(step.method.model, True, None)
    step.compute = torch.compile(step.losses)
    np.testing.assert_allclose(made.losses(2), wanted, rtol=1e-5)
    # Augmentation, the shifts after stages 3 and 4, the head with the losses; not the 600 of all.
    assert len(sizes) >= 4 and sum(sizes) < 500


def test_kernels_are_tried_in_the_order_of_their_worth() -> None:
    def kinds(steps: int, **words: bool) -> list[str]:
        return [attempt.kernels for attempt in attempts(steps, **words)]

    own = {"own": True, "triton": True}
    assert kinds(1000, **own) == ["own", "mixed", "compiled", "eager"]
    assert kinds(100_000, **own) == ["mixed", "own", "compiled", "eager"]
    assert kinds(100_000, own=False, triton=True) == ["compiled", "eager"]
    assert kinds(100_000, own=True, triton=False) == ["eager"]


def test_own_kernels_need_blocks_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    step = bench().run.step
    monkeypatch.setattr("vireid.training.engines.fits", lambda method: False)
    with pytest.raises(InputError, match="`kernels` is own, but the network of method 'base'"):
        engines._attempts_of("auto", "own", step, 10)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("auto", "eagerly .the device is cpu"), ("eager", "as asked"), ("compiled", "compiled")],
)
def test_kernels_without_a_captured_step_are_refused(name: str, reason: str) -> None:
    with pytest.raises(InputError, match=f"only where the step is captured .*{reason}.* auto"):
        build_engine(name, bench().run.step, steps=1000, kernels="own")


def test_graph_needs_a_gpu() -> None:
    with pytest.raises(InputError, match="needs a CUDA GPU"):
        build_engine("graph", bench().run.step, steps=10)


@pytest.mark.parametrize(
    "method",
    ["mcl", "ddag", "deen", *(pytest.param(m, marks=pytest.mark.long) for m in ("caj", "dns"))],
)
def test_a_step_is_one_graph_without_breaks(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler sees losses from images on as one graph, with equal results; sums of the
    non-local block are taken in another order there. Without dropout, which both draw in turns."""
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, x: x)
    eager, traced = bench(method), bench(method)
    torch._dynamo.reset()
    traced.run.step.compute = torch.compile(
        traced.run.step.losses, fullgraph=True, backend="eager", dynamic=False
    )
    assert eager.losses(2) == pytest.approx(traced.losses(2), rel=1e-5)


def test_optimisers_own_each_parameter_once() -> None:
    method = small_method()
    recipe = tiny_options().recipe
    optimisers = Optimisers(method, recipe, CPU)
    trained = [p for p in method.parameters() if p.requires_grad]
    assert {id(p) for p in trained} == {id(p) for p in optimisers.parameters}
    method.stray = torch.nn.Parameter(torch.zeros(2))
    groups = method.groups()
    for group in groups:
        group.parameters[:] = [p for p in group.parameters if p is not method.stray]
    method.groups = lambda: groups
    with pytest.raises(InputError, match=r"parameter 'stray' in no group"):
        Optimisers(method, recipe, CPU)
    groups.append(ParameterGroup(name="twice", parameters=[groups[0].parameters[0], method.stray]))
    with pytest.raises(InputError, match="in the groups 'backbone' and 'twice'"):
        Optimisers(method, recipe, CPU)


@pytest.mark.parametrize("optim", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("bucket_bytes", [None, 1 << 18])
def test_prepared_state_equals_a_fresh_optimiser(optim: str, bucket_bytes: int | None) -> None:
    """State that exists before the first step changes nothing, and rates come from a tensor."""
    ours, theirs = small_method("base"), small_method("base")
    recipe = tiny_options(recipe={"optim": optim, "lr": 0.01}).recipe
    optimisers = Optimisers(ours, recipe, CPU, bucket_bytes)
    assert (len(optimisers.buckets) > 2) == (bucket_bytes is not None)
    optimisers.rates.copy_(optimisers.rate_table(3, 4, 4)[2])
    rates = {id(p): float(rate) for g, rate in zip(optimisers.groups, optimisers.rates)
             for p in g.parameters}  # fmt: skip
    twins = dict(zip(map(id, ours.parameters()), theirs.parameters()))
    groups = [{"params": [twins[id(p)]], "lr": rates[id(p)]} for p in optimisers.parameters]
    build = {
        "sgd": lambda: torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=5e-4),
        "adam": lambda: torch.optim.Adam(groups, weight_decay=5e-4),
        "adamw": lambda: torch.optim.AdamW(groups, weight_decay=5e-4),
    }
    plain = build[optim]()
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        for p in optimisers.parameters:
            p.grad = torch.randn(p.shape, generator=generator)
            twins[id(p)].grad = p.grad.clone()
        for number in range(len(optimisers.buckets)):
            for optimiser in optimisers.of_bucket(number):
                optimiser.step()
        plain.step()
    for p in optimisers.parameters:
        torch.testing.assert_close(p, twins[id(p)], rtol=1e-5, atol=1e-6)


def test_clipped_gradients_have_the_norm_that_is_asked_for() -> None:
    """One step of plain SGD at rate 1 moves the weights by the clipped gradient."""
    loose, tight = (
        bench("base", lr=1.0, momentum=0.0, weight_decay=0.0, warmup_steps=0, clip_norm=norm,
              schedule="constant", warmup_epochs=0)
        for norm in (1e9, 0.01)
    )  # fmt: skip
    moved = []
    for one in (loose, tight):
        before = [p.detach().clone() for p in one.run.optimisers.parameters]
        one.advance()
        after = one.run.optimisers.parameters
        moved.append(torch.cat([(a - b).flatten() for a, b in zip(after, before)]).detach())
    assert moved[1].norm() == pytest.approx(0.01, rel=1e-3)
    torch.testing.assert_close(moved[1], moved[0] * (0.01 / moved[0].norm()), rtol=1e-2, atol=1e-6)


def test_the_weight_average_follows_by_its_formula() -> None:
    one = bench("base", ema=0.5)
    step = one.run.step
    assert step.average is not None
    name = "model.classifier.weight"
    expected = step.method.state_dict()[name].double().clone()
    for t in range(1, 12):
        one.advance()
        share = 1 - min(0.5, (1 + t) / (10 + t))
        expected += share * (step.method.state_dict()[name].double() - expected)
    torch.testing.assert_close(step.average.state()[name].double(), expected)
    live = {k: v.clone() for k, v in step.method.state_dict().items()}
    with step.average.in_force():
        torch.testing.assert_close(step.method.state_dict()[name].double(), expected)
    assert all(torch.equal(v, live[k]) for k, v in step.method.state_dict().items())


def test_a_frozen_backbone_stays_and_then_starts_afresh() -> None:
    one = bench("agw", steps_per_epoch=2, freeze_epochs=1, epochs=3)
    groups = {group.name: group.parameters for group in one.run.optimisers.groups}
    before = {name: [p.detach().clone() for p in group] for name, group in groups.items()}
    one.advance(2)
    assert all(map(torch.equal, groups["backbone"], before["backbone"]))
    assert not any(map(torch.equal, groups["head"], before["head"]))
    state = one.run.optimisers.state()["main"]
    body = state["model.layer1.0.conv1.weight"]["momentum_buffer"]
    head = state["model.classifier.weight"]["momentum_buffer"].clone()
    assert body.abs().max() > 0
    one.run.begin_epoch(1, 0, None)
    assert body.abs().max() == 0
    assert torch.equal(state["model.classifier.weight"]["momentum_buffer"], head)
    one.advance()
    assert not all(map(torch.equal, groups["backbone"], before["backbone"]))


def test_a_group_states_its_optimiser() -> None:
    """Any number of them beside the main one; what a group leaves out is as in the recipe."""
    method = small_method("base")
    method.critic, method.scale = torch.nn.Linear(3, 3), torch.nn.Parameter(torch.ones(2))
    method.separate_groups = lambda: [
        ParameterGroup(name="critic", parameters=[*method.critic.parameters()], lr=0.5,
                       optimiser="sgd", scheduled=False, momentum=0.0, weight_decay=0.25),
        ParameterGroup(name="scale", parameters=[method.scale], optimiser="adam", lr_scale=2.0),
    ]  # fmt: skip
    recipe = tiny_options(recipe={"lr": 0.01}).recipe
    optimisers = Optimisers(method, recipe, CPU)
    main, critic, scale = optimisers.of_bucket(0)
    assert [type(one).__name__ for one in (main, critic, scale)] == ["SGD", "SGD", "Adam"]
    (group,) = critic.param_groups
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.0, False, 0.25)
    assert main.param_groups[0]["momentum"] == recipe.momentum
    assert scale.param_groups[0]["weight_decay"] == recipe.weight_decay
    table = optimisers.rate_table(2, 4, 4)
    assert table[:, 2].tolist() == [0.5] * 4
    assert torch.allclose(table[:, 3], 2 * table[:, 1])
    assert optimisers.state().keys() == {"main", "scale"} | {"critic"}
    other = Optimisers(small_method("base"), recipe, CPU)
    with pytest.raises(InputError, match="belongs to other optimisers: it has 'main' with"):
        optimisers.restore(other.state())


@pytest.mark.parametrize("options, rate", [({}, 0.02), ({"discriminator_lr": 0.1}, 0.1)])
def test_discriminator_keeps_its_rate(options: dict[str, Any], rate: float) -> None:
    """The recipe's or its own, untouched by the schedule."""
    method = small_method(**options)
    table = Optimisers(method, tiny_options().recipe, CPU).rate_table(0, 4, 4)
    names = [group.name for group in method.groups()]
    constant = table[:, names.index("discriminator")]
    assert torch.equal(constant, torch.full((4,), rate))
    assert table[0, 0] != table[1, 0]


def test_an_early_group_needs_an_optimiser_and_a_term() -> None:
    class Odd(method_class("mcl")):  # type: ignore[misc]
        optimiser, term = "sgd", "discrimination"

        def separate_groups(self) -> list[ParameterGroup]:
            return [
                replace(group, optimiser=self.optimiser, early_term=self.term)
                for group in super().separate_groups()
            ]

    model = Odd.model_defaults("test_resnet", "none")
    method = Odd(model, Sizes(num_pids=6, num_cameras=6))
    step = bench("mcl").run.step
    step.method = method.train()
    step._early = [(early, step._mean) for early in optimisers_of(method).early.values()]
    with pytest.raises(InputError, match="steps on the term 'discrimination'; its terms are ident"):
        step._step_early({"identity": torch.ones(())})
    method.optimiser = None  # type: ignore[assignment]
    with pytest.raises(InputError, match="'discriminator' of method 'odd' steps early"):
        optimisers_of(method)


def optimisers_of(method: Method) -> Optimisers:
    return Optimisers(method, tiny_options().recipe, CPU)


def test_images_in_a_step_are_the_planned_ones(tmp_path: Path) -> None:
    """A step's batch equals gathering and augmenting by hand."""
    own = bench()
    seen = {}
    forward = own.run.method.forward
    own.run.method.forward = lambda batch: (seen.update(batch=batch), forward(batch))[1]
    own.advance(3)
    plan = own.run.data.plan(0, own.run.optimisers)
    _, store = tiny_data()
    images = torch.from_numpy(store.images[own.run.data.rows[plan.positions[2]]])
    expected = own.run.data.augment(images, torch.from_numpy(plan.draws[2]))
    assert torch.equal(seen["batch"].image, expected)
    assert seen["batch"].image.shape == (16, 3, *SIZE)
    labels = own.run.data.labels.pid[plan.positions[2]]
    assert np.array_equal(seen["batch"].pid_label.numpy(), labels)
    assert seen["batch"].modality.tolist() == [0] * 8 + [1] * 8


def test_for_several_ranks_the_backward_pass_is_compiled_in_pieces(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Several, so that the first gradients are there while the others are made; equal to eager. How
    a piece is compiled is no matter here, so no C++ compiler is waited for."""
    monkeypatch.setattr("vireid.training.engines.PIECE", 16 * 16 * 4)
    monkeypatch.setattr(
        "torch._inductor.compile_fx.compile_fx",
        lambda graph, inputs, config_patches: aot_eager(graph, inputs),
    )
    layers = torch.nn.Sequential(*(torch.nn.Linear(16, 16) for _ in range(3)))
    x = torch.randn(4, 16)
    expected = torch.autograd.grad(layers(x).square().sum(), [*layers.parameters()])
    torch._dynamo.reset()
    loss = torch.compile(layers, dynamic=False, backend=in_pieces(None))(x).square().sum()
    found, nodes, pieces = {loss.grad_fn}, [loss.grad_fn], 0
    while nodes:
        node = nodes.pop()
        pieces += "CompiledFunction" in node.name()
        for after, _ in node.next_functions:
            if after is not None and after not in found:
                found.add(after)
                nodes.append(after)
    assert pieces == 3
    loss.backward()
    for parameter, gradient in zip(layers.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient)

"""Modules of DNS, DEEN, RLE and MCJA against the published code's own numbers, and mutants."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vireid.models import (
    DiverseExpansion,
    FeatureAggregation,
    HeterogeneousShift,
    ModalityClassifiers,
    ModalityGate,
    SemanticProjection,
    Stripes,
)
from vireid.models.expansion import ChannelAttention, PlaceAttention
from vireid.types import InputError

GOLDEN = Path(__file__).parent.parent / "golden"
# file, case, module, its inputs
MODULES: list[tuple[str, str, Callable[[], nn.Module], tuple[str, ...]]] = [
    ("dns", "hss_c16", lambda: HeterogeneousShift(16), ("x",)),
    ("dns", "hss_c288", lambda: HeterogeneousShift(288), ("x",)),
    ("dns", "css", lambda: SemanticProjection(12), ("x",)),
    ("deen", "dee", lambda: DiverseExpansion(16), ("x",)),
    ("deen", "cnl_flag0", lambda: ChannelAttention(12, 8, 1), ("high", "low")),
    ("deen", "cnl_flag1", lambda: ChannelAttention(12, 8, 2), ("high", "low")),
    ("deen", "pnl", lambda: PlaceAttention(12, 8), ("high", "low")),
    ("deen", "mfa_flag0", lambda: FeatureAggregation(12, 8, 1), ("high", "low")),
    ("deen", "mfa_flag1", lambda: FeatureAggregation(12, 8, 2), ("high", "low")),
    ("mcja", "mda", lambda: ModalityGate(12), ("x",)),
]


@cache
def golden(name: str) -> dict[str, np.ndarray]:
    parts = ("hss", "css", "shift", "dd/", "dee/", "cnl", "pnl", "mfa", "mda", "stripes")
    with np.load(GOLDEN / f"{name}.npz") as file:
        return {key: file[key] for key in file.files if key.startswith(parts)}


def loaded(module: nn.Module, name: str, case: str) -> nn.Module:
    """The module in float64 with the file's weights, without dropout."""
    start = f"{case}/weights/"
    state = {
        key.removeprefix(start): torch.from_numpy(value.copy())
        for key, value in golden(name).items()
        if key.startswith(start)
    }
    for key in [*module.state_dict()]:
        if key.endswith("num_batches_tracked"):
            state[key] = torch.tensor(0)
    module.double().load_state_dict(state)
    for child in module.modules():
        if isinstance(child, nn.Dropout):
            child.p = 0.0
    return module


def near(found: Tensor, expected: np.ndarray, tolerance: float = 1e-7) -> None:
    scale = np.abs(expected).max()
    np.testing.assert_allclose(
        found.detach().numpy(), expected, rtol=0, atol=tolerance * scale + 1e-12
    )


@pytest.mark.parametrize("mode", ["eval", "train"])
@pytest.mark.parametrize("name, case, build, inputs", MODULES, ids=[m[1] for m in MODULES])
def test_outputs_gradients_and_statistics(
    name: str, case: str, build: Callable[[], nn.Module], inputs: tuple[str, ...], mode: str
) -> None:
    file = golden(name)
    if f"{case}/{mode}/output" not in file:
        pytest.skip("this mode is not in the file")
    module = loaded(build(), name, case).train(mode == "train")
    given = [torch.from_numpy(file[f"{case}/{k}"].copy()).requires_grad_() for k in inputs]
    output = module(*given)
    near(output, file[f"{case}/{mode}/output"])
    (output.flatten() * torch.arange(output.numel()).double().cos()).sum().backward()
    for x, key in zip(given, inputs):
        assert x.grad is not None
        near(x.grad, file[f"{case}/{mode}/{key}_grad"])
    for key, parameter in module.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, key
            near(parameter.grad, file[f"{case}/{mode}/grad/{key}"])
    buffers = dict(module.named_buffers())
    for key in (key for key in file if key.startswith(f"{case}/{mode}/after/")):
        near(buffers[key.split("/after/")[1]], file[key])


def moved(module: nn.Module, name: str, case: str, inputs: tuple[str, ...]) -> float:
    """How far the output in evaluation is from the file's, relative to its largest value."""
    file = golden(name)
    with torch.no_grad():
        found = module.eval()(*(torch.from_numpy(file[f"{case}/{key}"].copy()) for key in inputs))
    expected = file[f"{case}/eval/output"]
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


def test_mutants_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = loaded(PlaceAttention(12, 8, halves=False), "deen", "pnl")
    assert moved(plain, "deen", "pnl", ("high", "low")) > 1e-4
    shift = loaded(HeterogeneousShift(16), "dns", "hss_c16")
    monkeypatch.setattr(HeterogeneousShift, "shift", staticmethod(torch.zeros_like))
    assert moved(shift, "dns", "hss_c16", ("x",)) > 1e-4


def test_the_shift_sums_to_one() -> None:
    file = golden("dns")
    x = torch.from_numpy(file["shift/x"])
    near(HeterogeneousShift.shift(x), file["shift/output"])
    assert torch.allclose(HeterogeneousShift.shift(x).sum((2, 3)), x.new_ones(x.shape[:2]))


def test_modality_classifiers_over_three_steps() -> None:
    """The averages follow before the loss is computed, and only own classifiers learn."""
    file = golden("dns")
    module = ModalityClassifiers(9, 7).double()
    labels = torch.from_numpy(np.tile(file["dd/pid_label_per_modality"], 2))
    for step in (f"dd/step{i}" for i in range(3)):
        classifiers = {
            "visible": module.visible_classifier,
            "infrared": module.infrared_classifier,
        }
        for which, classifier in classifiers.items():
            classifier.weight.data = torch.from_numpy(file[f"{step}/weights/{which}"].copy())
            classifier.weight.grad = None
            average = dict(module.named_buffers())[f"{which}_average"]
            average.copy_(torch.from_numpy(file[f"{step}/average_before/{which}"]))
        f, z = (
            torch.from_numpy(file[f"{step}/{k}"].copy()).requires_grad_() for k in ("f", "z_hat")
        )
        loss = module(f, z, labels, 12)
        assert float(loss.detach()) == pytest.approx(float(file[f"{step}/value"]), rel=1e-8)
        loss.backward()
        for x, key in ((f, "f_grad"), (z, "z_hat_grad")):
            assert x.grad is not None
            near(x.grad, file[f"{step}/{key}"])
        for which, classifier in classifiers.items():
            assert classifier.weight.grad is not None
            near(classifier.weight.grad, file[f"{step}/weights_grad/{which}"])
            average = dict(module.named_buffers())[f"{which}_average"]
            near(average, file[f"{step}/average_after/{which}"])


@pytest.mark.parametrize("height", [5, 7, 8])
def test_stripes(height: int) -> None:
    file = golden("rle")
    found = Stripes(3)(torch.from_numpy(file[f"stripes/h{height}/map"]).double())
    near(found, file[f"stripes/h{height}/pooled"])


def test_maps_that_do_not_fit() -> None:
    for height in (1, 2, 4):
        with pytest.raises(InputError, match="stripes of equal height instead of 3"):
            Stripes(3)(torch.zeros(1, 2, height, 2))
    with pytest.raises(InputError, match="joins halves of a map of 3 x 3 places"):
        FeatureAggregation(8, 8, 1)(torch.zeros(1, 8, 3, 3), torch.zeros(1, 8, 3, 3))
    with pytest.raises(InputError, match="multiple of 4"):
        DiverseExpansion(10)


@pytest.mark.parametrize("build", [lambda: FeatureAggregation(8, 8, 1), lambda: ModalityGate(8)])
def test_blocks_start_as_the_identity(build: Callable[[], nn.Module]) -> None:
    module, x = build(), torch.randn(4, 8, 4, 2)
    output = module(x, x) if isinstance(module, FeatureAggregation) else module(x)
    torch.testing.assert_close(output, x)

"""Whole training steps against the published loops' own numbers, and mutants that miss them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from golden_steps import GOLDEN, deviations, golden, make, run_steps

from vireid.methods import Method
from vireid.training.optimisers import Optimisers
from vireid.training.step import Step

LOSSES, DIGESTS, FREE_MEANS = 1e-8, 1e-6, 1e-4
# Published order of the groups in a file's rates: body, neck, classifier, what a method adds.
ORDER = {
    "base": ("backbone", "head", "head"),
    "agw": ("backbone", "head", "head"),
    "ddag": ("backbone", "head", "head", *6 * ("additions",)),
    "mcl_published": ("backbone", "head", "head", "discriminator"),
    "mcl_clean": ("backbone", "head", "head", "discriminator"),
}


# The second step has momentum and the first one's statistics, the third another epoch's rates and,
# in DDAG, its weights.
@pytest.mark.parametrize(
    "name, steps",
    [(name, 3 if name == "ddag" else 2) for name in GOLDEN]
    + [pytest.param(name, 4, marks=pytest.mark.long) for name in GOLDEN],
)
def test_steps_are_those_of_the_published_loop(name: str, steps: int) -> None:
    result = run_steps(name, steps=steps)
    losses, digests, free_means = deviations(name, result)
    assert losses < LOSSES
    assert digests < DIGESTS
    assert free_means < FREE_MEANS
    assert len(result.rates) == steps
    for found, expected in zip(result.rates, golden(name)["rates"]):
        rates = [found[group] for group in ORDER[name]]
        np.testing.assert_array_equal(np.float32(rates), np.float32(expected))


def _train_the_shift(method: Method) -> None:
    method.model.neck.bias.requires_grad_(True)


def _double_the_body(method: Method) -> None:
    groups = method.groups
    method.groups = lambda: [  # type: ignore[method-assign]
        replace(group, lr_scale=2 * group.lr_scale) if group.name == "backbone" else group
        for group in groups()
    ]


@pytest.mark.parametrize(
    "name, steps, mutate, changes",
    [
        ("mcl_published", 1, None, {"discriminator_step": "after"}),
        ("mcl_published", 1, None, {"centers": "learned"}),
        ("agw", 2, _train_the_shift, {}),
        ("agw", 1, _double_the_body, {}),
    ],
)
def test_mutants_are_found(
    name: str, steps: int, mutate: Callable[[Method], None] | None, changes: dict[str, Any]
) -> None:
    result = run_steps(name, steps=steps, mutate=mutate or (lambda _: None), **changes)
    losses, digests, _ = deviations(name, result)
    assert losses > 10 * LOSSES or digests > 10 * DIGESTS


@pytest.mark.parametrize("method", ["base", "agw", "ddag", "mcl"])
@pytest.mark.parametrize("recipe", ["published", "clean"])
def test_rates_of_every_group_in_every_epoch(method: str, recipe: str) -> None:
    built, chosen = make(
        "mcl_published" if method == "mcl" else method, recipe=recipe, arch="resnet10t"
    )
    assert chosen.epochs == (201 if method == "mcl" else 81)
    optimisers = Optimisers(built, chosen, torch.device("cpu"))
    scales = {"backbone": 0.1, "head": 1.0, "additions": 1.0}
    for epoch in range(chosen.epochs):
        if epoch < 10:
            rate = 0.1 * (epoch + 1) / 10
        else:
            rate = 0.1 if epoch < 20 else 0.01 if epoch < 50 else 0.001
        expected = [
            0.1 if group.name == "discriminator" else rate * scales[group.name]
            for group in optimisers.groups
        ]
        for row in optimisers.rate_table(epoch, 3, chosen.epochs).tolist():
            assert row == pytest.approx(expected, rel=1e-6)


@pytest.mark.long
def test_the_published_order_survives_the_compiler() -> None:
    """The discriminator's part stays outside of the compiled code."""

    def compiled(step: Step) -> None:
        step.compute = torch.compile(step.losses, backend="aot_eager", dynamic=False)

    eager, traced = (
        run_steps("mcl_published", arch="resnet10t", steps=3, wrap=wrap)
        for wrap in (lambda _: None, compiled)
    )
    after = run_steps("mcl_published", arch="resnet10t", steps=3, discriminator_step="after")
    for one, other, clean in zip(eager.losses[1:], traced.losses[1:], after.losses[1:]):
        assert other == pytest.approx(one, rel=1e-9)
        assert clean["confusion"] != pytest.approx(one["confusion"], rel=1e-6)

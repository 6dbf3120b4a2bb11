"""Schedules, rates by part and data sets' variants of the later methods' recipes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vireid.data import AugmentOptions
from vireid.methods import RECIPES, Recipe, Sizes, build_method, method_class
from vireid.methods.recipe import Schedule
from vireid.methods.recipes import AUGMENTATIONS
from vireid.training.defaults import Choices, defaults, train_options
from vireid.training.optimisers import Optimisers
from vireid.types import InputError

GOLDEN = Path(__file__).parent.parent / "golden"
PEAK = Schedule(kind="peak")


def golden(name: str) -> dict[str, np.ndarray]:
    file = np.load(GOLDEN / f"{name}.npz")
    return {key: file[key] for key in file.files if key.startswith("schedule/")}


@pytest.mark.parametrize(
    ("name", "schedule"),
    [
        ("caj", Schedule()),
        ("rle", Schedule(milestones=(20, 80, 120), factors=(0.1, 0.01, 0.001))),
        ("deen", Schedule(milestones=(20, 80), factors=(0.1, 0.01))),
    ],
)
def test_steps_are_those_of_the_published_code(name: str, schedule: Schedule) -> None:
    file = golden(name)
    for epoch, rates in zip(file["schedule/epochs"].tolist(), file["schedule/lr"]):
        head = 0.1 * schedule.factor(epoch * 7, 7, 200)
        assert rates == pytest.approx([0.1 * head, *[head] * (len(rates) - 1)], rel=1e-9)


def test_the_peak_is_that_of_the_published_code() -> None:
    """Which takes the entry before, and an epoch's last but one in its first step."""
    file = golden("dns")
    entries = int(file["schedule/steps_per_epoch"])
    parts = [0.1, 0.2, 0.25, 1, 1, 1]
    for (epoch, step), rates in zip(file["schedule/epoch_step"].tolist(), file["schedule/lr"]):
        entry = step - 1 if step else entries - 1
        head = 0.2 * PEAK.factor(epoch * (entries + 1) + entry, entries + 1, 100)
        assert rates == pytest.approx([part * head for part in parts], rel=1e-9)


def test_a_peak_rises_and_falls_in_straight_lines() -> None:
    schedule = Schedule(kind="peak", peak_epochs=2, start_factor=0.2)
    found = [schedule.factor(step, 3, 4) for step in range(12)]
    rising, falling = [0.2, 0.4, 0.6, 0.6, 0.8, 1], [1, 0.75, 0.5, 0.5, 0.25, 0]
    assert found == pytest.approx(rising + falling)
    assert schedule.warmup(3) == 6
    assert schedule.factor(0, 1, 1) == 0.2  # a run that ends before the peak


def test_stages_learn_at_rates_of_their_own() -> None:
    cls = method_class("agw")
    model = cls.model_defaults(
        "resnet10t", "none", backbone_scale=0.1, stage_factors=(1.0, 1.0, 2.0, 2.5)
    )
    method = build_method("agw", model, Sizes(num_pids=4))
    recipe = Recipe(lr=0.2, schedule=PEAK, freeze_epochs=1)
    optimisers = Optimisers(method, recipe, torch.device("cpu"))
    names = {id(p): name for name, p in method.model.named_parameters()}
    of_group = {
        group.name: {names[id(p)].split(".")[0] for p in group.parameters}
        for group in optimisers.groups
    }
    assert of_group["stage 3"] == {"layer3"} and of_group["stage 4"] == {"layer4"}
    assert {"stem_visible", "layer1", "layer2", "nonlocal3"} <= of_group["backbone"]
    assert of_group["head"] == {"neck", "classifier"}
    rates = dict(zip(of_group, optimisers.rate_table(16, 5, 100)[0].tolist()))
    assert rates == pytest.approx({"backbone": 0.02, "stage 3": 0.04, "stage 4": 0.05, "head": 0.2})
    frozen = dict(zip(of_group, optimisers.rate_table(0, 5, 100)[4].tolist()))
    assert frozen["head"] > 0 and not any(v for k, v in frozen.items() if k != "head")


VARIED = replace(
    RECIPES["base"]["published"],
    augment=AUGMENTATIONS["dns"],
    variants={
        "regdb": {"lr": 0.05, "augment": AUGMENTATIONS["dns-regdb"],
                  "model_options": {"pooling": "gem"}, "schedule": {"milestones": [1, 2]}},
        "llcm": {"augment": {"grey": 0.0}},
    },
)  # fmt: skip


def test_a_recipe_may_differ_between_data_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RECIPES["base"], "published", VARIED)
    words = {"method": "base", "recipe": "published"}
    sysu = train_options(**words)
    assert sysu.recipe == replace(VARIED, variants={}) and sysu.model.pooling == "average"
    regdb = train_options(**words, dataset="RegDB")
    assert (regdb.dataset, regdb.recipe.lr, regdb.model.pooling) == ("regdb", 0.05, "gem")
    assert regdb.recipe.augment == AUGMENTATIONS["dns-regdb"]
    assert regdb.recipe.schedule == replace(VARIED.schedule, milestones=(1, 2))
    llcm = defaults(None, Choices(**words, dataset="llcm"))
    assert llcm.recipe.augment == replace(AUGMENTATIONS["dns"], grey=0.0)
    # what is given goes before the variant
    given = train_options(**words, dataset="regdb", lr=0.3, augment="plain")
    assert given.recipe.lr == 0.3 and given.recipe.augment == AugmentOptions()


def test_a_file_names_the_data_set_and_goes_before_the_variant(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(RECIPES["base"], "published", VARIED)
    file = tmp_path / "run.toml"
    file.write_text(
        'method = "base"\ndataset = "regdb"\n[recipe]\nname = "published"\nepochs = 3\n'
        "[recipe.schedule]\nmilestones = [7, 9]\n"
    )
    found = defaults(file)
    assert (found.dataset, found.recipe.lr, found.recipe.epochs) == ("regdb", 0.05, 3)
    assert found.recipe.schedule.milestones == (7, 9)
    elsewhere = defaults(file, Choices(dataset="llcm"))
    assert elsewhere.recipe.lr == 0.1 and elsewhere.recipe.augment.grey == 0.0


def test_the_page_has_every_preset() -> None:
    page = (Path(__file__).parents[2] / "docs" / "augmentation.md").read_text()
    assert all(f"\n| `{name}` |" in page for name in AUGMENTATIONS)


def test_a_variant_with_an_unknown_key_is_a_sentence() -> None:
    wrong = replace(VARIED, variants={"regdb": {"rate": 1}})
    with pytest.raises(InputError, match="recipe published on regdb has an unknown key 'rate'"):
        wrong.on("regdb")

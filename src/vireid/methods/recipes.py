"""The recipes of the methods. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vireid.config import to_plain
from vireid.data.options import AugmentOptions
from vireid.methods.recipe import Recipe, Schedule

_MILD: dict[str, Any] = {"erase": 0.5, "erase_area": (0.02, 0.4)}
_HUE: dict[str, Any] = {"infrared_hue": 0.5, "channel_order": "after"}
_HALF_GREY: dict[str, Any] = {"grey": 0.5, "infrared_grey": 0.5, "grey_rounding": True}
_RLE: dict[str, Any] = {
    "mix": 0.5,
    "radical": 0.5,
    "early_erase": 0.5,
    "early_erase_area": (0.02, 0.4),
    "early_erase_aspect": (0.3, 1 / 0.3),
    "early_erase_draw": "uniform",
}
_DEEN: dict[str, Any] = {**_HALF_GREY, "erase": 0.5, "erase_fill": (0.485, 0.456, 0.406)}

# "published" is MCLNet's set; AGW and DDAG use "plain". "channel" follows CAJ: visible images
# become one channel or grey, and erasing is milder.
AUGMENTATIONS = {
    "none": AugmentOptions(pad=0, flip=0.0),
    "plain": AugmentOptions(),
    "published": AugmentOptions(erase=0.8, erase_area=(0.1, 0.8)),
    "channel": AugmentOptions(erase=0.5, erase_area=(0.02, 0.4), channel=0.35, grey=0.2),
    # CAJ, all data sets: the second view always is one channel; infrared images are one channel in
    # 3 of 4 cases, else grey in half of them.
    "caj": AugmentOptions(
        **_MILD,
        second_view=True,
        second_channel=1.0,
        infrared_channel=0.75,
        infrared_grey=0.5,
        channel_order="after",
    ),
    # DNS: a third of the visible images stay, the others become one channel, or (SYSU-MM01 only)
    # grey in a quarter of the cases.
    "dns": AugmentOptions(**_MILD, **_HUE, early_erase=0.5, channel=1 / 2, grey=1 / 3),
    "dns-regdb": AugmentOptions(early_erase=0.5, channel=2 / 3, channel_order="after"),
    "dns-llcm": AugmentOptions(**_MILD, **_HUE, channel=2 / 3),
    # RLE, SYSU-MM01; on RegDB and LLCM half of all images are grey.
    "rle": AugmentOptions(**_RLE),
    "rle-grey": AugmentOptions(**_RLE, **_HALF_GREY),
    # DEEN, SYSU-MM01; RegDB and LLCM have milder erasing.
    "deen": AugmentOptions(**_DEEN, erase_area=(0.2, 0.8)),
    "deen-mild": AugmentOptions(**_DEEN, erase_area=(0.02, 0.4)),
    "halo": AugmentOptions(
        channel=0.35, grey=0.2, second_view=True, second_channel=1.0, channel_order="after"
    ),
}


def augmentation_choices() -> str:
    """The presets for a help text."""
    return ", ".join(AUGMENTATIONS)


# The published training step for step, for ImageNet weights: lr 0.1 with ten epochs of warm-up,
# down at 20 and 50; float32; what AGW's and MCLNet's code does otherwise than their papers.
_PUBLISHED = Recipe(
    name="published",
    precision="float32",
    method_options={
        "triplet": "published",
        "centers": "frozen",
        "discriminator_step": "before",
    },
)

# The same without what is there by accident (docs/methods.md lists it), in mixed precision.
_CLEAN = replace(_PUBLISHED, name="clean", precision="auto", method_options={})


def _of_method(recipe: Recipe, method: str) -> Recipe:
    """MCLNet's code trains for longer than AGW's and DDAG's, and erases."""
    if method != "mcl":
        return recipe
    return replace(recipe, epochs=201, augment=AUGMENTATIONS["published"])


# For networks that start from nothing. 22 epochs are about 8,000 steps on 500 identities of 24
# visible images each; give --epochs for other sizes.
_SCRATCH = Recipe(
    name="scratch",
    lr=0.05,
    schedule=Schedule(kind="cosine", warmup_steps=200),
    epochs=22,
    augment=AUGMENTATIONS["channel"],
    method_options={"discriminator_lr": 0.1},
)

# The start that a recipe is meant for, where that isn't ImageNet's weights or a file's.
STARTS = {"scratch": "none", "finetune": "synth"}

RECIPES: dict[str, dict[str, Recipe]] = {
    method: {
        "published": _of_method(_PUBLISHED, method),
        "clean": _of_method(_CLEAN, method),
        "scratch": _SCRATCH,
    }
    for method in ("base", "agw", "ddag", "mcl")
}


def _later(
    published: Recipe, scratch: str, variants: dict[str, dict[str, Any]] | None = None
) -> dict[str, Recipe]:
    """The recipes of a later method from its published one.

    Args:
        published: `clean` is the same in mixed precision and without its `method_options` and the
            published arithmetic of radical rectangles.
        scratch: augmentation of the recipes that start from nothing.
        variants: data set → where `published` and `clean` differ on it.
    """
    published = replace(published, variants=variants or {})
    clean = replace(
        published,
        name="clean",
        precision="auto",
        method_options={},
        augment=replace(published.augment, radical_arithmetic="exact"),
    )
    return {"published": published, "clean": clean, "scratch": _from_nothing(scratch)}


def _from_nothing(preset: str) -> Recipe:
    return replace(_SCRATCH, augment=AUGMENTATIONS[preset], method_options={})


def _augmented(preset: str, **more: Any) -> dict[str, Any]:
    """A variant with another preset of augmentation. How rectangles are computed is left to the
    recipe."""
    augment = to_plain(AUGMENTATIONS[preset])
    del augment["radical_arithmetic"]
    return {"augment": augment, **more}


_SIX = replace(_PUBLISHED, pids_per_batch=6, method_options={})
_LATE = (20, 80, 120)  # epochs at which RLE's and DEEN's rate falls
_SHORTER = {"model_options": {"last_stage": 3}}  # the networks of RLE and DEEN for RegDB

RECIPES["caj"] = _later(
    replace(
        _PUBLISHED,
        epochs=100,
        augment=AUGMENTATIONS["caj"],
        method_options={"triplet": "published"},
    ),
    scratch="caj",
)
RECIPES["dns"] = _later(
    replace(
        _SIX,
        lr=0.2,
        schedule=Schedule(kind="peak"),
        epochs=100,
        precision="float16",
        augment=AUGMENTATIONS["dns"],
        method_options={"circle_cosines": "half"},
        model_options={"stage_factors": [1.0, 1.0, 2.0, 2.5]},
    ),
    scratch="channel",
    variants={"regdb": _augmented("dns-regdb", lr=0.1), "llcm": _augmented("dns-llcm")},
)
RECIPES["deen"] = _later(
    replace(
        _SIX,
        schedule=Schedule(milestones=_LATE[:2], factors=(0.1, 0.01)),
        epochs=151,
        augment=AUGMENTATIONS["deen"],
    ),
    scratch="channel",
    variants={
        "regdb": _augmented("deen-mild", **_SHORTER),
        "llcm": _augmented("deen-mild"),
    },
)
RECIPES["rle"] = _later(
    replace(
        _SIX,
        schedule=Schedule(milestones=_LATE, factors=(0.1, 0.01, 0.001)),
        epochs=151,
        augment=replace(AUGMENTATIONS["rle"], radical_arithmetic="published"),
    ),
    scratch="rle",
    variants={
        "regdb": _augmented("rle-grey", method_options={"embedding_share": 0.1}, **_SHORTER),
        "llcm": _augmented("rle-grey", method_options={"embedding_share": 0.1}),
    },
)

# Our own, so nothing is published; the finalist of benchmarks/best.py that won.
RECIPES["halo"] = {
    "clean": replace(
        _CLEAN,
        lr=0.2,
        schedule=Schedule(kind="linear"),
        augment=AUGMENTATIONS["halo"],
        model_options={"backbone_scale": 1.0},
    ),
    "scratch": _from_nothing("halo"),
}

# For weights that know people already: the optimiser and rate of the network in the package, so
# that training keeps what they know (docs/synth.md: what that network is worth as a start).
for _of in RECIPES.values():
    _of["finetune"] = replace(
        _of["scratch"],
        name="finetune",
        optim="adamw",
        lr=0.0005,
        schedule=replace(_SCRATCH.schedule, warmup_steps=5),
    )

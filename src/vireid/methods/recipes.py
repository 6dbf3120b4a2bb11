"""The recipes of the methods. Nothing here imports PyTorch."""

from __future__ import annotations

from dataclasses import replace

from vireid.data.options import AugmentOptions
from vireid.methods.recipe import Recipe, Schedule

# "published" is MCLNet's set; AGW and DDAG use "plain". "channel" follows CAJ: visible images
# become one channel or grey, and erasing is milder.
AUGMENTATIONS = {
    "none": AugmentOptions(pad=0, flip=0.0),
    "plain": AugmentOptions(),
    "published": AugmentOptions(erase=0.8, erase_area=(0.1, 0.8)),
    "channel": AugmentOptions(erase=0.5, erase_area=(0.02, 0.4), channel=0.35, grey=0.2),
    "caj": AugmentOptions(),
    "dns": AugmentOptions(),
    "deen": AugmentOptions(),
    "rle": AugmentOptions(),
}

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

# The winner, with `agw`, of the search on the validation identities of VIReID-Synth v1
# (benchmarks/results/search-best-*, docs/methods.md): twice as many identities a batch.
_BEST = replace(_SCRATCH, name="best", pids_per_batch=16)

RECIPES: dict[str, dict[str, Recipe]] = {
    method: {
        "published": _of_method(_PUBLISHED, method),
        "clean": _of_method(_CLEAN, method),
        "scratch": _SCRATCH,
        "best": _BEST,
    }
    for method in ("base", "agw", "ddag", "mcl")
}


def _later(published: Recipe, scratch: str) -> dict[str, Recipe]:
    """The recipes of a later method from its published one.

    Args:
        published: `clean` is the same in mixed precision and without `method_options`.
        scratch: augmentation of the recipes that start from nothing.
    """
    clean = replace(published, name="clean", precision="auto", method_options={})
    from_nothing = {
        recipe.name: replace(recipe, augment=AUGMENTATIONS[scratch], method_options={})
        for recipe in (_SCRATCH, _BEST)
    }
    return {"published": published, "clean": clean} | from_nothing


_SIX = replace(_PUBLISHED, pids_per_batch=6, method_options={})
_LATE = (20, 80, 120)  # epochs at which RLE's and DEEN's rate falls

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
        schedule=Schedule(kind="linear", warmup_epochs=16),
        epochs=100,
        precision="float16",
        augment=AUGMENTATIONS["dns"],
        method_options={"circle_cosines": "half"},
    ),
    scratch="channel",
)
RECIPES["deen"] = _later(
    replace(
        _SIX,
        schedule=Schedule(milestones=_LATE[:2], factors=(0.1, 0.01)),
        epochs=151,
        augment=AUGMENTATIONS["deen"],
    ),
    scratch="channel",
)
RECIPES["rle"] = _later(
    replace(
        _SIX,
        schedule=Schedule(milestones=_LATE, factors=(0.1, 0.01, 0.001)),
        epochs=151,
        augment=AUGMENTATIONS["rle"],
    ),
    scratch="rle",
)

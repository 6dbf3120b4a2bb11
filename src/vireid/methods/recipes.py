"""The recipes of the four methods. Nothing here imports PyTorch."""

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

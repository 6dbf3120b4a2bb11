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

# As published, for ImageNet weights: lr 0.1 with ten epochs of warm-up, down at 20 and 50.
_PUBLISHED = Recipe(name="published")
_PUBLISHED_MCL = replace(_PUBLISHED, epochs=201, augment=AUGMENTATIONS["published"])

# For networks that start from nothing. 22 epochs are about 8,000 steps on 500 identities of 24
# visible images each; give --epochs for other sizes.
_SCRATCH = Recipe(
    name="scratch",
    lr=0.05,
    schedule=Schedule(kind="cosine", warmup_steps=200),
    epochs=22,
    augment=AUGMENTATIONS["channel"],
)

# The winner, with `agw`, of the search on the validation identities of VIReID-Synth v1
# (benchmarks/results/search-best-*, docs/methods.md): twice as many identities a batch.
_BEST = replace(_SCRATCH, name="best", pids_per_batch=16)

RECIPES: dict[str, dict[str, Recipe]] = {
    method: {
        "published": _PUBLISHED_MCL if method == "mcl" else _PUBLISHED,
        "scratch": _SCRATCH,
        "best": _BEST,
    }
    for method in ("base", "agw", "ddag", "mcl")
}

"""Names of runs, made of what a run is and of what differs from its recipe."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from vireid.config import flatten, to_plain
from vireid.data.registry import facts_of
from vireid.methods.recipes import STARTS
from vireid.methods.registry import METHODS, method_class, recipes_of
from vireid.models.families import arch_name
from vireid.runtime.record import VARIED, hash_of
from vireid.training.defaults import Choices, resolve
from vireid.training.flat import flat_names
from vireid.training.options import TrainOptions
from vireid.training.record import decisive

_LONGEST = 80  # characters of the words for what differs; the rest becomes a hash
_IN_NAME = ("dataset", "method", "model.arch", "model.pretrained", *VARIED)


def run_name(options: TrainOptions, max_steps: int | None = None) -> str:
    """Data set, method, network, recipe, every option that differs from the recipe, seed, split:
    runs of unlike options have unlike names."""
    facts, method = facts_of(options.dataset), options.method
    name = method if method in METHODS else method_class(method).name
    words = [facts.name, name, arch_name(options.model.arch), options.recipe.name, *_start(options)]
    words += _shortened(differing_words(options))
    if max_steps is not None:
        words.append(f"{max_steps}steps")
    words.append(f"seed{options.seed}")
    if facts.splits > 1 and options.trial != "all":
        words.append(f"trial{options.trial}")
    return "-".join(words)


def differing_words(options: TrainOptions) -> list[str]:
    """A word for each option that differs from what method, network and recipe give by default:
    "no-confusion", "lr0.05"."""
    known = options.recipe.name in recipes_of(options.method)
    choices = Choices(
        method=options.method,
        arch=options.model.arch,
        pretrained=options.model.pretrained,
        recipe=options.recipe.name if known else None,
    )
    usual = flatten(decisive(to_plain(resolve({}, choices, "the defaults"))))
    flags = {".".join(way): flag for flag, way in flat_names(options).items()}
    return [
        _word(flags.get(name, name.rsplit(".", 1)[-1]).replace("_", "-"), value)
        for name, value in flatten(decisive(to_plain(options))).items()
        if name not in _IN_NAME and value != usual.get(name)
    ]


def _start(options: TrainOptions) -> list[str]:
    """What the run starts from, where that isn't what its recipe is meant for."""
    pretrained = options.model.pretrained
    if pretrained == STARTS.get(options.recipe.name, "imagenet"):
        return []
    return [f"from-{_plain(Path(pretrained).stem)}"]


def _word(flag: str, value: Any) -> str:
    if isinstance(value, bool):
        return flag if value else f"no-{flag}"
    if isinstance(value, (list, tuple)):
        return flag + "x".join(_plain(f"{one:g}" if isinstance(one, float) else str(one))
                               for one in value)  # fmt: skip
    if isinstance(value, str):
        return f"{flag}-{_plain(value.rsplit(':', 1)[-1])}"
    return f"{flag}-none" if value is None else f"{flag}{value:g}"


def _plain(text: str) -> str:
    """Without what a folder's name must not have."""
    return re.sub(r"[^\w.+-]", "", text)


def _shortened(words: list[str]) -> list[str]:
    if len("-".join(words)) <= _LONGEST:
        return words
    kept: list[str] = []
    while len("-".join([*kept, words[len(kept)]])) <= _LONGEST - 9:
        kept.append(words[len(kept)])
    return [*kept, hash_of(words)[:8]]

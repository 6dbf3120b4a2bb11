"""What a number is a number of, as fields and in words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from vireid.data.registry import dataset_names, facts_of, title_of

PROTOCOL_WORDS = {
    "dataset": "Data set",
    "synthetic": "Synthetic people",
    "synthetic_set": "Synthetic set",
    "data_hash": "Data's hash",
    "part": "Identities",
    "rule": "Rule",
    "scope": "Search",
    "shots": "Shots",
    "direction": "Direction",
    "draw": "Gallery draw",
    "variant": "Variant",
    "trials": "Trials",
    "split": "Split",
    "embeddings": "Test embeddings",
    "metric": "Metric",
    "tta": "Test-time augmentation",
    "preprocessing": "Preprocessing",
    "reranking": "Re-ranking",
    "method": "Method",
    "arch": "Backbone",
    "trained_on": "Trained on",
    "recipe": "Recipe",
    "epoch": "Epoch",
    "epoch_choice": "Epoch chosen by",
    "seed": "Seed",
    "weights_hash": "Weights",
    "precision": "Precision",
    "commit": "Commit",
    "versions": "Versions",
}
_NO_CHOICE = {
    "shots": "whole gallery",
    "draw": "none: whole gallery",
    "split": "none",
    "synthetic_set": "none",
}


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """What a number is a number of. None stands for "not stated".

    Attributes:
        dataset: name of the data set.
        synthetic: whether its people are synthetic; `synthetic_set`: seed, preset and sizes
            that such a set was made with.
        data_hash: of the images and labels that were searched.
        part: test, or val for validation identities.
        rule: which gallery images are skipped and what ranks count, by the data set that has the
            rule (docs/protocols.md), or in words.
        scope, shots, draw, direction, variant: see `vireid.data.ProtocolOptions`; shots and
            draw are None where the whole gallery is searched.
        trials: numbers of the gallery draws.
        split: which division of the identities into training and testing, where there are several.
        embeddings: names of the test embeddings.
        metric: how two embeddings are compared.
        tta: test-time augmentation, "none" or its name.
        preprocessing: size and normalisation of the images.
        reranking: the re-ranking whose numbers stand beside the raw ones, or "none".
        method, arch, trained_on, recipe, epoch, seed, weights_hash: of the network.
        epoch_choice: how the epoch was chosen.
        precision, commit: of the network and its code.
        versions: of what computed the numbers.
        other: whatever else the caller stated.
    """

    dataset: str
    synthetic: bool | None = None
    synthetic_set: dict[str, Any] | None = None
    data_hash: str | None = None
    part: str = "test"
    rule: str
    scope: str = "all"
    shots: int | None = 1
    draw: str | None = "seeded"
    direction: str = "infrared_to_visible"
    variant: str = "standard"
    trials: tuple[int, ...]
    split: int | None = None
    embeddings: tuple[str, ...]
    metric: str = "cosine similarity"
    tta: str = "none"
    preprocessing: dict[str, Any] = field(default_factory=dict)
    reranking: str = "none"
    method: str | None = None
    arch: str | None = None
    trained_on: str | None = None
    recipe: str | None = None
    epoch: int | None = None
    epoch_choice: str | None = None
    seed: int | None = None
    weights_hash: str | None = None
    precision: str | None = None
    commit: str | None = None
    versions: dict[str, str] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def search(self) -> str:
        """The search in words: "all-search, single-shot, seeded draw, infrared to visible"."""
        words = []
        if self.scope != "all" or self._has_scopes():
            words.append(f"{self.scope}-search")
        if self.split is not None:
            words.append(f"split {self.split}")
        if self.shots is None:
            words.append("whole gallery")
        else:
            words.append("single-shot" if self.shots == 1 else f"{self.shots} shots")
            own = " (vireid's own)" if self.shots > 1 and self.draw == "seeded" else ""
            words.append(f"{self.draw} draw{own}")
        words.append(self.direction.replace("_", " "))
        if self.variant != "standard":
            words.append(f"variant {self.variant}")
        if self.part != "test":
            words.append(f"{self.part} identities")
        return ", ".join(words)

    def _has_scopes(self) -> bool:
        return self.dataset in dataset_names() and len(facts_of(self.dataset).scopes) > 1


def protocol_rows(protocol: Protocol) -> list[tuple[str, str]]:
    """Every field in words, for a table."""
    rows: list[tuple[str, str]] = []
    for key, words in PROTOCOL_WORDS.items():
        rows.append((words, protocol_value(protocol, key)))
    rows += [(key.replace("_", " "), value_words(value)) for key, value in protocol.other.items()]
    return rows


def protocol_value(protocol: Protocol, key: str) -> str:
    """One field of a protocol in words."""
    value = getattr(protocol, key)
    if value is None:
        return _NO_CHOICE.get(key, "not stated")
    if key == "dataset":
        return title_of(value)
    if key == "direction":
        return value.replace("_", " ")
    if key in ("weights_hash", "data_hash"):
        return value[:16]
    return value_words(value)


def choice_words(choice: str | None) -> str | None:
    """How an epoch was chosen, without the number that it had and the run that it was chosen in,
    which every seed has its own of."""
    return choice and re.sub(r" \([\d.]+ %\)| in the run '.*'$", "", choice)


def value_words(value: Any) -> str:
    """A plain value for a table."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return str(value) or "none"

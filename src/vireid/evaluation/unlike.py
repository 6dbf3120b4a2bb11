"""In what reports differ: what they measure, and how what they measure was trained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vireid.config import flatten, to_plain
from vireid.evaluation.protocol import (
    PROTOCOL_WORDS,
    Protocol,
    choice_words,
    protocol_value,
    value_words,
)
from vireid.evaluation.report import Report
from vireid.methods import OPTIONS, RECIPES
from vireid.runtime.record import recipe_of, unlike

# Fields in which reports of one experiment may differ without being other measurements.
_INCIDENTAL = {"seed", "split", "weights_hash", "commit", "versions", "epoch", "other"}
NOT_THERE = "–"  # of an option that a report's method hasn't
# Fields that say what is measured; two numbers that differ here are not comparable.
_SEARCH = (
    "dataset", "synthetic", "synthetic_set", "data_hash", "part", "rule", "scope", "shots", "draw",
    "direction", "variant", "trials", "split", "metric", "tta",
)  # fmt: skip


def differing_searches(reports: Sequence[Report]) -> tuple[str, ...]:
    """Fields of the protocol that say what is measured, and differ between reports."""
    first = reports[0].protocol
    return tuple(
        name for name in _SEARCH
        if any(_other_value(name, r.protocol, first) for r in reports)
        and not (name in {"trials", "split"} and all(r.protocol.split for r in reports))
    )  # fmt: skip


def _other_value(name: str, one: Protocol, other: Protocol) -> bool:
    a, b = getattr(one, name), getattr(other, name)
    if name == "data_hash" and None in (a, b):
        return False  # a report from before there were hashes
    return bool(a != b)


def differing_options(
    reports: Sequence[Report], *, brief: bool = False
) -> dict[str, tuple[str, ...]]:
    """Options that differ between the training runs of reports, with each one's value in words;
    the seed and the split, which have places of their own, aren't among them.

    Args:
        brief: leave out the method and, where all have one recipe, what it says for each method.
    """
    recipes = [recipe_of(r.record) if r.record else None for r in reports]
    known = [recipe for recipe in recipes if recipe is not None]
    usual = [_usual(report) for report in reports if report.record]
    one_recipe = brief and len({report.protocol.recipe for report in reports}) == 1
    said = [_said_by_recipe(report) for report in reports if report.record] if one_recipe else []
    names = dict.fromkeys(name for recipe in known for name in recipe)
    return {
        name: tuple(
            "not stated" if r is None else value_words(r[name]) if name in r else NOT_THERE
            for r in recipes
        )
        for name in names
        if len({value_words(recipe.get(name)) for recipe in known}) > 1
        and not _says_the_method(name, known, usual)
        and not (brief and name == "method")
        and not (said and all(name in s and s[name] == r[name] for s, r in zip(said, known)))
    }


def differences(one: Report, other: Report) -> list[str]:
    """In what two reports differ, in words with both values, so that they can't be averaged: their
    protocol, or the options, code and data of their training; empty if in nothing."""
    a, b = one.protocol, other.protocol
    options = unlike(one.record, other.record)
    # the records say it with the file of an own method or network
    ignored = _INCIDENTAL | {"method", "arch"} & {name.rsplit(".", 1)[-1] for name in options}
    if a.split is not None and b.split is not None:
        ignored.add("trials")  # the trial is the split
    fields = [name for name in Protocol.__dataclass_fields__ if name not in ignored]
    found = [
        f"{PROTOCOL_WORDS[name].lower()} ({protocol_value(a, name)} and {protocol_value(b, name)})"
        for name in fields
        if _unlike(name, a, b)
    ]
    found += _options_unlike(one, other)
    averages = [report.averaged or {"over": [], "values": {}} for report in (one, other)]
    if averages[0]["over"] != averages[1]["over"]:
        found.append("what they are averages of")
    elif (splits := [x["values"].get("split") for x in averages])[0] != splits[1]:
        found.append(f"the splits that they are averages of ({splits[0]} and {splits[1]})")
    return found


def _unlike(name: str, one: Protocol, other: Protocol) -> bool:
    if name == "epoch_choice":
        return choice_words(one.epoch_choice) != choice_words(other.epoch_choice)
    return bool(getattr(one, name) != getattr(other, name))


def _options_unlike(a: Report, b: Report) -> list[str]:
    """In what the training runs of two reports differ, in words with both values."""
    one, other = a.record, b.record
    found = unlike(one, other)
    if one is not None and other is not None:
        recipes, usual = (recipe_of(one), recipe_of(other)), (_usual(a), _usual(b))
        found = {n: v for n, v in found.items() if not _says_the_method(n, recipes, usual)}
    pairs = [
        f"`{name}` ({value_words(a)} and {value_words(b)})"
        for name, (a, b) in zip(short_names(found), found.values())
    ]
    hashes = [(record or {}).get("data_hash") for record in (one, other)]
    if None not in hashes and hashes[0] != hashes[1]:
        pairs.append(f"training data's hash ({hashes[0][:12]} and {hashes[1][:12]})")  # type: ignore[index]
    return pairs


def _usual(report: Report) -> dict[str, Any]:
    """The options that a report's method has of its own, with the values that its recipe gives."""
    method = recipe_of(report.record).get("method") if report.record else None
    if method not in OPTIONS:
        return {}
    recipe = RECIPES.get(method, {}).get(report.protocol.recipe or "")
    given = recipe.on(report.protocol.trained_on or "").method_options if recipe else {}
    return {**to_plain(OPTIONS[method]()), **given}


def _said_by_recipe(report: Report) -> dict[str, Any]:
    """The options of a report's recipe by dotted names, as its method's name and its own say."""
    method = recipe_of(report.record).get("method") if report.record else None
    recipe = RECIPES.get(str(method), {}).get(report.protocol.recipe or "")
    if recipe is None:
        return {}
    return flatten({"recipe": to_plain(recipe.on(report.protocol.trained_on or ""))})


def _says_the_method(
    name: str, recipes: Sequence[Mapping[str, Any]], usual: Sequence[Mapping[str, Any]]
) -> bool:
    """Whether an option is one that other methods lack and that is as `usual` where it is, so that
    the names of the methods say all."""
    field = name.removeprefix("method_options.")
    having = [r for r in recipes if name in r]
    methods = {r["method"] for r in having}
    if field == name or not methods.isdisjoint(r["method"] for r in recipes if name not in r):
        return False
    return len(having) < len(recipes) and all(
        field in own and own[field] == r[name] for r, own in zip(recipes, usual) if name in r
    )


def short_names(names: Iterable[str]) -> list[str]:
    """Dotted names without what goes before, where that leaves them different."""
    names = list(names)
    last = [name.rsplit(".", 1)[-1] for name in names]
    return [short if last.count(short) == 1 else name for short, name in zip(last, names)]


def joined(words: Sequence[str]) -> str:
    """Words as in a sentence: "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

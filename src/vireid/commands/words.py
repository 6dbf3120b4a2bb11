"""The words of a command line, before the command-line library reads them: to which flag each
belongs."""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vireid.config import Options, hints_of
from vireid.console import count_text


def flag_of(parameter: str) -> str:
    """A parameter's flag, with underscores: one that Python keeps for itself is spelled with an
    underscore at its end (`with_`)."""
    return parameter.removesuffix("_")


def without_place(words: Sequence[str], most: Mapping[str, int]) -> tuple[list[str], list[str]]:
    """Words that no flag takes: those before all flags, and those after what a flag takes; and a
    sentence on each flag that such words follow.

    Args:
        most: flag with underscores → how many values it takes; any number where it is left out.
    """
    groups: list[tuple[str, list[str]]] = [("", [])]
    for word in words:
        if word.startswith("-") and not _is_number(word):
            flag, equals, value = word.partition("=")
            groups.append((flag, [value] if equals else []))
        else:
            groups[-1][1].append(word)
    alone, told = list[str](), list[str]()
    for flag, values in groups:
        name = flag.lstrip("-").replace("-", "_")
        count = most.get(name, len(values)) if flag else 0
        more = values[count:]
        alone += more
        if more and flag:
            takes = count_text(count, "value", "values") if count else "no value"
            given = f"{len(values)} were given: " if len(values) > 1 else "was given "
            told.append(f"{flag} takes {takes}, and {given}{', '.join(map(repr, values))}.")
    return alone, told


def counts_of_values(
    function: Callable[..., object], defaults: Mapping[str, Options]
) -> dict[str, int]:
    """Flag of a command, with underscores → how many values it takes, unless it takes any number.

    Args:
        defaults: parameter → its default, of those that are option dataclasses.
    """
    hints, found = typing.get_type_hints(function), dict[str, int | None]()
    for name in inspect.signature(function).parameters:
        if name in defaults:
            found |= _counts_of_fields(defaults[name])
        else:
            found[flag_of(name)] = _count_of(hints[name])
    found |= {f"no_{name}": 0 for name, count in found.items() if count == 0}
    return {name: count for name, count in found.items() if count is not None}


def _counts_of_fields(options: Options) -> dict[str, int | None]:
    hints, found = hints_of(type(options)), dict[str, int | None]()
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Options):
            found |= _counts_of_fields(value)
        elif flag := one.metadata.get("flag", one.name):
            found[flag.replace("-", "_")] = _count_of(hints[one.name])
    return found


def _count_of(hint: Any) -> int | None:
    """How many words are a value of this type, at most; None: any number."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        counts = [_count_of(one) for one in inner if one is not type(None)]
        return None if None in counts else max(count or 0 for count in counts)
    if origin in (tuple, list, dict):
        return len(inner) if origin is tuple and Ellipsis not in inner else None
    return 0 if hint is bool else 1


def _is_number(word: str) -> bool:
    return re.fullmatch(r"-[\d.]+(?:e[+-]?\d+)?", word, re.ASCII | re.IGNORECASE) is not None

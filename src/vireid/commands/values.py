"""How a flag's value is read from a word."""

from __future__ import annotations

import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tyro.constructors import PrimitiveConstructorSpec, PrimitiveTypeInfo

from vireid.config import choices_of

# kind of a value → (what stands for it in the help, what was expected)
VALUES: dict[Any, tuple[str, str]] = {
    str: ("TEXT", "a word"),
    int: ("N", "a whole number"),
    float: ("X", "a number"),
    Path: ("PATH", "a path"),
}


def primitive(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """How a value is read from a word, with a sentence for a wrong one."""
    hint = info.type
    words = choices_of(hint)
    inner = [one for one in typing.get_args(hint) if one is not type(None)]
    origin = typing.get_origin(hint)
    if words:
        # the object that holds the word spells it as the code does, and refuses unknown ones
        return _spec(str, "|".join(words))
    if origin is tuple and inner and all(one in VALUES or one is Ellipsis for one in inner):
        return _tuple_spec(inner)
    if origin in (typing.Union, types.UnionType):
        kinds = [one for one in inner if one in VALUES]
        literal = [word for one in inner for word in choices_of(one)]
        if not kinds:
            return None
        return _spec(kinds[0], "|".join([VALUES[kinds[0]][0], *literal]), literal)
    return _spec(hint, VALUES[hint][0]) if hint in VALUES else None


def _spec(kind: Any, metavar: str, literal: Sequence[str] = ()) -> PrimitiveConstructorSpec[Any]:
    def parse(typed: list[str]) -> Any:
        return typed[0].lower() if typed[0].lower() in literal else _read(kind, typed[0], literal)

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar=metavar,
        instance_from_str=parse,
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(value)],
    )


def _tuple_spec(inner: Sequence[Any]) -> PrimitiveConstructorSpec[Any]:
    kind, metavar = inner[0], VALUES[inner[0]][0]
    free = Ellipsis in inner
    return PrimitiveConstructorSpec(
        nargs="*" if free else len(inner),
        metavar=f"{metavar} ..." if free else " ".join([metavar] * len(inner)),
        instance_from_str=lambda typed: tuple(_read(kind, word) for word in typed),
        is_instance=lambda value: True,
        str_from_instance=lambda value: [str(one) for one in value],
    )


def _read(kind: Any, word: str, literal: Sequence[str] = ()) -> Any:
    try:
        return kind(word)
    except ValueError:
        expected = ", or ".join([VALUES[kind][1], *literal])
        raise WrongWord(word, expected) from None


class WrongWord(Exception):
    """A word that is no value of its flag's kind; not a ValueError, which tyro would put in a
    frame, among its own words."""

    def __init__(self, word: str, expected: str) -> None:
        super().__init__(f"'{word}' was given, {expected} was expected.")
        self.word = word

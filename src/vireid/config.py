"""Reads and writes frozen option dataclasses as JSON, strictly.

Each room keeps its own option dataclasses beside their owners; this file only turns them into
plain values and back, and refuses keys and types that don't belong.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from vireid.files import read_json, write_json
from vireid.types import InputError

T = TypeVar("T")


def to_plain(value: Any) -> Any:
    """Dataclasses, tuples, enums and paths as JSON values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    if isinstance(value, Enum):
        return value.name.lower()
    if isinstance(value, Path):
        return str(value)
    return value


def from_plain(cls: type[T], plain: Any, where: str = "configuration") -> T:
    """Build the dataclass `cls` from plain values.

    Missing keys take the dataclass's defaults.

    Raises:
        InputError: an unknown key (the nearest legal one is named), a missing key without a
            default, or a value of another type.
    """
    if not isinstance(plain, dict):
        raise InputError(f"{where} is {plain!r}; an object with named values was expected.")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise InputError(
                f"{where} has an unknown key '{key}'.{hint} Legal: {', '.join(fields)}."
            )
    values = {key: _convert(hints[key], item, f"{where}.{key}") for key, item in plain.items()}
    missing = [
        name
        for name, f in fields.items()
        if name not in values
        and f.init
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}.")
    return cls(**values)


def _convert(hint: Any, item: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return item
    if origin in (typing.Union, types.UnionType):
        if item is None and type(None) in arguments:
            return None
        problems = []
        for option in arguments:
            if option is type(None):
                continue
            try:
                return _convert(option, item, where)
            except InputError as error:
                problems.append(str(error))
        raise InputError(problems[-1])
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), item, where)
    if origin is typing.Literal:
        if item in arguments:
            return item
        raise InputError(f"{where} is {item!r}; expected one of {', '.join(map(str, arguments))}.")
    if origin in (tuple, list):
        if not isinstance(item, (list, tuple)):
            raise InputError(f"{where} is {item!r}; a list was expected.")
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(arguments) != len(item):
                raise InputError(f"{where} is {item!r}; {len(arguments)} values were expected.")
            return tuple(
                _convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(arguments, item))
            )
        inner = arguments[0] if arguments else Any
        return origin(_convert(inner, v, f"{where}[{i}]") for i, v in enumerate(item))
    if origin is dict:
        if not isinstance(item, dict):
            raise InputError(f"{where} is {item!r}; an object was expected.")
        return {k: _convert(arguments[1], v, f"{where}.{k}") for k, v in item.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return hint[str(item).upper()]
    if hint is Path and isinstance(item, str):
        return Path(item)
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    if hint in (int, float, str, bool):
        if isinstance(item, hint) and not (hint is not bool and isinstance(item, bool)):
            return item
        raise InputError(f"{where} is {item!r}; a value of type {hint.__name__} was expected.")
    return item


def save(path: str | Path, options: Any) -> None:
    """Write an option dataclass as JSON, atomically."""
    write_json(path, to_plain(options))


def load(cls: type[T], path: str | Path) -> T:
    """Read an option dataclass from a JSON file; see `from_plain`."""
    return from_plain(cls, read_json(path), str(path))

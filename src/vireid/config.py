"""Options: frozen dataclasses that check themselves, are described once, and are read strictly.

An option is one field of one dataclass. Its default, its limits and how common it is stand in
`option(…)`, its meaning in the docstring under it. Flags, `--help`, configuration files, checks
and the options tables of the docs are all made from that. Nothing here imports PyTorch.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import functools
import inspect
import itertools
import math
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vireid.console import choose
from vireid.files import read_json, write_json
from vireid.types import InputError

T = TypeVar("T")


def option(
    default: T,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    rare: bool = False,
    flag: str | None = None,
    aliases: dict[str, str] | None = None,
    choices: Callable[[], str] | None = None,
) -> T:
    """The default of an option, and what is known of it besides.

    Args:
        default: its value where nothing is given.
        at_least, above, at_most, below: limits of a number, or of each number of a tuple.
        rare: only `--help-all` shows its flag.
        flag: the flag's name without dashes, where it is not the field's; "" for no flag.
        aliases: other words for the values of a choice.
        choices: gives what the option's own name in braces stands for in its docstring, such as
            {dataset} for the names in the registry of data sets.
    """
    metadata = {
        "at_least": at_least, "above": above, "at_most": at_most, "below": below, "rare": rare,
        "flag": flag, "aliases": aliases, "choices": choices,
    }  # fmt: skip
    given = {k: v for k, v in metadata.items() if v is not None and v is not False}
    if isinstance(default, (dict, list)) or dataclasses.is_dataclass(default):
        return field(default_factory=lambda: default, metadata=given)
    return field(default=default, metadata=given)


@dataclass(frozen=True, kw_only=True)
class Options:
    """What all option dataclasses share: each value is checked when the object is made.

    Choices are accepted in any case, with hyphens or underscores.

    Class attributes:
        title: what the options are about, over their flags in `--help`.

    Raises:
        InputError: a value of another type, an unknown choice, a number outside its limits.
    """

    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        hints = hints_of(type(self))
        for one in dataclasses.fields(self):
            value = getattr(self, one.name)
            checked = _checked(one, hints[one.name], value)
            if checked is not value:
                object.__setattr__(self, one.name, checked)


def _checked(one: dataclasses.Field, hint: Any, value: Any) -> Any:
    """The value of a field, choices spelled as the code spells them."""
    choices = choices_of(hint)
    if choices and isinstance(value, str):
        return choose(
            one.name.replace("_", " "), value, choices, aliases=one.metadata.get("aliases")
        )
    value = convert(hint, value, one.name)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            _check_limits(one, number, value)
    return value


def _check_limits(one: dataclasses.Field, number: float, value: Any) -> None:
    limits = {
        "at_least": (lambda x, y: x >= y, "at least"),
        "above": (lambda x, y: x > y, "above"),
        "at_most": (lambda x, y: x <= y, "at most"),
        "below": (lambda x, y: x < y, "below"),
    }
    stated = {name: one.metadata[name] for name in limits if name in one.metadata}
    if not stated:
        return
    if not math.isfinite(number) or not all(limits[k][0](number, v) for k, v in stated.items()):
        words = " and ".join(f"{limits[name][1]} {limit:g}" for name, limit in stated.items())
        must = "every number must be" if isinstance(value, tuple) else "it must be"
        raise InputError(f"`{one.name}` is {value}; {must} {words}.")


@functools.cache
def _hints_of(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def hints_of(cls: type) -> dict[str, Any]:
    """Field → type of a dataclass, as classes rather than strings."""
    return _hints_of(cls)


def choices_of(hint: Any) -> tuple[str, ...]:
    """The words of a `Literal` of words, also of an optional one; () for any other type."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        inner = [h for h in typing.get_args(hint) if h is not type(None)]
        hint = inner[0] if len(inner) == 1 else hint
    if typing.get_origin(hint) is not typing.Literal:
        return ()
    words = typing.get_args(hint)
    return words if all(isinstance(word, str) for word in words) else ()


def meanings(cls: type) -> dict[str, str]:
    """Field → the docstring under it, on one line, with its choices; those of base classes
    included."""
    out: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if dataclasses.is_dataclass(base):
            out |= _own_meanings(base)
    for one in dataclasses.fields(cls):
        if one.name in out and (choices := one.metadata.get("choices")):
            out[one.name] = out[one.name].replace(f"{{{one.name}}}", choices())
    return out


@functools.cache  # reading source takes much of `--help`
def _own_meanings(cls: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError):
        return {}  # made at run time: its fields have no source
    out = {}
    body = tree.body[0].body  # type: ignore[attr-defined]
    for one, after in itertools.pairwise(body):
        if (
            isinstance(one, ast.AnnAssign)
            and isinstance(one.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            out[one.target.id] = " ".join(str(after.value.value).split())
    return out


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
        InputError: an unknown key (the nearest valid one is named), a missing key without a
            default, or a value of another type.
    """
    if not isinstance(plain, dict):
        raise InputError(f"{where} is {plain!r}; an object with named values was expected.")
    hints = hints_of(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in plain:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise InputError(
                f"{where} has an unknown key '{key}'.{hint} Valid: {', '.join(fields)}."
            )
    values = {key: convert(hints[key], item, f"{where}.{key}") for key, item in plain.items()}
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


def convert(hint: Any, item: Any, where: str) -> Any:
    """A plain value as the type `hint`.

    Raises:
        InputError: it is of another type; `where` names the value in the message.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or (isinstance(hint, type) and dataclasses.is_dataclass(item)):
        return item
    if origin in (typing.Union, types.UnionType):
        if item is None and type(None) in arguments:
            return None
        problems = []
        for choice in arguments:
            if choice is type(None):
                continue
            try:
                return convert(choice, item, where)
            except InputError as error:
                problems.append(str(error))
        raise InputError(problems[-1])
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), item, where)
    if origin is typing.Literal:
        if item in arguments or (choices_of(hint) and isinstance(item, str)):
            return item  # words are checked by the object that holds them
        raise InputError(
            f"`{where}` is {item!r}; expected one of {', '.join(map(str, arguments))}."
        )
    if origin in (tuple, list):
        if not isinstance(item, (list, tuple)):
            raise InputError(f"`{where}` is {item!r}; a list was expected.")
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(arguments) != len(item):
                raise InputError(f"`{where}` is {item!r}; {len(arguments)} values were expected.")
            return tuple(
                convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(arguments, item))
            )
        inner = arguments[0] if arguments else Any
        return origin(convert(inner, v, f"{where}[{i}]") for i, v in enumerate(item))
    if origin is dict:
        if not isinstance(item, dict):
            raise InputError(f"`{where}` is {item!r}; an object was expected.")
        return {k: convert(arguments[1], v, f"{where}.{k}") for k, v in item.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        return item if isinstance(item, hint) else hint[str(item).upper()]
    if hint is Path and isinstance(item, str):
        return Path(item)
    if hint is float and isinstance(item, int) and not isinstance(item, bool):
        return float(item)
    if hint in (int, float, str, bool):
        if isinstance(item, hint) and not (hint is not bool and isinstance(item, bool)):
            return item
        raise InputError(f"`{where}` is {item!r}; a value of type {hint.__name__} was expected.")
    return item


def overlay(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`under` with the values of `over`, objects within objects too."""
    out = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(out.get(key), dict)
        out[key] = overlay(out[key], value) if both else value
    return out


def read_plain(path: str | Path) -> dict[str, Any]:
    """The plain values of a configuration file, JSON or TOML by its ending.

    Raises:
        InputError: it is missing, can't be parsed, or holds no object.
    """
    path = Path(path)
    if path.suffix.lower() == ".toml":
        try:
            plain: Any = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(f"There is no file '{path}'.") from error
        except (OSError, ValueError) as error:
            raise InputError(f"The file '{path}' is not readable TOML: {error}.") from error
    else:
        plain = read_json(path)
    if not isinstance(plain, dict):
        raise InputError(f"'{path}' is {plain!r}; an object with named values was expected.")
    return plain


def save(path: str | Path, options: Any) -> None:
    """Write an option dataclass as JSON, atomically."""
    write_json(path, to_plain(options))

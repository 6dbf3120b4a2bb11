"""Options: frozen dataclasses that check themselves, are described once, and are read strictly.

An option is one field of one dataclass. Its default, its limits and how common it is stand in
`option(…)`, its meaning in the docstring under it. Flags, `--help`, configuration files, checks
and the options tables of the docs are all made from that. Nothing here imports PyTorch.
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import itertools
import math
import operator
import re
import textwrap
import tomllib
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from vireid.console import choose, unknown
from vireid.files import content_of, read_json
from vireid.problems import Problems
from vireid.types import InputError, shown

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
        InputError: values of another type, unknown choices, numbers outside their limits; all of
            them at once.
    """

    title: ClassVar[str] = ""

    def __post_init__(self) -> None:
        given = {one.name: getattr(self, one.name) for one in dataclasses.fields(self)}
        for name, value in checked_values(type(self), given).items():
            if value is not given[name]:
                object.__setattr__(self, name, value)


def checked_values(cls: type[Options], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of some fields as an object would have them.

    Raises:
        InputError: all that is wrong with each by itself.
    """
    hints, fields = hints_of(cls), {one.name: one for one in dataclasses.fields(cls)}
    found, problems = {}, Problems()
    for name, value in values.items():
        with problems:
            found[name] = _checked(fields[name], hints[name], value)
    problems.tell()
    return found


def _checked(one: dataclasses.Field, hint: Any, value: Any) -> Any:
    """The value of a field, choices spelled as the code spells them."""
    choices = choices_of(hint)
    if choices and isinstance(value, str):
        aliases = one.metadata.get("aliases")
        return choose(one.name, value, choices, aliases=aliases, option=True)
    value = convert(hint, value, one.name)
    for number in value if isinstance(value, tuple) else (value,):
        if isinstance(number, (int, float)) and not isinstance(number, bool):
            _check_limits(one.name, one.metadata, number, value)
            if not math.isfinite(number):
                raise InputError(f"`{one.name}` is {value}; a finite number was expected.")
    return value


_LIMITS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "at_least": (operator.ge, "at least"),
    "above": (operator.gt, "above"),
    "at_most": (operator.le, "at most"),
    "below": (operator.lt, "below"),
}


def _check_limits(name: str, metadata: Mapping[str, Any], number: float, value: Any) -> None:
    stated = {kind: metadata[kind] for kind in _LIMITS if kind in metadata}
    if all(_LIMITS[kind][0](number, limit) for kind, limit in stated.items()):
        return
    words = " and ".join(f"{_LIMITS[kind][1]} {limit:g}" for kind, limit in stated.items())
    must = "every number must be" if isinstance(value, tuple) else "it must be"
    subject = f"`{name}`" if _is_name(name) else name
    raise InputError(f"{subject} is {shown(value)}; {must} {words}.")


@functools.cache
def _hints_of(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls, include_extras=True)


def hints_of(cls: type) -> dict[str, Any]:
    """Field → type of a dataclass or `TypedDict`, as classes rather than strings."""
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
        InputError: unknown keys (the nearest valid ones are named), missing keys without a
            default, or values of another type; all of them at once.
    """
    return cls(**plain_values(cls, plain, where))


def plain_values(cls: type, plain: Any, where: str) -> dict[str, Any]:
    """Field → value of what `from_plain` makes, each checked by itself; errors as there."""
    if not isinstance(plain, dict):
        raise InputError(f"{where} is {shown(plain)}; an object with named values was expected.")
    hints = hints_of(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values, problems = {}, Problems()
    with problems:
        check_keys(plain, fields, where)
    for key in [key for key in plain if key in fields]:
        with problems:
            values[key] = convert(hints[key], plain[key], _inside(where, key))
            if issubclass(cls, Options):
                checked_values(cls, {key: values[key]})
    missing = [
        name
        for name, f in fields.items()
        if name not in plain
        and f.init
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    with problems:
        if missing:
            raise InputError(f"{where} lacks {', '.join(missing)}.")
    problems.tell()
    return values


def check_keys(plain: Iterable[Any], valid: Collection[str], where: str) -> None:
    """Refuse keys that aren't valid, all of them at once.

    Raises:
        InputError: names each, and the valid one that is nearest to it.
    """
    if wrong := [key for key in plain if key not in valid]:
        sentence = f"{where} has an unknown key "
        raise InputError(unknown(sentence, wrong, valid, again="Another one is "))


def check_sections(
    tables: Iterable[tuple[str, dict[str, Any]]], valid: Mapping[str, Collection[str]], where: str
) -> None:
    """Refuse keys that belong in another section of their file, all of them at once; they are
    taken out of their tables, so that the rest can be read on.

    Args:
        tables: the sections that there are ("recipe.augment"; "" for the top), each with what
            stands in it.
        valid: section → its keys.

    Raises:
        InputError: says for each key where it belongs.
    """
    homes: dict[str, list[str]] = {}
    for section, table in tables:
        for key in [key for key in table if key not in valid[section]]:
            home = next((name for name, keys in valid.items() if key in keys), None)
            if home is not None:
                homes.setdefault(home, []).append(shown(key))
                del table[key]
    if homes:
        told = [
            f"{', '.join(dict.fromkeys(keys))} {'belongs' if len(keys) == 1 else 'belong'} "
            + (f"under [{home}]" if home else "at the top, before all sections")
            for home, keys in homes.items()
        ]
        raise InputError(f"{where}: {'; '.join(told)}.")


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def convert(hint: Any, item: Any, where: str) -> Any:
    """A plain value as the type `hint`.

    Args:
        hint: also a `TypedDict`, whose required keys have to be there (others may), or a number
            `Annotated` with `Limits`.

    Raises:
        InputError: it is of another type, or outside its limits; `where` names the value in the
            message.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)

    subject = f"`{where}`" if _is_name(where) else where

    def wrong(expected: str) -> InputError:
        return InputError(f"{subject} is {shown(item)}; {expected} was expected.")

    if hint is Any or (isinstance(hint, type) and dataclasses.is_dataclass(item)):
        return item
    if origin is typing.Annotated:
        number = convert(arguments[0], item, where)
        _check_limits(where, arguments[1]._asdict(), number, number)
        return number
    if origin in (typing.Union, types.UnionType):
        if item is None and type(None) in arguments:
            return None
        choices = [choice for choice in arguments if choice is not type(None)]
        problems = []
        for choice in choices:
            words = typing.get_args(choice) if typing.get_origin(choice) is typing.Literal else ()
            if words and len(choices) > 1 and item not in words:
                problems.append(f"{subject} is {shown(item)}; a number or {words[0]} was expected.")
                continue
            try:
                return convert(choice, item, where)
            except InputError as error:
                problems.append(str(error))
        raise InputError(problems[-1])
    if typing.is_typeddict(hint):
        return _convert_dict(hint, item, where)
    if dataclasses.is_dataclass(hint):
        return from_plain(typing.cast(type, hint), item, where)
    if origin is typing.Literal:
        if item in arguments or (choices_of(hint) and isinstance(item, str)):
            return item  # words are checked by the object that holds them
        raise InputError(
            f"{subject} is {shown(item)}; expected one of {', '.join(map(str, arguments))}."
        )
    if origin in (tuple, list):
        if not isinstance(item, (list, tuple)):
            raise wrong("a list")
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            if len(arguments) != len(item):
                raise InputError(
                    f"{subject} is {shown(item)}; {len(arguments)} values were expected."
                )
            return tuple(
                convert(h, v, f"{where}[{i}]") for i, (h, v) in enumerate(zip(arguments, item))
            )
        inner = arguments[0] if arguments else Any
        return origin(convert(inner, v, f"{where}[{i}]") for i, v in enumerate(item))
    if origin is dict:
        if not isinstance(item, dict):
            raise wrong("an object")
        if odd := [key for key in item if not isinstance(key, str)]:
            raise InputError(f"{subject} has the key {shown(odd[0])}; a word was expected.")
        return {k: convert(arguments[1], v, _inside(where, k)) for k, v in item.items()}
    if isinstance(hint, type) and issubclass(hint, Enum):
        if isinstance(item, str) and item.upper() in hint.__members__:
            return hint[item.upper()]
        if isinstance(item, hint):
            return item
        raise wrong(f"one of {', '.join(hint.__members__).lower()}")
    if hint is Path and isinstance(item, str):
        return Path(item)
    if hint is str and isinstance(item, Path):  # of a place that may also be a word
        return str(item)
    if not isinstance(hint, type):
        return item
    if hint in (int, float) and isinstance(item, int) and not isinstance(item, bool):
        if not -(2**63) <= item < 2**63:
            raise wrong("a number of at most 64 bits")
        return hint(item)
    if not isinstance(item, hint) or (hint is not bool and isinstance(item, bool)):
        raise wrong(_WORDS.get(hint, f"a value of type {hint.__name__}"))
    return item


def flatten(plain: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by their dotted names: {"recipe": {"lr": 0.1}} → {"recipe.lr": 0.1}."""
    flat: dict[str, Any] = {}
    for key, value in plain.items():
        inner = flatten(value, f"{before}{key}.") if isinstance(value, Mapping) else None
        flat |= {before + key: value} if inner is None else inner
    return flat


_FILES = (".toml", ".json")  # endings of configurations


def _is_name(where: str) -> bool:
    """Whether `where` is the name of a value alone, which messages put in backticks."""
    return re.fullmatch(r"[\w.\[\]-]+", where) is not None and not where.endswith(_FILES)


def _inside(where: str, name: str) -> str:
    """How a message names a value in another one: "recipe.lr", "a.json: recipe.lr"."""
    within = _is_name(where) or ": " in where
    return f"{where}{'.' if within else ': '}{name[:40]}"


def _convert_dict(hint: Any, item: Any, where: str) -> dict[str, Any]:
    """The values of a `TypedDict` converted; other keys stay as they are."""
    item = convert(dict[str, Any], item, where)
    hints = hints_of(hint)
    if missing := [name for name in hint.__required_keys__ if name not in item]:
        raise InputError(f"{where} lacks {', '.join(sorted(missing))}.")
    return {
        name: convert(hints[name], value, _inside(where, name)) if name in hints else value
        for name, value in item.items()
    }


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
        content = content_of(path)
        try:
            plain: Any = tomllib.loads(content.decode("utf-8-sig"))
        except (ValueError, RecursionError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else error
            raise InputError(f"The file '{path}' is not readable TOML: {why}.") from error
    else:
        try:
            plain = read_json(path)
        except InputError as error:
            if path.suffix.lower() == ".json" or not path.exists():
                raise
            raise InputError(
                f"{error} A TOML file, whose name ends in .toml, or a JSON file was expected."
            ) from error
    if not isinstance(plain, dict):
        raise InputError(f"'{path}' is {shown(plain)}; an object with named values was expected.")
    return plain

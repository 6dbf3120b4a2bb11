"""From a method's name to its class: `METHODS`, or a user's own "path/to/my.py:MyMethod"."""

from __future__ import annotations

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import convert, hints_of
from vireid.console import choose, path_meant
from vireid.methods.options import OPTIONS, MethodOptions
from vireid.methods.recipe import Recipe
from vireid.methods.recipes import RECIPES
from vireid.own_code import answering, import_class, is_code, place_of_field, whole_code_name
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.methods.base import Method, Sizes
    from vireid.models.options import ModelOptions

METHODS = {
    "base": "vireid.methods.baseline:Baseline",
    "agw": "vireid.methods.agw:AGW",
    "ddag": "vireid.methods.ddag:DDAG",
    "mcl": "vireid.methods.mcl:MCL",
    "caj": "vireid.methods.caj:CAJ",
    "dns": "vireid.methods.dns:DNS",
    "deen": "vireid.methods.deen:DEEN",
    "rle": "vireid.methods.rle:RLE",
    "halo": "vireid.methods.halo:Halo",
}
ALIASES = {"baseline": "base", "mclnet": "mcl"}


def method_choices() -> str:
    """The methods for a help text."""
    return f"{', '.join(METHODS)} or path/to/my.py:MyMethod"


def resolve_method(name: str) -> str:
    """The name of a method as it is registered, from what a user wrote ("MCL", "baseline"); of
    "file.py:Class" the whole path, so that a run can be used from every folder.

    Raises:
        InputError: there is no such method; those that exist are listed.
    """
    if is_code(name):
        return whole_code_name(name)
    try:
        return choose("method", name, list(METHODS), aliases=ALIASES)
    except InputError as error:
        raise InputError(f"{error} For your own, give path/to/my.py:MyMethod.") from None


def method_class(name: str) -> type[Method]:
    """The class of a method, by name or as "path/to/my.py:MyMethod".

    The user's file is run as Python code.

    Raises:
        InputError: there is no such method, file or class, or the class is not a `Method`.
    """
    name = resolve_method(name)
    if is_code(name):
        return _from_file(name)
    module, attribute = METHODS[name].split(":")
    return getattr(import_module(module), attribute)


def options_class(method: str) -> type[MethodOptions]:
    """The options of a method by its name, or of a user's own ("file.py:Class")."""
    return OPTIONS[method] if method in OPTIONS else method_class(method).Options


def recipes_of(method: str) -> dict[str, Recipe]:
    """The recipes of a method by its name, or of a user's own ("file.py:Class")."""
    return RECIPES[method] if method in RECIPES else method_class(method).recipes


def _from_file(name: str) -> type[Method]:
    file, attribute = name.rsplit(":", 1)
    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"The method '{attribute}' should be in the file '{path}', which does not exist."
            f"{path_meant(path, Path.is_file)} Give `method` as path/to/my.py:MyMethod; weights "
            "need the file they were trained with."
        )
    from vireid.methods.base import Method

    cls = import_class(name, Method, "method")
    _check_class(cls, f"Class '{attribute}' in '{path}'", path)
    return cls


def _check_class(cls: type[Method], subject: str, path: Path) -> None:
    """Check what can be checked of a user's method before it is built."""
    from vireid.methods.base import Method

    if cls.terms is Method.terms and cls.forward is Method.forward:
        raise InputError(
            f"{subject} has no `terms(self, output, batch)`. Write one that returns the named loss "
            "terms of a batch; examples/my_method.py is a whole method."
        )
    options = cls.Options
    if not (isinstance(options, type) and issubclass(options, MethodOptions)):
        name = getattr(options, "__name__", repr(options))
        raise InputError(
            f"{subject} has the Options {name}, which don't extend "
            "vireid.methods.MethodOptions. Write `class MyOptions(MethodOptions)`."
        )
    if "__dataclass_fields__" not in vars(options):
        raise InputError(
            f"{subject} has the Options {options.__name__}, which are no dataclass, so that its "
            "fields would not be options. Write @dataclass(frozen=True, kw_only=True) above it."
        )
    for one in dataclasses.fields(options):
        nothing = dataclasses.MISSING
        if one.init and one.default is nothing and one.default_factory is nothing:
            raise InputError(
                f"The option '{one.name}' ({place_of_field(options, one.name)}) has no default. "
                f"Write `{one.name}: float = option(0.5)`, with a type and a value of yours."
            )
    with answering(f"{subject} has the Options {options.__name__}, which can't be made", path):
        hints_of(options)
        options()


def build_method(
    name: str,
    model_options: ModelOptions | None,
    sizes: Sizes,
    options: MethodOptions | dict[str, Any] | None = None,
) -> Method:
    """Build a method.

    Args:
        name: see `method_class`.
        model_options: of its network; None takes the method's own defaults.
        sizes: numbers of identities and cameras of the training data.
        options: the method's `Options`, or plain values for them.

    Raises:
        InputError: an unknown name or option, or an invalid value.
    """
    cls = method_class(name)
    chosen: Any = convert(cls.Options, options or {}, f"options of method {name}")
    model_options = model_options or cls.model_defaults()
    if not is_code(name):
        return cls(model_options, sizes, chosen)
    file = name.rsplit(":", 1)[0]
    with answering(f"Method '{cls.name}' can't be built", file):
        method = cls(model_options, sizes, chosen)
    if missing := [part for part in ("options", "model") if not _has(method, part)]:
        raise InputError(
            f"Method '{cls.name}' can't be built: its `__init__` in '{file}' leaves out "
            f"{' and '.join(f'`self.{part}`' for part in missing)}. Call `super().__init__` first, "
            "with what it was given: `def __init__(self, *parts): super().__init__(*parts)`."
        )
    return method


def _has(method: Method, part: str) -> bool:
    try:
        return hasattr(method, part)
    except AttributeError:  # of a module that was never begun
        return False

"""From a method's name to its class: `METHODS`, or a user's own "path/to/my.py:MyMethod"."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import convert
from vireid.console import choose, path_meant
from vireid.files import import_class, is_code, whole_code_name
from vireid.methods.options import OPTIONS, MethodOptions
from vireid.methods.recipe import Recipe
from vireid.methods.recipes import RECIPES
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
    from vireid.methods.base import Method

    file, attribute = name.rsplit(":", 1)
    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"The method '{attribute}' should be in the file '{path}', which does not exist."
            f"{path_meant(path, Path.is_file)} Give `method` as path/to/my.py:MyMethod; weights "
            "need the file they were trained with."
        )
    cls = import_class(name, Method, "method")
    _check_class(cls, f"Class '{attribute}' in '{path}'")
    return cls


def _check_class(cls: type[Method], subject: str) -> None:
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
    return cls(model_options or cls.model_defaults(), sizes, chosen)

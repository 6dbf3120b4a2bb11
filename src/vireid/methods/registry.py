"""From a method's name to its class: `METHODS`, or a user's own "path/to/my.py:MyMethod"."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vireid.config import convert
from vireid.console import choose
from vireid.files import import_file
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
}
ALIASES = {"baseline": "base", "mclnet": "mcl"}


def resolve_method(name: str) -> str:
    """The legal name for a user's word ("MCL", "baseline"); of "file.py:Class" the whole path,
    so that a run can be used from every folder.

    Raises:
        InputError: there is no such method; the legal ones are listed.
    """
    if ".py:" in name:
        file, attribute = name.rsplit(":", 1)
        return f"{Path(file).expanduser().resolve()}:{attribute}"
    try:
        return choose("method", name, list(METHODS), aliases=ALIASES)
    except InputError as error:
        raise InputError(f"{error} Your own is given as path/to/my.py:MyMethod.") from None


def method_class(name: str) -> type[Method]:
    """The class of a method, by name or as "path/to/my.py:MyMethod".

    A file given in this way is run, as Python code of the user.

    Raises:
        InputError: there is no such method, file or class, or the class is not a `Method`.
    """
    name = resolve_method(name)
    if ".py:" in name:
        return _from_file(*name.rsplit(":", 1))
    module, attribute = METHODS[name].split(":")
    return getattr(import_module(module), attribute)


def options_class(method: str) -> type[MethodOptions]:
    """The options of a method by its name, or of a user's own ("file.py:Class")."""
    return OPTIONS[method] if method in OPTIONS else method_class(method).Options


def recipes_of(method: str) -> dict[str, Recipe]:
    """The recipes of a method by its name, or of a user's own ("file.py:Class")."""
    return RECIPES[method] if method in RECIPES else method_class(method).recipes


def _from_file(file: str, attribute: str) -> type[Method]:
    from vireid.methods.base import Method

    path = Path(file)
    if not path.is_file():
        raise InputError(
            f"The method '{attribute}' should be in the file '{path}', which does not exist. Give "
            "--method path/to/my.py:MyMethod; weights need the file that they were trained with."
        )
    module = import_file(path, "method")
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, Method) and found is not Method):
        legal = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, Method) and value is not Method
        ]
        raise InputError(
            f"'{path}' has no class '{attribute}' that extends vireid.methods.Method. "
            f"Those that do: {', '.join(legal) or 'none'}."
        )
    if found.terms is Method.terms and found.forward is Method.forward:
        raise InputError(
            f"Class '{attribute}' in '{path}' has no `terms(self, output, batch)`. Write one that "
            "returns the named loss terms of a batch; docs/methods.md shows a whole method."
        )
    return found


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
        InputError: an unknown name or option, or a value that cannot be.
    """
    cls = method_class(name)
    chosen: Any = convert(cls.Options, options or {}, f"options of method {name}")
    return cls(model_options or cls.model_defaults(), sizes, chosen)

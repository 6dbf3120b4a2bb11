"""Code of the user's own: what a name of it means, how its file is run, and how its errors are
told, in a sentence that names the file and the line."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import logging
import shlex
import sys
import textwrap
import traceback
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from vireid.config import Options, to_plain
from vireid.types import InputError, shown

T = TypeVar("T")
OWN_MODULE = "vireid_user_"  # before the names of modules that users' files make
log = logging.getLogger(__name__)
_LONGEST = 400  # characters of an error's text; PyTorch lists every tensor that it misses
HOW_TO_DEBUG = "With VIREID_LOG=debug in the environment, the traceback is shown."


def is_code(name: str) -> bool:
    """Whether `name` is "path/to/my.py:Name", code of the user's own.

    Raises:
        InputError: it names a file of Python alone.
    """
    if name.endswith(".py"):
        raise InputError(
            f"{shown(name)} names a file; what of it is to be used was expected too, as "
            f"{Path(name).name}:NAME."
        )
    return ".py:" in name


# Options that may name code of a user's own: the flag's word → the way to the field.
CODE = {
    "method": ("method",),
    "dataset": ("dataset",),
    "arch": ("model", "arch"),
    "augment": ("recipe", "augment", "own"),
    "sampler": ("sampler",),
    "callback": ("callbacks",),
}


def code_in(plain: Mapping[str, Any]) -> dict[str, list[str]]:
    """The flag's word → the code of a user's own that plain options name."""
    found = {}
    for what, way in CODE.items():
        value: Any = plain
        for part in way:
            value = value.get(part) if isinstance(value, Mapping) else None
        several = value if isinstance(value, (list, tuple)) else [value]
        if names := [name for name in several if isinstance(name, str) and is_code(name)]:
            found[what] = names
    return found


def named_again(options: Options | Mapping[str, Any], *, training: bool = True) -> str:
    """What a command about a run needs after its own words, as no file names code that is run:
    " --method my.py:MyMethod", or "" where all of it is the package's.

    Args:
        options: of a run, or as its config.json has them.
        training: the command trains; others need the method, the data set and the network only.
    """
    needed = tuple(CODE) if training else ("method", "dataset", "arch")
    found = code_in(to_plain(options)).items()
    return "".join(f" --{what} {shlex.join(names)}" for what, names in found if what in needed)


class UnnamedCode(InputError):
    """A file needs code of a user's own, which the user has not named.

    Attributes:
        option: what has to be given ("method").
        name: "somewhere/my.py:Name", as the file states it.
    """

    def __init__(self, sentences: str, option: str, name: str) -> None:
        super().__init__(sentences)
        self.option, self.name = option, name


def code_of(stated: str, given: str | None, *, what: str, where: str) -> str:
    """The name of a method or data set where a file states one: code of a user's own is never run
    because a file names it, only where the user does.

    Args:
        stated: the name in the file, perhaps "somewhere/my.py:Name".
        given: what the user gave, or None.
        what: the option's name, "method" or "dataset".
        where: the file, as the message calls it ("'runs/a'").

    Returns:
        `given` if it names the same class or constant of a Python file, in whatever folder;
        `stated` where that names no code.

    Raises:
        UnnamedCode: `stated` names code, and `given` is something else.
    """
    if not is_code(stated):
        return stated
    if given is not None and same_code(stated, given):
        return given
    file, name = stated.rsplit(":", 1)
    nouns = {"dataset": "data set", "arch": "network", "augment": "augmentation"}
    noun = nouns.get(what, what)
    raise UnnamedCode(
        f"{where} needs the {noun} {shown(name)}, which was in the Python file {shown(file, 300)}"
        + (f"; {shown(given, 300)} was given. " if given is not None else ". ")
        + "Code is run only where you name it yourself, never because a file names it. If you know "
        f"that file, or have your own copy of it, give it as `{what}` FILE:{name[:80]}.",
        what,
        stated,
    )


def same_code(one: str, other: str) -> bool:
    """Whether two names are the same, or the same class or constant of Python files: a file may
    have moved since."""
    code = is_code(one) and is_code(other)
    return one == other or (code and one.rsplit(":", 1)[1] == other.rsplit(":", 1)[1])


def import_file(path: Path, what: str) -> ModuleType:
    """The module that a user's Python file makes; a file is run once.

    Args:
        path: absolute, with all links resolved.
        what: what the file defines, for messages ("method").

    Raises:
        InputError: the file is missing, isn't a Python file, or raises an error.
    """
    if not path.is_file():
        from vireid.console import path_meant  # its libraries aren't needed for files

        raise InputError(
            f"The {what}'s file '{path}' does not exist.{path_meant(path, Path.is_file)} Correct "
            "the path."
        )
    name = f"{OWN_MODULE}{zlib.crc32(str(path).encode()):08x}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"The {what}'s file '{path}' is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look for their module there
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        del sys.modules[name]
        if not isinstance(error, Exception):
            raise
        lines = [
            f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)
        ]
        line = lines[-1] if lines else getattr(error, "lineno", None)
        raise InputError(
            f"The {what}'s file '{path}' cannot be run{f' (line {line})' if line else ''}: "
            f"{type(error).__name__}: {error}. `python {path}` shows the whole traceback."
        ) from error
    return module


def whole_code_name(name: str) -> str:
    """ "path/to/my.py:Name" with the whole path, so that a run can be used from every folder."""
    file, attribute = name.rsplit(":", 1)
    return f"{Path(file).expanduser().resolve()}:{attribute}"


def import_class(name: str, base: type[T], what: str) -> type[T]:
    """The class that "path/to/my.py:Name" names; its file is run as Python code.

    Args:
        base: the class extends it.
        what: what it is, for messages ("augmentation").

    Raises:
        InputError: the file is missing or fails, or has no such class.
    """
    file, attribute = whole_code_name(name).rsplit(":", 1)
    module = import_file(Path(file), what)
    cls = getattr(module, attribute, None)
    if isinstance(cls, type) and issubclass(cls, base) and cls is not base:
        return cls
    found = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    ]
    raise InputError(
        f"'{file}' has no class '{attribute}' that extends {base.__module__.rsplit('.', 1)[0]}."
        f"{base.__name__}. Those that do: {', '.join(found) or 'none'}."
    )


def failure(error: BaseException) -> str:
    """Where code of the user's own failed and of what, as a part of a sentence; "" where none of it
    took part, or where it is no fault of the code, as when memory ran out."""
    if isinstance(error, InputError | MemoryError) or not isinstance(error, Exception):
        return ""
    if type(error).__name__ == "OutOfMemoryError":  # PyTorch's; not imported here
        return ""
    frame = _last_frame(error)
    return f"in line {frame.lineno} of '{frame.filename}': {told(error)}" if frame else ""


def told(error: Exception) -> str:
    """The kind of an error and its text, on one line."""
    text = " ".join(str(error).split()).rstrip(".")
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@contextmanager
def answering(what: str, file: str | Path | None = None) -> Iterator[None]:
    """Answer whatever code of the user's own raises in the block.

    Args:
        what: what fails, as the start of a sentence ("Method 'mine' can't be built").
        file: that the code is in; None where the block may run only the package's own, whose
            errors are left as they are.

    Raises:
        InputError: it raised something; that is the cause.
    """
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:
        if type(error).__name__ == "OutOfMemoryError":
            raise
        where = failure(error) or (file and f"in '{file}': {told(error)}")
        if not where:
            raise
        log.debug("%s", what, exc_info=True)
        early = "before Module.__init__() call" in str(error)
        hint = " Call super().__init__ first, with what it was given." if early else ""
        raise InputError(f"{what}, {where}.{hint} {HOW_TO_DEBUG}") from error


def _last_frame(error: BaseException) -> traceback.FrameSummary | None:
    """The innermost line of the user's files in the traceback of an error."""
    own = {
        str(module.__file__)
        for name, module in [*sys.modules.items()]
        if name.startswith(OWN_MODULE) and getattr(module, "__file__", None)
    }
    found = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    return found[-1] if found else None


def place_of_field(cls: type, name: str) -> str:
    """Where a class or one that it extends states a field: "line 12 of 'my.py'"."""
    for one in cls.__mro__:
        if name not in vars(one).get("__annotations__", inspect.get_annotations(one)):
            continue
        try:
            lines, first = inspect.getsourcelines(one)
            file = inspect.getfile(one)
        except (OSError, TypeError):  # made at run time
            break
        body = ast.parse(textwrap.dedent("".join(lines))).body[0]
        for item in getattr(body, "body", []):
            if isinstance(item, ast.AnnAssign) and getattr(item.target, "id", "") == name:
                return f"line {first + item.lineno - 1} of '{file}'"
    return f"class {cls.__name__}"

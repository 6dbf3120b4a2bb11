"""Errors of code of the user's own, told in a sentence that names the file and the line."""

from __future__ import annotations

import ast
import inspect
import logging
import sys
import textwrap
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vireid.files import OWN_MODULE
from vireid.types import InputError

log = logging.getLogger(__name__)
_LONGEST = 400  # characters of an error's text; PyTorch lists every tensor that it misses
HOW_TO_DEBUG = "With VIREID_LOG=debug in the environment, the traceback is shown."


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

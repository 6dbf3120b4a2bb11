"""Triton's interpreter, a third quicker."""

from __future__ import annotations

import os
from typing import Any


def quicken() -> None:
    """Let a launch replace the language's functions by the interpreter's once, instead of again at
    each call of a device function, where they are replaced already."""
    if os.environ.get("TRITON_INTERPRET") != "1":
        return
    from triton.runtime import interpreter

    replace, launch = interpreter._patch_lang, interpreter.GridExecutor.__call__
    if getattr(replace, "once", False):
        return
    seen: set[frozenset[int]] = set()
    language = {id(interpreter.tl), id(interpreter.tl.core)}

    def once(function: Any) -> Any:
        own = frozenset(language & {id(value) for value in function.__globals__.values()})
        if own in seen:
            return None  # only a launch looks at it, and that comes first
        seen.add(own)
        return replace(function)

    def launched(*args: Any, **words: Any) -> None:
        seen.clear()
        launch(*args, **words)

    once.once = True  # type: ignore[attr-defined]
    interpreter._patch_lang, interpreter.GridExecutor.__call__ = once, launched

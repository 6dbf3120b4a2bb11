"""The record of a training run: everything that decided its numbers, in its folder, its weights
and every report on them. Two numbers can be compared by it, and a resumed run can't change
unnoticed."""

from __future__ import annotations

import ast
import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict

from vireid.config import convert, flatten
from vireid.files import atomic_write, file_hash

RECORD = "record.json"  # in a run's folder
CODE = "code"  # beside it: copies of the user's own files
VARIED = ("seed", "trial")  # in which runs of one experiment differ


class Code(TypedDict):
    """A Python file of the user's that a run executed."""

    name: str  # as an option names it, without its place on a disk: "my.py:MyMethod"
    sha256: str  # of the file and of those beside it that it imports
    copies: list[str]  # of these files, within the run's folder


class Record(TypedDict, total=False):
    """What decided a run's numbers.

    `options` are all those that decide; `incidental` the others (places, engine, device …).
    `options_hash` is the hash of the former without `VARIED`: runs of one experiment share it.
    `start` is what the network started from ("imagenet", "a file", "none"), `start_hash` the hash
    of that file; `changes` are sentences on what a resumed run changed.
    """

    options: dict[str, Any]
    options_hash: str
    incidental: dict[str, Any]
    code: dict[str, Code]
    package_hash: str
    versions: dict[str, str]
    commit: str | None
    data_hash: str
    start: str
    start_hash: str | None
    architecture: str
    precision: str
    ranks: int
    changes: list[str]


def record_of(metadata: Mapping[str, Any]) -> Record | None:
    """The record in a weights file's metadata; None of weights from before there were records.

    Raises:
        InputError: its values aren't those of a record.
    """
    kept = metadata.get("record")
    return None if kept is None else convert(Record, kept, "the record of the weights")


def hash_of(plain: Any) -> str:
    """SHA-256 of plain values, whatever the order of their keys, as 64 hexadecimal digits."""
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def recipe_of(record: Record) -> dict[str, Any]:
    """What runs of one experiment share, by dotted names: options without `VARIED`, the hash of
    each file of the user's own, number format and processes."""
    options = {k: v for k, v in record.get("options", {}).items() if k not in VARIED}
    recipe = flatten(options)
    for name, code in record.get("code", {}).items():
        recipe[name] = f"{code['name']} ({code['sha256'][:8]})"
    recipe |= {name: record[name] for name in ("precision", "ranks") if name in record}  # type: ignore[literal-required]
    for number, change in enumerate(record.get("changes", []), 1):
        recipe[f"change {number}"] = change
    return recipe


def unlike(one: Record | None, other: Record | None) -> dict[str, tuple[Any, Any]]:
    """In what the recipes of two runs differ: dotted name → both values; None for an option that
    one of them hasn't."""
    if one is None or other is None:
        return {} if one is other else {"record": tuple(r and "stated" for r in (one, other))}  # type: ignore[dict-item]
    a, b = recipe_of(one), recipe_of(other)
    return {name: (a.get(name), b.get(name)) for name in {**a, **b} if a.get(name) != b.get(name)}


def own_code(options: Mapping[str, Any]) -> dict[str, tuple[str, Path]]:
    """Options that name a Python file of the user's own: dotted name → (file.py:Name, file)."""
    found = {}
    for name, value in flatten(options).items():
        several = isinstance(value, (list, tuple))
        for number, one in enumerate(value if several else [value], 1):
            if isinstance(one, str) and ".py:" in one:
                path = Path(one.rsplit(":", 1)[0])
                label = f"{path.name}:{one.rsplit(':', 1)[1]}"
                found[f"{name}.{number}" if several else name] = label, path
    return found


def code_hash(path: Path) -> str:
    """SHA-256 of a user's file; with files beside it that it imports, over all of them."""
    files = [*_with_imports(path)]
    if len(files) == 1:
        return file_hash(path)
    return hash_of({str(file.relative_to(path.parent)): file_hash(file) for file in files})


def other_code(record: Record | None, method: object) -> str:
    """That a method isn't what its weights were trained with, as a sentence; "" if it is, or if
    that isn't known."""
    code = (record or {}).get("code", {}).get("method")
    file = getattr(sys.modules.get(type(method).__module__), "__file__", None)
    if code is None or file is None or code_hash(Path(file)) == code["sha256"]:
        return ""
    return (
        f"the code of the method ({code['name']}) has changed since these weights were trained; "
        f"the run keeps a copy in its folder {CODE}"
    )


def copy_code(path: Path, folder: Path) -> list[str]:
    """Copy a user's file and those beside it that it imports into `folder`; their names there."""
    names = []
    for file in _with_imports(path):
        name = file.relative_to(path.parent)
        with atomic_write(folder / name) as copy:
            copy.write(file.read_bytes())
        names.append(name.as_posix())
    return names


def _with_imports(path: Path, seen: frozenset[Path] = frozenset()) -> Iterator[Path]:
    """The file, and the user's own files in its folder that it imports, each once."""
    yield path
    seen = seen | {path}
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # running it gives the sentence
    for name in _imported(tree):
        file = getattr(sys.modules.get(name), "__file__", None)
        beside = Path(file).resolve() if file else None
        root = path.parent.resolve()
        if beside is None or beside in seen or root not in beside.parents or _installed(beside):
            continue
        for one in _with_imports(beside, seen):
            seen |= {one}
            yield one


def _imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _installed(file: Path) -> bool:
    """Whether a module belongs to Python, to an installed package or to this one."""
    homes = [Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[1]]
    return "site-packages" in file.parts or any(home in file.parents for home in homes)

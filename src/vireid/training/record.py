"""Makes and keeps the record of a run, and stops one that would go on with other code or data."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from vireid.config import convert, to_plain
from vireid.data.content import data_hash
from vireid.files import file_hash, read_json, write_json
from vireid.models.hub import names_file
from vireid.runtime.provenance import commit, package_hash, versions
from vireid.runtime.record import (
    CODE,
    RECORD,
    VARIED,
    Code,
    Record,
    code_hash,
    copy_code,
    hash_of,
    own_code,
)
from vireid.training.options import MAY_CHANGE, TrainOptions
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data import Dataset
    from vireid.methods import Method

A_FILE = "a file"  # for the path of the weights that a run starts from; their hash names them
_NAMES_ONLY = ("name", "method_options", "model_options")  # of a recipe; they are in force already
_NEEDED = ("options", "code", "package_hash", "versions", "data_hash", "start")
_CODE_VERSIONS = ("vireid", "torch", "timm")  # of packages that compute what a run trains


class _Schedule(TypedDict):
    kind: str


class _Recipe(TypedDict):
    epochs: int
    schedule: _Schedule


class _Network(TypedDict):
    arch: str


class _Read(TypedDict):
    """What is read of the options in a record's file."""

    recipe: _Recipe
    model: _Network


def decisive(plain: Mapping[str, Any]) -> dict[str, Any]:
    """Of a run's resolved options those that decide its numbers, without places on a disk."""
    kept = {name: value for name, value in plain.items() if name not in MAY_CHANGE}
    if plain["select"] == "val":
        kept["eval_every"] = plain["eval_every"]  # only those epochs can be chosen
    if plain.get("epochs_from"):
        kept["stop_epoch"] = "as another run chose"  # each seed its own
    kept["recipe"] = {k: v for k, v in plain["recipe"].items() if k not in _NAMES_ONLY}
    start = plain["model"]["pretrained"]
    if names_file(start) or Path(start).is_file():
        kept["model"] = {**plain["model"], "pretrained": A_FILE}
    return _without_places(kept)


def _without_places(value: Any) -> Any:
    """Names of code without the folders of their files."""
    if isinstance(value, Mapping):
        return {name: _without_places(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_places(item) for item in value]
    return os.path.basename(value) if isinstance(value, str) and ".py:" in value else value


def begin(options: TrainOptions, dataset: Dataset) -> Record:
    """What is known of a run before its network is built."""
    plain = to_plain(options)
    chosen = decisive(plain)
    return {
        "options": chosen,
        "incidental": {n: plain[n] for n in MAY_CHANGE if n not in chosen and n != "data_root"},
        "code": {
            name: Code(name=label, sha256=code_hash(path), copies=[])
            for name, (label, path) in own_code(plain).items()
        },
        "package_hash": package_hash(),
        "versions": versions(),
        "commit": commit(),
        "data_hash": data_hash(dataset),
        "start": chosen["model"]["pretrained"],
    }


def read(run: Path) -> Record | None:
    """The record in a run's folder; None of a run from before there were records.

    Raises:
        InputError: the file isn't a record.
    """
    path = run / RECORD
    if not path.is_file():
        return None
    found: Record = convert(Record, read_json(path), str(path))
    if lacking := [name for name in _NEEDED if name not in found]:
        raise InputError(
            f"'{path}' lacks {', '.join(lacking)}; a run's record was expected. Restore the file, "
            "or remove it: then it isn't known whether the run goes on as it began."
        )
    convert(_Read, found["options"], f"{path}: options")
    return found


def other_code(before: Record, now: Record) -> list[str]:
    """Sentences on what a run would go on with that isn't what it was begun with."""
    found = []
    for name, code in now["code"].items():
        earlier = before["code"].get(name)
        if earlier and earlier["sha256"] != code["sha256"]:
            found.append(
                f"the code of `{name}` ({code['name']}) has changed: its hash was "
                f"{earlier['sha256'][:12]} and is {code['sha256'][:12]}"
            )
    for name in _CODE_VERSIONS:
        one, other = (record["versions"].get(name) for record in (before, now))
        if one != other:
            found.append(f"{name} was {one} and is {other}")
    if before["package_hash"] != now["package_hash"]:
        found.append(
            f"the code of vireid has changed (commit {before.get('commit')} and {now['commit']})"
        )
    if before["data_hash"] != now["data_hash"]:
        found.append("the images or labels of the data set have changed")
    return found


def other_course(before: Record, now: Record) -> list[str]:
    """Sentences on other numbers of epochs, where learning rates or the choice of the epoch depend
    on them."""
    found = []
    one, other = (record["options"]["recipe"] for record in (before, now))
    kind = one["schedule"]["kind"]
    if one["epochs"] != other["epochs"] and kind not in ("steps", "constant"):
        found.append(
            f"`epochs` was {one['epochs']} and is {other['epochs']}, and with it the learning "
            f"rate's schedule ({kind})"
        )
    each = [record["options"].get("eval_every") for record in (before, now)]  # see `decisive`
    if each[0] != each[1]:
        found.append(f"`eval_every` was {each[0]} and is {each[1]}, so other epochs can be chosen")
    return found


def refuse_other_code(changes: list[str], before: Record, run: Path) -> str:
    """The sentence with which a run stops before it goes on with something else."""
    copies = [f"'{run / CODE / c}'" for code in before["code"].values() for c in code["copies"][:1]]
    kept = f" The code that it was begun with is kept in {' and '.join(copies)}." if copies else ""
    return (
        f"The run '{run}' would go on with something else than it was begun with: "
        f"{'; '.join(changes)}.{kept} Restore what was there, start another run, or set "
        "`other_code`, which its record and every report will say."
    )


def go_on(before: Record, now: Record, changes: list[str], where: str) -> Record:
    """The record of a resumed run, with what it has changed until now and changes here."""
    told = [f"{change}, from {where} on" for change in changes]
    record: Record = {**now, "start": before["start"], "start_hash": before.get("start_hash")}
    record["changes"] = [*before.get("changes", []), *told]
    return record


def finish(record: Record, method: Method, *, precision: str, ranks: int) -> Record:
    """The record with what is known once the network is built."""
    from vireid.models.pretrained import locate

    options = record["options"]
    options = {**options, "model": {**options["model"], "arch": method.model_options.arch}}
    complete: Record = {
        **record,
        "options": options,
        "options_hash": hash_of({k: v for k, v in options.items() if k not in VARIED}),
        "architecture": method.architecture,
        "precision": precision,
        "ranks": ranks,
    }
    if "start_hash" not in complete:
        found = locate(method.model_options.pretrained, method.model_options.arch)
        complete["start_hash"] = file_hash(found[1]) if found else None
    return complete


def keep(record: Record, options: TrainOptions, run: Path) -> Record:
    """Write the record into the run's folder, with copies of the user's own code."""
    before = (read(run) or {}).get("code", {})
    code = {}
    for name, (_, path) in own_code(to_plain(options)).items():
        digest = record["code"][name]["sha256"]
        changed = name in before and before[name]["sha256"] != digest
        place = Path(f"{name}-{digest[:12]}" if changed else name)  # what it was begun with stays
        copies = [(place / file).as_posix() for file in copy_code(path, run / CODE / place)]
        code[name] = Code(**{**record["code"][name], "copies": copies})
    record = {**record, "code": code}
    write_json(run / RECORD, record)
    return record

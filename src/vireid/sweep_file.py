"""The sections of a sweep's file: what belongs in which, and in which one a fault is."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any, TypedDict

from vireid.config import check_sections, flatten
from vireid.own_code import UnnamedCode, code_of, same_code
from vireid.problems import Problems, each
from vireid.types import InputError, shown

_SHARED = ("[base]", "[grid]", "seeds")  # sections that rows share


class SweepFile(TypedDict, total=False):
    """What a sweep's file may hold."""

    seeds: list[int]
    base: dict[str, Any]
    rows: dict[str, dict[str, Any]]
    grid: dict[str, list[Any]]
    test: dict[str, Any] | list[dict[str, Any]]
    baseline: str


def check_places(
    plain: dict[str, Any], where: str, *, given_by_sweep: Iterable[str], own_code: bool
) -> None:
    """Refuse what belongs in another section; as in `check_sections`, it is taken out.

    Args:
        plain: what the file holds.
        given_by_sweep: flags of `vireid test` that a sweep gives by itself.
        own_code: the file may name methods whose options aren't known here.

    Raises:
        InputError: there is something.
    """
    from vireid.methods.options import OPTIONS
    from vireid.testing import TestOptions
    from vireid.training.defaults import defaults, section_names
    from vireid.training.flat import flat_name, flat_names

    sections, problems, usual = section_names(), Problems(), defaults()
    for name in [n for n in plain if n in sections]:  # a configuration's; here there are none
        options = flatten({name: plain.pop(name)})
        plain |= {flat_name(usual, key): value for key, value in options.items()}
    of_methods = {one.name for cls in OPTIONS.values() for one in dataclasses.fields(cls)}
    valid: dict[str, Collection[str]] = {
        "": SweepFile.__annotations__,
        "base": {*flat_names(usual), *of_methods, *sections, "config", "max_steps", "seed"},
        "test": {*flat_names(TestOptions()), "epoch", *given_by_sweep},
    }
    tests, rows = plain.get("test"), plain.get("rows")
    rows = rows if isinstance(rows, dict) else {}
    with problems:
        _check_rows(rows, where)
    of_runs = [] if own_code else [plain.get("base"), plain.get("grid"), *rows.values()]
    tables = [
        ("", plain),
        *(("test", one) for one in (tests if isinstance(tests, list) else [tests])),
        *(("base", one) for one in of_runs),
    ]
    with problems:
        check_sections([(s, one) for s, one in tables if isinstance(one, dict)], valid, where)
    problems.tell()


def _check_rows(rows: dict[str, Any], where: str) -> None:
    """Refuse options beside the rows, and take them out."""
    if loose := [name for name, row in rows.items() if not isinstance(row, dict)]:
        for name in loose:
            del rows[name]
        raise InputError(
            f"{where}: {', '.join(map(shown, loose))} {'stands' if len(loose) == 1 else 'stand'} "
            "under [rows] itself; each row is a section of its own, [rows.NAME], and what all rows "
            "share belongs under [base]."
        )


def allowed_code(stated: str, code: Sequence[str], what: str, where: str) -> str:
    """A method or data set that the file may name."""
    given = next((one for one in code if same_code(stated, one)), None)
    try:
        return code_of(stated, given, what=what, where=where)
    except UnnamedCode as error:
        raise InputError(
            f"{where} names the code {stated}. Code is run only where you name it on the command "
            f"line: add `code` {shlex.quote(stated)}."
        ) from error


class Faults:
    """What is wrong with the runs of a sweep, each told once, of the section that it is in.

    Args:
        asked: the whole file.
        check: raises what is wrong with the options of a run.
    """

    def __init__(self, asked: SweepFile, check: Callable[[Mapping[str, Any]], object]) -> None:
        self._asked, self._check = asked, check
        self._found: dict[str, dict[str, InputError]] = {}  # by section and fault

    def keep(self, error: InputError, row: str) -> None:
        """Keep what is wrong with a row, "NAME, OPTION VALUE" where there is a grid."""
        names = [n for n in self._asked.get("rows", {}) if f"{row}, ".startswith(f"{n}, ")]
        places = [*_SHARED, *(f"row {shown(name)}" for name in names)]
        for fault in each(error):
            alone = (place for place in places if fault.fault in self._alone[place])
            found = self._found.setdefault(next(alone, f"row {shown(row)}"), {})
            known = found.get(fault.fault, fault)
            # Each row's method has options of its own, of which the nearest is named.
            found[fault.fault] = max(known, fault, key=lambda one: one.nearness)

    def tell(self, where: str) -> None:
        """
        Raises:
            InputError: what was found, if anything.
        """
        if self._found:
            raise InputError(" ".join(
                f"{where}, {section}: {' '.join(map(str, faults.values()))}"
                for section, faults in self._found.items()
            ))  # fmt: skip

    @cached_property
    def _alone(self) -> dict[str, set[str]]:
        """Section → faults that it has by itself."""
        grid, rows = self._asked.get("grid", {}), self._asked.get("rows", {})
        parts: dict[str, list[dict[str, Any]]] = {
            "[base]": [self._asked.get("base", {})],
            "[grid]": [{name: one} for name, several in grid.items() for one in several],
            "seeds": [{"seed": seed} for seed in self._asked.get("seeds", [])],
        }
        parts |= {f"row {shown(name)}": [own] for name, own in rows.items()}
        return {section: self._wrong_with(values) for section, values in parts.items()}

    def _wrong_with(self, parts: Iterable[Mapping[str, Any]]) -> set[str]:
        found: set[str] = set()
        for values in parts:
            try:
                self._check(values)
            except InputError as error:
                found |= {one.fault for one in each(error)}
        return found

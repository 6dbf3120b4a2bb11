"""Options by their flat names: of a flag, with underscores, wherever the option is kept."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from vireid.config import Options, checked_values
from vireid.console import likeness, refusals
from vireid.methods.options import owners_of_options
from vireid.problems import Problems, each
from vireid.training.options import FOREIGN, TrainOptions
from vireid.types import InputError, shown

Chosen = TypeVar("Chosen", bound=Options)


def with_values(
    options: Chosen,
    values: Mapping[str, Any],
    *,
    besides: Sequence[str] = (),
    each_alone: bool = False,
) -> Chosen:
    """`options` with values given by their flat names, wherever they are kept.

    Args:
        each_alone: the values are only checked, each by itself.
        besides: names that whoever calls takes besides, which an unknown one may mean.

    Raises:
        InputError: an unknown name, or a value that can't be.
    """
    places, problems = flat_names(options), Problems()
    nested: dict[str, Any] = {}
    wrong = [name for name in values if name not in places]
    foreign = [name for name in wrong if name in FOREIGN and isinstance(options, TrainOptions)]
    of_others = {
        name: of_other_methods(name, options, besides) for name in wrong if name not in foreign
    }
    unlike = [name for name, found in of_others.items() if found is None]
    sentence = "There is no option "
    refused = refusals(sentence, unlike, (*places, *besides)) if unlike else []
    refused += [InputError(f"{sentence}{shown(name)}.", f" {FOREIGN[name]}") for name in foreign]
    for name, found in of_others.items():
        if found:
            meant = "" if found.alike else f" Did you mean '{found.name}'?"
            hint = f"{meant} {found}; the method here is {shown(found.here)}."
            # A little less, so that a sweep names it of a row whose method has it, if there is one.
            near = 0.0 if found.alike else 0.99 * likeness(name, found.name)
            refused.append(InputError(f"{sentence}{shown(name)}.", hint, near))
    for error in refused:
        with problems:
            raise error
    known = {name: value for name, value in values.items() if name in places}
    for name, value in known.items():
        inner = nested
        for part in places[name][:-1]:
            inner = inner.setdefault(part, {})
        inner[places[name][-1]] = value
    try:
        made = _replaced(options, nested, each_alone=each_alone or bool(wrong))
    except InputError as error:
        given = {f"`{places[name][-1]}`": f"`{name}`" for name in known}
        for one in each(error):
            with problems:
                fault, hint = (
                    re.sub(r"`\w+`", lambda word: given.get(word[0], word[0]), part)
                    for part in (one.fault, one.hint)
                )
                raise InputError(fault, hint, one.nearness) from error
    problems.tell()
    return made


class OfOthers(NamedTuple):
    """An option of other methods that a word names, or is nearest to.

    Attributes:
        methods: those that have it.
        here: the run's method, which hasn't.
        alike: the word names it.
    """

    name: str
    methods: tuple[str, ...]
    here: str
    alike: bool

    def __str__(self) -> str:
        return f"That is an option of {' and '.join(self.methods)}"


def of_other_methods(word: str, options: Options, besides: Iterable[str] = ()) -> OfOthers | None:
    """What a word that is no option of a run means, where that is an option of other methods.

    Args:
        options: of the run.
        besides: as in `with_values`.
    """
    if not isinstance(options, TrainOptions):
        return None
    owners = owners_of_options()
    others = owners.keys() - flat_names(options).keys()
    name = word.replace("-", "_")
    near = difflib.get_close_matches(name[:80], [*flat_names(options), *besides, *others], n=1)
    if not near or near[0] not in others or near[0] in besides:
        return None
    return OfOthers(near[0], tuple(owners[near[0]]), options.method, alike=name == near[0])


def flat_names(options: Options) -> dict[str, tuple[str, ...]]:
    """Flag name with underscores → the way to the field, through nested options."""
    out: dict[str, tuple[str, ...]] = {}
    for one in dataclasses.fields(options):
        value = getattr(options, one.name)
        if isinstance(value, Options):
            out |= {name: (one.name, *way) for name, way in flat_names(value).items()}
        elif one.metadata.get("flag") != "":
            out[one.metadata.get("flag", one.name).replace("-", "_")] = (one.name,)
    return out


def flat_name(options: Options, within: str) -> str:
    """The flat name of an option that is named within its sections, "schedule.kind"."""
    ways = {f".{'.'.join(way)}": name for name, way in flat_names(options).items()}
    found = (name for way, name in ways.items() if way.endswith(f".{within}"))
    return next(found, within.rsplit(".")[-1])


def _replaced(options: Any, nested: Mapping[str, Any], *, each_alone: bool) -> Any:
    """Options with changes; with `each_alone`, the changes are only checked, each by itself."""
    changes, problems = {}, Problems()
    for name, value in nested.items():
        with problems:
            if isinstance(getattr(options, name), Options):
                inner = _replaced(getattr(options, name), value, each_alone=each_alone)
                changes[name] = inner
            else:
                changes |= checked_values(type(options), {name: value})
    problems.tell()
    return options if each_alone else dataclasses.replace(options, **changes)

"""The searches and the split that the options of a test ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from vireid.console import choose
from vireid.data.facts import DIRECTIONS, DatasetFacts, Direction
from vireid.data.registry import check_takes, check_trial, facts_of
from vireid.problems import Problems
from vireid.testing.options import TestOptions
from vireid.types import InputError

if TYPE_CHECKING:
    from vireid.data.protocol import SearchOptions

DIRECTION_ALIASES: dict[str, str] = {
    "i2v": DIRECTIONS[0], "t2v": DIRECTIONS[0], "v2i": DIRECTIONS[1], "v2t": DIRECTIONS[1],
    "thermal-to-visible": DIRECTIONS[0], "visible-to-thermal": DIRECTIONS[1],
}  # fmt: skip


class Asked(NamedTuple):
    """A test, as far as it is known without data.

    Attributes:
        trial: the split.
        searches: one for each direction.
    """

    trial: int
    searches: list[SearchOptions]


def asked_of(dataset: str, options: TestOptions, trained: int | None, *, known: bool) -> Asked:
    """What a test asks, checked as far as it can be before there are weights and data.

    Args:
        dataset: that is tested on, by its valid name.
        trained: the split that was trained on, where it is one of the same data set.
        known: as in `trial_of`.

    Raises:
        InputError: the data set doesn't define some of it; all is told.
    """
    facts, problems = facts_of(dataset), Problems()
    trial = 1
    searches: list[SearchOptions] = []
    with problems:
        check_takes(
            facts, camera_pattern=options.camera_pattern, junk=options.junk or None,
            sensor_cameras=options.sensor_cameras or None,
        )  # fmt: skip
    with problems:
        trial = trial_of(options.trial, trained, facts, known=known)
    with problems:
        searches = searches_of(facts, options)
    problems.tell()
    return Asked(trial, searches)


def searches_of(facts: DatasetFacts, options: TestOptions) -> list[SearchOptions]:
    """What is asked, one search for each direction.

    Raises:
        InputError: the data set doesn't define some of it; all is told.
    """
    from vireid.config import from_plain
    from vireid.data.protocol import ProtocolOptions

    plain: dict[str, Any] = {
        "part": options.part,
        "shots": options.shots,
        "num_trials": options.num_trials,
        "variant": "standard",
    }
    directions, problems = list(facts.tested_directions), Problems()
    searches: list[SearchOptions] = []
    with problems:
        if options.scope is not None:
            aliases = {f"{name}-search": name for name in facts.scopes}
            plain["scope"] = _choose("mode", options.scope, tuple(facts.scopes), facts, aliases)
    with problems:
        plain["variant"] = _choose("protocol", options.variant, facts.variant_names, facts)
    with problems:
        plain["draw"] = _choose("draw", options.draw, facts.draws, facts)
    with problems:
        directions = _directions(facts, options.direction, plain["variant"])
    for direction in directions:
        with problems:
            asked = from_plain(ProtocolOptions, {**plain, "direction": direction}, "protocol")
            searches.append(asked.of(facts))
    problems.tell()
    return searches


def trial_of(asked: int | None, trained: int | None, facts: DatasetFacts, *, known: bool) -> int:
    """The split to test on.

    Args:
        known: the weights say which data set they were trained on, or have seen no real people.

    Raises:
        InputError: no such split, another one than was trained on, or none where nobody knows
            which one was trained on.
    """
    if asked is None:
        if facts.splits > 1 and not known:
            raise InputError(
                f"These weights don't say what they were trained on, and {facts.title} has "
                f"{facts.splits} splits: on another split than their own they have seen the people "
                "to find. Set `trial` to the split that they were trained on."
            )
        return int(trained or 1)
    check_trial(facts, asked)
    if trained and asked != int(trained):
        raise InputError(
            f"These weights were trained on trial {trained} of {facts.title}; trial {asked} tests "
            "people that they have seen, so its numbers would be too high. Set `trial` to "
            f"{trained}, or train a model on trial {asked}."
        )
    return asked


def _directions(facts: DatasetFacts, given: str | None, variant: str) -> list[Direction]:
    """The searches that are asked for, by their directions.

    Raises:
        InputError: no such direction, or one that the data set or the variant doesn't define.
    """
    choices = (*DIRECTIONS, "both")
    direction: Any = given and choose("direction", given, choices, aliases=DIRECTION_ALIASES)
    if variant in facts.variants:
        only = facts.variants[variant].direction
        if direction not in (None, only):
            raise InputError(
                f"The protocol {variant} differs from the standard one from "
                f"{only.replace('_', ' ')} only. Leave `direction` out, or `protocol` standard."
            )
        return [only]
    if direction is None:
        return list(facts.tested_directions)
    asked = list(DIRECTIONS) if direction == "both" else [direction]
    if not set(asked) <= set(facts.directions):
        defined = " and ".join(facts.directions).replace("_", " ")
        raise InputError(
            f"`direction` is {direction.replace('_', ' ')}, but {facts.title} is searched from "
            f"{defined} only. Leave `direction` out."
        )
    return asked


def _choose(
    flag: str,
    value: str,
    valid: tuple[str, ...],
    facts: DatasetFacts,
    aliases: dict[str, str] | None = None,
) -> str:
    try:
        return choose(flag, value, valid, aliases=aliases)
    except InputError as error:
        raise InputError(f"{error} (The data set is {facts.title}.)") from None

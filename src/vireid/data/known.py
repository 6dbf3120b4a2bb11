"""What help texts say of data sets: the choices that each defines, read from its facts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from vireid.data.facts import DatasetFacts
from vireid.data.registry import known_facts


def datasets() -> str:
    """ "sysu, regdb, llcm, folder (own data) or path/to/my.py:MY_SET"."""
    names = [
        facts.name
        if facts.title.lower().startswith(facts.name)
        else f"{facts.name} ({facts.title})"
        for facts in known_facts()
    ]
    return f"{', '.join(names)} or path/to/my.py:MY_SET"


def scopes() -> str:
    """ "all, indoor (SYSU-MM01)"."""
    return _listed(lambda facts: facts.scopes)


def shots() -> str:
    """ "1, 10 (SYSU-MM01)"."""
    return _listed(lambda facts: facts.shots)


def draws() -> str:
    """ "seeded, official (SYSU-MM01)"."""
    return _listed(lambda facts: facts.draws)


def variants() -> str:
    """ "standard, legacy-deen (LLCM)"."""
    return _listed(lambda facts: facts.variant_names)


def splits() -> str:
    """ "1 to 10 (RegDB)"."""
    return _listed(lambda facts: [f"1 to {facts.splits}"] if facts.splits > 1 else [])


def usual_directions() -> str:
    """ "infrared-to-visible (SYSU-MM01, own data), both (RegDB, LLCM)"."""

    def usual(facts: DatasetFacts) -> list[str]:
        tested = facts.tested_directions
        return ["both" if len(tested) > 1 else tested[0].replace("_", "-")]

    return _listed(usual)


def _listed(choices: Callable[[DatasetFacts], Iterable[object]]) -> str:
    """Each choice once, with the titles of the data sets that define it where not all do."""
    titles: dict[str, list[str]] = {}
    known = list(known_facts())
    for facts in known:
        for choice in choices(facts):
            titles.setdefault(str(choice), []).append(facts.title)
    return ", ".join(
        choice if len(owners) == len(known) else f"{choice} ({', '.join(owners)})"
        for choice, owners in titles.items()
    )

"""How many queries of a search have a match, which is known before anything is trained."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from vireid.data.facts import Direction
from vireid.data.gallery import sides, swaps
from vireid.data.protocol import Dataset, ProtocolOptions, few
from vireid.data.registry import takes
from vireid.types import InputError

_SAME = "ignores images of the query's own identity and camera"


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What the queries of a search find in its gallery; every draw has the same matches.

    Attributes:
        part, direction: the search's.
        queries: all queries.
        matched: those with an image of their identity that the rule leaves.
        absent: those of whose identity the gallery has no image.
        ignored: what the rule does → queries of which it ignores every match.
        both_sensors: cameras of those queries whose numbers stand for both sensors, where they
            can be counted apart.
    """

    part: str
    direction: Direction
    queries: int
    matched: int
    absent: int
    ignored: dict[str, int] = field(default_factory=dict)
    both_sensors: tuple[int, ...] = ()

    def __str__(self) -> str:
        search = f"{self.part}, {self.direction.replace('_', ' ')}"
        if self.matched == self.queries:
            return f"All {self.queries:,} queries have a match ({search})."
        reasons = [f"the rule {what} ({count:,})" for what, count in self.ignored.items()]
        if self.absent:
            reasons.append(f"the gallery has no image of their identity ({self.absent:,})")
        why = f"because {', or because '.join(reasons)}."
        if self.matched:
            text = f"{self.matched:,} of {self.queries:,} queries have a match ({search}). "
            text += f"The others have none {why}"
        else:
            text = f"None of the {self.queries:,} queries has a match ({search}), {why}"
        if self.both_sensors:
            text += (
                f" The camera number {few(self.both_sensors)} stands for both sensors; to count "
                "them as two cameras, set `sensor_cameras`."
            )
        return text


def count_matches(dataset: Dataset, options: ProtocolOptions) -> Matches:
    """Count the queries of a search that have a match under the data set's rule.

    Raises:
        InputError: the data set has no such search, or no image for a side of it.
    """
    search = options.of(dataset.facts)
    query, gallery = sides(dataset, search)
    if swaps(dataset.facts, search):
        query, gallery = gallery, query
    rule, cameras = dataset.rule, defaultdict(set)
    for pid, camid in zip(dataset.pids[gallery].tolist(), dataset.camids[gallery].tolist()):
        cameras[pid].add(camid)
    groups = Counter(zip(dataset.pids[query].tolist(), dataset.camids[query].tolist()))
    matched = absent = 0
    ignored: Counter[str] = Counter()
    own: set[int] = set()
    for (pid, camid), count in groups.items():
        there = cameras.get(pid, set())
        if not there:
            absent += count
        elif all(rule.skips_cameras(camid, other) for other in there):
            if rule.skip_same_camera and camid in there:
                own.add(camid)
                ignored[_SAME] += count
            else:
                pairs = [f"camera {other}" for other in sorted(there)]
                ignored[f"makes queries of camera {camid} ignore {few(pairs)}"] += count
        else:
            matched += count
    return Matches(
        part=search.part,
        direction=search.direction,
        queries=len(query),
        matched=matched,
        absent=absent,
        ignored=dict(ignored),
        both_sensors=tuple(sorted(own)) if takes(dataset.facts, "sensor_cameras") else (),
    )


def matches_beforehand(
    dataset: Dataset, parts: Sequence[Literal["test", "val"]]
) -> list[Matches | str]:
    """The matches of each search that is run where none is asked for; a sentence instead where
    one can't be run.

    Args:
        parts: without "val" where that has no identity.
    """
    found: list[Matches | str] = []
    for part in parts:
        if part == "test" and not len(dataset.parts[part]):
            found.append(f"'{dataset.root}' has no identity to test on.")
        for direction in dataset.facts.tested_directions if len(dataset.parts[part]) else ():
            try:
                found.append(
                    count_matches(dataset, ProtocolOptions(part=part, direction=direction))
                )
            except InputError as error:
                found.append(str(error))
    return found

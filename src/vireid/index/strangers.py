"""What a similarity means in one index: how many strangers look as alike.

When an index is built, images of it are compared with each other, and the similarities of different
people are kept. A similarity that 1 in 40 of these pairs reaches says little about two images, one
that 1 in 100,000 reaches says much more.
"""

from __future__ import annotations

import bisect
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vireid.types import Modality

SAMPLE = 2000
"""Images of an index that are compared with each other."""
PER_TENFOLD = 8
"""Similarities that are kept for each power of ten of pairs."""
FEWEST_PEOPLE = 10
"""On each side of the pairs; of fewer nothing is said. Ten people make 45 pairs of people: however
many images they have, fewer can't tell what 1 in 40 pairs of strangers is like."""
TOO_FEW = f"that takes images of {FEWEST_PEOPLE} people or more"
KINDS = ("visible_infrared", "infrared", "visible")


@dataclass(frozen=True, kw_only=True)
class Tail:
    """The largest similarities of some pairs, and some of the others.

    Attributes:
        pairs: how many there are.
        people: on that side of the pairs that has fewer; where identities are unknown, images.
        ranks: places in their order, from 1, the most similar pair, to the last, and
        similarities: of the pairs in these places.
    """

    pairs: int
    people: int
    ranks: list[int]
    similarities: list[float]

    @classmethod
    def of(cls, similarities: np.ndarray, people: int) -> Tail:
        """From (n,) similarities of pairs, n > 0, of so many people."""
        ordered = -np.sort(-similarities.astype(np.float64))
        steps = 1 + math.ceil(PER_TENFOLD * math.log10(len(ordered)))
        ranks = np.unique(np.geomspace(1, len(ordered), steps).round().astype(np.int64))
        return cls(
            pairs=len(ordered),
            people=people,
            ranks=ranks.tolist(),
            similarities=ordered[ranks - 1].round(4).tolist(),
        )

    def one_in(self, similarity: float) -> float:
        """One in how many pairs is as similar or more; at most as many as there are pairs of
        people: images of the same two say little that is new."""
        above = bisect.bisect_right(self.similarities, -similarity, key=lambda value: -value)
        # Between two that were kept, all those of the gap count: never too few.
        as_similar = self.ranks[above] - 1 if above < len(self.ranks) else self.pairs
        return min((self.pairs + 1) / (as_similar + 1), self.pairs_of_people)

    @property
    def pairs_of_people(self) -> int:
        return self.people * (self.people - 1) // 2


@dataclass(frozen=True, kw_only=True)
class Strangers:
    """The similarities of different people, as measured in an index.

    Attributes:
        entries: how many the index had.
        images: of those that were compared with each other.
        labelled: whether identities said who is a stranger. If not, all pairs count; those of one
            person among them make strangers look more alike than they are, never less.
        tails: of pairs of two images of one sensor, "visible" or "infrared", and of pairs of both,
            "visible_infrared"; without those that the index has no images of.
    """

    entries: int
    images: int
    labelled: bool
    tails: dict[str, Tail]

    @classmethod
    def measure(
        cls, vectors: np.ndarray, pids: np.ndarray, modality: np.ndarray, *, entries: int
    ) -> Strangers | None:
        """Compare images of an index.

        Args:
            vectors: (n, D) unit vectors of images drawn at random.
            pids: (n,) identities, -1 where unknown.
            modality: (n,) their sensors.
            entries: how many images the index has.

        Returns:
            None if no two are of different people.
        """
        labelled = bool(2 * np.count_nonzero(pids >= 0) >= len(pids))
        if labelled:
            known = pids >= 0
            vectors, pids, modality = vectors[known], pids[known], modality[known]
        unit = np.asarray(vectors, np.float32)
        similarity = unit @ unit.T
        pairs = np.triu(np.ones(similarity.shape, bool), 1)
        if labelled:
            pairs &= pids[:, None] != pids
        if not pairs.any():
            return None
        infrared = np.asarray(modality) == Modality.INFRARED
        both = infrared[:, None] != infrared
        kinds = (pairs & both, pairs & ~both & infrared, pairs & ~both & ~infrared)
        who = pids if labelled else np.arange(len(unit))
        night, day = (len(np.unique(who[side])) for side in (infrared, ~infrared))
        tails = {
            name: Tail.of(similarity[kind], people)
            for name, kind, people in zip(KINDS, kinds, (min(night, day), night, day))
            if kind.any()
        }
        return cls(entries=entries, images=len(unit), labelled=labelled, tails=tails)

    @property
    def enough(self) -> bool:
        """Whether there are so many people that something can be said."""
        return any(tail.people >= FEWEST_PEOPLE for tail in self.tails.values())

    def one_in(self, similarity: float, query: Modality | None, found: Modality) -> int | None:
        """One in how many pairs of strangers is as similar or more, rounded down to two digits;
        None if there are too few people to tell.

        Args:
            similarity: cosine of a query and an entry.
            query: the query's sensor; None where it isn't known.
            found: the entry's.
        """
        kind = "visible_infrared" if query is not found else found.word
        usable = {name: one for name, one in self.tails.items() if one.people >= FEWEST_PEOPLE}
        if not usable:
            return None
        tail = usable.get(kind) if query is not None else None
        # Two images of one sensor look more alike than those of two: that says too little of a
        # match, never too much.
        tails = usable.values() if tail is None else (tail,)
        number = math.floor(min(one.one_in(similarity) for one in tails))
        step = 10 ** max(0, len(str(number)) - 2)
        return number // step * step

    def as_plain(self) -> dict[str, Any]:
        """As `read` takes it, for a file of JSON."""
        return asdict(self)

    @classmethod
    def read(cls, facts: object) -> Strangers | None:
        """What was stored; None if nothing was, or if somebody has made nonsense of it."""
        try:
            about: Any = facts
            tails = {kind: Tail(**tail) for kind, tail in about["tails"].items()}
            found = cls(**{**about, "tails": tails})
            for tail in tails.values():
                if min(tail.pairs, tail.people) <= 0 or len(tail.ranks) != len(tail.similarities):
                    return None
                if min(tail.ranks) < 1 or not np.isfinite(tail.similarities).all():
                    return None
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        return found if tails else None

"""Who was trained on: what weights and checkpoints keep of it, and what follows from it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from vireid.config import convert, from_plain, to_plain
from vireid.console import count_text
from vireid.data.protocol import Dataset, few, training_rows
from vireid.files import file_hash

_WITNESSES = 64  # identities of which an image is kept, to know the data set again


@dataclass(frozen=True, kw_only=True)
class TrainedOn:
    """The identities of a training, in the order of their labels, and the data they are from.

    Attributes:
        dataset: name of the data set.
        synthetic: what it was made with, where its people are synthetic.
        published_numbers: whether a number is the same person in every copy of the data set.
        pids: identity of each label.
        names: identity, as text → what the data set calls it, where that isn't its number.
        camids: camera of each camera label; the modalities where cameras are unknown.
        images: how many there are.
        witnesses: (identity, path, bytes, SHA-256) of an image of some of the identities.
        pids_hash: SHA-256 of `pids`.
        data_hash: SHA-256 over path, identity, camera and modality of each training image.
    """

    dataset: str
    synthetic: dict[str, Any] | None
    published_numbers: bool
    pids: tuple[int, ...]
    names: dict[str, str]
    camids: tuple[int, ...]
    images: int
    witnesses: tuple[tuple[int, str, int, str], ...]
    pids_hash: str
    data_hash: str

    @classmethod
    def of(cls, dataset: Dataset, part: Literal["train", "fit"]) -> TrainedOn:
        """Who is trained on if a part of `dataset` is.

        Raises:
            InputError: the part has no image.
        """
        train = training_rows(dataset, part)
        pids = train.pids.tolist()
        return cls(
            dataset=dataset.name,
            synthetic=dataset.synthetic,
            published_numbers=dataset.facts.published_numbers,
            pids=tuple(pids),
            names={str(p): dataset.pid_names[p] for p in pids if p in dataset.pid_names},
            camids=tuple(train.camids.tolist()),
            images=len(train.rows),
            witnesses=_witnesses(dataset, train.rows),
            pids_hash=_hash(pids),
            data_hash=_hash(
                [
                    [s.path, s.pid, s.camid, int(s.modality)]
                    for s in (dataset.samples[row] for row in train.rows.tolist())
                ]
            ),
        )

    def plain(self) -> dict[str, Any]:
        """JSON values, of which `trained_on` makes it again."""
        return to_plain(self)

    def name_of(self, pid: int) -> str:
        return self.names.get(str(pid), str(pid))

    def change_to(self, now: TrainedOn) -> str:
        """How the identities or cameras of `now` differ, in words; "" if labels mean the same."""
        if self.pids == now.pids and self.camids == now.camids:
            return ""
        left = [self.name_of(pid) for pid in self.pids if pid not in set(now.pids)]
        came = [now.name_of(pid) for pid in now.pids if pid not in set(self.pids)]
        changes = [
            f"{count_text(len(those), 'identity', 'identities')} {verb}: {few(those)}"
            for those, verb in ((left, "left"), (came, "came"))
            if those
        ]
        if self.camids != now.camids:
            changes.append(f"the cameras were {few(self.camids)} and are {few(now.camids)}")
        return "; ".join(changes) or "their order is another"

    def seen_in(self, dataset: Dataset, part: str) -> list[int]:
        """Identities of a part of a data set that were trained on; none where the numbers of the
        two data sets are about different people.

        A number means the same person where the data sets are the same one of the published sets
        or the same synthetic people, or where one of the witnesses is in the other data set,
        which also tells copies of own data from other sites with the same numbers.
        """
        tested = np.unique(dataset.pids[dataset.parts[part]])
        shared = np.intersect1d(tested, np.array(self.pids, dtype=np.int64)).tolist()
        return shared if shared and self._same_people(dataset) else []

    def _same_people(self, dataset: Dataset) -> bool:
        if self.synthetic != dataset.synthetic:
            return False  # other people; those of the same seed are told by the seed
        if self.synthetic is not None:
            return True
        published = self.published_numbers and dataset.facts.published_numbers
        if published and self.dataset == dataset.name:
            return True
        return any(_is_there(dataset, *witness) for witness in self.witnesses)


def _witnesses(dataset: Dataset, rows: np.ndarray) -> tuple[tuple[int, str, int, str], ...]:
    """An image file each of some identities, spread over all of them."""
    pids, first = np.unique(dataset.pids[rows], return_index=True)
    chosen = np.unique(np.linspace(0, len(pids) - 1, min(len(pids), _WITNESSES)).astype(int))
    found = []
    for pid, row in zip(pids[chosen].tolist(), rows[first[chosen]].tolist()):
        path = dataset.samples[row].path
        file = dataset.root / path
        if file.is_file():  # not where the pixels are in an array
            found.append((pid, path, file.stat().st_size, file_hash(file)))
    return tuple(found)


def _is_there(dataset: Dataset, pid: int, path: str, size: int, digest: str) -> bool:
    """Whether the data set's folder has this very image, there or elsewhere under its identity."""
    own = (dataset.samples[row].path for row in np.flatnonzero(dataset.pids == pid).tolist())
    files = (dataset.root / name for name in dict.fromkeys((path, *own)))
    return any(
        file.is_file() and file.stat().st_size == size and file_hash(file) == digest
        for file in files
    )


def _hash(values: Sequence[Any]) -> str:
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()


def trained_on(metadata: Mapping[str, Any]) -> list[TrainedOn]:
    """What weights say of their training and of those that they started from; nothing where they
    are of an earlier version or another program.

    Args:
        metadata: of a weights file, or a checkpoint's state.

    Raises:
        InputError: what is said has another form.
    """
    return [
        from_plain(TrainedOn, plain, "who was trained on")
        for plain in convert(list, metadata.get("identities", []), "identities")
    ]

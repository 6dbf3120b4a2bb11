"""Which images form each training batch: P identities, K visible and K infrared images each.

What a batch looks like has its home here, the second visible view included: its rows are blocks of
P·K, each identity by identity in the same order, [visible; (the same again;) infrared].
"""

from __future__ import annotations

import inspect

import numpy as np

from vireid.own_code import answering, import_class
from vireid.types import InputError, Modality

_STREAM = 1  # tells the sampler's random numbers from those of the augmentation


class IdentitySampler:
    """Plans an epoch of batches; a pure function of (seed, epoch), so a resumed run goes on alike.

    Each step takes P identities without replacement, and of each K visible and K infrared
    images with replacement, as the published sampler does. An epoch has
    max(number of visible, number of infrared) // (P·K) + 1 steps.

    Args:
        pid_label: (N,) identities of the training rows.
        modality: (N,) values of `Modality`.
        pids_per_batch: P.
        images_per_pid: K, per modality.
        seed: fixes every plan.
        visible_views: 2 where a batch holds each of its visible images twice, to be augmented
            twice.
        camera_label: (N,) cameras of the training rows, from 0; -1 where they are unknown.

    Batches of another composition are those of a class that extends this one and overrides
    `compose`; `--sampler path/to/my.py:MySampler` names it.

    Attributes:
        rows: B, the rows of a step: (visible_views + 1)·P·K.
        num_visible: the first so many of them are visible.
        steps_per_epoch: see above.
        pid_label, modality, camera_label: (N,) of the training rows, which positions count.

    Raises:
        InputError: fewer identities than P, or an identity without images of one modality.
    """

    def __init__(
        self,
        pid_label: np.ndarray,
        modality: np.ndarray,
        *,
        pids_per_batch: int,
        images_per_pid: int,
        seed: int,
        visible_views: int = 1,
        camera_label: np.ndarray | None = None,
    ) -> None:
        pid_label, modality = np.asarray(pid_label), np.asarray(modality)
        self.pid_label, self.modality = pid_label, modality
        unknown = np.full(len(pid_label), -1)
        self.camera_label = unknown if camera_label is None else np.asarray(camera_label)
        if pids_per_batch < 1 or images_per_pid < 1:
            raise InputError(
                f"A batch of {pids_per_batch} identities with {images_per_pid} images each was "
                "asked for; both must be at least 1."
            )
        pids, dense = np.unique(pid_label, return_inverse=True)
        if pids_per_batch > len(pids):
            raise InputError(
                f"A batch needs {pids_per_batch} identities, but the training data have "
                f"{len(pids)}. Set `pids_per_batch` to {len(pids)} or less, or give more data."
            )
        self.pids_per_batch = pids_per_batch
        self.images_per_pid = images_per_pid
        self.visible_views = visible_views
        self.rows = (visible_views + 1) * pids_per_batch * images_per_pid
        self.num_visible = count_visible(self.rows, visible_views)
        self.seed = seed
        self._num_pids = len(pids)
        # positions sorted by identity, and where each identity starts, for both modalities
        self._positions, self._starts, self._counts = [], [], []
        for kind in (Modality.VISIBLE, Modality.INFRARED):
            positions = np.flatnonzero(modality == kind)
            positions = positions[np.argsort(dense[positions], kind="stable")]
            counts = np.bincount(dense[positions], minlength=len(pids))
            if not np.all(counts):
                lone = pids[np.flatnonzero(counts == 0)[0]]
                raise InputError(
                    f"Training identity {lone} has no {kind.word} image; every identity needs "
                    "images of both modalities."
                )
            self._positions.append(positions)
            self._counts.append(counts)
            self._starts.append(np.cumsum(counts) - counts)
        largest = max(len(positions) for positions in self._positions)
        self.steps_per_epoch = largest // (pids_per_batch * images_per_pid) + 1

    def epoch(self, epoch: int) -> np.ndarray:
        """(steps, B) int64 positions of an epoch's batches.

        In each row the first P·K are visible, identity by identity (and so are the next P·K, the
        same ones, with two visible views), then the infrared images of the same identities in the
        same order.
        """
        visible, infrared = self.compose(np.random.default_rng([self.seed, epoch, _STREAM]))
        return np.concatenate([visible] * self.visible_views + [infrared], axis=1)

    def compose(self, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """The batches of an epoch: positions of visible and of infrared images, (steps, P·K) int64
        each.

        Args:
            generator: of what is random; depends on seed and epoch alone.
        """
        steps, p, k = self.steps_per_epoch, self.pids_per_batch, self.images_per_pid
        chosen = _distinct(generator, steps, p, self._num_pids)
        halves = []
        for positions, starts, counts in zip(self._positions, self._starts, self._counts):
            share = generator.random((steps, p, k))
            offset = (share * counts[chosen][..., None]).astype(np.int64)
            halves.append(positions[starts[chosen][..., None] + offset].reshape(steps, p * k))
        visible, infrared = halves
        return visible, infrared


def sampler_class(name: str) -> type[IdentitySampler]:
    """The class of `sampler`: "identity", or a user's own by "path/to/my.py:MySampler".

    Raises:
        InputError: there is no such class.
    """
    if name == "identity":
        return IdentitySampler
    return import_class(name, IdentitySampler, "sampler")


def check_batches(sampler: IdentitySampler) -> None:
    """Try a user's sampler: its first epoch must be what a step can be made of.

    Raises:
        InputError: it fails, or composes something else.
    """
    name, half = type(sampler).__name__, sampler.pids_per_batch * sampler.images_per_pid
    with answering(f"Sampler '{name}' fails", inspect.getfile(type(sampler))):
        one, two = (sampler.compose(np.random.default_rng(1)) for _ in range(2))
        halves = [np.asarray(part) for part in one]
        repeats = all(np.array_equal(a, b) for a, b in zip(one, two))
    wanted = (sampler.steps_per_epoch, half)
    for kind, part in zip((Modality.VISIBLE, Modality.INFRARED), halves):
        if part.dtype.kind not in "iu" or part.shape != wanted:
            raise InputError(
                f"`compose` of sampler '{name}' returned {part.dtype} of shape {part.shape} for "
                f"{kind.word} images; whole numbers of shape (steps, P·K) = {wanted} were expected."
            )
        if part.min() < 0 or part.max() >= len(sampler.modality):
            raise InputError(
                f"`compose` of sampler '{name}' returned positions from {part.min()} to "
                f"{part.max()}; there are {len(sampler.modality)} training rows, from 0."
            )
        if not np.all(sampler.modality[part] == kind):
            raise InputError(
                f"`compose` of sampler '{name}' returned images of the other modality among the "
                f"{kind.word} ones. It returns positions of visible images, then of infrared ones."
            )
    if not repeats:
        raise InputError(
            f"Sampler '{name}' composes other batches of the same generator. Take everything "
            "random from the generator that `compose` is given."
        )


def _distinct(generator: np.random.Generator, rows: int, size: int, limit: int) -> np.ndarray:
    """(rows, size) numbers below `limit`, distinct within a row, every choice equally likely."""
    if size * size > limit:  # few to choose from: order random keys
        return np.argsort(generator.random((rows, limit)), axis=1)[:, :size]
    out = generator.integers(limit, size=(rows, size))
    redraw = np.arange(rows)
    while len(redraw):  # many to choose from: draw rows with repeats again
        ordered = np.sort(out[redraw], axis=1)
        redraw = redraw[np.any(ordered[:, 1:] == ordered[:, :-1], axis=1)]
        out[redraw] = generator.integers(limit, size=(len(redraw), size))
    return out


def count_visible(rows: int, visible_views: int = 1) -> int:
    """How many of a batch's rows are visible; they come first."""
    return rows * visible_views // (visible_views + 1)


def rank_columns(
    pids_per_batch: int, images_per_pid: int, rank: int, world: int, visible_views: int = 1
) -> np.ndarray:
    """Columns of a step that belong to one of `world` ranks: whole identities, visible first.

    Returns:
        ((visible_views + 1)·P·K / world,) int64, in increasing order.

    Raises:
        InputError: the identities of a batch cannot be shared out evenly.
    """
    if pids_per_batch % world:
        raise InputError(
            f"A batch of {pids_per_batch} identities cannot be shared by {world} processes. Make "
            f"`pids_per_batch` a multiple of {world}."
        )
    share = pids_per_batch // world * images_per_pid
    own = np.arange(rank * share, (rank + 1) * share, dtype=np.int64)
    blocks = np.arange(visible_views + 1)[:, None] * pids_per_batch * images_per_pid
    return (blocks + own).ravel()

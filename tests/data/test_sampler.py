"""Batches hold what they promise, are fixed by (seed, epoch), and every choice is fair."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from vireid.data import IdentitySampler, rank_columns
from vireid.types import InputError


def columns(num_pids: int, visible: int, infrared: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and modality of `visible` and `infrared` images an identity, shuffled."""
    pids = np.repeat(np.arange(num_pids), visible + infrared)
    modality = np.tile(np.r_[np.zeros(visible, int), np.ones(infrared, int)], num_pids)
    order = np.random.default_rng(0).permutation(len(pids))
    return pids[order], modality[order]


@pytest.mark.parametrize(("num_pids", "p", "k"), [(10, 4, 3), (10, 10, 1), (200, 8, 4), (2, 1, 2)])
def test_each_step_is_p_identities_of_k_visible_and_k_infrared(num_pids, p, k):
    pids, modality = columns(num_pids, 5, 3)
    sampler = IdentitySampler(pids, modality, pids_per_batch=p, images_per_pid=k, seed=1)
    plan = sampler.epoch(0)
    assert plan.dtype == np.int64
    assert plan.shape == (sampler.steps_per_epoch, 2 * p * k)
    assert sampler.steps_per_epoch == num_pids * 5 // (p * k) + 1
    assert np.all(modality[plan[:, : p * k]] == 0)
    assert np.all(modality[plan[:, p * k :]] == 1)
    visible = pids[plan[:, : p * k]].reshape(-1, p, k)
    infrared = pids[plan[:, p * k :]].reshape(-1, p, k)
    assert np.all(visible == visible[:, :, :1])  # whole identities
    assert np.array_equal(visible, infrared)  # the same, in the same order
    for step in visible[:, :, 0]:
        assert len(set(step)) == p


def test_a_plan_is_a_pure_function_of_seed_and_epoch():
    pids, modality = columns(12, 4, 4)

    def plan(seed: int, epoch: int) -> np.ndarray:
        sampler = IdentitySampler(pids, modality, pids_per_batch=4, images_per_pid=2, seed=seed)
        sampler.epoch(99)
        return sampler.epoch(epoch)

    assert np.array_equal(plan(1, 5), plan(1, 5))
    assert not np.array_equal(plan(1, 5), plan(1, 6))
    assert not np.array_equal(plan(1, 5), plan(2, 5))


@pytest.mark.parametrize("num_pids", [9, 40])  # both ways of choosing identities
def test_every_identity_and_image_is_equally_likely(num_pids):
    pids, modality = columns(num_pids, 3, 2)
    sampler = IdentitySampler(pids, modality, pids_per_batch=4, images_per_pid=2, seed=0)
    plans = np.concatenate([sampler.epoch(epoch) for epoch in range(600)])
    for columns_of, images in ((slice(0, 8), 3), (slice(8, 16), 2)):
        drawn = np.bincount(plans[:, columns_of].ravel(), minlength=len(pids))
        drawn = drawn[modality == (images == 2)]
        expected = plans.shape[0] * 8 / (num_pids * images)
        assert np.all(np.abs(drawn - expected) < 6 * np.sqrt(expected))


def test_ranks_share_a_step_by_whole_identities():
    pids, modality = columns(8, 4, 4)
    plan = IdentitySampler(pids, modality, pids_per_batch=4, images_per_pid=3, seed=0).epoch(0)
    shares = [rank_columns(4, 3, rank, 2) for rank in range(2)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(24))
    seen = []
    for share in shares:
        rows = plan[0, share]
        assert np.all(modality[rows[:6]] == 0) and np.all(modality[rows[6:]] == 1)
        assert np.array_equal(pids[rows[:6]], pids[rows[6:]])
        seen.append(set(pids[rows]))
    assert not seen[0] & seen[1]
    assert all(a < b for a, b in pairwise(shares[1]))
    with pytest.raises(InputError, match="cannot be shared by 3"):
        rank_columns(4, 3, 0, 3)


def test_a_second_view_repeats_the_visible_rows_on_every_rank():
    pids, modality = columns(8, 4, 4)
    words = {"pids_per_batch": 4, "images_per_pid": 3, "seed": 0}
    once = IdentitySampler(pids, modality, **words)
    twice = IdentitySampler(pids, modality, **words, visible_views=2)
    assert (once.rows, once.num_visible) == (24, 12)
    assert (twice.rows, twice.num_visible) == (36, 24)
    assert twice.steps_per_epoch == once.steps_per_epoch
    plan, both = once.epoch(3), twice.epoch(3)
    assert np.array_equal(both, np.hstack([plan[:, :12], plan]))
    shares = [rank_columns(4, 3, rank, 2, 2) for rank in range(2)]
    assert sorted(np.concatenate(shares).tolist()) == list(range(36))
    for rank, share in enumerate(shares):
        visible, again, infrared = np.split(both[:, share], 3, axis=1)
        assert np.array_equal(np.hstack([visible, infrared]), plan[:, rank_columns(4, 3, rank, 2)])
        assert np.array_equal(visible, again)


def test_an_epoch_of_sysu_size():
    pids, modality = columns(395, 56, 30)
    pids, modality = pids[:34167], modality[:34167]
    sampler = IdentitySampler(pids, modality, pids_per_batch=8, images_per_pid=4, seed=0)
    assert sampler.epoch(0).shape == (max(np.bincount(modality)) // 32 + 1, 64)


def test_what_cannot_be_sampled():
    pids, modality = columns(4, 2, 2)
    with pytest.raises(InputError, match="needs 5 identities"):
        IdentitySampler(pids, modality, pids_per_batch=5, images_per_pid=2, seed=0)
    with pytest.raises(InputError, match="at least 1"):
        IdentitySampler(pids, modality, pids_per_batch=2, images_per_pid=0, seed=0)
    modality[pids == 3] = 0
    with pytest.raises(InputError, match="identity 3 has no infrared"):
        IdentitySampler(pids, modality, pids_per_batch=2, images_per_pid=2, seed=0)

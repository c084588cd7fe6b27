"""Policies that choose inside a batch."""

import numpy as np
import pytest
import torch

from dataprune.dynamic import ProgressiveDropout, RhoLoss
from dataprune.errors import ConfigError

P_TRUE = np.array([0.1, 0.3, 0.29, 0.9])
IDS = np.array([7, 2, 5, 0])


def test_progressive_dropout_trains_on_what_is_uncertain_and_on_all_in_the_revision():
    policy = ProgressiveDropout(8, 5, threshold=0.3, revision=2)
    for epoch, chosen in enumerate([[1, 0, 1, 0]] * 3 + [[1, 1, 1, 1]] * 2):
        assert len(policy.epoch(epoch)[0]) == 8
        assert policy.choose(IDS, None, P_TRUE).tolist() == [bool(c) for c in chosen]


def test_progressive_dropout_may_choose_none():
    assert not ProgressiveDropout(8, 5, threshold=0.05).choose(IDS, p_true=P_TRUE).any()


@pytest.mark.parametrize(("ratio", "kept"), [(0.9, 1), (0.5, 3), (0.4, 3), (0, 5)])
def test_rho_chooses_the_largest_reducible_losses(ratio, kept):
    irreducible = np.array([0.0, 3.0, 0.5, 0.5, 1.0, 9.0])
    losses, ids = np.array([4.0, 2.0, 2.0, 2.5, 2.5]), np.array([1, 3, 4, 2, 0])
    reducible = [1.0, 1.5, 1.0, 2.0, 2.5]
    chosen = RhoLoss(6, irreducible=irreducible, ratio=ratio).choose(ids, losses)
    best = sorted(range(5), key=lambda i: (-reducible[i], ids[i]))[:kept]
    assert np.flatnonzero(chosen).tolist() == sorted(best)


def test_without_a_table_rho_chooses_the_largest_losses():
    assert RhoLoss(4, ratio=0.5).choose([0, 1, 2, 3], [1.0, 4.0, 3.0, 2.0]).tolist() == [False, True, True, False]


def test_equal_reducible_losses_go_to_the_lower_id():
    assert RhoLoss(9, ratio=0.5).choose([8, 3, 5, 1], np.ones(4)).tolist() == [False, True, False, True]


def test_the_choice_does_not_depend_on_the_order_in_the_batch():
    rng = np.random.default_rng(0)
    ids, losses = rng.permutation(40), rng.integers(0, 5, 40).astype(float)
    policy = RhoLoss(40, ratio=0.7)
    chosen, order = policy.choose(ids, losses), rng.permutation(40)
    np.testing.assert_array_equal(policy.choose(ids[order], losses[order]), chosen[order])


def test_tensors_are_answered_by_a_tensor_that_indexes_the_batch():
    ids, losses = torch.tensor([3, 1]), torch.tensor([1.0, 2.0], requires_grad=True)
    chosen = RhoLoss(4, ratio=0.5).choose(ids, losses)
    assert losses[chosen].tolist() == [2.0]
    assert ProgressiveDropout(4, 2).choose(ids, None, torch.tensor([0.2, 0.8])).tolist() == [True, False]


def test_a_batch_of_nothing_gives_nothing():
    assert RhoLoss(4).choose([], []).tolist() == []


@pytest.mark.parametrize("policy", [ProgressiveDropout(8, 5), RhoLoss(8)])
def test_no_number_is_refused_with_its_ids(policy):
    values = np.array([0.1, np.nan, 0.2, np.inf])
    with pytest.raises(ConfigError, match="NaN or inf at ids 2, 0"):
        policy.choose(IDS, values, values)


@pytest.mark.parametrize(
    ("call", "key"),
    [
        (lambda: ProgressiveDropout(8, 5, threshold=0), "threshold"),
        (lambda: ProgressiveDropout(8, 5, threshold=1.5), "threshold"),
        (lambda: ProgressiveDropout(8, 5, revision=6), "revision"),
        (lambda: ProgressiveDropout(8, 5).choose(IDS, P_TRUE), "p_true"),
        (lambda: ProgressiveDropout(8, 5).choose(IDS, None, P_TRUE[:2]), "p_true"),
        (lambda: RhoLoss(8, ratio=1), "ratio"),
        (lambda: RhoLoss(8, irreducible=np.zeros(7)), "irreducible"),
        (lambda: RhoLoss(8, irreducible=np.full(8, np.nan)), "irreducible"),
        (lambda: RhoLoss(0), "n"),
        (lambda: RhoLoss(8).choose([8], [1.0]), "ids"),
    ],
)
def test_what_cannot_work_is_refused_with_its_name(call, key):
    with pytest.raises(ConfigError) as error:
        call()
    assert error.value.key == key

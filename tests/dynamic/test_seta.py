"""SeTa slides a window over groups of losses, from easy to hard."""

import numpy as np
import pytest

from dataprune.dynamic import SeTa
from dataprune.dynamic.seta import loss_groups
from dataprune.errors import ConfigError

GROUPED = np.repeat([0.0, 1, 2, 3, 4], 4) + np.tile([0, 0.01, 0.02, 0.03], 5)  # five plain groups of four


def after(losses, n=None, epochs=16, **options):
    policy = SeTa(n or len(losses), epochs, **{"ratio": 0} | options)
    policy.observe(np.arange(len(losses)), losses)
    return policy


def groups_of(ids):
    return sorted({int(i) // 4 for i in ids})


@pytest.mark.parametrize(
    ("window", "there"),
    [
        (0.6, [[1, 2, 3], [2, 3, 4], [0, 1, 2], [1, 2, 3]]),
        (0.9, [[1, 2, 3, 4], [0, 1, 2, 3], [1, 2, 3, 4], [0, 1, 2, 3]]),  # 4.5 rounds to the even 4
        (0.1, [[1], [2], [3], [4]]),
        (1.0, [[0, 1, 2, 3, 4]] * 4),
    ],
)
def test_the_window_slides_from_easy_to_hard_and_back_to_the_easiest(window, there):
    policy = after(GROUPED, window=window)
    for epoch, groups in enumerate(there, start=1):
        ids, weights = policy.epoch(epoch)
        assert groups_of(ids) == groups
        assert len(ids) == 4 * len(groups)
        assert weights is None
        policy.observe(ids, GROUPED[ids])


def test_the_first_epoch_and_the_last_take_the_whole_random_share():
    policy = after(np.arange(40.0), epochs=8, ratio=0.25, anneal=0.25)
    assert [len(policy.epoch(e)[0]) for e in (0, 6, 7)] == [30, 30, 30]
    assert len(policy.epoch(5)[0]) < 30


def test_the_random_share_is_another_in_each_epoch():
    policy = SeTa(40, 8, ratio=0.25)
    assert set(policy.epoch(6)[0]) != set(policy.epoch(7)[0])


def test_what_was_never_observed_is_kept():
    policy = after([0.0, 1, 2, 3, 4], n=9, groups=5, window=0.2)
    assert sorted(policy.epoch(2)[0]) == [2, 5, 6, 7, 8]


def test_equal_losses_are_one_group_and_all_stay():
    assert len(after(np.full(10, 2.0)).epoch(3)[0]) == 10


def test_fewer_losses_than_groups_still_give_an_epoch():
    assert len(after([1.0, 3.0], groups=5, window=0.2).epoch(1)[0]) == 1


@pytest.mark.parametrize("seed", range(8))
def test_every_loss_lies_in_the_group_of_the_nearest_mean(seed):
    losses = np.random.default_rng(seed).gamma(0.3, 1, 300).astype(np.float32)
    group = loss_groups(losses, 6)
    means = np.array([losses[group == g].mean(dtype=float) for g in range(group.max() + 1)])
    assert group.max() <= 5
    assert (np.diff(means) > 0).all()
    np.testing.assert_array_equal(group, np.abs(losses[:, None].astype(float) - means).argmin(1))


def test_groups_do_not_depend_on_the_order_of_the_examples():
    losses = np.random.default_rng(0).gamma(0.3, 1, 200)
    order = np.random.default_rng(1).permutation(200)
    np.testing.assert_array_equal(loss_groups(losses, 5)[order], loss_groups(losses[order], 5))


def test_groups_of_a_hand_worked_example():
    assert loss_groups(np.array([5.0, 0, 9, 1, 5.5, 0, 10]), 3).tolist() == [1, 0, 2, 0, 1, 0, 2]
    assert loss_groups(np.array([1.0, 1, 1, 1, 2]), 2).tolist() == [0, 0, 0, 0, 1]
    assert loss_groups(np.array([3.0]), 4).tolist() == [0]
    assert loss_groups(np.array([0.0, 3, 4, 5]), 2).tolist() == [0, 0, 1, 1]  # 3 lies halfway between 1.5 and 4.5


@pytest.mark.parametrize(
    ("options", "key"),
    [({"ratio": 1}, "ratio"), ({"groups": 0}, "groups"), ({"window": 0}, "window"), ({"anneal": -1}, "anneal")],
)
def test_what_cannot_work_is_refused_with_its_name(options, key):
    with pytest.raises(ConfigError) as error:
        SeTa(10, 4, **options)
    assert error.value.key == key

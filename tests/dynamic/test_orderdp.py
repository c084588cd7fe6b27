"""OrderDP trains on the highest known losses of a random pool."""

import numpy as np
import pytest

from dataprune.dynamic import OrderDP
from dataprune.errors import ConfigError
from dataprune.streams import stream


def after(losses, n=None, **options):
    policy = OrderDP(n or len(losses), **options)
    policy.observe(np.arange(len(losses)), losses)
    return policy


def test_the_count_is_exact_in_every_epoch():
    policy = OrderDP(101, ratio=0.4)
    for epoch in range(6):
        ids, weights = policy.epoch(epoch)
        assert len(ids) == 61
        assert weights is None
        policy.observe(ids, np.random.default_rng(epoch).random(61))


def test_the_epoch_is_the_top_of_its_pool():
    losses = np.random.default_rng(0).permutation(40).astype(float)
    policy = after(losses, ratio=0.5, pool=0.8, seed=4)
    pool = stream(4, "prune", 1).permutation(40)[:32]
    assert sorted(policy.epoch(1)[0]) == sorted(sorted(pool, key=lambda i: -losses[i])[:20])


def test_a_pool_of_all_examples_is_the_highest_losses():
    policy = after(np.arange(10.0), ratio=0.7, pool=1)
    assert sorted(policy.epoch(1)[0]) == [7, 8, 9]


def test_equal_losses_go_to_the_lower_id():
    policy = after([1.0, 2, 2, 2, 1], ratio=0.6, pool=1)
    assert sorted(policy.epoch(1)[0]) == [1, 2]


def test_what_was_never_observed_comes_first():
    policy = after([9.0, 8, 7, 6], n=6, ratio=0.5, pool=1)
    assert sorted(policy.epoch(1)[0]) == [0, 4, 5]


def test_before_any_loss_is_known_the_choice_is_random_and_not_by_id():
    """In a data set sorted by class the lowest ids would be the first classes."""
    first = [set(OrderDP(100, ratio=0.5, pool=0.9, seed=seed).epoch(0)[0]) for seed in range(20)]
    assert np.mean([np.mean(list(ids)) for ids in first]) == pytest.approx(49.5, abs=3)
    assert len({frozenset(ids) for ids in first}) == 20


def test_losses_of_what_is_left_out_stay():
    policy = after(np.arange(10.0), ratio=0.7, pool=1)
    policy.epoch(1)
    policy.observe([7, 8, 9], [0.0, 0.0, 0.0])
    assert sorted(policy.epoch(2)[0]) == [4, 5, 6]


@pytest.mark.parametrize(
    ("options", "key"),
    [({"ratio": 0.2, "pool": 0.75}, "pool"), ({"ratio": 1}, "ratio"), ({"pool": 0}, "pool"), ({"pool": 1.1}, "pool")],
)
def test_what_cannot_work_is_refused_with_its_name(options, key):
    with pytest.raises(ConfigError) as error:
        OrderDP(100, **options)
    assert error.value.key == key

"""Which examples a step sees depends on (seed, epoch) alone, not on what ran before nor on the number of processes."""

import numpy as np
import pytest

from dataprune.data.order import Order, steps_of
from dataprune.errors import ConfigError

IDS = np.array([3, 4, 8, 9, 11, 20, 21])


def test_an_epoch_is_a_permutation_that_seed_and_epoch_give():
    order = Order(IDS, 2, seed=5)
    later = order.epoch(3)[0]
    assert sorted(later) == sorted(IDS)
    list(order.batches(0))
    np.testing.assert_array_equal(order.epoch(3)[0], later)
    np.testing.assert_array_equal(Order(IDS, 4, seed=5).epoch(3)[0], later)
    assert not np.array_equal(order.epoch(2)[0], later)
    assert not np.array_equal(Order(IDS, 2, seed=6).epoch(3)[0], later)


def test_the_order_of_the_first_epoch_stays_what_it_is():
    """If this fails, every model trains on another order than it did."""
    assert Order(np.arange(8), 4, seed=0).epoch(0)[0].tolist() == [4, 7, 3, 2, 6, 5, 1, 0]


def test_a_clean_pass_keeps_the_order():
    order = Order(IDS[::-1], 3, shuffle=False)
    assert [b.ids.tolist() for b in order.batches(1)] == [[21, 20, 11], [9, 8, 4], [3]]


def test_what_does_not_fill_a_batch_may_be_left_out_of_an_epoch():
    order = Order(IDS, 3, seed=1, drop_last=True)
    assert order.steps == 2
    seen = [np.concatenate([b.ids for b in order.batches(epoch)]) for epoch in range(5)]
    assert all(len(ids) == 6 for ids in seen)
    np.testing.assert_array_equal(seen[2], order.epoch(2)[0][:6])
    assert len({*IDS} - set.intersection(*map(set, seen))) > 1, "another one is left out in another epoch"
    with pytest.raises(ConfigError, match=r"^batch_size=8: expected at most the 7 examples"):
        Order(IDS, 8, drop_last=True)


def test_a_chosen_epoch_that_fills_no_batch_is_told():
    order = Order(IDS, 4, drop_last=True, chosen=lambda epoch: (IDS[: 5 - 2 * epoch], None))
    assert len(list(order.batches(0))) == 1
    with pytest.raises(ConfigError, match=r"^batch_size=4: expected at most the 3 examples of epoch 1"):
        list(order.batches(1))


def test_imagenet_in_the_published_batches_leaves_out_as_many_as_published():
    """Dyn-Unc, 8 GPUs: 143 of 1,281,167 in batches of 1,024, and 1,167 in batches of 2,048."""
    n = 1_281_167
    steps = {size: steps_of(n, size, drop_last=True) for size in (1024, 2048)}
    assert steps == {1024: 1251, 2048: 625}
    assert [n - count * size for size, count in steps.items()] == [143, 1167]


def test_the_last_batch_is_smaller_and_none_is_dropped():
    order = Order(IDS, 3, seed=1)
    batches = list(order.batches(2))
    assert [len(b.ids) for b in batches] == [3, 3, 1]
    assert len(batches) == order.steps == 3
    assert [b.total for b in batches] == [3, 3, 1]
    np.testing.assert_array_equal(np.concatenate([b.ids for b in batches]), order.epoch(2)[0])
    np.testing.assert_array_equal(np.concatenate([b.places for b in batches]), np.arange(7))
    assert all(b.real.all() for b in batches)


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("n", [6, 7, 8, 13])
def test_processes_share_each_global_batch(world, n):
    ids = np.arange(100, 100 + n)
    whole = list(Order(ids, 6, seed=1).batches(4))
    shares = [list(Order(ids, 6, seed=1, rank=r, world=world).batches(4)) for r in range(world)]
    for step, batch in enumerate(whole):
        mine = [s[step] for s in shares]
        assert len({len(b.ids) for b in mine}) == 1, "a process that is done early would wait for ever"
        for rank, b in enumerate(mine):
            np.testing.assert_array_equal(b.ids[b.real], batch.ids[rank::world])
        assert all(set(b.ids) <= set(batch.ids) for b in mine), "what fills up is of the same step"
        assert {b.total for b in mine} == {batch.total}
        for b in mine:
            np.testing.assert_array_equal(b.ids, Order(ids, 6, seed=1).epoch(4)[0][b.places])


def test_a_batch_smaller_than_the_processes_still_gives_each_one_example():
    shares = [next(iter(Order(np.array([9]), 3, rank=r, world=3).batches(0))) for r in range(3)]
    assert [s.ids.tolist() for s in shares] == [[9]] * 3
    assert [s.real.tolist() for s in shares] == [[True], [False], [False]]


def test_a_sampler_chooses_the_ids_and_weights_of_an_epoch_and_processes_share_them():
    chosen = lambda epoch: (IDS[epoch:][::-1], np.arange(7 - epoch, dtype=np.float32))  # noqa: E731
    whole = list(Order(IDS, 4, chosen=chosen).batches(2))
    assert [b.ids.tolist() for b in whole] == [[21, 20, 11, 9], [8]]
    assert [b.weights.tolist() for b in whole] == [[0, 1, 2, 3], [4]]
    shares = [list(Order(IDS, 4, rank=r, world=2, chosen=chosen).batches(2)) for r in range(2)]
    assert [b.ids[b.real].tolist() for b in shares[0]] == [[21, 11], [8]]
    assert [b.ids[b.real].tolist() for b in shares[1]] == [[20, 9], []]
    assert shares[1][0].weights.tolist() == [1, 3]


def test_a_shorter_epoch_passes_through_the_schedule_as_a_whole_one_does():
    assert [b.at for b in Order(IDS, 2, seed=1).batches(3)] == [12, 13, 14, 15]
    shorter = Order(IDS, 2, chosen=lambda epoch: (IDS[:3], None))
    assert [b.at for b in shorter.batches(3)] == [12, 14]
    assert shorter.steps == 4, "steps of a whole epoch"


def test_a_batch_must_be_shared_out_evenly():
    with pytest.raises(ConfigError, match=r"^batch_size=5: expected a multiple of processes=2"):
        Order(IDS, 5, world=2)


LENGTHS = np.random.default_rng(0).integers(1, 60, 400)


def padded(order, epoch):
    """How many places the batches of an epoch have, padded to their longest."""
    return sum(len(b.ids) * LENGTHS[b.ids].max() for b in order.batches(epoch))


def test_batches_of_like_length_have_little_padding():
    ids = np.arange(3, 390)
    plain, sorted_ = Order(ids, 8, seed=1), Order(ids, 8, seed=1, lengths=LENGTHS, pool=10)
    assert sorted(sorted_.epoch(2)[0]) == ids.tolist()
    assert sorted_.steps == plain.steps
    assert [len(b.ids) for b in sorted_.batches(2)] == [8] * 48 + [3]
    assert padded(plain, 2) > 1.6 * LENGTHS[ids].sum()
    assert padded(sorted_, 2) < 1.2 * LENGTHS[ids].sum()


def test_batches_of_like_length_follow_from_seed_and_epoch():
    order = Order(np.arange(400), 8, seed=1, lengths=LENGTHS)
    again = Order(np.arange(400), 8, seed=1, lengths=LENGTHS)
    np.testing.assert_array_equal(order.epoch(3)[0], again.epoch(3)[0])
    assert not np.array_equal(order.epoch(3)[0], order.epoch(4)[0])
    longest = [LENGTHS[b.ids].max() for b in order.batches(3)]
    assert np.abs(np.corrcoef(longest, np.arange(len(longest)))[0, 1]) < 0.5, "long ones come at any time"


def test_a_clean_pass_is_not_sorted():
    assert Order(IDS, 3, shuffle=False, lengths=LENGTHS).epoch(0)[0].tolist() == IDS.tolist()


def test_weights_go_with_their_examples_into_batches_of_like_length():
    chosen = np.array([5, 90, 17, 300, 44])
    order = Order(np.arange(400), 2, lengths=LENGTHS, chosen=lambda epoch: (chosen, chosen / 100))
    ids, weights = order.epoch(0)
    assert sorted(ids) == sorted(chosen)
    np.testing.assert_array_equal(weights, ids / 100)
    assert (np.diff(LENGTHS[ids].reshape(-1)[:4].reshape(2, 2)) >= 0).all()

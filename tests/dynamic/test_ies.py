"""IES leaves out what has a straight loss curve."""

import numpy as np
import pytest

from dataprune.dynamic import IES
from dataprune.errors import ConfigError


def slow(curves, threshold, average, k):
    """Ids left out after these losses, curves (epochs, n), one example and one moving average after the other."""
    out = []
    for i, curve in enumerate(np.asarray(curves, np.float32).T):
        bends = [abs(a - 2 * b + c) for a, b, c in zip(curve[2:], curve[1:], curve, strict=False)]
        if len(bends) < average + k:
            continue
        means = [np.mean(bends[end - average : end]) for end in range(average, len(bends) + 1)]
        if sum(means[-k:]) < threshold:
            out.append(i)
    return out


@pytest.mark.parametrize(("average", "k"), [(3, 1), (1, 1), (2, 3), (4, 2)])
def test_it_leaves_out_what_the_formula_says(average, k):
    rng = np.random.default_rng(0)
    n, epochs = 30, 14
    curves = np.cumsum(rng.normal(0, np.geomspace(0.01, 1, n), (epochs, n)), axis=0) + 5
    policy = IES(n, threshold=0.4, average=average, k=k)
    counts = []
    for epoch in range(epochs):
        ids, weights = policy.epoch(epoch)
        out = policy.excluded(epoch)
        assert weights is None
        assert out.tolist() == slow(curves[:epoch], 0.4, average, k)
        assert sorted([*ids, *out]) == list(range(n))
        policy.observe(np.arange(n), curves[epoch])
        counts.append(len(out))
    assert counts[: average + k + 2] == [0] * (average + k + 2)
    assert 0 < max(counts) < n


def test_a_straight_curve_is_left_out_and_comes_back_when_it_bends():
    policy = IES(2, threshold=0.1, average=1)
    losses = [[5, 5], [4, 1], [3, 4], [2, 1], [1, 5], [3, 1], [3, 1], [3, 1], [3, 1]]
    there = []
    for epoch, row in enumerate(losses):
        there.append(sorted(policy.epoch(epoch)[0]))
        policy.observe([0, 1], row)
    # four epochs of too few losses; example 0 is straight twice, bends when it rises to 3 and when it stays there
    assert there == [[0, 1]] * 4 + [[1], [1], [0, 1], [0, 1], []]


def test_an_empty_epoch_is_an_epoch():
    """Everything has settled: nothing to train on, all to look at."""
    policy = IES(3, average=1)
    for epoch in range(4):
        policy.epoch(epoch)
        policy.observe([0, 1, 2], [1.0, 1.0, 1.0])
    assert policy.epoch(4)[0].tolist() == list(policy) == []
    assert policy.excluded(4).tolist() == [0, 1, 2]
    assert policy.epoch(4)[0].dtype == np.int64


def test_what_nobody_looked_at_comes_back():
    policy = IES(2, threshold=0.1, average=1)
    for epoch in range(4):
        policy.epoch(epoch)
        policy.observe([0, 1], [1.0, epoch % 2])
    assert policy.excluded(4).tolist() == [0]
    policy.observe([1], [0.0])
    assert policy.excluded(5).tolist() == []


def test_an_epoch_that_nobody_trained_is_no_epoch():
    policy = IES(2, threshold=0.1, average=1)
    for epoch in range(4):
        policy.epoch(epoch)
        policy.observe([0, 1], [1.0, epoch % 2])
    policy.set_epoch(4)
    assert policy.excluded(7).tolist() == [0]


def test_a_threshold_of_zero_leaves_nothing_out():
    policy = IES(2, threshold=0, average=1)
    for epoch in range(6):
        policy.epoch(epoch)
        policy.observe([0, 1], [1.0, 1.0])
    assert len(policy.epoch(6)[0]) == 2


@pytest.mark.parametrize(
    ("options", "key"),
    [({"threshold": -1}, "threshold"), ({"threshold": float("nan")}, "threshold"), ({"threshold": "low"}, "threshold"),
     ({"average": 0}, "average"), ({"k": 1.5}, "k")],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_its_name(options, key):
    with pytest.raises(ConfigError) as error:
        IES(10, **options)
    assert error.value.key == key

"""RS2 takes consecutive pieces of a permutation."""

import numpy as np
import pytest

from dataprune.dynamic import RS2
from dataprune.errors import ConfigError


def test_the_pieces_of_a_round_are_disjoint_and_the_next_round_is_another():
    policy = RS2(10, ratio=0.7)
    first, second = ([policy.epoch(e)[0] for e in range(start, start + 3)] for start in (0, 3))
    assert [len(piece) for piece in first] == [3, 3, 3]
    assert len(set(np.concatenate(first))) == len(set(np.concatenate(second))) == 9
    assert np.concatenate(first).tolist() != np.concatenate(second).tolist()


def test_an_epoch_follows_from_seed_and_number_alone():
    policy, other = RS2(20, ratio=0.5), RS2(20, ratio=0.5)
    policy.observe([1, 2], [3.0, 4.0])
    np.testing.assert_array_equal(policy.epoch(5)[0], other.epoch(5)[0])


def test_the_size_is_rounded_half_up_and_never_nothing():
    assert [RS2(5, ratio=r).count for r in (0.5, 0.9, 0.99)] == [3, 1, 1]


@pytest.mark.parametrize("ratio", [1, -0.5, None, float("inf")])
def test_a_ratio_that_leaves_nothing_is_refused(ratio):
    with pytest.raises(ConfigError, match=r"ratio=.*expected a fraction from 0 to below 1"):
        RS2(10, ratio=ratio)

"""The greedy engine: the plain loop over argmax, bit for bit, and what it refuses."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.neighbors.greedy import greedy


def graph_of(rng, n, k):
    """A directed graph with k distinct neighbours each: offsets, targets, weights."""
    targets = np.stack([(i + 1 + rng.permutation(n - 1)[:k]) % n for i in range(n)]) if k else np.empty((n, 0), int)
    return np.arange(n + 1) * k, targets.ravel().astype(np.int32), rng.random(n * k).astype(np.float32)


def plain_loop(values, offsets, targets, weights, budget, clamp_negative):
    values, free, picks = values.copy(), np.ones(len(values), bool), []
    for _ in range(budget):
        pick = int(np.argmax(np.where(free, values, -np.inf)))
        message = max(values[pick], np.float32(0)) if clamp_negative else values[pick]
        for edge in range(offsets[pick], offsets[pick + 1]):
            values[targets[edge]] = values[targets[edge]] - weights[edge] * message
        free[pick] = False
        picks.append(pick)
    return picks


@pytest.mark.parametrize("clamp_negative", [True, False])
@pytest.mark.parametrize("seed", range(40))
def test_picks_are_those_of_the_plain_loop(seed, clamp_negative):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 200))
    budget = int(rng.integers(1, n + 1))
    offsets, targets, weights = graph_of(rng, n, int(rng.integers(0, min(n, 9))))
    if seed % 2:
        values = rng.normal(size=n, scale=10).astype(np.float32)
    else:  # many ties, in the values and after the updates
        values, weights = rng.integers(-3, 4, n).astype(np.float32), np.ones_like(weights)
    expected = plain_loop(values, offsets, targets, weights, budget, clamp_negative)
    assert greedy(values, offsets, targets, weights, budget, clamp_negative=clamp_negative).tolist() == expected


def test_plain_loop_agrees_when_most_values_have_turned_negative():
    rng = np.random.default_rng(0)
    offsets, targets, _ = graph_of(rng, 300, 8)
    arguments = (rng.random(300).astype(np.float32), offsets, targets, np.ones(2400, np.float32), 300)
    assert greedy(*arguments, clamp_negative=False).tolist() == plain_loop(*arguments, False)
    assert greedy(*arguments).tolist() == plain_loop(*arguments, True)


def test_a_negative_pick_raises_its_neighbours_only_without_the_clamp():
    values, offsets, targets = np.array([-1.0, -4.0, -2.0]), np.array([0, 1, 1, 1]), np.array([1])
    weights = np.array([3.0])
    assert greedy(values, offsets, targets, weights, 3).tolist() == [0, 2, 1]
    assert greedy(values, offsets, targets, weights, 3, clamp_negative=False).tolist() == [0, 1, 2]


def test_a_small_budget_is_a_prefix_of_a_large_one():
    rng = np.random.default_rng(3)
    graph, values = graph_of(rng, 150, 5), rng.random(150)
    whole = greedy(values, *graph, 150)
    assert sorted(whole) == list(range(150))
    for budget in (1, 17, 149):
        assert (greedy(values, *graph, budget) == whole[:budget]).all()


def test_ties_go_to_the_lower_id():
    assert greedy(np.zeros(100), np.zeros(101, int), np.empty(0, int), np.empty(0), 100).tolist() == list(range(100))


def test_every_id_is_picked_once_even_when_values_grow_beyond_float32():
    rng = np.random.default_rng(0)
    offsets, targets, weights = graph_of(rng, 60, 5)
    picks = greedy(rng.normal(size=60) * 1e38, offsets, targets, weights * 50, 60, clamp_negative=False)
    assert sorted(picks) == list(range(60))


def test_the_values_given_are_left_as_they_are():
    values = np.ones(3, np.float32)
    greedy(values, np.array([0, 1, 1, 1]), np.array([1]), np.array([1.0]), 2)
    assert (values == 1).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"budget": 0}, r"budget=0: expected a whole number, 1 to 3"),
        ({"budget": 4}, r"budget=4: expected a whole number, 1 to 3"),
        ({"values": np.array([1, np.nan, 2])}, r"values=NaN or inf at ids 1"),
        ({"offsets": np.array([0, 1, 1])}, r"offsets=array of shape \(3,\): expected shape \(4\)"),
        ({"offsets": np.array([0, 2, 2, 2])}, r"offsets=0 to 2: expected rising from 0 to 1"),
        ({"targets": np.array([3])}, r"targets=3 to 3: expected ids from 0 to 2"),
        ({"weights": np.array([np.inf])}, r"weights=NaN or inf at ids 0"),
        ({"weights": np.ones(2)}, r"weights=array of shape \(2,\)"),
    ],
)
def test_bad_input_names_the_argument(change, message):
    good = {"values": np.ones(3), "offsets": np.array([0, 1, 1, 1]), "targets": np.array([1]), "weights": np.ones(1)}
    with pytest.raises(ConfigError, match=message):
        greedy(**(good | {"budget": 2} | change))

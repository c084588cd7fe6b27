"""Class quotas, and selection inside classes.

Vectors (5): topk el2n and aum class-balanced (with the counts of the file, which are floors; ours hand out the
remainder); class_quotas_drop c0, c1, c2 against the exact water-filling. Not matched on purpose: topk
ccs_buggy_class_counts (the size of the last class for all), quota_counts_official (floors that lose examples).
"""

from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors.coverage import herding
from dataprune.selectors.ranked import (
    band,
    draw,
    middle,
    per_class,
    quotas,
    random,
    random_stratified,
    top,
)

REFERENCE = Path(__file__).parents[1] / "reference"


def rng(seed=0):
    return np.random.default_rng(seed)


def load(name, case):
    with np.load(REFERENCE / f"{name}.npz") as z:
        return {key.split(case, 1)[1].lstrip("/_"): z[key] for key in z.files if key.startswith(case)}


# quotas


def exact_waterfill(sizes, budget, weights):
    """Raise the level until the budget is used: one class after the other gets full, in the order of size / weight."""
    sizes, weights = [Fraction(int(s)) for s in sizes], [Fraction(float(w)) for w in weights]
    order = sorted((c for c in range(len(sizes)) if weights[c]), key=lambda c: sizes[c] / weights[c])
    shares, rest = [Fraction(0)] * len(sizes), Fraction(int(budget))
    for at, c in enumerate(order):
        level = rest / sum(weights[k] for k in order[at:])
        shares[c] = min(sizes[c], level * weights[c])
        rest -= shares[c]
    return shares


def slow_quotas(sizes, budget, weights):
    real = exact_waterfill(sizes, budget, weights)
    shares = [int(share) for share in real]
    by_remainder = sorted(range(len(real)), key=lambda c: (shares[c] - real[c], c))
    for c in by_remainder[: budget - sum(shares)]:
        shares[c] += 1
    return shares


@pytest.mark.parametrize("case", ["c0", "c1", "c2"])
def test_drop_quotas_round_the_exact_water_filling(case):
    z = load("peer_scores/class_quotas_drop", case)
    ours = quotas(z["sizes"], int(z["keep"]), 1 - z["recall"])
    assert ours.sum() == z["keep"]
    assert abs(ours - z["quota_real_waterfill"]).max() < 1
    assert (ours >= z["quota_counts_official"]).all()


def test_quotas_known_by_hand():
    # due 18.82, 94.12, 37.65, 9.41: floors sum to 158, the two largest remainders get the rest
    weights = 1 - np.array([0.9, 0.5, 0.8, 0.95])
    assert quotas(np.full(4, 100), 160, weights).tolist() == [19, 94, 38, 9]


@pytest.mark.parametrize("seed", range(20))
def test_quotas_agree_with_exact_water_filling(seed):
    g = rng(seed)
    sizes, weights = g.integers(0, 40, 12), g.integers(1, 9, 12) * g.choice([1, 0.1])
    sizes[0] = 1
    for budget in range(1, sizes.sum() + 1, 7):
        assert quotas(sizes, budget, weights).tolist() == slow_quotas(sizes, budget, weights)


def test_equal_remainders_go_to_the_lower_class():
    assert quotas(np.array([5, 5, 5]), 4, np.ones(3)).tolist() == [2, 1, 1]
    assert quotas(np.array([10, 30, 10]), 5, np.array([10, 30, 10])).tolist() == [1, 3, 1]
    assert quotas(np.array([3, 3, 3, 3]), 2, np.full(4, 0.1)).tolist() == [1, 1, 0, 0]


def test_the_excess_of_a_small_class_goes_to_the_others_by_their_weights():
    assert quotas(np.array([2, 100, 100]), 32, np.array([10, 1, 2])).tolist() == [2, 10, 20]


def test_quotas_do_not_depend_on_the_scale_of_the_weights():
    sizes, weights = rng().integers(1, 50, 9), rng(1).integers(1, 20, 9)
    assert (quotas(sizes, 60, weights) == quotas(sizes, 60, weights * 1024.0)).all()


def test_a_class_of_weight_zero_gets_only_what_no_other_can_hold():
    sizes, weights = np.array([4, 10, 20]), np.array([1.0, 0, 0])
    assert quotas(sizes, 4, weights).tolist() == [4, 0, 0]
    assert quotas(sizes, 10, weights).tolist() == [4, 2, 4]
    assert quotas(sizes, 17, np.zeros(3)).tolist() == quotas(sizes, 17, sizes).tolist()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: quotas(np.array([2, 3]), 6, np.ones(2)), "budget=6: expected a whole number, 1 to 5"),
        (lambda: quotas(np.array([2, 3]), 2, np.ones(3)), r"weights=array of shape \(3,\)"),
        (lambda: quotas(np.array([2, 3]), 2, np.array([1, -1])), "weights=below 0 for classes 1"),
        (lambda: quotas(np.array([2, 3]), 2, np.array([1, np.nan])), "weights=NaN or inf at ids 1"),
        (lambda: quotas(np.array([2.5, 3]), 2, np.ones(2)), "sizes="),
    ],
)
def test_quotas_refuse(call, message):
    with pytest.raises(ConfigError, match=message):
        call()


# per class


@pytest.mark.parametrize("case", ["el2n", "aum"])
def test_top_per_class_matches_the_reference_given_its_counts(case):
    z = load("topk", case)
    scores = z["scores"] if z["descending"] else -z["scores"]
    counts = z["class_counts"]
    ours = per_class(scores, z["targets"], int(counts.sum()), quota=counts)
    assert sorted(ours) == sorted(z["selected_class_balanced"])


def test_per_class_keeps_the_best_of_each_class_in_proportion():
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2])
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1])
    assert per_class(scores, labels, 4).tolist() == [0, 1, 2, 6]


def test_equal_quotas_hand_on_what_a_small_class_cannot_hold():
    labels = np.repeat([0, 1, 2], [2, 10, 10])
    ids = per_class(rng().random(22), labels, 12, quota="equal")
    assert np.bincount(labels[ids]).tolist() == [2, 5, 5]


@pytest.mark.parametrize("select", [top, middle, partial(band, skip_hardest=0.1)])
def test_per_class_agrees_with_selecting_in_every_class(select):
    scores, labels = rng().random(200), rng(1).integers(0, 5, 200)
    labels[labels == 3] = 4  # class 3 has no example
    sizes = np.bincount(labels)
    slow = []
    for c, share in enumerate(slow_quotas(sizes, 60, sizes)):
        if share:
            members = [i for i in range(200) if labels[i] == c]
            slow += [members[j] for j in select(scores[members], share)]
    assert per_class(scores, labels, 60, select=select).tolist() == slow


def test_per_class_with_one_class_is_the_selector():
    scores = rng().random(30)
    assert (per_class(scores, np.zeros(30, int), 12) == top(scores, 12)).all()


def test_per_class_takes_features_for_a_selector_of_features():
    x, labels = rng().standard_normal((60, 4)), np.repeat([0, 1], [20, 40])
    expected = [*herding(x[:20], 3), *(20 + herding(x[20:], 6))]
    assert per_class(x, labels, 9, select=herding).tolist() == expected


def test_per_class_takes_a_selector_that_draws():
    labels = rng().integers(0, 4, 80)
    g = rng(2)
    ids = per_class(np.zeros(80), labels, 40, select=lambda s, budget: random(len(s), budget, g))
    assert len(set(ids.tolist())) == 40


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quota": "balanced"}, 'quota=\'balanced\': expected "proportional", "equal"'),
        ({"quota": np.ones(3)}, "weights=array of shape"),
        ({"labels": np.zeros(5, int)}, "labels=array of shape"),
        ({"labels": np.array([0, 0, 1, -1])}, "labels=-1 at ids 3"),
        ({"select": lambda s, budget: np.zeros(budget, int)}, "select=.*2 distinct positions among"),
    ],
)
def test_per_class_refuses(arguments, message):
    call = {"scores": np.arange(4), "labels": np.array([0, 0, 1, 1]), "budget": 4} | arguments
    with pytest.raises(ConfigError, match=message):
        per_class(**call)


# random in classes


def test_random_stratified_has_proportional_counts():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    assert np.bincount(labels[random_stratified(labels, 10, rng())]).tolist() == [5, 3, 2]


def test_random_stratified_subsets_nest_inside_each_class():
    labels = rng().integers(0, 6, 300)
    small, large = (random_stratified(labels, b, rng(5)) for b in (60, 150))
    assert set(small) < set(large)


def test_draw_gives_every_example_of_a_bin_the_same_chance():
    bins, shares = np.array([0, 1, 0, 1, 1, 0, 0]), np.array([1, 2])
    counts = np.bincount(np.concatenate([draw(bins, shares, rng(seed)) for seed in range(3000)]))
    assert abs(counts - np.where(bins, 2000, 750)).max() < 5 * np.sqrt(750)


def test_draw_refuses_a_share_above_its_bin():
    with pytest.raises(ConfigError, match=r"shares=\[1 3\]"):
        draw(np.array([0, 1, 1]), np.array([1, 3]), rng())

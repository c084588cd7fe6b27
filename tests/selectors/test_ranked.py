"""Selectors that need only a ranking.

Vectors (5): topk el2n, aum; moderate a, b, odd. Not matched on purpose: moderate d2_* (the two tails).
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors.ranked import (
    band,
    drop_hardest,
    middle,
    per_class,
    random,
    random_stratified,
    recall_weights,
    top,
)

REFERENCE = Path(__file__).parents[1] / "reference"
SELECTORS = {
    "top": top,
    "middle": middle,
    "band": partial(band, skip_hardest=0.0),
    "per_class": lambda s, budget: per_class(s, np.zeros(len(s), int), budget),
}


def rng(seed=0):
    return np.random.default_rng(seed)


def load(name, case):
    with np.load(REFERENCE / f"{name}.npz") as z:
        return {key.split(case, 1)[1].lstrip("/_"): z[key] for key in z.files if key.startswith(case)}


# top


@pytest.mark.parametrize("case", ["el2n", "aum"])
def test_top_matches_the_reference(case):
    z = load("topk", case)
    scores = z["scores"] if z["descending"] else -z["scores"]
    assert sorted(top(scores, int(600 * z["ratio"]))) == sorted(z["selected"])


def test_top_returns_rank_order():
    assert top(np.array([0.1, 0.9, 0.5, 0.7], np.float32), 3).tolist() == [1, 3, 2]


def test_top_gives_equal_scores_to_the_lower_id():
    assert top(np.array([2, 5, 2, 5, 2, 2]), 4).tolist() == [1, 3, 0, 2]


def test_top_of_constant_scores_is_the_first_ids():
    assert top(np.zeros(9, np.float32), 4).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", range(5))
def test_top_agrees_with_a_full_stable_sort_when_most_scores_tie(seed):
    scores = rng(seed).integers(0, 4, 60).astype(np.float32)
    for budget in range(1, 61):
        assert top(scores, budget).tolist() == sorted(range(60), key=lambda i: (-scores[i], i))[:budget]


def test_top_is_a_function_of_ranks_only():
    scores = rng(1).random(50)
    assert (top(scores, 7) == top(np.exp(3 * scores), 7)).all()


def test_top_takes_integers_and_bools():
    assert top(np.array([3, 200, 7], np.uint8), 2).tolist() == [1, 2]
    assert top(np.array([False, True, True]), 1).tolist() == [1]


# random


def test_random_subsets_of_equal_seed_nest():
    assert (random(100, 30, rng(3)) == random(100, 80, rng(3))[:30]).all()


def test_random_returns_distinct_ids_of_all():
    assert sorted(random(40, 40, rng())) == list(range(40))


def test_random_is_uniform():
    counts = np.bincount(np.concatenate([random(10, 3, rng(seed)) for seed in range(2000)]), minlength=10)
    assert abs(counts - 600).max() < 5 * np.sqrt(2000 * 0.3 * 0.7)


# middle


@pytest.mark.parametrize("case", ["a", "b", "odd"])
def test_middle_matches_the_authors_of_moderate(case):
    z = load("moderate", case)
    assert sorted(middle(z["distance"], len(z["kept"]))) == sorted(z["kept"])


@pytest.mark.parametrize("n", [1, 2, 7, 8])
def test_middle_is_the_band_of_positions_around_the_median(n):
    scores = rng(n).permutation(n)  # the score is the position
    for budget in range(1, n + 1):
        start = round((n - budget) / 2)  # Python rounds half to even
        assert sorted(scores[middle(scores, budget)]) == list(range(start, start + budget))


def test_middle_of_a_smaller_budget_is_a_prefix():
    scores = rng().random(31)
    assert all((middle(scores, b) == middle(scores, 31)[:b]).all() for b in range(1, 32))


def test_middle_does_not_change_when_the_ranking_is_reversed_and_the_band_is_centred():
    scores = rng().random(21)
    assert sorted(middle(scores, 5)) == sorted(middle(-scores, 5))


# band and the mislabel cut


def test_band_starts_behind_the_hardest():
    assert band(np.arange(10), 3, skip_hardest=0.25).tolist() == [7, 6, 5]


def test_band_after_the_cut_is_top_of_the_survivors():
    scores = rng().integers(0, 9, 50)
    kept = drop_hardest(scores, 0.3)
    assert (band(scores, 20, skip_hardest=0.3) == kept[top(scores[kept], 20)]).all()


def test_band_that_does_not_fit_names_the_budget():
    with pytest.raises(ConfigError, match="budget=8: expected a whole number, 1 to 7"):
        band(np.arange(10), 8, skip_hardest=0.3)


def test_the_cut_drops_the_lower_id_first_and_returns_sorted_ids():
    assert drop_hardest(np.array([7, 1, 7, 7, 0]), 0.4).tolist() == [1, 3, 4]


def test_the_cut_rounds_down():
    assert len(drop_hardest(np.arange(9), 0.39)) == 6


def test_a_cut_of_nothing_keeps_all():
    assert drop_hardest(np.arange(5), 0).tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("fraction", [-0.1, 1, np.nan])
def test_a_cut_outside_the_fractions_is_refused(fraction):
    with pytest.raises(ConfigError, match=r"fraction=.*from 0 to below 1"):
        drop_hardest(np.arange(5), fraction)
    with pytest.raises(ConfigError, match="skip_hardest="):
        band(np.arange(5), 1, skip_hardest=fraction)


# what all refuse


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("budget", [0, -1, 7, 2.5])
def test_a_budget_that_cannot_be_kept_is_refused(select, budget):
    with pytest.raises(ConfigError, match=f"budget={budget}: expected a whole number, 1 to 6"):
        select(np.arange(6), budget)


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_are_refused_with_their_ids(select, wrong):
    with pytest.raises(ConfigError, match="scores=NaN or inf at ids 2, 4"):
        select(np.array([1, 2, wrong, 4, wrong]), 2)


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_every_selector_returns_distinct_int64_ids(select):
    ids = select(np.zeros(12, np.float32), 7)
    assert ids.dtype == np.int64
    assert len(set(ids.tolist())) == 7


def test_scores_of_two_axes_are_refused():
    with pytest.raises(ConfigError, match=r"scores=array of shape \(3, 2\): expected shape \(n\)"):
        top(np.zeros((3, 2)), 1)


@pytest.mark.parametrize("call", [lambda r: random(5, 2, r), lambda r: random_stratified(np.zeros(5, int), 2, r)])
def test_a_seed_is_not_a_generator(call):
    with pytest.raises(ConfigError, match=r"rng=3: expected a numpy Generator: numpy.random.default_rng\(seed\)"):
        call(3)


def test_recall_weights_are_what_is_missed_of_each_class():
    labels = np.array([0, 0, 0, 0, 1, 1, 3, 3])
    predictions = np.array([0, 0, 0, 1, 1, 1, 0, 0])
    # class 2 has no held-out examples: the mean recall of the others, (3/4 + 1 + 0) / 3
    np.testing.assert_allclose(recall_weights(predictions, labels, 4), [0.25, 0, 1 - 1.75 / 3, 1])
    assert recall_weights(labels, labels, 4).tolist() == [1, 1, 1, 1], "nothing missed: equal quotas"
    with pytest.raises(ConfigError, match="labels"):
        recall_weights(np.zeros(0, int), np.zeros(0, int), 4)

"""Budget allocation, CCS and DUAL's sampling.

Vectors (16): budget_allocation plain, with_empty, remainder, all_capped, exact_capacity (mode uniform); ccs_stratified
aum, el2n_key, stratas25 (cut, strata, counts, budgets); beta_p* in dynamics_scores, 8 probability vectors with their
Beta parameters. Left out: budget_allocation confidence, and the modes density and aucpr, which no published command
uses. ccs example_selection is one random draw: only its counts per stratum are compared.
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors.ranked import drop_hardest, top
from dataprune.selectors.strata import allocate, beta, beta_probabilities, strata_of, stratified

REFERENCE = Path(__file__).parents[1] / "reference"


def rng(seed=0):
    return np.random.default_rng(seed)


def load(name, case):
    with np.load(REFERENCE / f"{name}.npz") as z:
        return {key.split("/")[1]: z[key] for key in z.files if key.startswith(case + "/")}


# allocation


@pytest.mark.parametrize("case", ["plain", "with_empty", "remainder", "all_capped", "exact_capacity"])
def test_allocation_matches_the_reference(case):
    z = load("budget_allocation", case)
    assert allocate(z["bins"], int(z["num"])).tolist() == z["budgets"].tolist()


def test_remainders_land_in_the_largest_bins():
    assert allocate(np.array([100, 101, 102]), 10).tolist() == [3, 3, 4]
    assert allocate(np.array([7, 7, 7]), 5).tolist() == [1, 2, 2]


@pytest.mark.parametrize("seed", range(10))
def test_allocation_agrees_with_the_rule_written_out(seed):
    sizes = rng(seed).integers(0, 30, 9).tolist()
    for budget in range(0, sum(sizes) + 5, 3):
        shares, rest, left = [0] * 9, budget, sum(size > 0 for size in sizes)
        for size, k in sorted((size, k) for k, size in enumerate(sizes)):
            if size:
                shares[k] = min(size, rest // left)
                rest, left = rest - shares[k], left - 1
        assert allocate(np.array(sizes), budget).tolist() == shares
        assert sum(shares) == min(budget, sum(sizes))


def test_bins_that_do_not_fill_up_differ_by_one_at_most():
    sizes = np.array([3, 50, 60, 8, 70])
    shares = allocate(sizes, 100)
    open_ = shares[shares < sizes]
    assert open_.max() - open_.min() <= 1


@pytest.mark.parametrize(
    ("sizes", "budget", "message"),
    [
        ([3, -1], 2, "sizes=-1 at bins 1"),
        ([3, 1.5], 2, "sizes=1.5 at bins 1"),
        ([[3]], 2, r"sizes=array of shape \(1, 1\)"),
        ([3], -1, "budget=-1"),
        ([3], 1.5, "budget=1.5"),
    ],
)
def test_allocation_refuses(sizes, budget, message):
    with pytest.raises(ConfigError, match=message):
        allocate(np.array(sizes), budget)


# CCS


@pytest.mark.parametrize("case", ["aum", "el2n_key", "stratas25"])
def test_strata_and_budgets_match_the_reference(case):
    z = load("ccs_stratified", case)
    harder = z["mis_scores"] if z["mis_descending"] else -z["mis_scores"]
    survivors = drop_hardest(harder, float(z["mis_ratio"]))
    assert np.setdiff1d(np.arange(600), survivors).tolist() == sorted(z["pruned_by_cutoff"])
    strata = int(z["stratas"])
    bins = strata_of(z["scores"][survivors], strata)
    assert (bins == z["strata_of_sample"][survivors]).all()
    assert (np.bincount(bins, minlength=strata) == z["strata_counts"]).all()
    ids = survivors[stratified(z["scores"][survivors], int(z["n_selected"]), rng(), strata=strata)]
    per_stratum = np.bincount(z["strata_of_sample"][ids], minlength=strata)
    assert (per_stratum == z["budgets"]).all()
    assert (per_stratum == np.bincount(z["strata_of_sample"][z["example_selection"]], minlength=strata)).all()


def slow_strata(scores, strata):
    """Test each stratum's two edges, as the released code does, with our upper end."""
    s = scores.astype(np.float32)
    low, high = s.min(), s.max()
    if high > 0:
        high = high * np.float32(1.0001)
    elif high < 0:
        high = high * np.float32(0.9999)
    else:
        high = np.float32(1e-4) * (high - low)
    step = (high - low) / np.float32(strata)
    bins = np.full(len(s), strata - 1)
    for k in range(strata):
        bins[(s >= low + np.float32(k) * step) & (s < low + np.float32(k + 1) * step)] = k
    return bins


@pytest.mark.parametrize("shift", [0, -4, 100])
@pytest.mark.parametrize("strata", [1, 7, 50])
def test_strata_agree_with_testing_every_edge(shift, strata):
    scores = rng(strata).standard_normal(500) + shift
    assert (strata_of(scores, strata) == slow_strata(scores, strata)).all()


@pytest.mark.parametrize("top_score", [-1.0, 0.0, 2.0])
def test_the_highest_score_is_in_the_last_stratum_whatever_its_sign(top_score):
    # ten strata over a little more than 10: each whole number falls just short of the edge that has its number
    assert strata_of(top_score - 10 + np.arange(11), 10).tolist() == [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_a_score_on_an_edge_belongs_to_the_stratum_above():
    scores = rng().random(50).astype(np.float32)
    low, step = scores.min(), (scores.max() * np.float32(1.0001) - scores.min()) / np.float32(8)
    edges = low + np.arange(8, dtype=np.float32) * step
    assert strata_of(np.concatenate([scores, edges]), 8)[50:].tolist() == list(range(8))


@pytest.mark.parametrize("constant", [-3.0, 0.0, 5.0])
def test_equal_scores_are_all_in_the_first_stratum_and_none_is_lost(constant):
    assert (strata_of(np.full(20, constant), 50) == 0).all()
    assert len(stratified(np.full(20, constant), 20, rng())) == 20


def test_integer_scores_count_as_float32():
    scores = rng().integers(0, 30, 200)
    assert (strata_of(scores, 10) == strata_of(scores.astype(np.float32), 10)).all()


def test_ccs_takes_the_same_number_from_every_stratum_that_has_them():
    scores = np.concatenate([np.full(500, 0.0), np.full(500, 1.0), np.full(3, 0.5)])
    ids = stratified(scores, 103, rng(), strata=3)
    assert [int((scores[ids] == s).sum()) for s in (0, 0.5, 1)] == [50, 3, 50]


def test_ccs_is_reproducible_and_varies_with_the_generator():
    scores = rng().random(300)
    assert (stratified(scores, 90, rng(1)) == stratified(scores, 90, rng(1))).all()
    assert (stratified(scores, 90, rng(1)) != stratified(scores, 90, rng(2))).any()


def test_ccs_returns_sorted_distinct_ids():
    ids = stratified(rng().standard_normal(200), 77, rng())
    assert ids.dtype == np.int64
    assert (np.diff(ids) > 0).all()
    assert len(ids) == 77


def test_ccs_is_uniform_inside_a_stratum():
    scores = np.repeat([0.0, 1.0], [8, 4])
    counts = np.bincount(np.concatenate([stratified(scores, 4, rng(s), strata=2) for s in range(2000)]))
    assert abs(counts - np.where(scores, 1000, 500)).max() < 5 * np.sqrt(500)


@pytest.mark.parametrize(
    ("scores", "budget", "strata", "message"),
    [
        (np.arange(5), 6, 50, "budget=6: expected a whole number, 1 to 5"),
        (np.arange(5), 0, 50, "budget=0"),
        (np.arange(5), 2, 0, "strata=0: expected a whole number, 1 or more"),
        (np.array([1, np.nan, 3]), 2, 5, "scores=NaN or inf at ids 1"),
        (np.array([1, 1e39, 3]), 2, 5, "scores=NaN or inf at ids 1"),
        (np.array([-3e38, 3e38]), 2, 5, "scores=from -3.*a range that float32 can hold"),
        (np.empty(0), 1, 5, "scores=no scores"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_ccs_refuses(scores, budget, strata, message):
    with pytest.raises(ConfigError, match=message):
        stratified(scores, budget, rng(), strata=strata)


# DUAL's sampling


@pytest.mark.parametrize("c", [4.0, 5.5])
@pytest.mark.parametrize("prune_ratio", [0.3, 0.5, 0.7, 0.9])
def test_beta_probabilities_match_the_released_code(prune_ratio, c):
    with np.load(REFERENCE / "peer_scores" / "dynamics_scores.npz") as z:
        logits, y, scores = z["logits"].astype(float), z["y"], z["dual_J10_official"]
        expected = z[f"beta_p{prune_ratio}_cd{c}_prob"]
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    p_mean = (odds / odds.sum(-1, keepdims=True))[:, np.arange(90), y].mean(0)
    ours = beta_probabilities(scores, p_mean, round(90 * (1 - prune_ratio)), c=c)
    np.testing.assert_allclose(ours, expected, rtol=1e-9)


def test_beta_probabilities_agree_with_the_density_of_scipy():
    from scipy.stats import beta as distribution

    scores, p_mean = rng().random(40), rng(1).random(40)
    anchor = p_mean[top(scores, 10)].mean()
    b = 15 * (1 - anchor) * (1 - 0.75**4)
    weights = scores * distribution.pdf(p_mean, 16 - b, b)
    np.testing.assert_allclose(beta_probabilities(scores, p_mean, 10, c=4), weights / weights.sum(), rtol=1e-9)


def test_pruning_more_prefers_easier_examples():
    scores, p_mean = np.ones(99), np.linspace(0.01, 0.99, 99)
    means = [beta_probabilities(scores, p_mean, budget, c=4) @ p_mean for budget in (90, 50, 20, 5)]
    assert means == sorted(means)


def test_beta_draws_by_its_probabilities():
    scores, p_mean = np.array([1.0, 2, 3, 4]), np.array([0.3, 0.6, 0.5, 0.8])
    expected = beta_probabilities(scores, p_mean, 2, c=4)
    drawn = np.array([beta(scores, p_mean, 2, rng(seed), c=4) for seed in range(4000)])
    assert abs(np.bincount(drawn[:, 0], minlength=4) / 4000 - expected).max() < 0.04
    # and the second among the rest, without replacement
    second = [sum(expected[i] * expected[j] / (1 - expected[i]) for i in range(4) if i != j) for j in range(4)]
    assert abs(np.bincount(drawn[:, 1], minlength=4) / 4000 - second).max() < 0.04


def test_examples_of_probability_zero_come_last_in_random_order():
    scores, p_mean = np.array([0.0, 1, 0, 2, 0, 0]), np.full(6, 0.5)
    draws = [beta(scores, p_mean, 6, rng(seed), c=4).tolist() for seed in range(20)]
    assert all(sorted(draw[:2]) == [1, 3] for draw in draws)
    assert len({tuple(draw[2:]) for draw in draws}) > 5


def test_beta_survives_probabilities_of_zero_and_one():
    probabilities = beta_probabilities(np.ones(30), np.repeat([0.0, 1, 0.5], 10), 3, c=4)
    assert np.isfinite(probabilities).all()
    assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.array([1.0, -2, 3])}, "scores=from -2.0 to 3.0: expected scores of 0 or more"),
        ({"scores": np.zeros(3)}, "scores=from 0.0 to 0.0"),
        ({"scores": np.array([1.0, np.inf, 3])}, "scores=NaN or inf at ids 1"),
        ({"p_mean": np.array([0.1, 0.2])}, r"p_mean=array of shape \(2,\): expected shape \(3\)"),
        ({"p_mean": np.array([0.1, 1.2, 0.5])}, "p_mean=1.2 at ids 1"),
        ({"budget": 4}, "budget=4"),
        ({"c": 0}, "c=0: expected a number above 0"),
        ({"rng": 7}, "rng=7: expected a numpy Generator"),
    ],
)
def test_beta_refuses(change, message):
    call = {"scores": np.ones(3), "p_mean": np.full(3, 0.5), "budget": 2, "rng": rng(), "c": 4} | change
    with pytest.raises(ConfigError, match=message):
        beta(**call)

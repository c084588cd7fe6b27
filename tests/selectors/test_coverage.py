"""K-center and herding; what every selector of features refuses.

Vectors (26): kcenter a, b (order, radius, DeepCore's set from its first); deepcore kcenter_0/1, 6 orders each with set
and radii, and the 3 given centres + 10; ties k-center; herding a; deepcore herding_0/1, 4 orders each. Not matched on
purpose: herding deepcore_* (argmax, which is not herding).
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors import coverage
from dataprune.selectors.coverage import craig, facility_location, herding, k_center

REFERENCE = Path(__file__).parents[1] / "reference"
SELECTORS = {
    "k_center": k_center,
    "herding": herding,
    "facility_location": lambda x, budget: facility_location(x, budget)[0],
    "craig": lambda x, budget: craig(x, budget)[0],
}


def rng(seed=0):
    return np.random.default_rng(seed)


def gaussian(n, d, seed=0):
    return rng(seed).standard_normal((n, d)).astype(np.float32)


def squared(x):
    x = x.astype(np.float64)
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def slow_k_center(x, budget, first=0):
    distance, picks = squared(x), [first]
    while len(picks) < budget:
        nearest = distance[picks].min(0)
        nearest[picks] = -1
        picks.append(int(nearest.argmax()))
    return picks


def slow_herding(x, budget):
    x = x.astype(np.float64)
    picks = []
    for t in range(budget):
        error = np.linalg.norm((t + 1) * x.mean(0) - x[picks].sum(0) - x, axis=1)
        error[picks] = np.inf
        picks.append(int(error.argmin()))
    return picks


# k-center


@pytest.mark.parametrize("case", ["a", "b"])
def test_k_center_matches_d2_and_deepcore(case):
    z = np.load(REFERENCE / "kcenter.npz")
    x, budget = z[f"{case}/features"], int(z[f"{case}/budget"])
    ids = k_center(x, budget)
    assert (ids == z[f"{case}/d2_order"]).all()
    assert np.sqrt(squared(x)[:, ids].min(1).max()) == pytest.approx(float(z[f"{case}/d2_final_radius"]))
    assert set(k_center(x, budget, first=int(z[f"{case}/deepcore_first"]))) == set(z[f"{case}/deepcore_selected"])


@pytest.mark.parametrize("file", [0, 1])
def test_k_center_matches_the_deepcore_vectors(file):
    z = np.load(REFERENCE / "deepcore" / f"kcenter_{file}.npz")
    cases = [key.removesuffix("_order") for key in z.files if key[0] == "s" and key.endswith("_order")]
    assert len(cases) == 6
    for case in cases:
        order = z[f"{case}_order"]
        ids = k_center(z["X"], len(order), first=int(order[0]))
        assert (ids == order).all(), case
        assert (np.sort(ids) == z[f"{case}_deepcore_sorted"]).all(), case
        radii = [np.sqrt(squared(z["X"])[ids[t], ids[:t]].min()) for t in range(1, len(ids))]
        np.testing.assert_allclose(radii, z[f"{case}_radius_at_pick"], rtol=1e-5)


@pytest.mark.parametrize("file", [0, 1])
def test_given_centers_lead_the_result(file):
    z = np.load(REFERENCE / "deepcore" / f"kcenter_{file}.npz")
    assert (k_center(z["X"], 13, centers=z["init"]) == z["init_plus10_order"]).all()


def test_k_center_matches_the_reference_on_exact_ties():
    z = np.load(REFERENCE / "deepcore" / "ties.npz")
    order = z["kcenter_s0_k12_order_lowest_index_ties"]
    assert (k_center(z["X"], 12, first=int(order[0])) == order).all()


def test_k_center_on_a_line_known_by_hand():
    assert k_center(np.array([[0.0], [1], [5], [9], [10]]), 5).tolist() == [0, 4, 2, 1, 3]


GENERATORS = {
    "gaussian": lambda g, n, d: g.standard_normal((n, d)),
    "integers": lambda g, n, d: g.integers(-3, 4, (n, d)),
    "two far and tight groups": lambda g, n, d: 0.01 * g.standard_normal((n, d)) + 100 * g.integers(0, 2, (n, 1)),
    "every row three times": lambda g, n, d: np.repeat(g.standard_normal((n, d)), 3, 0)[:n],
    "far from the origin": lambda g, n, d: g.standard_normal((n, d)) + 1000,
    "half precision": lambda g, n, d: g.standard_normal((n, d)).astype(np.float16),
}


@pytest.mark.parametrize("kind", GENERATORS)
def test_k_center_makes_the_picks_of_the_one_by_one_greedy(kind):
    for seed in range(6):
        x = GENERATORS[kind](rng(seed), 150, 3 + 2 * seed)
        x = x if kind == "half precision" else x.astype(np.float32)
        assert k_center(x, 120, first=seed).tolist() == slow_k_center(x, 120, seed), seed


def test_k_center_agrees_where_tiles_and_passes_are_many(monkeypatch):
    monkeypatch.setattr(coverage, "TILE", 64)
    monkeypatch.setattr(coverage, "MOST", 5)
    x = gaussian(500, 16)
    assert k_center(x, 200).tolist() == slow_k_center(x, 200)


def test_k_center_finds_many_picks_in_a_pass(monkeypatch):
    passes = []
    lower = coverage._Space.lower
    monkeypatch.setattr(coverage._Space, "lower", lambda *a: passes.append(1) or lower(*a))
    k_center(gaussian(2000, 16), 300)
    assert len(passes) < 12


def test_a_smaller_budget_is_a_prefix():
    x = gaussian(300, 8)
    for select in SELECTORS.values():
        assert (select(x, 40) == select(x, 90)[:40]).all()


def test_k_center_does_not_depend_on_the_position_orientation_and_scale_of_the_features():
    x = gaussian(200, 6).astype(np.float64)
    turn = np.linalg.qr(rng(1).standard_normal((6, 6)))[0]
    for moved in (x + 30, x @ turn, 1000 * x):
        assert (k_center(moved, 50) == k_center(x, 50)).all()


def test_k_center_continues_with_the_lowest_ids_once_all_points_are_covered():
    x = np.array([[0.0], [0], [7], [0], [7], [3]])
    assert k_center(x, 6).tolist() == [0, 2, 5, 1, 3, 4]


def test_a_point_far_from_all_is_picked_second():
    x = gaussian(100, 4)
    x[63] += 50
    assert k_center(x, 2)[1] == 63


# herding


def test_herding_matches_the_reference():
    z = np.load(REFERENCE / "herding.npz")
    assert (herding(z["a/features"], int(z["a/budget"])) == z["a/argmin_order"]).all()


@pytest.mark.parametrize("file", [0, 1])
def test_herding_matches_the_corrected_deepcore_vectors(file):
    z = np.load(REFERENCE / "deepcore" / f"herding_{file}.npz")
    cases = [key.removesuffix("_order_fixed") for key in z.files if key.endswith("_order_fixed")]
    assert len(cases) == 4
    for case in cases:
        ids = herding(z["X"], len(z[f"{case}_order_fixed"]))
        assert (ids == z[f"{case}_order_fixed"]).all(), case
        x = z["X"].astype(np.float64)
        errors = [np.linalg.norm(x[ids[: t + 1]].mean(0) - x.mean(0)) for t in range(len(ids))]
        np.testing.assert_allclose(errors, z[f"{case}_mean_error_fixed"], rtol=1e-5)


@pytest.mark.parametrize("limit", [coverage.GRAM_LIMIT, 10])
@pytest.mark.parametrize("kind", ["gaussian", "two far and tight groups", "far from the origin", "half precision"])
def test_herding_agrees_with_the_definition_with_and_without_all_products(kind, limit, monkeypatch):
    monkeypatch.setattr(coverage, "GRAM_LIMIT", limit)
    for seed in range(4):
        x = GENERATORS[kind](rng(seed), 150, 3 + 4 * seed)
        x = x if kind == "half precision" else x.astype(np.float32)
        assert herding(x, 120).tolist() == slow_herding(x, 120), seed


def test_herding_far_from_the_origin_compares_few_examples_in_float64(monkeypatch):
    monkeypatch.setattr(coverage, "GRAM_LIMIT", 10)
    x = gaussian(2000, 16) + 20_000
    compared, plain = [], np.flatnonzero
    monkeypatch.setattr(np, "flatnonzero", lambda a: compared.append(int(a.sum())) or plain(a))
    herding(x, 100)
    assert np.mean(compared[-100:]) < 3


def test_the_first_of_herding_is_the_example_nearest_to_the_mean():
    x = gaussian(60, 5)
    assert herding(x, 1)[0] == np.linalg.norm(x - x.mean(0), axis=1).argmin()


def test_herding_gives_ties_to_the_lower_id():
    assert herding(np.array([[1.0], [-1], [1], [-1]]), 4).tolist() == [0, 1, 2, 3]


def test_herding_keeps_the_mean_better_than_random_picks():
    x = gaussian(400, 20)
    error = np.linalg.norm(x[herding(x, 40)].mean(0) - x.mean(0))
    assert error < 0.3 * np.median(
        [np.linalg.norm(x[rng(s).permutation(400)[:40]].mean(0) - x.mean(0)) for s in range(9)]
    )


# what all refuse


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("budget", [0, 7, 1.5])
def test_a_budget_that_cannot_be_kept_is_refused(select, budget):
    with pytest.raises(ConfigError, match=f"budget={budget}: expected a whole number, 1 to 6"):
        select(gaussian(6, 2), budget)


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_features_that_are_no_numbers_are_refused_with_their_ids(select, wrong):
    x = gaussian(9, 3)
    x[[2, 7], 1] = wrong
    with pytest.raises(ConfigError, match="features=NaN or inf at ids 2, 7"):
        select(x, 3)


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_features_of_one_axis_are_refused(select):
    with pytest.raises(ConfigError, match=r"features=array of shape \(6,\): expected shape \(n, d\)"):
        select(np.zeros(6), 2)


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_equal_examples_still_give_distinct_ids(select):
    ids = select(np.ones((12, 3), np.float32), 8)
    assert ids.dtype == np.int64
    assert ids.tolist() == list(range(8))


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_all_and_the_only_example_can_be_selected(select):
    assert sorted(select(gaussian(7, 3), 7)) == list(range(7))
    assert select(gaussian(1, 3), 1).tolist() == [0]


@pytest.mark.parametrize("select", SELECTORS.values(), ids=SELECTORS)
def test_the_features_are_left_as_they_were(select):
    x = gaussian(30, 4)
    before = x.copy()
    select(x, 10)
    assert (x == before).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: k_center(x, 2, first=6), "first=6: expected distinct ids from 0 to 5"),
        (lambda x: k_center(x, 2, first=-1), "first=-1"),
        (lambda x: k_center(x, 3, centers=np.array([1, 1])), r"centers=\[1 1\]: expected distinct"),
        (lambda x: k_center(x, 2, centers=np.array([1, 2, 3])), r"centers=\[1 2 3\].*at most the budget \(2\)"),
        (lambda x: k_center(x, 2, centers=np.array([0.5])), "centers="),
        (lambda x: k_center(x * 1e20, 2), "features=inf away from their mean: expected less than 1e18"),
        (lambda x: herding(x * 1e20, 2), "features=.*e.20 away from their mean: expected less than 1e18"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_what_cannot_work_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(gaussian(6, 2))

"""Facility location and CRAIG.

Vectors (11): deepcore submodular_0/1 facility location, 3 gains and objectives each; ties facility location;
lastlayer_craig_0/1 at 10 and 30 %, coverage and weights, each from the gradients and from residuals. Not matched on
purpose: CRAIG *_w_deepcore (sum n + budget), craig_unbal_* (evaluated on one batch), submodular gc_* and ld_* (no such
selectors here), facility-location index sets where gains tie.
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors import submodular
from dataprune.selectors.coverage import craig, facility_location

REFERENCE = Path(__file__).parents[1] / "reference"


def rng(seed=0):
    return np.random.default_rng(seed)


def gaussian(n, d, seed=0):
    return rng(seed).standard_normal((n, d)).astype(np.float32)


def squared(x):
    x = x.astype(np.float64)
    return ((x[:, None] - x[None]) ** 2).sum(-1)


def cosine_similarity(x):
    unit = x.astype(np.float64) / np.linalg.norm(x.astype(np.float64), axis=1, keepdims=True)
    similarity = 0.5 + 0.5 * unit @ unit.T
    np.fill_diagonal(similarity, 1)
    return similarity


def slow_facility_location(similarity, budget):
    covered, picks, gains = np.zeros(len(similarity)), [], []
    for _ in range(budget):
        gain = np.maximum(similarity - covered[:, None], 0).sum(0)
        gain[picks] = -1
        picks.append(int(gain.argmax()))
        gains.append(gain[picks[-1]])
        covered = np.maximum(covered, similarity[:, picks[-1]])
    return picks, np.array(gains)


# facility location


@pytest.mark.parametrize("file", [0, 1])
def test_facility_location_matches_the_gains_and_objective_of_the_reference(file):
    z = np.load(REFERENCE / "deepcore" / f"submodular_{file}.npz")
    cases = [key.removesuffix("_gains") for key in z.files if key.startswith("fl") and key.endswith("_gains")]
    assert len(cases) == 3
    for case in cases:
        ids, gains = facility_location(z["X"], len(z[f"{case}_gains"]))
        np.testing.assert_allclose(gains, z[f"{case}_gains"], rtol=1e-6)
        objective = cosine_similarity(z["X"])[:, ids].max(1).sum()
        assert gains.sum() == pytest.approx(objective)
        assert objective == pytest.approx(float(z[f"{case}_objective"]))


def test_the_lazy_greedy_gives_exact_ties_to_the_lower_id():
    z = np.load(REFERENCE / "deepcore" / "ties.npz")
    similarity = z["fl_S"].astype(np.float64)
    ids, _ = submodular._lazy_greedy(*submodular._dense(similarity), 40, 6)
    assert ids.tolist() == z["fl_k6_order_lowest_index_ties"].tolist()


@pytest.mark.parametrize("limit", [submodular.DOUBLE_LIMIT, 10], ids=["float64", "float32"])
@pytest.mark.parametrize("n", [5, 127, 300])
def test_facility_location_agrees_with_the_naive_greedy(n, limit, monkeypatch):
    monkeypatch.setattr(submodular, "DOUBLE_LIMIT", limit)
    x = gaussian(n, 12, n) + 0.3
    ids, gains = facility_location(x, n // 3)
    slow_ids, slow_gains = slow_facility_location(cosine_similarity(x), n // 3)
    assert ids.tolist() == slow_ids
    np.testing.assert_allclose(gains, slow_gains, rtol=1e-5, atol=1e-5)


def test_gains_never_rise():
    _, gains = facility_location(gaussian(200, 10), 200)
    assert (np.diff(gains) <= 1e-12).all()


def test_facility_location_does_not_depend_on_the_lengths_of_the_features():
    x = gaussian(100, 8)
    longer = x * rng(1).uniform(0.1, 10, (100, 1)).astype(np.float32)
    assert (facility_location(x, 20)[0] == facility_location(longer, 20)[0]).all()


def sparse_form(x, k):
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    distances = np.sqrt(squared(unit))
    np.fill_diagonal(distances, np.inf)
    ids = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(distances, ids, 1), ids


def test_a_graph_of_all_neighbours_is_the_dense_form():
    x = gaussian(90, 7)
    dense, sparse = facility_location(x, 25), facility_location(x, 25, neighbors=sparse_form(x, 89))
    assert (dense[0] == sparse[0]).all()
    np.testing.assert_allclose(dense[1], sparse[1], rtol=1e-5)


def test_on_a_graph_only_neighbours_are_covered():
    x = gaussian(90, 7)
    distances, neighbors = sparse_form(x, 6)
    similarity = np.zeros((90, 90))
    np.put_along_axis(similarity, neighbors, 1 - distances.astype(np.float64) ** 2 / 4, 1)
    np.fill_diagonal(similarity, 1)
    ids, gains = facility_location(x, 30, neighbors=(distances, neighbors))
    slow_ids, slow_gains = slow_facility_location(similarity, 30)
    np.testing.assert_allclose(gains, slow_gains, rtol=1e-5)
    assert ids.tolist() == slow_ids


def test_above_the_dense_limit_the_graph_is_searched(monkeypatch):
    x = gaussian(150, 9)
    expected = facility_location(x, 30, neighbors=sparse_form(x, submodular.SPARSE_NEIGHBORS))
    monkeypatch.setattr(submodular, "DENSE_LIMIT", 100)
    ids, gains = facility_location(x, 30)
    assert (ids == expected[0]).all()
    np.testing.assert_allclose(gains, expected[1], rtol=1e-4)


def test_the_stochastic_greedy_comes_close_and_is_reproducible():
    x = gaussian(300, 8)
    exact = facility_location(x, 30)[1].sum()
    ids, gains = facility_location(x, 30, stochastic=0.1, rng=rng(1))
    assert len(set(ids.tolist())) == 30
    assert gains.sum() == pytest.approx(cosine_similarity(x)[:, ids].max(1).sum())
    assert 0.9 * exact < gains.sum() <= exact
    assert (ids == facility_location(x, 30, stochastic=0.1, rng=rng(1))[0]).all()


def test_the_stochastic_greedy_that_draws_all_is_the_exact_one():
    x = gaussian(60, 8)
    assert (facility_location(x, 12, stochastic=1e-9, rng=rng())[0] == facility_location(x, 12)[0]).all()


# CRAIG


@pytest.mark.parametrize("form", ["gradients", "residuals"])
@pytest.mark.parametrize("fraction", [0.1, 0.3])
@pytest.mark.parametrize("file", [0, 1])
def test_craig_matches_the_coverage_and_weights_of_the_reference(file, fraction, form):
    z = np.load(REFERENCE / "deepcore" / f"lastlayer_craig_{file}.npz")
    y, case = z["y"], f"craig_bal_f{fraction}"
    budget = len(z[f"{case}_idx"])
    residuals = z["probs"] - np.eye(z["probs"].shape[1])[y]
    if form == "gradients":
        ids, weights = craig(z["grad"], budget, labels=y)
    else:
        ids, weights = craig(z["X"], budget, residuals=residuals, labels=y)
    distance = np.sqrt(squared(z["grad"]))
    covered = sum(distance[np.ix_(y == c, ids[y[ids] == c])].min(1).sum() for c in np.unique(y))
    assert covered == pytest.approx(float(z[f"{case}_coverdist"]), rel=1e-4)
    assert weights.sum() == len(y)
    assert sorted(weights) == sorted(z[f"{case}_w"])


def test_craig_without_labels_agrees_with_the_naive_greedy():
    x = gaussian(80, 5)
    distance = np.sqrt(squared(x))
    ids, weights = craig(x, 15)
    assert ids.tolist() == slow_facility_location(distance.max() - distance, 15)[0]
    assert weights.tolist() == np.bincount(distance[:, ids].argmin(1), minlength=15).tolist()


def test_craig_with_one_class_is_craig_without_labels():
    x = gaussian(50, 5)
    for ours, expected in zip(craig(x, 9, labels=np.zeros(50, int)), craig(x, 9), strict=True):
        assert (ours == expected).all()


def test_the_weights_of_a_class_sum_to_its_size():
    x, labels = gaussian(120, 5), rng(1).integers(0, 4, 120)
    ids, weights = craig(x, 30, labels=labels)
    assert (np.bincount(labels[ids], weights) == np.bincount(labels)).all()


def test_every_class_gets_a_pick_however_small():
    labels = np.repeat([0, 1, 5], [60, 2, 1])
    ids, weights = craig(gaussian(63, 4), 6, labels=labels)
    assert np.bincount(labels[ids]).tolist() == [4, 1, 0, 0, 0, 1]
    assert weights.sum() == 63


def test_a_pick_stands_for_itself_even_when_it_equals_another():
    _, weights = craig(np.zeros((5, 3), np.float32), 3)
    assert weights.tolist() == [3, 1, 1]


def test_each_picks_weight_is_one_when_all_are_kept():
    ids, weights = craig(gaussian(20, 3), 20)
    assert sorted(ids) == list(range(20))
    assert (weights == 1).all()


# what cannot work


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: facility_location(x * (np.arange(6) != 4)[:, None], 2), "features=rows of zeros at ids 4"),
        (
            lambda x: facility_location(x, 2, neighbors=(np.ones((6, 1)), np.full((6, 1), 6))),
            r"neighbors\[1\]=wrong ids",
        ),
        (lambda x: facility_location(x, 2, neighbors=(np.ones((6, 1)), np.arange(6)[:, None])), "without the row"),
        (lambda x: facility_location(x, 2, neighbors=(np.ones((5, 1)), np.ones((5, 1), int))), r"neighbors\[0\]=array"),
        (lambda x: facility_location(x, 2, neighbors=(np.full((6, 1), 3.0), np.ones((6, 1), int))), "neighbors"),
        (lambda x: facility_location(x, 2, stochastic=0.1), "rng=None: expected a numpy Generator"),
        (lambda x: facility_location(x, 2, stochastic=2, rng=rng()), "stochastic=2: expected None or an epsilon"),
        (lambda x: craig(x, 2, labels=np.zeros(5, int)), "labels=array of shape"),
        (lambda x: craig(x, 2, labels=np.arange(6)), "budget=2: expected at least 6, one pick for every class"),
        (lambda x: craig(x, 2, residuals=np.zeros((5, 3))), "residuals=array of shape"),
    ],
)
def test_what_cannot_work_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(gaussian(6, 2))


def test_craig_above_its_limit_says_what_would_do(monkeypatch):
    monkeypatch.setattr(submodular, "DENSE_LIMIT", 10)
    with pytest.raises(ConfigError, match=r"features=12 examples in one group: expected at most 10 together.*labels"):
        craig(gaussian(12, 2), 2)
    assert len(craig(gaussian(12, 2), 2, labels=np.arange(12) % 2)[0]) == 2

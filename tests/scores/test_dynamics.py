"""Scores from training dynamics, against values known by hand, slow twins and the reference implementations.

Vectors (17): forgetting x2, aum, el2n, nlp_variability; of peer_scores/dynamics_scores tdds x3, dual x2, dynunc x2, aum
mean x2, forgetting, eva, el2n. Float64 vectors are compared at the precision of the float32 that we return. Those of
Dyn-Unc's own code are in test_windows.py.
Not matched on purpose: aum_dualrepo_buggy_last_epoch_only (one epoch instead of all); tdds_*_order/_sorted (a sorted
file; `_score` is per example); correctness, last_correctness and first_learned_epoch (no function of ours); the order
of presentation inside an epoch (one presentation an epoch: it cannot matter); beta_* belongs to the selectors.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.scores.dynamics import (
    area_under_margin,
    dual,
    dynamic_uncertainty,
    el2n,
    eva,
    forgetting,
    p_mean,
    tdds,
    variability,
)

REFERENCE = Path(__file__).parents[1] / "reference"
NAN = np.nan


def recorded(log_probabilities, labels):
    """What training records: p_true, margin, correct, error, each (e, n)."""
    p = np.exp(log_probabilities.astype(np.float32))
    onehot = np.eye(p.shape[-1], dtype=bool)[labels]
    p_true = p[:, onehot]
    others = np.where(onehot, -1, p)
    return {
        "p_true": p_true,
        "margin": p_true - others.max(-1),
        "correct": p.argmax(-1) == labels,
        "error": np.linalg.norm(p - onehot, axis=-1),
    }


def log_softmax(logits):
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


@pytest.fixture
def ccs():
    """Reads one of the vectors made by CCS's code, and what our recorder would have written of that run."""

    def read(name):
        z = np.load(REFERENCE / f"{name}.npz")
        return z, recorded(z["log_probs_f16"], z["targets"])

    return read


@pytest.fixture
def peer():
    z = np.load(REFERENCE / "peer_scores" / "dynamics_scores.npz")
    return z, recorded(log_softmax(z["logits"]), z["y"])


@pytest.mark.parametrize(("matched", "windows"), [("dynunc_J10_dualrepo", 10), ("dynunc_J4_dualrepo", 4)])
def test_dynamic_uncertainty_matches_the_code_of_dual(peer, matched, windows):
    z, dynamics = peer
    np.testing.assert_allclose(
        dynamic_uncertainty(dynamics["p_true"], window=windows, windows="all"), z[matched], rtol=1e-5
    )


# forgetting


def test_forgetting_matches_ccs(ccs):
    z, dynamics = ccs("forgetting")
    assert (forgetting(dynamics["correct"], never_learned="zero") == z["forgetting"]).all()
    assert (forgetting(dynamics["correct"]) == z["forgetting_never_learned_is_E"]).all()


def test_forgetting_matches_the_code_of_dual(peer):
    z, dynamics = peer
    assert (forgetting(dynamics["correct"], never_learned="zero") == z["forgetting_official_dualrepo"]).all()


def test_an_example_that_turns_wrong_twice_is_forgotten_twice():
    right, wrong = True, False
    assert forgetting(np.array([[right, wrong, right, wrong, right]]).T).tolist() == [2]


def test_never_learned_ranks_above_every_count():
    correct = np.array([[0, 1], [0, 0], [0, 1], [0, 0]], bool)
    assert forgetting(correct).tolist() == [4, 2]
    assert forgetting(correct, never_learned="zero").tolist() == [0, 2]


@pytest.mark.parametrize("kind", ["uint8", "float"])
def test_turns_are_counted_between_the_epochs_in_which_the_example_was_seen(kind):
    gap = 255 if kind == "uint8" else NAN
    correct = np.array([[1, gap, 0, 1], [gap, 1, gap, 0], [gap] * 4]).T.astype(kind)
    np.testing.assert_array_equal(forgetting(correct), [1, 1, NAN])


def test_forgetting_agrees_with_counting_along_each_example():
    rng = np.random.default_rng(3)
    states = rng.choice([0, 1, 255], (12, 300)).astype(np.uint8)
    for i, score in enumerate(forgetting(states)):
        seen = [s for s in states[:, i] if s != 255]
        slow = sum(a == 1 and b == 0 for a, b in pairwise(seen)) if 1 in seen else 12
        assert score == slow


def test_states_other_than_right_wrong_and_unseen_name_the_id():
    with pytest.raises(ConfigError, match=r"correct=2 at ids 1: expected bool"):
        forgetting(np.array([[0, 1], [1, 2]]))


# sums and means over epochs


def test_area_under_margin_matches_ccs_with_our_sign(ccs):
    z, dynamics = ccs("aum")
    np.testing.assert_allclose(-area_under_margin(dynamics["margin"]), z["accumulated_margin"], atol=1e-5)


def test_area_under_margin_matches_the_mean_of_dual(peer):
    z, dynamics = peer
    np.testing.assert_allclose(
        -area_under_margin(dynamics["margin"], reduce="mean"), z["aum_prob_margin_mean"], atol=1e-6
    )
    others = np.where(np.eye(5, dtype=bool)[z["y"]], -np.inf, z["logits"]).max(-1)
    margin = z["logits"][:, np.arange(90), z["y"]] - others
    np.testing.assert_allclose(-area_under_margin(margin, reduce="mean"), z["aum_logit_margin_mean"], atol=1e-5)


def test_el2n_matches_ccs(ccs):
    z, dynamics = ccs("el2n")
    assert z["epochs_used"] == 10
    np.testing.assert_allclose(el2n(dynamics["error"]), z["el2n"], atol=1e-5)


def test_el2n_of_a_single_epoch_is_that_row(peer):
    z, dynamics = peer
    np.testing.assert_allclose(el2n(dynamics["error"][3:4]), z["el2n_epoch3"], atol=1e-6)


def test_only_the_first_epochs_count_for_el2n_and_fewer_will_do():
    error = np.array([[1.0], [0.5], [0.25]])
    assert el2n(error, epochs=2).tolist() == [1.5]
    assert el2n(error).tolist() == [1.75]
    assert el2n(error, epochs=2, reduce="mean").tolist() == [0.75]


def test_sums_and_means_run_over_the_epochs_seen():
    x = np.array([[0.5, NAN, NAN], [NAN, NAN, 0.25], [1.0, NAN, 0.5]])
    np.testing.assert_array_equal(area_under_margin(x), [-1.5, NAN, -0.75])
    np.testing.assert_array_equal(el2n(x, reduce="mean"), [0.75, NAN, 0.375])
    np.testing.assert_array_equal(p_mean(x), [0.75, NAN, 0.375])
    np.testing.assert_array_equal(p_mean(x, epochs=2), [0.5, NAN, 0.25])
    np.testing.assert_array_equal(variability(x), [0.25, NAN, 0.125])


def test_variability_matches_the_code_of_d2(ccs):
    z, dynamics = ccs("nlp_variability")
    np.testing.assert_allclose(variability(dynamics["p_true"]), z["variance"], atol=1e-6)


# dual, eva, tdds


@pytest.mark.parametrize("window", [10, 4])
def test_dual_matches_its_released_code(peer, window):
    z, dynamics = peer
    np.testing.assert_allclose(dual(dynamics["p_true"], window=window), z[f"dual_J{window}_official"], rtol=1e-5)


def test_dual_sees_its_first_epochs_only():
    p = np.random.default_rng(4).random((12, 6))
    assert (dual(p, window=3, epochs=7) == dual(p[:7], window=3)).all()


def test_eva_matches_its_formula_vectors(peer):
    z, dynamics = peer
    ours = eva(dynamics["error"], early=(0, 4), late=(10, 14))
    np.testing.assert_allclose(ours, z["eva_K4_early0_late10"], rtol=1e-5)


@pytest.mark.parametrize(("epochs", "window"), [(14, 5), (10, 10), (12, 4)])
def test_tdds_matches_its_released_code(peer, epochs, window):
    z, _ = peer
    p = np.exp(log_softmax(z["logits"]))[:epochs]
    np.testing.assert_allclose(tdds(p, z["y"], window=window), z[f"tdds_T{epochs}_J{window}_score"], rtol=1e-6)


def test_tdds_passes_over_the_epochs_in_which_an_example_was_not_seen():
    p = np.random.default_rng(5).dirichlet(np.ones(3), (9, 4))
    gaps = np.insert(p, [2, 5], NAN, axis=0)
    labels = np.zeros(4, int)
    assert (tdds(gaps, labels, window=4) == tdds(p, labels, window=4)).all()
    gaps[1:, 0], gaps[3:, 1] = NAN, NAN
    ours = tdds(gaps, labels, window=4)
    assert np.isnan(ours[0])
    assert ours[1] == 0  # a single change has no spread


@pytest.mark.parametrize(
    ("harder", "easier", "score"),
    [
        ([0.1, 0.9, 0.1, 0.9, 0.1], [0.9] * 5, lambda p: dynamic_uncertainty(p, window=3)),
        ([0.1, 0.9, 0.1, 0.9, 0.1], [0.9] * 5, variability),
        ([0.1, 0.2, 0.1, 0.2, 0.1], [0.9, 0.8, 0.9, 0.8, 0.9], lambda p: dual(p, window=3)),
        ([-0.5] * 5, [0.5] * 5, area_under_margin),
        ([1.2] * 5, [0.1] * 5, el2n),
        ([1, 0, 1, 0, 1], [0, 1, 1, 1, 1], forgetting),
    ],
)
def test_the_harder_example_is_kept_first(harder, easier, score):
    hard, easy = score(np.array([harder, easier], float).T)
    assert hard > easy


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: dynamic_uncertainty(p, window=20), r"window=20: expected 2 to 11 \(12 epochs recorded"),
        (lambda p: dynamic_uncertainty(p, window=12), r"window=12: expected 2 to 11"),
        (lambda p: dynamic_uncertainty(p, window=13, windows="all"), r"window=13: expected 2 to 12"),
        (lambda p: dynamic_uncertainty(p, window=1), r"window=1: expected 2 to 11"),
        (lambda p: dynamic_uncertainty(p, window=2.5), r"window=2\.5: expected 2 to 11"),
        (lambda p: dynamic_uncertainty(p[:2]), r"window=10: expected more epochs"),
        (lambda p: dynamic_uncertainty(p, windows="some"), r"windows='some': expected reference \| all"),
        (lambda p: dynamic_uncertainty(p, missing="drop"), r"missing='drop': expected skip \| reference"),
        (lambda p: dynamic_uncertainty(p[0]), r"p_true=array of shape \(3,\): expected shape \(e, n\)"),
        (lambda p: dual(p, epochs=0), r"epochs=0: expected a whole number, 1 or more"),
        (lambda p: dual(p, epochs=8), r"window=10: expected 2 to 8"),
        (lambda p: el2n(p, epochs=0), r"epochs=0: expected a whole number, 1 or more"),
        (lambda p: el2n(p, reduce="max"), r"reduce='max': expected sum \| mean"),
        (lambda p: el2n(p[:0]), r"error=float64 array of shape \(0, 3\)"),
        (lambda p: forgetting(p > 0.5, never_learned="one"), r"never_learned='one': expected max \| zero"),
        (lambda p: eva(p, early=(0, 1), late=(5, 12)), r"early=\(0, 1\): expected \(start, stop\)"),
        (lambda p: eva(p, early=(0, 5), late=(5, 13)), r"late=\(5, 13\): expected .* within 0 to 12"),
        (lambda p: tdds(np.full((12, 3, 2), 0.5), [0, 1, 2]), r"labels=2 at ids 2: expected class ids of 0 to 1"),
        (lambda p: tdds(np.full((12, 3, 2), 2.5), [0, 1, 1]), r"probabilities=no softmax in row 0 at ids 0, 1, 2"),
        (lambda p: tdds(np.full((12, 3, 2), 0.5), [0, 1, 1], window=2), r"window=2: expected 3 to 12"),
        (lambda p: tdds(np.full((12, 3, 2), 0.5), [0, 1, 1], decay=0), r"decay=0: expected above 0 to 1"),
    ],
)
def test_what_cannot_work_is_named_with_what_would_do(call, message):
    with pytest.raises(ConfigError, match=message):
        call(np.random.default_rng(8).random((12, 3)))

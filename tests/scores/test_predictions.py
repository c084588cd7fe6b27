"""Uncertainty of the trained model.

Vectors (15): entropy.npz entropy, loss, confidence, DeepCore's raw margin and entropy; uncertainty_cd_cal_{0,1}
entropy, least confidence and margin (DeepCore's raw scores are low = uncertain; ours have the other sign), and
its class-balanced selections by entropy and margin, which keep the uncertain. Not matched on purpose:
LeastConfidence_raw and its selections (largest logit, not probability) and *_sel_unbal_deepcore (keeps the most
certain).
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune import blocks
from dataprune.errors import ConfigError
from dataprune.scores.predictions import entropy, error_norm, least_confidence, loss, margin

REFERENCE = Path(__file__).parents[1] / "reference"
UNCERTAINTIES = [entropy, least_confidence, margin]


def softmax(logits):
    p = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def test_entropy_and_loss_match_ccs():
    z = np.load(REFERENCE / "entropy.npz")
    p = softmax(z["logits"])
    np.testing.assert_allclose(entropy(p), z["entropy"], atol=1e-6)
    np.testing.assert_allclose(loss(p, z["targets"]), z["loss"], atol=1e-5)
    np.testing.assert_allclose(np.exp(-loss(p, z["targets"])), z["confidence"], atol=1e-6)
    # DeepCore adds 1e-6 inside the logarithm where CCS adds 1e-10
    np.testing.assert_allclose(-entropy(p), z["deepcore_neg_entropy_raw"], atol=2e-5)
    np.testing.assert_allclose(1 - margin(p), z["deepcore_margin_raw"], atol=1e-6)


@pytest.mark.parametrize("case", ["0", "1"])
def test_uncertainties_match_deepcore_with_our_sign_and_probabilities(case):
    z = np.load(REFERENCE / "deepcore" / f"uncertainty_cd_cal_{case}.npz")
    p = softmax(z["logits"])
    np.testing.assert_allclose(entropy(p), z["uncert_entropy"], atol=1e-6)
    np.testing.assert_allclose(least_confidence(p), z["uncert_least_conf"], atol=1e-6)
    np.testing.assert_allclose(margin(p), z["uncert_margin"], atol=1e-6)


@pytest.mark.parametrize("case", ["0", "1"])
@pytest.mark.parametrize(("score", "name"), [(entropy, "Entropy"), (margin, "Margin")])
def test_the_highest_of_each_class_are_what_deepcore_keeps_when_it_balances_classes(case, score, name):
    z = np.load(REFERENCE / "deepcore" / f"uncertainty_cd_cal_{case}.npz")
    scores, theirs = score(softmax(z["logits"])), z[f"{name}_sel_bal_deepcore"]
    for c in np.unique(z["y"]):
        members, chosen = np.flatnonzero(z["y"] == c), theirs[z["y"][theirs] == c]
        ours = members[np.argsort(-scores[members], kind="stable")[: len(chosen)]]
        assert set(ours) == set(chosen)


def test_values_known_by_hand():
    p = np.array([[1, 0, 0, 0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.25, 0.25, 0]])
    np.testing.assert_allclose(entropy(p), [0, np.log(4), 1.5 * np.log(2)], atol=1e-6)
    assert least_confidence(p).tolist() == [0, 0.75, 0.5]
    assert margin(p).tolist() == [0, 1, 0.75]
    np.testing.assert_allclose(loss(p, np.array([0, 1, 2])), np.log([1, 4, 4]), atol=1e-6)


def test_a_loss_stays_finite_where_the_probability_underflowed():
    assert loss(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(87.34, abs=0.01)


@pytest.mark.parametrize("score", [*UNCERTAINTIES, lambda p: loss(p, np.zeros(len(p), int))])
def test_rows_are_scored_by_themselves_and_left_as_they_were(score, monkeypatch):
    p = np.random.default_rng(0).dirichlet(np.ones(6), 101)
    given, whole = p.copy(), score(p)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 6 * 10)
    assert (score(p) == whole).all()
    assert (p == given).all()
    assert whole.dtype == np.float32
    assert np.abs(score(p.astype(np.float16)) - whole).max() < 0.02


@pytest.mark.parametrize("score", UNCERTAINTIES)
def test_the_less_certain_prediction_is_kept_first(score):
    certain, uncertain = score(np.array([[0.9, 0.05, 0.05], [0.4, 0.35, 0.25]]))
    assert uncertain > certain


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda p: entropy(np.log(p)), r"probabilities=-.* with sum -.* at ids 0, 1, 2, 3: expected softmax values"),
        (lambda p: entropy(p * [[1], [1], [np.nan], [1]]), r"probabilities=nan .* at ids 2: expected softmax"),
        (lambda p: margin(p[:, 0]), r"probabilities=array of shape \(4,\): expected shape \(n, c\)"),
        (lambda p: margin(np.ones((4, 1))), r"probabilities=.*\(4, 1\): expected .* at least 2 classes"),
        (lambda p: loss(p, np.array([0, 1, 3, 0])), r"labels=3 at ids 2: expected class ids of 0 to 2"),
        (lambda p: loss(p, np.array([0, 1])), r"labels=array of shape \(2,\): expected shape \(4\)"),
    ],
)
def test_what_is_no_prediction_is_named(call, message):
    with pytest.raises(ConfigError, match=message):
        call(np.random.default_rng(1).dirichlet(np.ones(3), 4))


def test_the_error_norm_is_the_distance_to_the_label():
    probabilities, labels = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.5, 0.25, 0.25]]), np.array([0, 0, 2])
    expected = [0, 2**0.5, (0.25 + 0.0625 + 0.5625) ** 0.5]
    np.testing.assert_allclose(error_norm(probabilities, labels), expected, rtol=1e-6)

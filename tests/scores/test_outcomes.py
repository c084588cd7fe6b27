"""Per-example outputs of a transferred model. Vector: influence_eval_outputs."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.scores.outcomes import accuracy, class_accuracy, outcomes

REFERENCE = Path(__file__).parents[1] / "reference"
REALS = ["raw_logits", "raw_margins", "softmax_logits", "softmax_margins"]


def test_outcomes_give_the_reference():
    z = np.load(REFERENCE / "influence_eval_outputs.npz")
    found = outcomes(z["logits"], z["labels"])
    for key in REALS:
        assert found[key].dtype == np.float16
        np.testing.assert_allclose(found[key].astype(float), z[key].astype(float), rtol=2e-3, atol=1e-3)
    np.testing.assert_array_equal(found["is_corrects"], z["is_corrects"])
    np.testing.assert_array_equal(found["predictions"], z["predictions"])
    assert accuracy(found["predictions"], z["labels"]) == pytest.approx(float(z["acc"]), abs=0.05)
    by_class = class_accuracy(found["predictions"], z["labels"], 7, absent="zero")
    np.testing.assert_allclose(by_class, z["class_acc"], rtol=1e-4)


def test_outcomes_of_one_example_by_hand():
    found = outcomes(np.log([[0.2, 0.5, 0.3]]), np.array([2]), dtype=np.float64)
    np.testing.assert_allclose(found["softmax_logits"], [0.3])
    np.testing.assert_allclose(found["softmax_margins"], [-0.2])
    np.testing.assert_allclose(found["raw_margins"], [np.log(0.3 / 0.5)])
    assert found["predictions"].tolist() == [1]
    assert not found["is_corrects"][0]


def test_equal_logits_predict_the_lower_class_with_margin_zero():
    found = outcomes(np.zeros((1, 3)), np.array([2]))
    assert found["predictions"].tolist() == [0]
    assert found["raw_margins"].tolist() == [0]


def test_large_logits_do_not_overflow_the_softmax():
    found = outcomes(np.array([[900.0, 0.0]]), np.array([0]))
    assert found["softmax_margins"].tolist() == [1]


def test_a_class_without_examples_is_left_out_with_a_warning():
    with pytest.warns(UserWarning, match=r"no example of classes 1: excluded"):
        found = class_accuracy(np.array([0, 2, 0]), np.array([0, 2, 2]), 3)
    np.testing.assert_array_equal(found, [100, np.nan, 50])
    assert np.nanmean(found) == 75
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert class_accuracy(np.array([0, 2, 0]), np.array([0, 2, 2]), 3, absent="zero").tolist() == [100, 0, 50]


def test_accuracy_is_not_rounded_to_half_precision():
    assert accuracy(np.array([0] * 2 + [1]), np.zeros(3, int)) == 200 / 3


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        (np.ones((2, 1)), [0, 0], r"logits=float64 array of shape \(2, 1\)"),
        (np.array([[0.0, np.nan]]), [0], r"logits=NaN or inf at ids 0"),
        (np.ones((2, 3)), [0, 3], r"labels=3 at ids 1"),
        (np.array([[0.0, 0.0], [1e6, 0.0]]), [0, 0], r"logits=logits at ids 1 beyond float16"),
    ],
)
def test_unfit_logits_and_labels_are_refused(logits, labels, message):
    with pytest.raises(ConfigError, match=message):
        outcomes(logits, np.array(labels))

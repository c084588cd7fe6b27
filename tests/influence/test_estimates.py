"""Influences and datamodels. Vectors: influence_class_* (3), influence_example, influence_datamodel."""

import warnings
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.influence.datamodels import extrapolate, lasso, lasso_path, max_lambda, ridge
from dataprune.influence.estimates import (
    class_view,
    influence,
    influence_columns,
    influence_error,
    mean_influence,
    split_half,
)
from dataprune.scores import classes

REFERENCE = Path(__file__).parents[1] / "reference"
VECTORS = ["class_softmax", "class_margins", "class_correct", "example"]
pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 30 models")


def experiment(m=80, c=6, t=4, noise=0.1, seed=0):
    """Random halves, outputs linear in them: masks, outputs, weights (t, c)."""
    rng = np.random.default_rng(seed)
    masks = rng.permuted(np.tile(np.arange(c) < c // 2, (m, 1)), axis=1)
    weights = rng.normal(size=(t, c))
    weights -= weights.mean(axis=1, keepdims=True)  # with halves of fixed size only differences can be seen
    return masks, masks @ weights.T + noise * rng.normal(size=(m, t)), weights


@pytest.mark.parametrize("name", VECTORS)
def test_influence_gives_the_reference(name):
    z = np.load(REFERENCE / f"influence_{name}.npz")
    found = influence(z["masks"], z["outputs"])
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, z["influence_f64"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found, z["influence"], rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(np.isnan(found).all(axis=0), z["undefined_class"])
    np.testing.assert_allclose(mean_influence(z["masks"], z["outputs"])[0], z["mean_influence"], atol=1e-9)
    in_float32 = influence(z["masks"], z["outputs"], dtype=np.float32)
    np.testing.assert_allclose(in_float32, found, atol=1e-5 * np.std(z["outputs"].astype(float)))


def test_influence_of_three_models_by_hand():
    masks = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0]])
    found = influence(masks, np.array([[1.0], [5.0], [2.0]]))
    np.testing.assert_array_equal(found, [[np.nan, -3.5, np.nan]])


def test_a_column_that_every_model_had_is_undefined_not_zero():
    masks, outputs, _ = experiment()
    masks[:, 2] = True
    masks[:, 4] = False
    for found in (influence(masks, outputs), influence_error(masks, outputs)):
        np.testing.assert_array_equal(np.isnan(found).all(axis=0), [False, False, True, False, True, False])


def test_error_agrees_with_the_two_sample_formula_written_out():
    masks, outputs, _ = experiment()
    for t in range(4):
        for c in range(6):
            there, away = outputs[masks[:, c], t], outputs[~masks[:, c], t]
            slow = np.sqrt(there.var(ddof=1) / len(there) + away.var(ddof=1) / len(away))
            np.testing.assert_allclose(influence_error(masks, outputs)[t, c], slow, rtol=1e-9)


def test_error_needs_two_models_on_each_side():
    masks = np.array([[1, 0], [0, 0], [0, 1], [0, 1]], bool)
    assert np.isnan(influence_error(masks, np.arange(4.0)[:, None])).tolist() == [[True, False]]


def test_constant_outputs_have_no_influence_and_no_error():
    masks, _, _ = experiment()
    outputs = np.full((80, 3), 0.7, np.float16)
    assert (influence(masks, outputs) == 0).all()
    assert (influence_error(masks, outputs) == 0).all()


def test_influence_shifts_scales_flips_and_ignores_the_order_of_models():
    masks, outputs, _ = experiment()
    expected, order = influence(masks, outputs), np.random.default_rng(1).permutation(80)
    np.testing.assert_allclose(influence(masks, outputs + 1000), expected, atol=1e-10)
    np.testing.assert_allclose(influence(masks, 3 * outputs), 3 * expected, atol=1e-12)
    np.testing.assert_allclose(influence(~masks, outputs), -expected, atol=1e-12)
    np.testing.assert_allclose(influence(masks[order], outputs[order]), expected, atol=1e-12)
    np.testing.assert_allclose(influence(np.tile(masks, (2, 1)), np.tile(outputs, (2, 1))), expected, atol=1e-12)


def test_planted_weights_are_recovered_within_three_errors():
    masks, outputs, weights = experiment(m=600, c=10, noise=0.5)
    # a column's influence holds its weight against the mean of the others: w (1 + 1 / (c - 1)) when they sum to 0
    t_value = (influence(masks, outputs) - weights * 10 / 9) / influence_error(masks, outputs)
    assert (np.abs(t_value) < 3).mean() > 0.95
    assert np.abs(t_value).max() < 4


def test_blocks_of_models_do_not_change_the_result():
    rng = np.random.default_rng(0)
    masks, outputs = rng.random((9000, 3)) < 0.5, rng.random((9000, 2)).astype(np.float16)
    slow = [[outputs[masks[:, c], t].mean(dtype=float) - outputs[~masks[:, c], t].mean(dtype=float) for c in range(3)]
            for t in range(2)]  # fmt: skip
    np.testing.assert_allclose(influence(masks, outputs), slow, atol=1e-12)
    np.testing.assert_allclose(influence(masks, outputs, dtype=np.float32), slow, atol=1e-6)


@pytest.mark.parametrize("columns", [8, 56, 1000])
def test_packed_columns_in_chunks_agree_with_the_whole(columns):
    z = np.load(REFERENCE / "influence_example.npz")
    packed = np.packbits(z["masks"], axis=1)
    out = np.zeros((20, 150))
    for start, stop, part in influence_columns(packed, z["outputs"], 150, columns=columns):
        out[:, start:stop] = part
    np.testing.assert_allclose(out, z["influence_f64"], rtol=1e-9, atol=1e-9)


def test_packed_masks_of_another_length_are_refused():
    with pytest.raises(ConfigError, match=r"packed=array of shape \(4, 3\): expected shape \(m, 2\)"):
        next(influence_columns(np.zeros((4, 3), np.uint8), np.zeros((4, 1)), 16))


def test_mean_influence_is_the_mean_over_targets():
    masks, outputs, _ = experiment()
    mean, error = mean_influence(masks, outputs)
    np.testing.assert_allclose(mean, influence(masks, outputs).mean(axis=0), atol=1e-12)
    # targets that move together: averaging them does not make the error smaller
    _, together = mean_influence(masks, np.repeat(outputs[:, :1], 4, axis=1))
    np.testing.assert_allclose(together, influence_error(masks, outputs[:, :1])[0])
    assert error.shape == (6,)


def test_split_half_tells_signal_from_noise():
    masks, outputs, _ = experiment(m=1600, c=40, noise=0.1)
    assert split_half(masks, outputs) > 0.9
    assert abs(split_half(masks, np.random.default_rng(5).normal(size=(1600, 3)))) < 0.5


def test_split_half_needs_models_and_columns_to_compare():
    with pytest.raises(ConfigError, match=r"masks=1 models: expected 4 or more"):
        split_half(np.array([[1, 0, 0]]), np.ones((1, 1)))
    with pytest.raises(ConfigError, match=r"masks=1 columns .* expected 3 or more"):
        split_half(np.array([[1, 0, 0], [0, 0, 0]] * 2 + [[0, 0, 0], [1, 0, 0]] * 2), np.arange(8.0)[:, None])


def test_class_view_averages_the_examples_of_a_target_class():
    found = class_view(np.array([[1.0, 2.0], [3.0, 4.0], [5.0, np.nan]]), np.array([0, 0, 2]), 3)
    np.testing.assert_array_equal(found, [[2, 3], [np.nan, np.nan], [5, np.nan]])


def test_few_models_on_a_side_give_a_warning():
    masks, outputs, _ = experiment(m=50)
    with pytest.warns(UserWarning, match=r"6 of 6 columns have fewer than 30 models"):
        influence(masks, outputs)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        influence(*experiment(m=120)[:2])


def test_nan_outputs_name_their_models():
    masks, outputs, _ = experiment()
    outputs[[4, 9], 2] = np.nan
    held_out = np.arange(80) < 2
    for call in (
        lambda: influence(masks, outputs),
        lambda: influence(masks, outputs.astype(np.float16)),
        lambda: influence_error(masks, outputs),
        lambda: mean_influence(masks, outputs),
        lambda: split_half(masks, outputs),
        lambda: ridge(masks, outputs, 1.0),
        lambda: lasso_path(masks, outputs, held_out),
    ):
        with pytest.raises(ConfigError, match=r"outputs=NaN or inf in models 4, 9: expected .*masks\[done\]"):
            call()


@pytest.mark.parametrize(
    ("masks", "outputs", "message"),
    [
        (np.ones((4, 3), bool), np.ones((5, 2)), r"outputs=5 models: expected a row for each of the 4 models"),
        (np.full((4, 3), 2), np.ones((4, 2)), r"masks=array of int64: expected bool"),
        (np.full((4, 3), 0.5), np.ones((4, 2)), r"masks=array of float64"),
        (np.ones((4, 3), bool), np.ones(4), r"outputs=array of shape \(4,\): expected shape \(m, t\)"),
        (np.ones((0, 3), bool), np.ones((0, 2)), r"masks=array of shape \(0, 3\)"),
    ],
)
def test_unfit_arrays_are_refused(masks, outputs, message):
    with pytest.raises(ConfigError, match=message):
        influence(masks, outputs)


def test_the_contract_names_influence_in_classes_too():
    assert classes.influence is influence
    assert classes.influence_error is influence_error


# datamodels


def test_ridge_and_lasso_give_the_reference():
    z = np.load(REFERENCE / "influence_datamodel.npz")
    for name, fit in (("ridge", ridge), ("lasso", lasso)):
        coef, intercept = fit(z["masks"], z["outputs"], float(z[f"{name}_alpha"]))
        np.testing.assert_allclose(coef, z[f"{name}_coef"], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(intercept, z[f"{name}_intercept"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(max_lambda(z["masks"], z["outputs"]), z["max_lambda"], rtol=1e-6)


def test_lasso_meets_the_optimality_conditions():
    masks, outputs, _ = experiment(noise=1.0)
    coef, intercept = lasso(masks, outputs, 0.05)
    residual = outputs - extrapolate(coef, intercept, masks)
    pull = (residual.T @ (masks - masks.mean(axis=0))) / len(masks)
    np.testing.assert_allclose(pull[coef != 0], 0.05 * np.sign(coef[coef != 0]), atol=1e-6)
    assert (np.abs(pull[coef == 0]) <= 0.05 + 1e-6).all()
    assert 0 < (coef == 0).sum() < coef.size


def test_no_weight_is_left_at_the_largest_penalty():
    masks, outputs, _ = experiment()
    largest = max_lambda(masks, outputs)
    assert (lasso(masks, outputs, largest * (1 + 1e-9))[0] == 0).all()
    assert (lasso(masks, outputs, largest * 0.99)[0] != 0).any(axis=1).all()


def test_lasso_path_finds_the_sparse_weights_and_predicts_unseen_subsets():
    rng = np.random.default_rng(0)
    masks, weights = rng.random((600, 30)) < 0.5, np.zeros((3, 30))
    weights[:, :3] = rng.normal(size=(3, 3)) * 4
    outputs = masks @ weights.T + 2 + 0.3 * rng.normal(size=(600, 3))
    coef, intercept, penalty = lasso_path(masks, outputs, np.arange(600) >= 500, steps=20)
    assert np.abs(coef - weights).max() < 0.15
    assert penalty.shape == (3,)
    np.testing.assert_allclose(extrapolate(coef, intercept, np.zeros((1, 30), bool)), [[2, 2, 2]], atol=0.3)


def test_a_column_that_never_varies_gets_no_weight():
    masks, outputs, _ = experiment()
    masks[:, 1] = True
    held_out = np.arange(80) < 20
    for coef in (ridge(masks, outputs, 1.0)[0], lasso(masks, outputs, 0.1)[0], lasso_path(masks, outputs, held_out)[0]):
        assert np.abs(coef[:, 1]).max() < 1e-12


def test_for_random_halves_weights_and_influences_agree():
    masks, outputs, _ = experiment(m=2000, c=20, noise=0.3)
    coef, _ = ridge(masks, outputs, 1.0)
    assert np.corrcoef(coef.ravel(), influence(masks, outputs).ravel())[0, 1] > 0.99


def test_lasso_says_when_it_did_not_settle():
    masks, outputs, _ = experiment()
    with pytest.warns(UserWarning, match=r"lasso: 4 of 4 targets did not settle in 1 sweeps"):
        lasso(masks, outputs, 1e-4, sweeps=1)


def test_datamodels_refuse_penalties_and_splits_that_cannot_work():
    masks, outputs, _ = experiment()
    with pytest.raises(ConfigError, match=r"alpha=0.0: expected above 0"):
        ridge(masks, outputs, 0.0)
    with pytest.raises(ConfigError, match=r"alpha=-1"):
        lasso(masks, outputs, -1)
    with pytest.raises(ConfigError, match=r"held_out=array of bool"):
        lasso_path(masks, outputs, np.ones(80, bool))

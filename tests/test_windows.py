"""Sliding windows, gaps and reading in blocks: what `dataprune.windows` does for the scores of `dynamics`.

Vectors (11): dynunc 4 scores, 4 kept sets and 3 scores of all windows, float64 compared at the precision of float32.
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune import blocks
from dataprune.errors import ConfigError
from dataprune.scores.dynamics import (
    area_under_margin,
    dual,
    dynamic_uncertainty,
    el2n,
    eva,
    forgetting,
    p_mean,
    variability,
)

REFERENCE = Path(__file__).parent / "reference"
NAN = np.nan


def cases(name):
    """{case: {key: array}} of a file whose keys are case/key."""
    found = {}
    for key, array in np.load(REFERENCE / f"{name}.npz").items():
        case, _, rest = key.partition("/")
        found.setdefault(case, {})[rest] = array
    return found


def kept(scores, z):
    """Mask of as many of the highest scores as the vector keeps."""
    mask = np.zeros(len(scores), bool)
    mask[np.argsort(-scores, kind="stable")[: len(z["kept_in_file_order"])]] = True
    return mask


@pytest.mark.parametrize("case", ["plain", "window10", "one_window"])
def test_dynamic_uncertainty_matches_the_released_script(case):
    z = cases("dynunc")[case]
    ours = dynamic_uncertainty(z["probs"], window=int(z["window"]))
    np.testing.assert_allclose(ours, z["score"], rtol=1e-6)
    assert (kept(ours, z) == z["kept_mask"]).all()


@pytest.mark.parametrize("case", ["plain", "window10", "one_window"])
def test_all_windows_match_the_third_party_port(case):
    z = cases("dynunc")[case]
    ours = dynamic_uncertainty(z["probs"], window=int(z["window"]), windows="all")
    np.testing.assert_allclose(ours, z["score_all_windows"], rtol=1e-6)


def test_missing_reference_matches_the_released_script_where_examples_are_missing():
    z = cases("dynunc")["missing"]
    p = np.where(z["probs"] == 0, NAN, z["probs"])  # its storage says 0 where ours says NaN
    ours = dynamic_uncertainty(p, window=int(z["window"]), missing="reference")
    np.testing.assert_allclose(ours, z["score"], rtol=1e-6)
    assert (kept(ours, z) == z["kept_mask"]).all()


@pytest.mark.parametrize("windows", ["reference", "all"])
def test_dynamic_uncertainty_agrees_with_the_definition_written_out(windows):
    p = np.random.default_rng(0).random((9, 5))
    ends = range(4, 9 if windows == "reference" else 10)
    slow = [np.mean([10 * np.std(p[end - 4 : end, i], ddof=1) for end in ends]) for i in range(5)]
    np.testing.assert_allclose(dynamic_uncertainty(p, window=4, windows=windows), slow, rtol=1e-6)


def seen_windows(column, window, last):
    """The values of every window of the rule "skip": the last `window` seen up to each end, at least 2 of them."""
    for end in range(window - 1, last):
        seen = [value for value in column[: end + 1] if not np.isnan(value)][-window:]
        if len(seen) >= 2:
            yield seen


@pytest.mark.parametrize("score", ["dynamic_uncertainty", "dual"])
def test_windows_with_gaps_hold_the_last_values_that_were_seen(score):
    rng = np.random.default_rng(1)
    p = rng.random((14, 200))
    p[rng.random(p.shape) < 0.4] = NAN
    slow = []
    for column in p.T:
        if score == "dual":
            found = [np.std(w, ddof=1) * (1 - np.mean(w)) for w in seen_windows(column, 4, 14)]
        else:
            found = [np.std(w, ddof=1) for w in seen_windows(column, 4, 13)]
        slow.append(10 * np.mean(found))
    ours = dual(p, window=4) if score == "dual" else dynamic_uncertainty(p, window=4)
    np.testing.assert_allclose(ours, slow, rtol=1e-6)


def test_a_gap_in_the_last_epoch_changes_nothing_because_no_reference_window_ends_there():
    p = np.random.default_rng(2).random((8, 3))
    gone = p.copy()
    gone[-1, 1] = NAN
    assert (dynamic_uncertainty(gone, window=3) == dynamic_uncertainty(p, window=3)).all()


def test_an_example_that_never_changes_has_uncertainty_0_exactly():
    p = np.full((30, 3), [0.1, 0.3, 0.9999], np.float32)
    assert dynamic_uncertainty(p).tolist() == [0, 0, 0]


def test_rounding_stays_small_when_an_example_settles_close_to_1():
    steps = np.concatenate([np.linspace(0, 1, 20), 1 - 1e-6 * np.random.default_rng(0).random(60)])
    p = steps[:, None].astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(p[:, 0].astype(np.float64), 10)[:-1]
    exact = 10 * windows.std(-1, ddof=1).mean()
    assert abs(dynamic_uncertainty(p)[0] - exact) < 3e-7


def test_seen_fewer_than_twice_is_nan_and_zero_in_the_reference():
    p = np.full((6, 3), NAN)
    p[2, 1], p[:, 2] = 0.7, 0.5
    assert np.isnan(dynamic_uncertainty(p, window=3)).tolist() == [True, True, False]
    assert dynamic_uncertainty(p, window=3, missing="reference")[0] == 0


# what holds for all of them


SCORES = {
    "dynamic_uncertainty": (dynamic_uncertainty, {"window": 4}),
    "reference gaps": (dynamic_uncertainty, {"window": 4, "missing": "reference"}),
    "dual": (dual, {"window": 4}),
    "forgetting": (lambda x: forgetting(np.where(np.isnan(x), NAN, x > 0.5)), {}),
    "area_under_margin": (area_under_margin, {}),
    "el2n": (el2n, {}),
    "variability": (variability, {}),
    "eva": (eva, {"early": (0, 4), "late": (6, 12)}),
    "p_mean": (p_mean, {}),
}


@pytest.mark.parametrize("name", SCORES)
def test_each_example_is_scored_by_itself(name, monkeypatch):
    score, options = SCORES[name]
    rng = np.random.default_rng(6)
    x = rng.random((12, 150))
    x[rng.random(x.shape) < 0.1] = NAN
    whole = score(x, **options)
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 12 * 7)  # blocks of 7 ids
    assert whole.dtype == np.float32
    np.testing.assert_array_equal(score(x, **options), whole)
    order = rng.permutation(150)
    np.testing.assert_array_equal(score(x[:, order], **options), whole[order])


@pytest.mark.parametrize("name", SCORES)
def test_memory_maps_foreign_strides_and_16_bits_are_read(name, tmp_path):
    score, options = SCORES[name]
    x = np.random.default_rng(7).random((12, 40)).astype(np.float16)
    np.save(tmp_path / "x.npy", x)
    expected = score(x.astype(np.float64), **options)
    for same in (np.load(tmp_path / "x.npy", mmap_mode="r"), np.asfortranarray(x), x[:, ::-1][:, ::-1]):
        np.testing.assert_array_equal(score(same, **options), expected)


@pytest.mark.parametrize(
    ("call", "name", "bad"),
    [
        (dynamic_uncertainty, "p_true", 1.5),
        (dual, "p_true", -0.1),
        (variability, "p_true", np.inf),
        (area_under_margin, "margin", -np.inf),
        (el2n, "error", -1.0),
        (lambda x: eva(x, early=(0, 4), late=(6, 12)), "error", np.inf),
    ],
)
def test_impossible_values_are_named_with_row_and_ids(call, name, bad, monkeypatch):
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 12 * 50)
    x = np.random.default_rng(9).random((12, 100))
    x[7, 61] = x[8, 77] = bad
    x[2, 60] = NAN
    with pytest.raises(ConfigError, match=rf"{name}={bad:g} in row 7 at ids 61, 77: expected .*NaN where not seen"):
        call(x)

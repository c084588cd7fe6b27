"""Many scores in one pass over the arrays."""

from functools import partial

import numpy as np
import pytest

from dataprune import blocks
from dataprune.blocks import in_blocks, spans
from dataprune.errors import ConfigError
from dataprune.scores.dynamics import area_under_margin, dynamic_uncertainty, el2n, eva, forgetting, tdds

FUNCTIONS = {
    "dynunc": partial(dynamic_uncertainty, window=4),
    "aum": area_under_margin,
    "forgetting": forgetting,
    "el2n": el2n,
    "eva": partial(eva, early=(0, 4), late=(6, 12)),
}


def arrays(n=100, epochs=12):
    rng = np.random.default_rng(0)
    x = rng.random((4, epochs, n)).astype(np.float32)
    x[0, rng.random((epochs, n)) < 0.01] = np.nan
    return {"p_true": x[0], "margin": x[1], "correct": x[2] > 0.5, "error": x[3]}


@pytest.mark.parametrize("block", [1, 7, 100, 8192])
def test_blocks_give_the_scores_of_the_whole_arrays(block, tmp_path):
    whole = arrays()
    for key, array in whole.items():
        np.save(tmp_path / key, array)
    mapped = {key: np.load(tmp_path / f"{key}.npy", mmap_mode="r") for key in whole}
    found = in_blocks(FUNCTIONS, mapped, block)
    assert list(found) == list(FUNCTIONS)
    wants = {"dynunc": "p_true", "aum": "margin", "forgetting": "correct", "el2n": "error", "eva": "error"}
    for name, scores in found.items():
        assert scores.dtype == np.float32
        np.testing.assert_array_equal(scores, FUNCTIONS[name](whole[wants[name]]))


def test_labels_are_cut_like_the_ids_of_the_epochs():
    p = np.random.default_rng(1).dirichlet(np.ones(3), (5, 20))
    labels = np.arange(20) % 3
    found = in_blocks({"tdds": partial(tdds, window=3)}, {"probabilities": p, "labels": labels}, block=6)
    assert (found["tdds"] == tdds(p, labels, window=3)).all()


def test_arrays_that_no_function_wants_are_left_alone():
    assert set(in_blocks({"aum": area_under_margin}, arrays() | {"features": np.zeros((3, 2, 1, 1))})) == {"aum"}


def test_progress_is_told_after_every_block():
    seen = []
    in_blocks({"aum": area_under_margin}, arrays(), block=40, progress=lambda done, n: seen.append((done, n)))
    assert seen == [(40, 100), (80, 100), (100, 100)]


def test_errors_carry_the_ids_of_the_whole_arrays():
    wrong = arrays()
    wrong["margin"][2, 71] = np.inf
    with pytest.raises(ConfigError, match=r"margin=inf in row 2 at ids 71"):
        in_blocks(FUNCTIONS, wrong, block=10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"error": np.zeros((12, 99))}, r"arrays=numbers of examples \{.*'error': 99.*\}: expected the same ids"),
        ({"margin": np.zeros((1, 1, 1, 1))}, r"margin=array of shape \(1, 1, 1, 1\): expected shape \(n,\)"),
        ({"block": 0}, r"block=0: expected a whole number, 1 or more"),
        ({"functions": {"mean": lambda margin: margin.mean()}}, r"mean=array of shape \(\): expected one score an id"),
        ({"functions": {"x": lambda features: 0}}, r"arrays=p_true, margin, correct, error: expected `features`"),
    ],
)
def test_what_cannot_work_is_named(change, message):
    given = arrays() | {key: value for key, value in change.items() if isinstance(value, np.ndarray)}
    with pytest.raises(ConfigError, match=message):
        in_blocks(change.get("functions", FUNCTIONS), given, change.get("block", 50))


@pytest.mark.parametrize(("n", "bytes_per_id"), [(0, 8), (1, 8), (100, 8), (100, 10**9), (5, 0)])
def test_spans_cover_every_id_once_within_both_limits(n, bytes_per_id):
    ids = [i for span in spans(n, bytes_per_id, block=30) for i in range(span.start, span.stop)]
    assert ids == list(range(n))
    for span in spans(n, bytes_per_id, block=30):
        assert 1 <= span.stop - span.start <= 30
        assert span.stop - span.start == 1 or (span.stop - span.start) * bytes_per_id <= blocks.BLOCK_BYTES

"""What to keep of near duplicates.

Vectors (5): semdedup keep_0.5, keep_0.86, keep_0.945; clip_rank_0.3_0.5 and clip_rank_0.15_0.55, which lack the first
example of ours (the released slice starts one late).
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.selectors.dedup import rank_range, semdedup

REFERENCE = Path(__file__).parents[1] / "reference" / "semdedup.npz"


@pytest.mark.parametrize("threshold", [0.5, 0.86, 0.945])
def test_a_threshold_keeps_what_the_reference_keeps(threshold):
    z = np.load(REFERENCE)
    assert (semdedup(-z["score"], threshold=threshold) == np.sort(z[f"keep_{threshold}"])).all()


@pytest.mark.parametrize("threshold", [0.5, 0.86, 0.945])
def test_the_budget_of_a_threshold_keeps_the_same(threshold):
    z = np.load(REFERENCE)
    kept = semdedup(-z["score"], threshold=threshold)
    assert (np.sort(semdedup(-z["score"], len(kept))) == kept).all()


def test_a_budget_reaches_the_threshold_of_its_last_example():
    scores = -np.random.default_rng(0).random(60).astype(np.float32)
    ids = semdedup(scores, 25)
    assert (np.sort(ids) == semdedup(scores, threshold=-float(scores[ids[-1]]))).all()


def test_a_similarity_equal_to_the_threshold_is_kept():
    assert semdedup(np.array([-0.5, -0.9, -0.1, 0]), threshold=0.5).tolist() == [0, 2, 3]


def test_equal_similarities_go_to_the_lower_id():
    assert semdedup(np.array([-0.5, -0.5, -0.1, -0.5]), 3).tolist() == [2, 0, 1]


@pytest.mark.parametrize(("low", "high"), [(0.3, 0.5), (0.15, 0.55)])
def test_a_rank_range_of_the_survivors_is_the_reference_and_the_example_it_loses(low, high):
    z = np.load(REFERENCE)
    survivors = semdedup(-z["score"], threshold=0.945)
    ours = survivors[rank_range(z["clip_score"][survivors], low=low, high=high)]
    assert set(ours[1:]) == set(z[f"clip_rank_{low}_{high}"])
    assert ours[0] not in z[f"clip_rank_{low}_{high}"]


def test_rank_ranges_that_meet_split_the_ranking():
    scores = np.random.default_rng(0).random(33)
    parts = [rank_range(scores, low=a, high=b) for a, b in ((0, 0.4), (0.4, 0.7), (0.7, 1))]
    assert (scores[np.concatenate(parts)] == np.sort(scores)[::-1]).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: semdedup(s), r"threshold=None: expected a number if and only if no budget is given \(budget=None\)"),
        (lambda s: semdedup(s, 2, threshold=0.5), "threshold=0.5: expected a number if and only if no budget"),
        (lambda s: semdedup(s, threshold=1.5), "threshold=1.5: expected a cosine"),
        (lambda s: semdedup(s, 5), "budget=5: expected a whole number, 1 to 4"),
        (lambda s: semdedup(-s, 2), "scores=0.1 at id 0: expected negated cosines"),
        (lambda s: semdedup(s * np.nan, 2), "scores=NaN or inf at ids 0, 1, 2, 3"),
        (lambda s: rank_range(s, low=0.5, high=0.5), r"low, high=\(0.5, 0.5\): expected two fractions"),
        (lambda s: rank_range(s, low=0, high=1.1), "low, high="),
    ],
)
def test_what_cannot_work_is_refused(call, message):
    with pytest.raises(ConfigError, match=message):
        call(np.array([-0.1, -0.2, -0.3, -0.4]))

"""Scores from feature space.

Vectors (9): moderate.npz a, b, odd; moderate_basic and moderate_imbalanced sample_distance; semdedup score with its
three kept sets. Not matched on purpose: moderate d2_* (D2's broken variants); semdedup clip_rank_* (its optional
second stage by CLIP score is no score of ours).
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune import blocks
from dataprune.errors import ConfigError
from dataprune.scores.features import distance_to_center, prototypicality, semdedup
from dataprune.selectors.ranked import top

REFERENCE = Path(__file__).parents[1] / "reference"


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# distance to the own class's centre


@pytest.mark.parametrize("case", ["a", "b", "odd"])
def test_distances_match_the_authors_of_moderate(case):
    z = np.load(REFERENCE / "moderate.npz")
    ours = distance_to_center(z[f"{case}/features"], z[f"{case}/targets"])
    np.testing.assert_allclose(ours, z[f"{case}/distance"], rtol=1e-6)


@pytest.mark.parametrize("name", ["moderate_basic", "moderate_imbalanced"])
def test_distances_match_dp4tl(name):
    z = np.load(REFERENCE / f"{name}.npz")
    np.testing.assert_allclose(distance_to_center(z["src_features"], z["src_labels"]), z["sample_distance"], rtol=1e-5)


@pytest.mark.parametrize("center", ["median", "mean"])
def test_distance_agrees_with_the_definition_for_labels_with_gaps(center, monkeypatch):
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((60, 4)).astype(np.float32), rng.choice([2, 7, 1000], 60)
    middle = np.median if center == "median" else np.mean
    slow = [np.linalg.norm(x[i] - middle(x[labels == labels[i]].astype(float), axis=0)) for i in range(60)]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 8 * 4 * 7)
    np.testing.assert_allclose(distance_to_center(x, labels, center=center), slow, rtol=1e-6)


def test_an_example_alone_in_its_class_is_its_centre():
    assert distance_to_center(np.array([[3.0, 4], [1, 0], [0, 0]]), np.array([0, 1, 1])).tolist() == [0, 0.5, 0.5]


# prototypicality


def blobs(rng, centres=4, each=200, width=8):
    directions = unit(rng.standard_normal((centres, width)))
    return (np.repeat(directions, each, axis=0) + 0.05 * rng.standard_normal((centres * each, width))).astype(
        np.float32
    )


def test_an_outlier_is_far_from_every_prototype_and_length_plays_no_part():
    rng = np.random.default_rng(1)
    x = blobs(rng)
    x[5] = -x.mean(axis=0)
    scores = prototypicality(x, prototypes=4)
    assert scores.argmax() == 5
    scaled = prototypicality(x * rng.uniform(0.1, 9, (len(x), 1)).astype(np.float32), prototypes=4)
    np.testing.assert_allclose(scaled, scores, atol=1e-5)


def test_one_prototype_is_the_direction_of_the_mean_of_the_unit_vectors():
    x = unit(np.random.default_rng(2).standard_normal((50, 6)) + 1)
    mean = unit(x.mean(axis=0, keepdims=True))[0]
    np.testing.assert_allclose(prototypicality(x, prototypes=1), 1 - x @ mean, atol=1e-5)


def test_the_same_seed_gives_the_same_prototypes():
    x = np.random.default_rng(3).standard_normal((900, 5))
    scores = prototypicality(x, prototypes=3, seed=7)  # 768 of the 900 are drawn for the clustering
    assert (prototypicality(x, prototypes=3, seed=7) == scores).all()
    assert (prototypicality(x, prototypes=3, seed=8) != scores).any()
    assert scores.dtype == np.float32


def test_with_as_many_prototypes_as_examples_each_is_its_own():
    x = np.random.default_rng(4).standard_normal((12, 5))
    np.testing.assert_allclose(prototypicality(x, prototypes=12), 0, atol=1e-6)


# semantic duplicates


def test_semdedup_matches_the_released_code_with_our_sign():
    z = np.load(REFERENCE / "semdedup.npz")
    scores = semdedup(z["embeddings"], z["centroid"][None], np.zeros(120, int))
    np.testing.assert_allclose(-scores, z["score"], atol=1e-6)
    for threshold in ("0.5", "0.86", "0.945"):
        assert (np.flatnonzero(scores >= -float(threshold)) == np.sort(z[f"keep_{threshold}"])).all()


@pytest.mark.parametrize("threshold", [0.5, 0.86, 0.945])
def test_the_highest_semdedup_scores_are_what_a_threshold_keeps(threshold):
    """So that the search for a threshold that keeps the budget is a ranking."""
    z = np.load(REFERENCE / "semdedup.npz")
    kept = z[f"keep_{threshold}"]
    assert (np.sort(top(-z["score"], len(kept))) == np.sort(kept)).all()


def test_semdedup_agrees_with_the_definition_written_out(monkeypatch):
    rng = np.random.default_rng(5)
    x, centers, assignment = unit(rng.standard_normal((80, 3))), rng.standard_normal((4, 3)), rng.choice([0, 1, 3], 80)
    away = np.linalg.norm(x - centers[assignment], axis=1)
    slow = [
        -max([0.0] + [x[i] @ x[j] for j in range(80) if assignment[j] == assignment[i] and away[j] > away[i]])
        for i in range(80)
    ]
    monkeypatch.setattr(blocks, "BLOCK_BYTES", 4 * 30 * 9)
    np.testing.assert_allclose(semdedup(x, centers, assignment), slow, atol=1e-6)


def test_of_exact_copies_the_first_counts_as_new():
    x = unit(np.array([[1.0, 0.2], [1.0, 0.2], [-1, 0.1], [1.0, 0.2]]))
    np.testing.assert_allclose(semdedup(x, np.zeros((1, 2)) + 0.1, np.zeros(4, int)), [0, -1, 0, -1], atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: distance_to_center(x, y, center="mode"), r"center='mode': expected median \| mean"),
        (lambda x, y: distance_to_center(x, y[:4]), r"labels=array of shape \(4,\): expected shape \(5\)"),
        (lambda x, y: distance_to_center(np.where(x == x[3, 0], np.nan, x), y), r"features=NaN or inf at ids 3"),
        (lambda x, y: prototypicality(x, prototypes=6), r"prototypes=6: expected 1 to 5"),
        (lambda x, y: prototypicality(x * [[1], [0], [1], [1], [1]], prototypes=2), r"zeros at ids 1: expected"),
        (lambda x, y: semdedup(x, x[:2], y + 1), r"assignment=2 at ids 1, 3: expected class ids of 0 to 1"),
        (lambda x, y: semdedup(x, x[:2, :2], y), r"centers=2 columns: expected 3, as embeddings has"),
        (lambda x, y: semdedup(x * [[1], [1], [0], [1], [0]], x[:2], y), r"embeddings=.*zeros at ids 2, 4"),
    ],
)
def test_what_cannot_work_is_named_with_what_would_do(call, message):
    with pytest.raises(ConfigError, match=message):
        call(np.random.default_rng(6).standard_normal((5, 3)), np.array([0, 1, 0, 1, 0]))

"""Class scores from a target.

Vectors: lm_* (3), fm_* (2 and the reference's defect), fm_kmeans_assign_* (2), moderate_* (2).
Deliberately not matched: `frequency_reference_bug`, the counts of the released FM script.
"""

from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.scores.classes import (
    class_means,
    class_medians,
    cluster_mapping,
    clusters,
    combine,
    coreset_means,
    feature_mapping,
    frequency_analysis,
    label_mapping,
    nearest,
    prototype_distance,
)
from dataprune.selectors.classes import top_classes

REFERENCE = Path(__file__).parents[1] / "reference"


def blobs(n=60, c=5, d=4, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(n) % c)
    return rng.normal(size=(n, d)).astype(np.float32) + labels[:, None].astype(np.float32), labels


# label mapping


def test_label_mapping_counts_predictions():
    frequency = label_mapping(np.array([2, 0, 2, 2]), 4)
    assert frequency.tolist() == [1, 0, 3, 0]
    assert frequency.dtype == np.int32


@pytest.mark.parametrize("name", ["lm_basic", "lm_reverse", "lm_imagenet1k"])
def test_label_mapping_gives_the_reference_counts(name):
    z = np.load(REFERENCE / f"{name}.npz")
    frequency = label_mapping(z["pred"], int(z["num_source_classes"]))
    np.testing.assert_array_equal(frequency, z["frequency"])
    assert frequency.sum() == len(z["pred"])


def test_label_mapping_of_an_empty_target_is_refused():
    with pytest.raises(ConfigError, match=r"target_predictions=empty array: expected at least one"):
        label_mapping(np.empty(0, np.int64), 3)


def test_label_mapping_names_a_class_outside_the_source():
    with pytest.raises(ConfigError, match=r"target_predictions=3 at ids 1: expected class ids of 0 to 2"):
        label_mapping(np.array([0, 3]), 3)


def test_label_mapping_without_classes_is_refused():
    with pytest.raises(ConfigError, match=r"n_classes=0"):
        label_mapping(np.array([0]), 0)


# feature mapping


@pytest.mark.parametrize("name", ["fm_basic", "fm_imbalanced"])
def test_feature_mapping_gives_the_reference_means_assignments_and_counts(name):
    z = np.load(REFERENCE / f"{name}.npz")
    c = int(z["num_source_classes"])
    means = class_means(z["src_features"], z["src_labels"], c)
    np.testing.assert_allclose(means, z["class_means"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(nearest(z["tgt_features"], means), z["assigned"])
    frequency = feature_mapping(z["src_features"], z["src_labels"], z["tgt_features"], c)
    np.testing.assert_array_equal(frequency, z["frequency"])
    assert frequency.dtype == np.int32


def test_the_released_scripts_wrong_index_is_not_reproduced():
    z = np.load(REFERENCE / "fm_reference_bug.npz")
    frequency = feature_mapping(z["class_means"], np.arange(1000), z["tgt_features"], 1000)
    np.testing.assert_array_equal(frequency, z["frequency_correct"])
    assert (frequency != z["frequency_reference_bug"]).any()


@pytest.mark.parametrize("name", ["basic", "unconverged"])
def test_clusters_stand_in_for_labels_with_their_members_means(name):
    z = np.load(REFERENCE / f"fm_kmeans_assign_{name}.npz")
    assigned = nearest(z["src_features"], z["centroids"])
    np.testing.assert_array_equal(assigned, z["src_assign"])
    np.testing.assert_array_equal(nearest(z["val_features"], z["centroids"]), z["val_assign"])
    means = class_means(z["src_features"], assigned, len(z["centroids"]))
    np.testing.assert_allclose(means, z["cluster_means"], rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(nearest(z["tgt_features"], means), z["tgt_assign"])
    frequency = feature_mapping(z["src_features"], assigned, z["tgt_features"], len(z["centroids"]))
    np.testing.assert_array_equal(frequency, z["frequency"])


def test_clusters_that_equal_the_labels_give_supervised_feature_mapping():
    features, labels = blobs(100)
    features += 50 * labels[:, None]
    target, _ = blobs(40, seed=1)
    target = target * 50
    centroids, found = clusters(features, 5, np.random.default_rng(0))
    by_label = feature_mapping(features, labels, target, 5)
    by_cluster = feature_mapping(features, found, target, 5)
    label_of = labels[[np.flatnonzero(found == k)[0] for k in range(5)]]
    np.testing.assert_array_equal(by_label[label_of], by_cluster)
    np.testing.assert_allclose(centroids, class_means(features, found, 5), rtol=1e-4)


def test_clusters_are_a_function_of_the_seed():
    features, _ = blobs(300, c=9)
    one, two = (clusters(features, 7, np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])


def test_more_clusters_than_examples_are_refused():
    with pytest.raises(ConfigError, match=r"n_clusters=9: expected 1 to 8"):
        clusters(np.ones((8, 2)), 9, np.random.default_rng(0))


def test_an_empty_class_is_never_nearest():
    features, labels = np.array([[1.0], [1.0], [9.0]]), np.array([1, 1, 3])
    assert feature_mapping(features, labels, np.array([[0.0], [8.0], [2.0]]), 5).tolist() == [0, 2, 0, 1, 0]


def test_equal_distances_count_for_the_lower_class():
    assert nearest(np.array([[0.0, 0.0]]), np.array([[0.0, 2.0], [1.0, 0.0], [-1.0, 0.0]])).tolist() == [1]
    same = np.random.default_rng(0).normal(size=(1, 64)).repeat(30, axis=0)
    assert (nearest(np.random.default_rng(1).normal(size=(50, 64)), same) == 0).all()


@pytest.mark.parametrize("offset", [0, 1e4])
def test_nearest_agrees_with_float64_distances_where_float32_cannot_tell(offset):
    rng = np.random.default_rng(2)
    base = rng.normal(size=64)
    centers = base + offset + 1e-6 * rng.normal(size=(40, 64))  # so close that float32 rounding decides nothing
    x = base + offset + rng.normal(size=(200, 64))
    slow = [np.argmin([((row - center) ** 2).sum() for center in centers]) for row in x]
    np.testing.assert_array_equal(nearest(x, centers), slow)
    x32 = x.astype(np.float32)
    slow = [np.argmin([((row.astype(np.float64) - center) ** 2).sum() for center in centers]) for row in x32]
    np.testing.assert_array_equal(nearest(x32, centers), slow)


def test_nearest_is_the_same_in_blocks():
    rng = np.random.default_rng(4)
    x, centers = rng.normal(size=(9000, 3)).astype(np.float32), rng.normal(size=(7, 3))
    np.testing.assert_array_equal(nearest(x, centers)[4000:5000], nearest(x[4000:5000], centers))


def test_values_that_overflow_float32_squares_are_still_assigned():
    assert nearest(np.array([[1e25], [-1e25]]), np.array([[-1e25], [2e25]])).tolist() == [1, 0]


def test_feature_mapping_does_not_see_rotations_and_translations():
    features, labels = blobs(200, c=8, d=6)
    target, _ = blobs(100, c=8, d=6, seed=5)
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(6, 6)))[0]
    moved = [(x.astype(np.float64) @ rotation + 30).astype(np.float32) for x in (features, target)]
    expected = feature_mapping(features, labels, target, 8)
    np.testing.assert_array_equal(feature_mapping(moved[0], labels, moved[1], 8), expected)
    assert expected.sum() == 100


def test_half_precision_features_are_computed_in_float32():
    features, labels = blobs(200, c=8, d=6)
    half = features.astype(np.float16)
    expected = feature_mapping(half.astype(np.float32), labels, half.astype(np.float32), 8)
    np.testing.assert_array_equal(feature_mapping(half, labels, half, 8), expected)


def test_class_means_of_a_memory_map_agree_with_the_plain_definition(tmp_path):
    features, labels = blobs(5000, c=3)
    np.save(tmp_path / "x.npy", features)
    means = class_means(np.load(tmp_path / "x.npy", mmap_mode="r"), labels, 4)
    np.testing.assert_allclose(means[:3], [features[labels == c].mean(0, dtype=np.float64) for c in range(3)], 1e-12)
    assert np.isnan(means[3]).all()


def test_features_of_different_width_are_refused():
    with pytest.raises(ConfigError, match=r"target_features=3 columns: expected 4 as the class centers have"):
        feature_mapping(*blobs(), np.ones((2, 3)), 5)


def test_nan_features_name_their_ids():
    features, labels = blobs()
    features[[3, 7], 1] = np.nan
    with pytest.raises(ConfigError, match=r"source_features=NaN or inf at ids 3, 7"):
        feature_mapping(features, labels, features, 5)
    with pytest.raises(ConfigError, match=r"target_features=NaN or inf at ids 3, 7"):
        feature_mapping(np.ones_like(features), labels, features, 5)


def test_unknown_source_labels_are_named():
    features, labels = blobs()
    with pytest.raises(ConfigError, match=r"source_labels=4 at ids .*: expected class ids of 0 to 3"):
        feature_mapping(features, labels, features, 4)


def test_an_empty_target_is_refused():
    with pytest.raises(ConfigError, match=r"target_features=.*\(0, 4\)"):
        feature_mapping(*blobs(), np.empty((0, 4)), 5)


# moderate, class level


@pytest.mark.parametrize("name", ["basic", "imbalanced"])
def test_moderate_class_level_gives_the_reference(name):
    z = np.load(REFERENCE / f"moderate_{name}.npz")
    c, ct, band = int(z["num_source_classes"]), int(z["num_target_classes"]), 1 - float(z["coreset_ratio"])
    source, target = (z["src_features"], z["src_labels"]), (z["tgt_features"], z["tgt_labels"])
    for found, expected in [
        (class_medians(*source, c), z["src_class_median"]),
        (class_means(*source, c), z["src_class_mean"]),
        (coreset_means(*source, c, band), z["src_coreset_mean"]),
        (coreset_means(*target, ct, band), z["tgt_coreset_mean"]),
        (class_medians(*target, ct), z["tgt_class_median"]),
    ]:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    for key, found in [
        ("cmt", prototype_distance(*source, *target, c, band=band)),
        ("cmt_median", prototype_distance(*source, *target, c, center="median")),
    ]:
        np.testing.assert_allclose(-found, z[f"{key}_score"], rtol=1e-4)
        np.testing.assert_array_equal(top_classes(found, c), z[f"{key}_order"])
        np.testing.assert_array_equal(top_classes(found, c, reverse=True), z[f"{key}_order_reverse"])
    np.testing.assert_array_equal(feature_mapping(*source, target[0], c), z["ffm_frequency"])
    np.testing.assert_array_equal(feature_mapping(*source, target[0], c, band=band), z["ffmm_frequency"])


def test_the_whole_class_as_its_own_band_is_the_plain_mean():
    source, target = blobs(), blobs(30, c=3, seed=1)
    np.testing.assert_allclose(coreset_means(*source, 5, 1.0), class_means(*source, 5))
    plain = prototype_distance(*source, *target, 5)
    np.testing.assert_allclose(prototype_distance(*source, *target, 5, band=1.0), plain, rtol=1e-6)


def test_a_source_class_without_examples_ranks_last():
    source, target = blobs(), blobs(30, c=3, seed=1)
    score = prototype_distance(*source, *target, 6)
    assert score.dtype == np.float32
    assert score[5] == -np.inf
    assert top_classes(score, 6)[-1] == 5


def test_target_classes_without_examples_do_not_count():
    source, (x, y) = blobs(), blobs(30, c=3, seed=1)
    gaps = np.array([1, 4, 9])[y]
    np.testing.assert_array_equal(prototype_distance(*source, x, gaps, 5), prototype_distance(*source, x, y, 5))


def test_a_class_too_small_for_its_band_is_named():
    labels = np.array([0] * 20 + [1] * 2)
    features = np.random.default_rng(0).normal(size=(22, 3))
    with pytest.raises(ConfigError, match=r"band=0.2: expected a wider band: no example of classes 1 lies in it"):
        coreset_means(features, labels, 3, 0.2)


@pytest.mark.parametrize("wrong", [{"center": "mode"}, {"band": 0.0}, {"band": 1.5}, {"center": "median", "band": 0.2}])
def test_prototype_distance_refuses_what_it_does_not_know(wrong):
    with pytest.raises(ConfigError, match=list(wrong)[-1]):
        prototype_distance(*blobs(), *blobs(), 5, **wrong)


# analysis


def test_frequency_analysis_of_counts_known_by_hand():
    found = frequency_analysis(np.array([0, 6, 0, 3, 1]), (0, 40, 60, 80, 100))
    assert found["zero_classes"] == 2
    assert found["removed"].tolist() == [0, 2, 3, 4, 5]
    np.testing.assert_allclose(found["removed_share"], [0, 0, 0.1, 0.4, 1])
    assert dict(zip(found["count"], found["classes"], strict=True)) == {0: 2, 1: 1, 3: 1, 6: 1}


def test_frequency_analysis_refuses_percents_above_100():
    with pytest.raises(ConfigError, match=r"percents=\(120,\)"):
        frequency_analysis(np.array([1, 2]), (120,))


def test_cluster_mapping_ranks_the_clusters_by_the_targets_that_fall_on_them():
    rng = np.random.default_rng(0)
    centres = np.array([[0, 0], [10, 0], [0, 10], [12, 12]], np.float32)
    group = rng.integers(4, size=200)
    source = centres[group] + rng.normal(size=(200, 2)).astype(np.float32) / 10
    target = centres[[1] * 5 + [2] * 3] + rng.normal(size=(8, 2)).astype(np.float32) / 10
    scores = cluster_mapping(source, target, clusters(source, 4, np.random.default_rng(3))[1], 4)
    assert scores.dtype == np.float32
    place = [set(scores[group == g]) for g in range(4)]
    # 0 and 3 get no target; the mean of the targets, (6.25, 3.75), is nearer to 0
    assert place == [{1.0}, {3.0}, {2.0}, {0.0}]


def test_clusters_without_members_are_no_ones_and_come_last():
    source = np.array([[0.0], [1.0], [9.0]], np.float32)
    scores = cluster_mapping(source, np.array([[8.0]], np.float32), np.array([0, 0, 3]), 5)
    assert scores.tolist() == [3, 3, 4]
    with pytest.raises(ConfigError, match="clusters="):
        cluster_mapping(source, source, np.array([0, 0, 5]), 5)


def test_combine_scales_each_target_before_it_averages():
    counts = np.array([[0, 90, 10, 0], [3, 0, 1, 0]])  # shares of the largest: 0 1 .11 0 and 1 0 .33 0
    assert combine(counts).tolist() == [3, 2, 1, 0], "the large target does not outvote the small one"


def test_combine_orders_equal_classes_by_ties():
    counts = np.array([[0, 90, 10, 0], [3, 0, 1, 0]])
    assert combine(counts, ties=np.array([[0.0, 0.1, 0.2, 0.3], [0.0, 0.1, 0.2, 0.3]])).tolist() == [2, 3, 1, 0]


def test_union_lets_the_targets_take_turns():
    scores = np.array([[5, 4, 3, 2, 1, 0], [0, 1, 2, 3, 4, 5]])
    kept = [set(np.argsort(-combine(scores, how="union"))[:k]) for k in (2, 4)]
    assert kept == [{0, 5}, {0, 1, 4, 5}]


def test_the_largest_score_of_any_target_counts_with_max():
    scores = np.array([[1, 0, 0.5], [0, 0.2, 0.1]])
    assert combine(scores, how="max").tolist() == [2, 1, 0]


def test_a_class_without_examples_comes_last():
    assert combine(np.array([[-np.inf, -3, -2], [-np.inf, -5, -9.0]])).tolist() == [0, 2, 1]


def test_one_target_keeps_its_own_ranking():
    scores = np.random.default_rng(0).normal(size=(1, 20))
    for how in ("mean", "max", "union"):
        np.testing.assert_array_equal(np.argsort(combine(scores, how=how)), np.argsort(scores[0]))


def test_scores_that_cannot_be_combined_are_refused():
    with pytest.raises(ConfigError, match="how='sum'"):
        combine(np.zeros((2, 3)), how="sum")
    with pytest.raises(ConfigError, match="scores"):
        combine(np.array([[np.nan, 1]]))

"""Class selection.

Vectors: lm_* (3), fm_* (2), fm_kmeans_assign_* (2), moderate_* (2), handpicked, counterfactual_subsets, orders (4).
Not matched: `ref_classes_k*` where `unique_k` is False (the reference breaks ties arbitrarily; its scores are
compared) and `random500_keep_classes` (torch's unseeded generator; ours are seeded by model).
"""

import warnings
from pathlib import Path

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.scores.classes import nearest
from dataprune.selectors.classes import (
    counterfactual,
    examples_of,
    handpicked,
    marked,
    random_halves,
    removal_order,
    top_classes,
    whole_groups,
)

REFERENCE = Path(__file__).parents[1] / "reference"
pytestmark = pytest.mark.filterwarnings("ignore:.*chosen by class id alone")


def by_class(ids, labels):
    """Class by class, file order inside: how feature mapping and moderate list what they keep."""
    return ids[np.argsort(labels[ids], kind="stable")]


@pytest.mark.parametrize("name", ["lm_basic", "lm_reverse", "lm_imagenet1k"])
def test_label_mapping_keeps_the_references_classes_and_examples(name):
    z = np.load(REFERENCE / f"{name}.npz")
    for k, unique in zip(z["ks"], z["unique_k"], strict=True):
        kept = top_classes(z["frequency"], k, reverse=bool(z["reverse"]))
        np.testing.assert_array_equal(kept, z[f"classes_k{k}"])
        assert set(kept) == set(z[f"ref_classes_k{k}"]) or not unique
        assert sorted(z["frequency"][kept]) == sorted(z["frequency"][z[f"ref_classes_k{k}"]])
        for split in ("train", "val"):
            table = z[f"source_{split}_labels"]
            ids = table[examples_of(kept, table[:, 0]), 1]
            np.testing.assert_array_equal(ids, z[f"{split}_indices_k{k}"])


@pytest.mark.parametrize("name", ["fm_basic", "fm_imbalanced"])
def test_feature_mapping_keeps_the_references_classes_and_examples(name):
    z = np.load(REFERENCE / f"{name}.npz")
    for k in z["ks"]:
        kept = top_classes(z["frequency"], k, reverse=bool(z["reverse"]))
        np.testing.assert_array_equal(kept, z[f"classes_k{k}"])
        for split, labels, ids in (("train", "src_labels", "src_ids"), ("val", "val_labels", "val_ids")):
            rows = by_class(examples_of(kept, z[labels]), z[labels])
            np.testing.assert_array_equal(z[ids][rows], z[f"{split}_indices_k{k}"])


@pytest.mark.parametrize("name", ["basic", "unconverged"])
def test_clusters_keep_the_references_examples(name):
    z = np.load(REFERENCE / f"fm_kmeans_assign_{name}.npz")
    for k in z["ks"]:
        kept = top_classes(z["frequency"], k)
        np.testing.assert_array_equal(kept, z[f"clusters_k{k}"])
        for split, short in (("train", "src"), ("val", "val")):
            cluster = nearest(z[f"{short}_features"], z["centroids"])
            rows = by_class(examples_of(kept, cluster), cluster)
            np.testing.assert_array_equal(z[f"{short}_ids"][rows], z[f"{split}_indices_k{k}"])


@pytest.mark.parametrize("name", ["basic", "imbalanced"])
@pytest.mark.parametrize("score", ["cmt", "cmt_median"])
def test_moderate_keeps_the_references_examples(name, score):
    z = np.load(REFERENCE / f"moderate_{name}.npz")
    for k in z["ks"]:
        rows = by_class(examples_of(top_classes(-z[f"{score}_score"], k), z["src_labels"]), z["src_labels"])
        np.testing.assert_array_equal(z["src_ids"][rows], z[f"{score}_train_indices_k{k}"])


def test_equal_counts_go_to_the_lower_class_in_both_directions():
    frequency = np.array([2, 0, 2, 5, 0], np.int32)
    assert top_classes(frequency, 5).tolist() == [3, 0, 2, 1, 4]
    assert top_classes(frequency, 5, reverse=True).tolist() == [1, 4, 0, 2, 3]


def test_ties_order_classes_of_equal_count_only():
    frequency, soft = np.array([1, 0, 0, 1]), np.array([0.1, 0.2, 0.5, 0.1])
    assert top_classes(frequency, 4, ties=soft).tolist() == [0, 3, 2, 1]
    assert top_classes(frequency, 4, reverse=True, ties=soft).tolist() == [1, 2, 0, 3]


def test_fewer_classes_are_a_prefix_and_top_and_bottom_share_them_out():
    frequency = np.random.default_rng(0).permutation(30).astype(np.uint8)
    whole = top_classes(frequency, 30)
    for k in range(1, 30):
        assert (top_classes(frequency, k) == whole[:k]).all()
        rest = top_classes(frequency, 30 - k, reverse=True)
        assert sorted([*whole[:k], *rest]) == list(range(30))


def test_a_cut_among_classes_of_count_zero_gives_a_warning():
    frequency = np.array([0, 3, 0, 0, 1])
    with pytest.warns(UserWarning, match=r"budget=3 takes 1 of the 3 classes with count 0, chosen by class id alone"):
        top_classes(frequency, 3)
    with pytest.warns(UserWarning, match=r"budget=1 takes 1 of the 3"):
        top_classes(frequency, 1, reverse=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for k, options in ((2, {}), (5, {}), (3, {"reverse": True}), (3, {"ties": np.arange(5.0)})):
            top_classes(frequency, k, **options)


@pytest.mark.parametrize("k", [0, 4, 1.5, True])
def test_k_outside_the_classes_is_refused(k):
    with pytest.raises(ConfigError, match=rf"budget={k}: expected 1 to 3"):
        top_classes(np.array([1, 2, 3]), k)


def test_k_is_another_name_of_the_budget():
    frequency = np.array([1, 3, 2])
    assert top_classes(frequency, k=2).tolist() == top_classes(frequency, budget=2).tolist() == [1, 2]
    with pytest.raises(ConfigError, match=r"k=4: expected 1 to 3"):
        top_classes(frequency, k=4)
    with pytest.raises(ConfigError, match=r"k=2: expected None beside budget"):
        top_classes(frequency, 2, k=2)


def test_nan_class_scores_name_the_class():
    with pytest.raises(ConfigError, match=r"frequency=NaN for classes 1"):
        top_classes(np.array([1.0, np.nan]), 1)


def test_examples_of_finds_the_rows_that_a_loop_finds():
    labels = np.random.default_rng(0).integers(0, 9, 200)
    classes = np.array([7, 2, 2, 11])
    slow = [i for i in range(200) if labels[i] in (7, 2, 11)]
    assert examples_of(classes, labels).tolist() == slow
    assert examples_of(np.array([11]), labels).tolist() == []


def test_permuting_the_label_table_permutes_the_index_list_only():
    rng = np.random.default_rng(0)
    table = np.column_stack([rng.integers(0, 5, 50), rng.permutation(1000)[:50]])
    shuffled = table[rng.permutation(50)]
    one, two = (t[examples_of(np.array([1, 3]), t[:, 0]), 1] for t in (table, shuffled))
    assert set(one) == set(two)


def test_examples_of_refuses_unknown_labels_and_no_classes():
    with pytest.raises(ConfigError, match=r"labels=-1 at ids 2"):
        examples_of(np.array([0]), np.array([0, 1, -1]))
    with pytest.raises(ConfigError, match=r"classes=empty array"):
        examples_of(np.empty(0, np.int64), np.array([0, 1]))


def test_handpicked_classes_keep_the_references_examples():
    z = np.load(REFERENCE / "handpicked_indices.npz")
    kept = handpicked(z["keep_classes"], 1000)
    for split in ("train", "test"):
        table = z[f"{split}_labels"]
        np.testing.assert_array_equal(table[examples_of(kept, table[:, 0]), 1], z[f"{split}_indices"])


def test_excluding_is_keeping_the_complement():
    assert handpicked(np.array([3, 0]), 5).tolist() == [0, 3]
    assert handpicked(np.array([3, 0]), 5, exclude=True, number=3).tolist() == [1, 2, 4]


@pytest.mark.parametrize(
    ("classes", "options", "message"),
    [
        ([1, 1, 2], {}, r"classes=1 twice"),
        ([5], {}, r"classes=5 at ids 0: expected class ids of 0 to 4"),
        ([0, 1, 2, 3, 4], {"exclude": True}, r"classes=5 classes with exclude=True"),
        ([0, 1], {"exclude": True, "number": 500}, r"number=500: expected -1 or 3"),
    ],
)
def test_handpicked_lists_that_cannot_be_meant_are_refused(classes, options, message):
    with pytest.raises(ConfigError, match=message):
        handpicked(np.array(classes), 5, **options)


def test_random_halves_are_a_function_of_seed_and_model():
    half = random_halves(1000, 3, 17)
    assert len(half) == len(set(half)) == 500
    assert (np.diff(half) > 0).all()
    assert (half == random_halves(1000, 3, 17)).all()
    others = [random_halves(1000, 3, 18), random_halves(1000, 4, 17), random_halves(1000, 17, 3)]
    assert all((half != other).any() for other in others)
    assert len(random_halves(7, 0, 0)) == 3
    assert len(random_halves(7, 0, 0, keep=7)) == 7


def test_random_halves_favour_no_class():
    counts = np.bincount(np.concatenate([random_halves(10, 0, i) for i in range(2000)]))
    assert np.abs(counts - 1000).max() < 5 * np.sqrt(2000 * 0.25)


@pytest.mark.parametrize("name", ["class_softmax", "class_margins", "class_correct", "example"])
def test_removal_order_gives_the_references(name):
    z = np.load(REFERENCE / f"influence_{name}.npz")
    np.testing.assert_array_equal(removal_order(z["influence_f64"]), z["order_ascending"])
    np.testing.assert_array_equal(removal_order(z["mean_influence"]), z["order_ascending"])


def test_undefined_influences_are_neutral_and_ties_go_to_the_lower_id():
    assert removal_order(np.array([[0.0, np.nan, -1.0, 2.0, 0.0]])).tolist() == [2, 0, 1, 4, 3]


def test_counterfactuals_keep_the_references_classes_and_examples():
    z = np.load(REFERENCE / "influence_counterfactual_subsets.npz")
    for direction in ("BOTTOM", "TOP"):
        for k in (0, 50, 130, 950):
            kept = counterfactual(z["infl_order_ascending"], k, direction.lower())
            np.testing.assert_array_equal(kept, z[f"{direction}_{k}_keep_classes"])
            for split in ("train", "val"):
                ids = examples_of(kept, z[f"{split}_labels"])
                np.testing.assert_array_equal(ids, z[f"{direction}_{k}_{split}_indices"])
        kept = counterfactual(z["example_order_ascending"], 700, direction.lower())
        np.testing.assert_array_equal(kept, z[f"example_{direction}_700_keep"])


def test_random_removals_of_one_seed_are_nested_and_ignore_the_order():
    order = np.arange(20)[::-1]
    kept = [set(counterfactual(order, k, "random", np.random.default_rng(1))) for k in (3, 8)]
    assert len(kept[0]) == 17
    assert kept[1] < kept[0]
    assert kept[0] == set(counterfactual(np.arange(20), 3, "random", np.random.default_rng(1)))


@pytest.mark.parametrize(
    ("order", "k", "direction", "message"),
    [
        ([0, 1, 2], 3, "bottom", r"k=3: expected 0 to 2"),
        ([0, 1, 2], -1, "top", r"k=-1"),
        ([0, 2, 2], 1, "top", r"order=3 ids: expected each of 0 to c-1 once"),
        ([0, 1, 2], 1, "BOTTOM", r"direction='BOTTOM': expected bottom \| top \| random"),
        ([0, 1, 2], 1, "random", r"rng=None"),
    ],
)
def test_counterfactuals_that_cannot_work_are_refused(order, k, direction, message):
    with pytest.raises(ConfigError, match=message):
        counterfactual(np.array(order), k, direction)


@pytest.mark.parametrize(("budget", "kept"), [(1, [2]), (4, [2]), (5, [0, 2]), (7, [0, 2]), (10, [0, 1, 2])])
def test_whole_groups_keeps_the_best_groups_whole(budget, kept):
    group = np.array([1, 0, 2, 0, 1, 0, 1, 1, 2, 1])  # 3, 5 and 2 members
    ids = whole_groups(np.array([0.5, -1.0, 4.0])[group], budget)
    assert sorted(ids) == [i for i in range(10) if group[i] in kept]
    assert ids[:2].tolist() == [2, 8], "the best group first"


def test_whole_groups_refuses_a_budget_that_cannot_be():
    with pytest.raises(ConfigError, match="budget=0"):
        whole_groups(np.zeros(3), 0)


def test_marked_keeps_or_excludes_the_marked_classes():
    assert marked(np.array([0.0, 1, 0, 1])).tolist() == [1, 3]
    assert marked(np.array([0.0, 1, 0, 1]), exclude=True).tolist() == [0, 2]
    with pytest.raises(ConfigError, match="exclude=True"):
        marked(np.ones(3), exclude=True)

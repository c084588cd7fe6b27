"""The published raw results of the sparse transfer study: whole, and with the means that the study's figures show."""

import numpy as np
import pytest

from dataprune.report.published import (
    CELL,
    over_seeds,
    over_targets,
    published,
    sparse_imagenet,
    sparse_transfers,
    with_imagenet,
)


@pytest.fixture(scope="module")
def results():
    return sparse_transfers()


def mean(results, network, transfer, method, sparsity, replicate=0):
    means = over_targets(results).set_index(CELL)
    return 100 * means.loc[(network, transfer, method, sparsity, replicate)].accuracy


def test_all_rows_are_there(results):
    assert len(results) == 2655
    counts = results.groupby(["transfer", "network"]).size()
    assert counts.to_dict() == {
        ("full", "mobilenetv1"): 132,
        ("full", "resnet50"): 723,
        ("linear", "mobilenetv1"): 600,
        ("linear", "resnet50"): 1200,
    }
    assert results.target.nunique() == 12
    assert results.accuracy.between(0.02, 0.98).all()
    assert not results.duplicated([*CELL, "target", "seed"]).any()


@pytest.mark.parametrize(
    ("transfer", "method", "sparsity", "wanted"),
    [
        ("linear", "Dense", 0, 74.48),
        ("full", "Dense", 0, 85.46),
        ("full", "WoodFisher", 0.8, 85.23),
        ("linear", "AC/DC", 0.8, 75.53),
        ("linear", "STR", 0.95, 72.07),
        ("linear", "LTH-T", 0.95, 15.94),
        ("full", "RigL ERK 5x", 0.9, 82.74),
        ("full", "STR", 0.98, 76.14),
    ],
)
def test_means_over_seeds_and_targets_are_the_published_ones(results, transfer, method, sparsity, wanted):
    assert mean(results, "resnet50", transfer, method, sparsity) == pytest.approx(wanted, abs=0.005)


def test_means_over_targets_weigh_each_target_once_whatever_its_seeds(results):
    seeds = over_seeds(results)
    assert seeds.n.isin([1, 3, 4, 5]).all()
    assert (seeds.n == 4).sum() == 3, "three cells have a fourth seed"
    line = seeds[(seeds.method == "AC/DC") & (seeds.target == "aircraft") & (seeds.transfer == "full")]
    line = line[(line.network == "resnet50") & (line.sparsity == 0.9)].iloc[0]
    assert (round(100 * line.accuracy, 2), round(100 * line["std"], 2)) == (82.81, 0.95)
    assert np.isnan(seeds[seeds.n == 1]["std"]).all()
    assert (over_targets(results).targets == 12).all()


def test_doubled_str_rows_are_kept_apart(results):
    found = [mean(results, "mobilenetv1", "full", "STR", 0.75, replicate) for replicate in (0, 1)]
    assert np.round(found, 2).tolist() == [77.57, 78.00]
    assert set(results[results.replicate == 1].target) == set(results.target)
    assert len(results[results.replicate == 1]) == 12


def test_orders_of_methods_are_those_of_the_study(results):
    linear = [mean(results, "resnet50", "linear", m, 0.8) for m in ("AC/DC", "STR", "WoodFisher", "LTH-T")]
    full = [mean(results, "resnet50", "full", m, 0.8) for m in ("WoodFisher", "AC/DC", "LTH-T", "STR")]
    assert linear == sorted(linear, reverse=True)
    assert full == sorted(full, reverse=True)


def test_imagenet_accuracy_is_of_trainings_without_label_smoothing_where_there_are_any():
    one = sparse_imagenet(label_smoothing=False).set_index(["network", "method", "sparsity"])
    assert one.index.is_unique
    assert one.loc[("resnet50", "RigL ERK 5x", 0.8)].top1 == 76.17
    assert one.loc[("resnet50", "STR", 0.8)].top1 == 76.12
    assert one.loc[("resnet50", "Dense", 0)].top1 == 77.01
    smoothed = sparse_imagenet(label_smoothing=True).set_index(["network", "method", "sparsity"])
    assert smoothed.loc[("resnet50", "RigL ERK 5x", 0.8)].top1 == 77.17
    assert len(sparse_imagenet()) == len(one) + 5


def test_every_line_with_imagenet_accuracy_is_one_of_the_study(results):
    found = with_imagenet(over_targets(results))
    assert not found.duplicated([*CELL]).any()
    assert set(found[found.network == "resnet50"].method) == {"Dense", "AC/DC", "RigL ERK 1x", "RigL ERK 5x", "STR"}
    assert len(found[(found.network == "resnet50") & (found.transfer == "linear")]) == 1 + 3 + 3 + 3 + 4
    assert found.top1.between(60, 78).all()


def test_figures_of_data_pruning_are_found_as_before():
    assert published("cifar10")["full", 0.0].top1 == 95.2

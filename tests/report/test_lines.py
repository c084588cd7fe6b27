"""One n for mean, deviation and display; different experiments are different lines."""

import random
import statistics

import pandas as pd
import pytest

from dataprune.report.compare import against_random
from dataprune.report.lines import frame, settings, summary, unnamed
from dataprune.report.reading import usable
from tests.report.made_up import d2, full, row


def lines(rows):
    """Lines by label and ratio."""
    summed = summary(frame(usable(rows)[0]))
    return {(line.label, line.prune_ratio): line for line in summed.itertuples(index=False)}


def test_three_gammas_and_two_seeds_are_three_lines_of_two():
    found = lines([d2(gamma, gamma / 2 + seed / 10, seed=seed) for gamma in (0.1, 0.5, 1.0) for seed in (0, 1)])
    assert {label: line.n for (label, _), line in found.items()} == {
        "d2 gamma=0.1": 2,
        "d2 gamma=0.5": 2,
        "d2 gamma=1.0": 2,
    }
    for gamma in (0.1, 0.5, 1.0):
        line = found[f"d2 gamma={gamma}", 0.5]
        assert line.accuracy == pytest.approx(gamma / 2 + 0.05)
        assert line.std == pytest.approx(statistics.stdev([0, 0.1]))


def test_mean_and_deviation_are_those_of_the_seeds():
    values = [0.81, 0.84, 0.9, 0.7]
    line = lines([row(accuracy=a, seed=s) for s, a in enumerate(values)])["random", 0.5]
    assert line.n == 4
    assert line.accuracy == pytest.approx(statistics.fmean(values))
    assert line.std == pytest.approx(statistics.stdev(values)), "n - 1"
    assert line.worst_class == pytest.approx(statistics.fmean(values) / 2)


def test_one_seed_has_no_deviation():
    line = lines([row()])["random", 0.5]
    assert line.n == 1
    assert pd.isna(line.std)


def test_n_counts_tuples_of_seeds():
    seeds = [{"seed": s, "surrogate.seed": t} for s in (0, 1) for t in (0, 1)]
    assert lines([d2(0.1, seeds=each) for each in seeds])["d2", 0.5].n == 4


def test_ratios_of_one_identity_are_one_label():
    assert set(lines([d2(0.1, ratio=ratio) for ratio in (0.3, 0.5)])) == {("d2", 0.3), ("d2", 0.5)}


def test_data_of_equal_name_and_other_content_are_never_averaged():
    other = {"source": {"content": "99ff", "size": 28}}
    found = lines([row(accuracy=0.9), row(accuracy=0.1, config=other)])
    assert {label: line.accuracy for (label, _), line in found.items()} == {
        "random content=ab12": 0.9,
        "random content=99ff": 0.1,
    }


def test_a_target_is_measured_on_the_target():
    metrics = {"source_top1": 0.2, "target_top1": 0.8}
    line = lines([row(target="digits", metrics=metrics)])["random", 0.5]
    assert (line.accuracy, line.source_top1) == (0.8, 0.2)


def rows_of_a_page():
    rows = [
        d2(g, 0.6 + g / 9 + s / 50 + r / 90, seed=s, ratio=r) for g in (0.1, 1.0) for s in range(3) for r in (0.3, 0.5)
    ]
    rows += [row(accuracy=0.7 + s / 60, seed=s, ratio=r) for s in range(4) for r in (0.3, 0.5)]
    return rows + [full(seed=s, accuracy=0.9 + s / 100) for s in range(3)]


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_rows_give_the_same_page(seed):
    rows = rows_of_a_page()
    shuffled = random.Random(seed).sample(rows, len(rows))
    for made in (summary, against_random):
        expected, found = (made(frame(usable(each)[0])) for each in (rows, shuffled))
        pd.testing.assert_frame_equal(expected, found, check_exact=True)


@pytest.mark.parametrize(
    "unrelated",
    [
        [row("eva", 0.2, seed=s, target="digits") for s in range(3)],
        [row("eva", 0.2, seed=s, model="resnet18", config={"pretrain": {"epochs": 90}}) for s in range(3)],
        [row("random", 0.2, seed=s, source="other", config={"source": {"content": "77"}}) for s in range(3)],
    ],
    ids=["another target", "another network", "another source"],
)
def test_an_experiment_of_another_section_changes_nothing(unrelated):
    before, after = (frame(usable(each)[0]) for each in (rows_of_a_page(), rows_of_a_page() + unrelated))
    for made in (summary, against_random):
        expected, found = made(before), made(after)
        mine = found.merge(expected[["source", "target", "model", "identity", "prune_ratio"]])
        pd.testing.assert_frame_equal(mine, expected, check_exact=True)


@pytest.mark.parametrize(
    "unrelated",
    [
        [d2(5.0, 0.1, seed=s) for s in range(3)],
        [row(accuracy=0.1, seed=s, config={"pretrain": {"epochs": 60}}) for s in range(9)],
        [row(accuracy=0.1, seed=s, config={"source": {"content": "other"}}) for s in range(9)],
        [row(accuracy=0.1, seed=s, ratio=0.9) for s in range(9)],
    ],
    ids=["another constant", "random of another recipe", "random of other data", "another ratio"],
)
def test_another_experiment_of_the_section_changes_no_figure(unrelated):
    before, after = (frame(usable(each)[0]) for each in (rows_of_a_page(), rows_of_a_page() + unrelated))
    figures = ["identity", "prune_ratio", "n", "accuracy", "std", "worst_class", "device_s", "flops"]
    tests = ["identity", "prune_ratio", "n", "n_random", "points", "low", "high", "p"]
    for made, names in ((summary, figures), (against_random, tests)):
        expected = made(before)[names]
        mine = made(after)[names].merge(expected[["identity", "prune_ratio"]])
        pd.testing.assert_frame_equal(
            *(each.sort_values(["identity", "prune_ratio"], ignore_index=True) for each in (mine, expected)),
            check_exact=True,
        )


def test_costs_are_means_and_what_is_unknown_is_joined():
    known, unknown = {"device_s": 10.0, "flops": 2e9}, {"device_s": 30.0, "flops": None, "unknown": ["surrogate"]}
    line = lines([row(cost=known), row(seed=1, cost=unknown, claimed=True)])["random", 0.5]
    assert line.device_s == 20
    assert pd.isna(line.flops), "a mean of what is known would be no mean"
    assert line.unknown == ("surrogate",)
    assert line.claimed


def test_accuracy_over_kept_classes_stands_apart_only_without_a_target():
    rows = {
        "without target": row("label_mapping", level="class"),
        "with target": row("label_mapping", target="digits", level="class"),
        "all classes kept": row("handpicked", level="class", kept=100),
        "examples": row(),
        "whole source": full(level="class"),
    }
    apart = {name for name, each in rows.items() if frame([each]).classes_only.item()}
    assert apart == {"without target"}


def test_a_section_says_which_settings_it_mixes():
    longer = {"pretrain": {"epochs": 60, "batch_size": 128}}
    rows = [row(), d2(0.1), d2(0.1, config=longer)]
    alone = row("scratch", ratio=1.0, trains_on="nothing", config={"pretrain": {}})
    assert settings(frame([*rows[:2], alone])) == {"": ["d2", "random"]}
    assert settings(frame(rows)) == {
        "epochs=6": ["d2 pretrain.epochs=6", "random"],
        "epochs=60": ["d2 pretrain.epochs=60"],
    }


def test_what_labels_leave_unsaid_is_told():
    recipe = {"pretrain": {"epochs": 60, "batch_size": 64}}
    assert unnamed(frame([row(), row(config=recipe)])) == {"random": ["pretrain.epochs"]}

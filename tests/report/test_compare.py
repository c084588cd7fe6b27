"""Every statistic against scipy or a table worked by hand."""

import numpy as np
import pytest
from scipy import stats

from dataprune.report.compare import EQUAL, FEW, SEVERAL, against_random, holm, welch, without_random
from dataprune.report.lines import frame
from dataprune.report.reading import usable
from tests.report.made_up import d2, full, row

OURS, THEIRS = [0.91, 0.93, 0.90, 0.95], [0.88, 0.90, 0.91]


def compared(rows):
    """Comparisons by label, and by ratio where there are several."""
    found = against_random(frame(usable(rows)[0]))
    return {line.label: line for line in found.itertuples(index=False)}


def seeds(make, accuracies, **changes):
    return [make(accuracy=accuracy, seed=s, **changes) for s, accuracy in enumerate(accuracies)]


@pytest.mark.parametrize(
    ("ours", "theirs"), [(OURS, THEIRS), ([0.5, 0.7], [0.6, 0.6001]), ([0.8, 0.8, 0.8], [0.7, 0.75, 0.9])]
)
@pytest.mark.filterwarnings("ignore:Precision loss")  # scipy's, of a sample without spread
def test_welch_is_scipys(ours, theirs):
    found, known = welch(ours, theirs), stats.ttest_ind(ours, theirs, equal_var=False)
    interval = known.confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert found.p == pytest.approx(known.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_welch_by_hand():
    # variances 1 and 4 of two each: error sqrt(1/2 + 4/2) = 1.5811, freedom 2.5^2 / (0.25 + 4) = 1.4706
    found = welch([0, np.sqrt(2)], [0, np.sqrt(8)])
    error, freedom = np.sqrt(2.5), 6.25 / 4.25
    assert found.mean == pytest.approx(-np.sqrt(2) / 2)
    assert found.p == pytest.approx(2 * stats.t.cdf(-np.sqrt(0.5) / error, freedom))
    assert found.high - found.low == pytest.approx(2 * error * stats.t.ppf(0.975, freedom))


@pytest.mark.parametrize(("ours", "theirs"), [([0.5], [0.6, 0.7]), ([0.5, 0.6], [0.7]), ([0.5, 0.5], [0.6, 0.6])])
@pytest.mark.filterwarnings("error")
def test_without_spread_there_is_no_test(ours, theirs):
    found = welch(ours, theirs)
    assert found.mean == pytest.approx(np.mean(ours) - np.mean(theirs))
    assert np.isnan([found.p, found.low, found.high]).all()


def test_holm_by_hand():
    # 4 tests: 0.01 x 4, 0.015 x 3, 0.02 x 2 (below the one before it: raised to that), 0.5 x 1
    assert holm([0.02, 0.5, 0.01, 0.015]) == pytest.approx([0.045, 0.5, 0.04, 0.045])


def test_holm_leaves_what_was_not_tested_out_of_the_family():
    np.testing.assert_allclose(holm([np.nan, 0.02, 0.9, np.nan]), [np.nan, 0.04, 0.9, np.nan])
    assert holm([0.7, 0.6]).tolist() == [1.0, 1.0]
    assert holm([]).shape == (0,)


def slow_holm(p):
    """Step down, as in Holm 1979: reject the smallest while p <= level / (how many are left)."""
    adjusted = []
    for i in range(len(p)):
        below = [j for j in range(len(p)) if (p[j], j) <= (p[i], i)]
        ranks = [sum((p[k], k) < (p[j], j) for k in range(len(p))) for j in below]
        adjusted.append(min(1, max(p[j] * (len(p) - rank) for j, rank in zip(below, ranks, strict=True))))
    return adjusted


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_its_slow_twin(seed):
    p = np.round(np.random.default_rng(seed).random(9) ** 3, 2)
    assert holm(p) == pytest.approx(slow_holm(p))


def test_points_interval_and_p_are_of_the_lines_seeds():
    line = compared(seeds(row, THEIRS) + [d2(0.1, a, seed=s) for s, a in enumerate(OURS)])["d2"]
    known = stats.ttest_ind(OURS, THEIRS, equal_var=False)
    assert line.points == pytest.approx(100 * (np.mean(OURS) - np.mean(THEIRS)))
    assert (line.low, line.high) == pytest.approx([100 * x for x in known.confidence_interval(0.95)])
    assert (line.p, line.p_holm) == pytest.approx((known.pvalue, known.pvalue)), "a family of one"
    assert (line.n, line.n_random, line.against) == (4, 3, "random")


def test_the_verdict_goes_by_the_corrected_p():
    chance = seeds(row, [0.80, 0.81, 0.82, 0.81])
    ours = [0.822, 0.832, 0.83, 0.816]
    alone = compared(chance + [d2(0.0, a, seed=s) for s, a in enumerate(ours)])["d2"]
    assert 0.01 < alone.p < 0.05
    assert alone.verdict == "better"
    five = [d2(g / 10, a, seed=s) for g in range(5) for s, a in enumerate(ours)]
    found = compared(chance + five)
    assert {line.p for line in found.values()} == {alone.p}
    assert [line.p_holm for line in found.values()] == pytest.approx([5 * alone.p] * 5)
    assert {line.verdict for line in found.values()} == {"within noise"}


def test_a_family_is_one_section():
    rows = [made for target in (None, "digits") for made in seeds(row, THEIRS, target=target)]
    rows += [d2(0.1, a, seed=s, target=target) for target in (None, "digits") for s, a in enumerate(OURS)]
    found = against_random(frame(usable(rows)[0]))
    assert len(found) == 2
    assert found.p_holm.tolist() == found.p.tolist()


def test_a_worse_method_is_called_worse():
    rows = seeds(row, [0.90, 0.91, 0.90, 0.91]) + [d2(0.1, a, seed=s) for s, a in enumerate([0.5, 0.51, 0.5, 0.49])]
    assert compared(rows)["d2"].verdict == "worse"


def test_duplicated_random_rows_do_not_shrink_the_error():
    ours = [d2(0.1, a, seed=s) for s, a in enumerate(OURS)]
    once, often = (seeds(row, THEIRS) * times for times in (1, 5))
    assert compared(ours + often) == compared(ours + once)


def test_fewer_than_two_seeds_get_no_verdict_and_are_told_so():
    rows = [*seeds(row, THEIRS), d2(0.1, 0.99)]
    line = compared(rows)["d2"]
    assert line.verdict == FEW
    assert np.isnan(line.p)
    assert line.points == pytest.approx(100 * (0.99 - np.mean(THEIRS)))


def test_seeds_that_all_agree_get_no_verdict():
    assert compared(seeds(row, [0.5, 0.5]) + [d2(0.1, 0.6, seed=s) for s in (0, 1)])["d2"].verdict == EQUAL


@pytest.mark.parametrize(
    "other",
    [
        {"config": {"pretrain": {"epochs": 60}}},
        {"config": {"source": {"content": "other"}}},
        {"config": {"evaluate": {"half": "first"}}},
        {"ratio": 0.3},
        {"target": "digits"},
        {"transfer": "all", "target": "digits"},
        {"level": "class", "method": "random_classes"},
    ],
    ids=str,
)
def test_a_line_meets_only_random_of_its_own_arena(other):
    chance = [row(**({"accuracy": a, "seed": s} | other)) for s, a in enumerate(THEIRS)]
    ours = [d2(0.1, a, seed=s) for s, a in enumerate(OURS)]
    rows = chance + ours
    assert compared(rows) == {}
    table = frame(rows)
    assert without_random(table, against_random(table)).to_dict("records") == [{"label": "d2", "prune_ratio": 0.5}]


def test_transfers_of_one_target_are_not_compared_with_each_other():
    probe = seeds(row, THEIRS, target="digits")
    config = {"transfer": {"epochs": 2, "trainable": "all"}}
    ours = [d2(0.1, a, seed=s, target="digits", transfer="all", config=config) for s, a in enumerate(OURS)]
    assert compared(probe + ours) == {}


def test_what_guides_the_selection_is_no_part_of_the_arena():
    config = {"surrogate": {"epochs": 99}, "signals": {"batch_size": 5}, "others": {"pets": {"content": "11"}}}
    rows = seeds(row, THEIRS) + [d2(0.1, a, seed=s, config=config) for s, a in enumerate(OURS)]
    assert compared(rows)["d2"].verdict != ""


def test_two_random_lines_of_one_arena_leave_it_open():
    rewritten = {"method": {"select": {"_target_": "dataprune.selectors.ranked.random", "code": {"x": "new"}}}}
    rows = seeds(row, THEIRS) + seeds(row, THEIRS, config=rewritten) + [d2(0.1, a, seed=s) for s, a in enumerate(OURS)]
    line = compared(rows)["d2"]
    assert line.verdict == SEVERAL
    assert np.isnan(line.points)


def test_whole_sources_and_kept_classes_are_not_tested():
    rows = seeds(row, THEIRS) + seeds(full, OURS)
    for method in ("random_classes", "label_mapping"):
        rows += seeds(lambda method=method, **k: row(method, level="class", **k), OURS)
    assert compared(rows) == {}

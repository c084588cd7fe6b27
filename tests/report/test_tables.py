"""Numbers as a reader sees them: on the terminal and in table.csv."""

from collections import namedtuple

import numpy as np
import pytest

from dataprune.report import tables
from dataprune.report.compare import against_random
from dataprune.report.lines import frame, summary
from tests.report.made_up import d2, full, row

Line = namedtuple("Line", "flops device_s images_seen unknown")


def whole(rows):
    table = frame(rows)
    return table, summary(table), against_random(table)


def page_rows():
    rows = [d2(g, 0.8 + g / 9 + s / 50, seed=s) for g in (0.1, 0.5) for s in (0, 1)]
    rows += [row(accuracy=0.7 + s / 60, seed=s) for s in range(3)]
    return [*rows, full()]


@pytest.mark.parametrize(
    ("line", "name", "text"),
    [
        (Line(1.234e12, 1234.56, 600, ()), "flops", "1.2e12"),
        (Line(1.2e12, 1234.56, 600, ()), "device_s", "1,234.6"),
        (Line(1.2e12, 12.3, 600, ("surrogate",)), "device_s", ">= 12.3"),
        (Line(1.2e12, 12.3, 600, ("surrogate",)), "flops", ">= 1.2e12"),
        (Line(np.nan, 12.3, 600, ()), "flops", "unknown"),
        (Line(1.2e12, 12.3, 600, ("surrogate",)), "images_seen", "600"),
        (Line(1.2e12, 12.3, 600, ("model",)), "images_seen", ">= 600"),
    ],
)
def test_a_cost_that_is_not_all_known_never_looks_complete(line, name, text):
    assert tables.paid(line, name) == text


def test_the_terminal_shows_each_line_with_its_label_and_n():
    text = tables.printed(*whole(page_rows()))
    assert text.count("\nd2 gamma=0.1 ") == 2, "its line and its verdict"
    assert [line.split()[-6] for line in text.splitlines() if line.startswith("random ")] == ["3"], "n"
    assert "against random, n 2 and 3; p " in text
    assert "One surrogate serves all seeds of d2 gamma=0.1, d2 gamma=0.5:" in text


def test_the_terminal_shows_the_best_epoch_where_there_is_a_curve():
    curve = {"source": {"top1": 0.85, "split": "validation", "epoch": 3, "of": 6}}
    text = tables.printed(*whole([row(accuracy=0.7), d2(0.1, 0.8, best=curve)]))
    lines = [line.split() for line in text.splitlines() if line.startswith(("d2 ", "random "))]
    assert ["80.0", "85.0", "(validation)", "1"] in [line[3:7] for line in lines]
    assert ["70.0", "1"] in [line[3:5] for line in lines], "it has none"
    assert tables.BEST in text
    assert tables.BEST not in tables.printed(*whole(page_rows()))


def test_the_terminal_sets_accuracy_over_kept_classes_apart():
    rows = [row("label_mapping", 0.99, level="class"), full()]
    first, _, second = tables.printed(*whole(rows)).partition(tables.CLASSES_ONLY)
    assert "full" in first
    assert "label_mapping" not in first
    assert "label_mapping" in second


def test_the_terminal_says_what_had_no_random_line():
    rows = [*page_rows(), d2(0.1, ratio=0.9)]
    assert "same data, recipes, level and ratio: d2 gamma=0.1 at 0.9." in tables.printed(*whole(rows))


def test_table_csv_has_identity_label_n_costs_and_verdicts():
    _, summed, compared = whole(page_rows())
    found = tables.csv_table(summed, compared).set_index("label")
    assert found.n.to_dict() == {"full": 1, "d2 gamma=0.1": 2, "d2 gamma=0.5": 2, "random": 3}
    assert found.identity.to_dict() == summed.set_index("label").identity.to_dict()
    tested = compared.set_index("label")
    for name in ("p", "p_holm", "verdict"):
        assert found.loc["d2 gamma=0.5", name] == tested.loc["d2 gamma=0.5", name]
    assert found.verdict.isna().to_dict()["random"]
    assert {"device_s", "flops", "images_forward", "images_backward", "unknown", "claimed"} <= set(found.columns)


def test_networks_with_zeros_say_how_many_weights_are_left_and_what_a_pass_would_cost():
    known = {"density": {"target": 0.2}, "flops_dense": {"target": 4e9}, "flops_sparse": {"target": 1e9}}
    dense = {name: {"target": value} for name, value in (("density", 1.0), ("flops_dense", 4e9), ("flops_sparse", 4e9))}
    rows = [full(0.9, target="digits", **known), row(accuracy=0.8, target="digits", **dense)]
    table, summed, compared = whole(rows)
    (note,) = tables.zeros(summed)
    assert note.endswith("full at 0: 0.2 left, 1e+09 of 4e+09 FLOPs.")
    assert tables.zeros(summary(frame([row(target="digits")]))) == [], "rows of earlier versions do not say"
    written = tables.csv_table(summed, compared)
    assert dict(zip(written.method, written.density, strict=True)) == {"full": 0.2, "random": 1.0}
    assert note in tables.printed(table, summed, compared)

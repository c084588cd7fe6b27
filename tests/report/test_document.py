"""The page as it lies in the folder."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from dataprune.report import figures, results
from dataprune.report.__main__ import main
from dataprune.report.document import draw
from dataprune.report.lines import frame, summary
from dataprune.report.page import Page
from tests.report.made_up import d2, full, row


def drawn(folder, rows):
    """The page's text."""
    (folder / "rows.json").write_text(json.dumps(rows))
    return draw(folder, folder / "store").read_text()


def legends(monkeypatch):
    """Collects the labels of the lines of every plot that a page gets."""
    found = []
    kept = Page.figure

    def figure(page, drawn, name, **options):
        found.append((name, [text.get_text() for legend in drawn.legends for text in legend.texts]))
        kept(page, drawn, name, **options)

    monkeypatch.setattr(Page, "figure", figure)
    return found


def test_three_gammas_are_three_lines_in_table_plots_verdicts_and_csv(tmp_path, monkeypatch):
    shown = legends(monkeypatch)
    rows = [d2(g, 0.8 + g / 9 + s / 50, seed=s) for g in (0.1, 0.5, 1.0) for s in (0, 1)]
    text = drawn(tmp_path, rows + [row(accuracy=0.7 + s / 60, seed=s) for s in (0, 1)])
    labels = ["d2 gamma=0.1", "d2 gamma=0.5", "d2 gamma=1.0"]
    assert shown == [(f"accuracy by {axis}", [*labels, "random"]) for axis in ("ratio", "cost")]
    for label in labels:
        assert text.count(f"<td>{label}<") == 2, "in the table and among the verdicts"
    assert [label for label in pd.read_csv(tmp_path / "table.csv").label if label != "random"] == labels


def test_two_targets_draw_two_pictures_each(tmp_path):
    drawn(tmp_path, [row(target=target, accuracy=a) for target, a in (("digits", 0.5), ("pets", 0.9))])
    names = {path.name for path in tmp_path.glob("*.png")}
    assert names == {
        f"accuracy_by_{axis}_glyphs_{t}_cnn_head.png" for axis in ("ratio", "cost") for t in ("digits", "pets")
    }


def test_names_that_file_names_cannot_tell_apart_do_not_overwrite(tmp_path):
    page = Page(tmp_path)
    for name in ("kept A", "kept a", "kept 数"):
        page.figure(figures.sheet(1, 1)[0], name)
    assert len(set(page.pictures)) == 3
    page.section = ["x" * 400]
    page.figure(figures.sheet(1, 1)[0], "long")
    assert page.pictures[-1].exists()


NASTY = r"US$ \frac$ {x_"


def test_names_with_dollar_and_backslash_draw(tmp_path):
    drawn(tmp_path, [row(method=NASTY), row(method=f"{NASTY}2"), full(source=NASTY)])


@pytest.mark.parametrize(
    "draw_names",
    [
        lambda: figures.histogram(np.arange(9.0), np.arange(9) > 4, NASTY),
        lambda: figures.class_ranking(np.arange(3), [NASTY, "b", "c"], np.array([0]), NASTY),
        lambda: figures.matrix(np.eye(2), [NASTY, "b"], [NASTY, "b"], NASTY, 0),
        lambda: figures.montage(np.zeros((2, 8, 8, 3), np.uint8), 255, [NASTY, "b"]),
    ],
    ids=["histogram", "class_ranking", "matrix", "montage"],
)
def test_class_names_with_dollar_and_backslash_draw(tmp_path, draw_names):
    page = Page(tmp_path)
    page.figure(draw_names(), NASTY)
    page.figure(draw_names(), NASTY, bitmap=True)
    assert len(page.pictures) == 2


def test_accuracy_over_kept_classes_is_neither_plotted_nor_beside_the_rest(tmp_path, monkeypatch):
    shown = legends(monkeypatch)
    text = drawn(tmp_path, [row("label_mapping", level="class"), row(), d2(0.1)])
    assert [labels for _, labels in shown] == [["d2", "random"]] * 2
    before, _, after = text.partition("Measured on the kept classes only")
    assert "<td>label_mapping<" not in before
    assert "<td>label_mapping<" in after


def test_kept_classes_alone_are_a_page_too(tmp_path, monkeypatch):
    shown = legends(monkeypatch)
    assert "<td>label_mapping<" in drawn(tmp_path, [row("label_mapping", level="class")])
    assert shown == []


def axes_of(monkeypatch, tmp_path, rows):
    asked = []
    kept = figures.accuracy_by_cost
    monkeypatch.setattr(
        results.figures,
        "accuracy_by_cost",
        lambda part, look, cost: asked.append((cost, sorted(part.label))) or kept(part, look, cost),
    )
    return drawn(tmp_path, rows), asked


def test_cost_is_in_flops_where_all_are_known(tmp_path, monkeypatch):
    assert axes_of(monkeypatch, tmp_path, [row(), d2(0.1)])[1] == [("flops", ["d2", "random"])]


def test_cost_is_in_seconds_where_some_flops_are_not_known(tmp_path, monkeypatch):
    rows = [row(), d2(0.1, cost={"flops": None})]
    assert axes_of(monkeypatch, tmp_path, rows)[1] == [("device_s", ["d2", "random"])]


def test_a_line_of_unknown_cost_is_not_plotted_as_if_it_were_complete(tmp_path, monkeypatch):
    text, asked = axes_of(monkeypatch, tmp_path, [row(), d2(0.1, cost={"unknown": ["surrogate"], "flops": None})])
    assert asked == [("flops", ["random"])]
    assert "Not in this plot, because a part of the cost is unknown: d2." in text
    assert "&gt;= 7.5" in text
    assert "<td>unknown<" in text


def test_claimed_lines_are_marked(tmp_path):
    assert "<td>random (claimed)<" in drawn(tmp_path, [row(claimed=True)])


def test_published_figures_stand_only_where_one_line_has_the_name(tmp_path):
    rows = [row("full", ratio=0.0, trains_on="full", source="cifar10", kept=100)]
    assert "<td>95.2<" in drawn(tmp_path, rows)
    longer = [rows[0] | {"identity": "other", "config": rows[0]["config"] | {"pretrain": {"epochs": 1}}}]
    assert "<td>95.2<" not in drawn(tmp_path, rows + longer)


def test_a_page_says_what_it_left_out_and_is_drawn_without_a_store(tmp_path, capsys):
    text = drawn(tmp_path, [row(), {"method": "of version 0.1"}])
    assert "1 of 2 rows were written by version 0.1" in text
    assert len(re.findall("written by version 0.1", capsys.readouterr().out)) == 1


def test_rows_of_version_0_1_alone_are_no_report(tmp_path, monkeypatch, capsys):
    (tmp_path / "rows.json").write_text(json.dumps([{"method": "random"}]))
    monkeypatch.setattr("sys.argv", ["report", str(tmp_path)])
    assert main() == 1
    printed = capsys.readouterr()
    assert "1 of 1 rows were written by version 0.1" in printed.out
    assert "no rows" in printed.err
    assert not (tmp_path / "report.html").exists()


def test_ratios_of_one_line_are_joined_and_labels_have_one_look():
    summed = summary(frame([row(ratio=r) for r in (0.3, 0.5)] + [d2(g, ratio=0.3) for g in (1.0, 2.0)]))
    look = figures.styles(summed)
    assert len(set(look.values())) == 3
    drawn = figures.accuracy_by_ratio(summed, look).axes[0]
    assert sorted(len(container[0].get_xdata()) for container in drawn.containers) == [1, 1, 2]


def test_hundreds_of_lines_are_all_in_the_table_but_not_all_plotted(tmp_path, monkeypatch):
    shown = legends(monkeypatch)
    text = drawn(tmp_path, [d2(float(gamma)) for gamma in range(70)])
    assert text.count("<td>d2 gamma=") == 70
    assert "Plotted are the first 60 of 70 lines." in text
    assert "is shown of the first 40 of 70 lines." in text
    assert [len(labels) for _, labels in shown] == [60, 60]


def test_the_best_epoch_stands_beside_the_last_and_says_where_it_was_selected(tmp_path):
    curve = {"epoch": 3, "of": 6}
    rows = [
        row(accuracy=0.7, best={"source": {"top1": 0.75, "split": "test"} | curve}),
        d2(0.1, 0.8, best={"source": {"top1": 0.85, "split": "validation"} | curve}),
    ]
    text = drawn(tmp_path, rows)
    assert "<th>best, %" in text
    assert "<td>75.0<" in text
    assert "<td>85.0 (validation)<" in text
    assert "selected on the split that it is measured on" in text
    table = pd.read_csv(tmp_path / "table.csv")
    assert dict(zip(table.best, table.best_split, strict=True)) == {0.75: "test", 0.85: "validation"}


def test_without_a_curve_there_is_no_column_for_its_best(tmp_path):
    assert "best, %" not in drawn(tmp_path, [row()])

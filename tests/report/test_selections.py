"""What is kept is shown of what the store still holds, and only selections of one data set lie side by side."""

import re
from types import SimpleNamespace

import numpy as np

from dataprune.report.lines import frame
from dataprune.report.page import Page
from dataprune.report.selections import _show_concentration, by_data, selections, show_examples, show_selections
from dataprune.store import Store
from tests.report.made_up import d2, full, row


def test_selections_that_are_gone_from_the_store_are_named(tmp_path):
    table = frame([row(), d2(0.1), d2(0.5), full()])
    page = Page(tmp_path)
    show_selections(page, Store(tmp_path), table)
    assert selections(Store(tmp_path), table) == []
    (note,) = page.parts
    assert "not shown of d2 gamma=0.1, d2 gamma=0.5, random: the store no longer holds it" in note


def test_selections_of_different_data_are_not_laid_side_by_side():
    chosen = [SimpleNamespace(label=i, examples=SimpleNamespace(fingerprint=f)) for i, f in enumerate("aba")]
    assert [[s.label for s in group] for group in by_data(chosen)] == [[0, 2], [1]]


def test_lines_of_text_are_shown_with_class_and_score_and_long_ones_cut(tmp_path):
    texts = ["a <b>good</b> film", "long " * 100]
    codec = SimpleNamespace(show=lambda item: item.strip())
    examples = SimpleNamespace(codec=codec, items=texts, classes=["down", "up"], labels=np.array([1, 0]))
    page = Page(tmp_path)
    show_examples(page, examples, np.array([0, 1]), np.array([0.25, 3.0]), "kept")
    table = "".join(page.parts)
    for cells in ("a &lt;b&gt;good&lt;/b&gt; film<td>up<td>0.25<", "…<td>down<td>3<"):
        assert cells in table
    assert table.count("long") == 60


def test_how_the_target_falls_on_the_classes_is_a_plot_and_two_tables(tmp_path):
    page = Page(tmp_path)
    _show_concentration(page, "LM", np.array([0, 6, 0, 3, 1]))
    assert [path.name for path in page.pictures] == ["concentration_lm.png"]
    text = re.sub("<[^>]*>", " ", " ".join(page.parts))
    assert "2 of 5 classes have count 0" in text
    assert re.findall(r"(\d+)%", text) == ["0", "0", "0", "0", "0", "10", "10", "40", "40", "100", "100"]
    assert "target examples 0 1 3 6 classes 2 1 1 1" in re.sub(r"\s+", " ", text)
    page = Page(tmp_path)
    _show_concentration(page, "LM", np.arange(40))
    assert "(both ends)" in page.parts[-4]

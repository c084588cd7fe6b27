"""What is kept is shown of what the store still holds, and only selections of one data set lie side by side."""

from types import SimpleNamespace

from dataprune.report.lines import frame
from dataprune.report.page import Page
from dataprune.report.selections import by_data, selections, show_selections
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

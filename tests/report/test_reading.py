"""Every experiment is read once, whatever lies in the folders."""

import json

from dataprune.report.reading import read_rows, usable
from tests.report.made_up import full, row


def test_the_same_experiment_in_two_folders_is_one_row(tmp_path):
    for job in ("0", "1"):
        (tmp_path / job).mkdir()
        found = row(row=job, cost={"shared": ["source"]} if job == "1" else {})
        (tmp_path / job / "rows.json").write_text(json.dumps([found]))
    rows, notes = read_rows(tmp_path)
    assert len(rows) == 1
    assert notes == []


def test_rows_of_version_0_1_are_left_out_and_counted():
    old = [{key: value for key, value in row(seed=s).items() if key != "identity"} for s in (1, 2)]
    rows, (note,) = usable([row(), *old])
    assert [r["seed"] for r in rows] == [0]
    assert note.startswith("2 of 3 rows were written by version 0.1")


def test_rows_of_one_experiment_that_disagree_are_all_left_out_and_named():
    rows, (note,) = usable([row(accuracy=0.9, row="first"), row(accuracy=0.8, row="second"), row(seed=1)])
    assert [r["seed"] for r in rows] == [1]
    assert "Rows first and second are the same experiment (random at 0.5, pretrain.seed=0, seed=0)" in note
    assert "source_top1 0.8 or 0.9" in note


def test_a_ratio_that_was_computed_is_the_one_that_was_typed():
    rows, _ = usable([row(ratio=0.15), row(ratio=1 - 0.85)])
    assert len(rows) == 1


def test_other_seeds_are_another_experiment():
    tuples = [{"seed": 0, "surrogate.seed": s} for s in (0, 1)]
    assert len(usable([row(seeds=seeds) for seeds in tuples])[0]) == 2


def test_a_copied_method_is_the_same_experiment_under_its_first_name():
    rows, (note,) = usable([full(method="mine", seed=s, identity="e") for s in (0, 1)] + [full(identity="e")])
    assert [r["method"] for r in rows] == ["full", "full"]
    assert "method full or mine" in note


def test_the_order_of_rows_does_not_matter():
    rows = [row(seed=s, accuracy=s / 10) for s in range(4)] + [row(row="again"), row(accuracy=0.5, seed=1)]
    assert usable(rows) == usable(rows[::-1])

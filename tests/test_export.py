"""Scores of a store as a table: every example with its label, name and a column a score."""

import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from dataprune.data.examples import Examples
from dataprune.export import main, scores_of
from dataprune.store import Store

WORDS = ["target=none", "pretrain.epochs=1"]


@pytest.fixture
def filled(jobs):
    """Rows of three methods on one source."""
    rows = {m: jobs.run(f"method={m}", *WORDS)[0] for m in ("forgetting", "area_under_margin", "ccs", "random")}
    return jobs, rows


def export(jobs, name, *words):
    return main(["scores", "--store", str(jobs.store), "-o", str(jobs.folder / name), *words])


def scores(jobs, row, role="scores"):
    return np.load(jobs.store / "score" / row["keys"][role] / "scores.npy")


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv"])
def test_each_example_has_its_label_class_name_and_every_score(filled, name):
    jobs, rows = filled
    assert export(jobs, name) == 0
    table = pd.read_parquet(jobs.folder / name) if name.endswith("t") else pd.read_csv(jobs.folder / name)
    assert list(table.columns) == ["id", "label", "class", "name", "area_under_margin", "forgetting"]
    source = Examples(jobs.store / "index" / rows["forgetting"]["keys"]["source"], "train")
    assert table.id.tolist() == list(range(372))
    assert table.label.tolist() == source.labels.tolist()
    assert table["class"].astype(str).tolist() == [source.classes[label] for label in source.labels]
    assert table.name.astype(str).tolist() == source.names
    for method in ("forgetting", "area_under_margin"):
        np.testing.assert_array_equal(table[method].to_numpy(np.float32), scores(jobs, rows[method]))


def test_methods_that_share_a_score_share_its_column(filled, capsys):
    jobs, rows = filled
    assert rows["ccs"]["keys"]["scores"] == rows["area_under_margin"]["keys"]["scores"]
    export(jobs, "scores.parquet")
    assert (
        f"area_under_margin            {rows['ccs']['keys']['scores']}  area_under_margin, ccs"
        in capsys.readouterr().out
    )
    about = json.loads(pq.read_schema(jobs.folder / "scores.parquet").metadata[b"dataprune"])
    assert about["source"] == "glyphs"
    assert about["scores"]["forgetting"] == {"key": rows["forgetting"]["keys"]["scores"], "methods": ["forgetting"]}


def test_scores_of_one_method_that_differ_are_told_apart_by_their_keys(filled):
    jobs, rows = filled
    (other,) = jobs.run("method=forgetting", "surrogate.seed=1", *WORDS)
    table, _ = scores_of(jobs.store)
    for row in (rows["forgetting"], other):
        np.testing.assert_array_equal(table[f"forgetting_{row['keys']['scores'][:6]}"], scores(jobs, row))
    assert "forgetting" not in table


def test_rows_are_chosen_by_their_values(filled):
    jobs, _ = filled
    table, _ = scores_of(jobs.store, ["method=forgetting", "seed=0"])
    assert list(table)[4:] == ["forgetting"]
    with pytest.raises(ValueError, match=r"--where=no row with scores of examples in .* where method=grand"):
        scores_of(jobs.store, ["method=grand"])


def test_rows_about_several_data_sets_are_refused(filled, capsys):
    jobs, _ = filled
    jobs.run("method=forgetting", "source.limit.train=310", "source.name=fewer", *WORDS)
    assert export(jobs, "scores.csv") == 1
    error = capsys.readouterr().err
    assert "--where=rows of " in error
    assert "fewer (index/" in error
    assert "glyphs (index/" in error
    assert not (jobs.folder / "scores.csv").exists()
    assert export(jobs, "scores.csv", "--where", "source=fewer") == 0
    assert len(pd.read_csv(jobs.folder / "scores.csv")) == 310


@pytest.mark.parametrize("name", ["scores.parquet", "scores.csv"])
def test_an_exported_table_is_a_file_of_scores(filled, name):
    jobs, rows = filled
    export(jobs, name)
    (row,) = jobs.run("method=external", f"method.path={jobs.folder / name}", "method.score.column=forgetting", *WORDS)
    np.testing.assert_array_equal(scores(jobs, row), scores(jobs, rows["forgetting"]))


def test_what_cannot_be_exported_is_an_error(jobs, capsys):
    assert export(jobs, "scores.csv") == 1
    assert "store': expected a folder" in capsys.readouterr().err
    jobs.run("method=random", *WORDS)
    assert export(jobs, "scores.csv") == 1
    assert "no row with scores of examples" in capsys.readouterr().err
    assert export(jobs, "scores.xlsx") == 1
    assert "expected a name that ends in .parquet or .csv" in capsys.readouterr().err
    assert export(jobs, "scores.csv", "--where", "glyphs") == 1
    assert "--where='glyphs': expected key=value" in capsys.readouterr().err


def test_a_result_that_was_removed_is_missed(filled, capsys):
    jobs, rows = filled
    key = rows["forgetting"]["keys"]["scores"]
    (jobs.store / "score" / key / "manifest.json").unlink()
    assert export(jobs, "scores.csv") == 1
    assert f"expected one that holds score/{key}" in capsys.readouterr().err
    assert Store(jobs.store).rows(), "nothing is written to the store"

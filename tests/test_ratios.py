"""A ratio is what a person typed, and a table that is written for some ratios says nothing in silence for others."""

import logging

import numpy as np
import pytest
from hydra import compose, initialize_config_dir

import dataprune.__main__ as entry
from dataprune import pipeline
from dataprune.checks.config import typed
from dataprune.errors import ConfigError
from dataprune.plan import CUT, plan_of
from dataprune.ratios import around, as_typed, fraction_at, table

CCS = [[0.3, 0.0], [0.5, 0.0], [0.7, 0.1], [0.8, 0.1], [0.9, 0.3]]
KEY = "method.cut.by_prune_ratio"


def cut_of(cfg):
    """The fraction that the method cuts at the job's ratio."""
    return sum(step.function["fraction"] for step in plan_of(cfg).steps if step.function["_target_"] == CUT)


@pytest.mark.parametrize(("made", "written"), [(1 - 0.85, 0.15), (0.1 + 0.2, 0.3), (0.7, 0.7), (0, 0)])
def test_arithmetic_leaves_no_trace_in_a_ratio(made, written):
    assert as_typed(made) == written


def test_a_table_compares_with_a_tolerance():
    assert fraction_at(0.0, [[0.30000000000000004, 0.05], [0.9, 0.3]], 0.3, KEY) == 0.05
    assert fraction_at(0.0, CCS, 1 - 0.1, KEY) == 0.3
    assert around(CCS, 0.1 + 0.2, KEY) == (0.3, 0.3)


def test_between_two_entries_lies_a_straight_line():
    assert fraction_at(0.0, CCS, 0.85, KEY) == 0.2
    assert fraction_at(0.0, CCS, 0.6, KEY) == 0.05
    assert around(CCS, 0.85, KEY) == (0.8, 0.9)


@pytest.mark.parametrize("ratio", [0.2, 0.95])
def test_outside_the_table_is_refused_with_its_ratios(ratio):
    with pytest.raises(ConfigError, match=rf"^prune_ratio={ratio}: expected a ratio of {KEY}, .*: 0\.3, 0\.5, 0\.7"):
        fraction_at(0.0, CCS, ratio, KEY)


def test_an_empty_table_leaves_the_fraction_and_a_full_one_refuses_it():
    for empty in ([], {}, None):
        assert fraction_at(0.25, empty, 0.95, KEY) == 0.25
    with pytest.raises(ConfigError, match=rf"^method\.cut\.fraction=0\.25: expected 0 beside {KEY}, or"):
        fraction_at(0.25, CCS, 0.9, KEY)


def test_nothing_pruned_is_nothing_cut():
    assert fraction_at(0.25, [], 0, KEY) == fraction_at(0.0, CCS, 0.0, KEY) == 0


@pytest.mark.parametrize(
    "wrong", [[0.3, 0.1], [[0.3]], [["a", 0.1]], [[0.3, 0.1], [0.3, 0.2]], [[1.0, 0.1]], [[0.5, 1.5]], "x"]
)
def test_what_is_no_table_is_refused(wrong):
    with pytest.raises(ConfigError, match=KEY):
        table(wrong, KEY)


def test_a_mapping_is_a_table_too():
    assert table({0.9: 0.3, 0.8: 0.2}, KEY) == table([[0.8, 0.2], [0.9, 0.3]], KEY) == {0.8: 0.2, 0.9: 0.3}


# in a job


def test_a_ratio_reaches_keys_and_rows_as_it_was_typed(jobs):
    noisy = jobs.config("method=random", "prune_ratio=0.15000000000000002")
    assert noisy.prune_ratio == 0.15
    (written,) = jobs.run("method=random", "prune_ratio=0.15")
    (row,) = pipeline.job(noisy)
    assert (row["row"], row["prune_ratio"]) == (written["row"], 0.15)
    assert sorted(row["cost"]["shared"]) == sorted(row["keys"]), "found, not built again"


@pytest.mark.parametrize("ratio", [0.7, 0.70000000000000007])
def test_the_table_of_an_experiment_replaces_that_of_its_method(jobs, ratio):
    """CCS on ImageNet cuts nothing at 0.7, CCS on CIFAR-10 a tenth; merged tables would cut the tenth."""
    (jobs.folder / "images").mkdir()
    (jobs.folder / "images" / "x").touch()
    path = f"source.path={jobs.folder / 'images'}"
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        cfg = typed(compose("config", ["+experiment=ccs_imagenet1k", path, f"prune_ratio={ratio}"]))
    assert cut_of(cfg) == 0.0
    own = jobs.config("method=ccs", "method.cut.by_prune_ratio=[[0.5, 0.2], [0.9, 0.2]]", f"prune_ratio={ratio}")
    assert cut_of(own) == 0.2


@pytest.mark.parametrize("method", ["ccs", "d2", "d2_graph"])
def test_a_ratio_outside_a_methods_table_is_refused_before_anything_runs(jobs, method):
    with pytest.raises(ConfigError, match=r"^prune_ratio=0\.2: expected a ratio of method\.cut\.by_prune_ratio"):
        jobs.run(f"method={method}", "prune_ratio=0.2")
    with pytest.raises(ConfigError, match=r"^method\.cut\.fraction=0\.3: expected 0 beside"):
        jobs.config(f"method={method}", "method.cut.fraction=0.3")
    words = ["method.cut.by_prune_ratio=[]", "method.cut.fraction=0.3", "prune_ratio=0.2"]
    assert cut_of(jobs.config(f"method={method}", *words)) == 0.3
    assert not jobs.store.exists()


def test_a_cut_between_two_entries_is_made_and_said(jobs, caplog):
    with caplog.at_level(logging.INFO):
        (row,) = jobs.run(
            "method=ccs", "target=none", "prune_ratio=0.75", "method.cut.by_prune_ratio=[[0.7, 0.1], [0.8, 0.3]]"
        )
    assert "method.cut.by_prune_ratio: 0.2 of the examples, between its entries for 0.7 and 0.8" in caplog.text
    cut = np.load(jobs.store / "score" / row["keys"]["cut"] / "scores.npy")
    kept = np.load(jobs.store / "select" / row["keys"]["subset"] / "ids.npy")
    hardest = np.argsort(-cut, kind="stable")[: int(0.2 * len(cut))]
    assert not set(kept) & set(hardest)


# halves


def test_half_halves_the_target_and_nothing_else(jobs):
    (whole,) = jobs.run("method=random")
    (row,) = jobs.run("method=random", "evaluate.half=second")
    assert row["keys"]["source_result"] == whole["keys"]["source_result"], "the source is measured on all its examples"
    assert row["metrics"]["source_n"] == whole["metrics"]["source_n"]
    assert abs(2 * row["metrics"]["target_n"] - whole["metrics"]["target_n"]) <= 10, "one of each odd class at most"


@pytest.mark.parametrize("words", [["target=none"], ["run.influence.store=x", "run.influence.models=2"]])
def test_half_of_nothing_is_refused(jobs, words):
    with pytest.raises(ConfigError, match=r"^evaluate\.half='second': expected all"):
        jobs.config("evaluate.half=second", *words)

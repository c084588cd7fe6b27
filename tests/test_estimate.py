"""run.estimate: the plan names exactly what a run would build, and builds nothing but the data sets."""

import numpy as np
import pytest

import dataprune.__main__ as entry
from dataprune import estimate as planning
from dataprune import pipeline
from dataprune.errors import ConfigError

METHODS = sorted({path.stem for path in (entry.here("conf") / "method").glob("*.yaml")} - {"drop"})  # no validation
FROM_FILES = {
    "external", "influence", "influence_reverse", "influence_examples", "influence_examples_reverse", "handpicked_file",
    "handpicked_wordnet", "registered",
}  # fmt: skip


@pytest.fixture(autouse=True)
def first_job_of_a_sweep(monkeypatch):
    monkeypatch.setattr(planning, "planned", {})


def roles(printed):
    return [line.split()[1] for line in printed.splitlines() if line.startswith("method ")]


def test_the_plan_is_what_a_run_builds(jobs, capsys):
    planning.estimate(jobs.config("method=d2_graph", "surrogate.epochs=8"))
    planned = roles(capsys.readouterr().out)
    there = {p.name for p in jobs.store.iterdir()}
    assert there <= {"index", "decode", "locks", "recipes", "work"}, "nothing is trained"
    (row,) = jobs.run("method=d2_graph", "surrogate.epochs=8")
    assert set(planned) == set(row["keys"]) - {"source", "source_pixels", "target", "target_pixels"}


def test_recipes_of_several_processes_are_planned_by_one(jobs, capsys):
    planning.estimate(jobs.config("method=random", "target=none", "pretrain.processes=2"))
    assert roles(capsys.readouterr().out) == ["subset", "model", "source_result"]


def test_a_checkpoint_that_stands_for_a_pruned_model_is_planned(jobs, capsys):
    words = ["method=random", "target=none"]
    (row,) = jobs.run(*words)
    weights = jobs.store / "train" / row["keys"]["model"] / "model.pt"
    subset = jobs.store / "select" / row["keys"]["subset"] / "export" / "subset.npz"
    claimed = [f"pretrain.checkpoint={weights}", f"pretrain.subset={subset}"]
    planning.estimate(jobs.config(*words, *claimed, "prune_ratio=0.75"))
    assert roles(capsys.readouterr().out) == ["subset", "model", "source_result"]


def test_what_is_there_is_found(jobs, capsys):
    jobs.run("method=forgetting")
    planning.estimate(jobs.config("method=forgetting", "prune_ratio=0.75"))
    printed = capsys.readouterr().out
    assert roles(printed) == ["subset", "model", "source_result", "adapted", "target_result"]
    assert "found: 2" in printed


def test_a_stage_that_two_jobs_want_counts_once(jobs, capsys):
    planning.estimate(jobs.config("method=forgetting"))
    capsys.readouterr()
    planning.estimate(jobs.config("method=dynamic_uncertainty", "method.score.window=2"))
    printed = capsys.readouterr().out
    assert "surrogate" not in roles(printed)
    assert "earlier jobs: 1" in printed


def test_jobs_that_differ_in_a_file_alone_share_no_stage_of_it(jobs, tmp_path, capsys):
    for name in ("one", "two"):
        np.save(tmp_path / f"{name}.npy", np.arange(9 if name == "one" else 7))
        planning.estimate(jobs.config("method=subset_file", "target=none", f"method.path={tmp_path / name}.npy"))
        assert roles(capsys.readouterr().out) == ["scores", "subset", "model", "source_result"]


SELECTOR = """
from pathlib import Path

def pick(scores, budget, names, p_true, target_features, grad_norm, mine):
    Path(__file__).with_name("called").touch()

def mine(network):
    Path(__file__).with_name("called").touch()
"""


def test_a_users_functions_may_ask_for_any_array_and_are_not_called(jobs, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_estimated.py").write_text(SELECTOR)
    monkeypatch.syspath_prepend(tmp_path)
    words = [
        "method.select._target_=my_estimated.pick",
        "+method.signals.mine={_target_: my_estimated.mine, shape: [3]}",
    ]
    cfg = jobs.config("method=forgetting", "method.arrays={}", *words)
    pipeline.check_functions(cfg)
    planning.estimate(cfg)
    printed = capsys.readouterr().out
    (subset,) = (line for line in printed.splitlines() if " subset " in line)
    (signal,) = (line for line in printed.splitlines() if " signal.mine " in line)
    assert "unknown" in subset
    assert "unknown" in signal
    assert "and 2 of unknown time" in printed
    assert not (tmp_path / "called").exists()


NETWORK = """
from torch import nn
from pathlib import Path

class Mine(nn.Module):
    num_features = 4

    def __init__(self, in_channels):
        super().__init__()
        self.layer = nn.Conv2d(in_channels, 4, 3)

    def forward(self, x):
        if not x.is_meta:
            Path(__file__).with_name("called").touch()
        return self.layer(x).mean((2, 3))
"""


def test_a_users_network_is_only_counted(jobs, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_counted.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    cfg = jobs.config("method=random", "target=none")
    cfg.pretrain.model = {"_target_": "my_counted.Mine"}
    planning.estimate(cfg)
    (model,) = (line for line in capsys.readouterr().out.splitlines() if " model " in line)
    assert model.split()[3] != "unknown"
    assert not (tmp_path / "called").exists()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """One store for all methods: the data are read once."""
    return tmp_path_factory.mktemp("estimates")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_can_be_estimated(method, jobs, shared, capsys):
    jobs.store = shared / "store"
    (shared / "list.txt").write_text("3\nA\n")
    np.save(shared / "scores.npy", np.zeros(372, np.float32))
    file = {"handpicked_file": "list.txt", "handpicked_wordnet": "list.txt"}.get(method, "scores.npy")
    words = [f"method.path={shared / file}"] if method in FROM_FILES else []
    words += ["method.clusters.number=9"] * (method == "feature_mapping_clusters")
    if method == "d2_precomputed":
        words += [f"method.neighbors.{name}={shared / 'scores.npy'}" for name in ("neighbors", "distances")]
    planning.estimate(jobs.config(f"method={method}", "surrogate.epochs=8", "surrogate.snapshots=[2]", *words))
    assert "to build: " in capsys.readouterr().out


def test_a_disk_that_is_too_small_is_an_error(jobs, monkeypatch):
    monkeypatch.setattr(planning.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    with pytest.raises(ConfigError, match=r"run\.store=.*expected a disk with"):
        planning.estimate(jobs.config("method=full"))


def test_a_memory_that_is_too_small_is_an_error(jobs, monkeypatch):
    planning.estimate(jobs.config("method=full"))  # indexes the data while there still is room
    monkeypatch.setattr(planning, "planned", {})
    monkeypatch.setattr(planning.os, "sysconf", lambda name: 100)
    with pytest.raises(ConfigError, match=r"run\.estimate=.* MB of memory: expected less than"):
        planning.estimate(jobs.config("method=full"))


def test_the_command_prints_and_ends(jobs):
    ran = jobs.command("run.estimate=true", "method=random", "source.reader.per_class=4", "baselines=none")
    assert "to build: 5 stages" in ran.stdout
    assert not list(jobs.folder.rglob("rows.json"))


def test_a_bad_method_is_refused_in_a_plan_too(jobs):
    cfg = jobs.config("method=forgetting")
    cfg.method.score = {"_target_": "dataprune.nope"}
    with pytest.raises(ConfigError, match="a function that exists"):
        pipeline.check_functions(cfg)

"""Stages that look at data with a finished model give the same bytes in two real processes (gloo) as in one."""

import json
from dataclasses import replace
from unittest.mock import Mock

import numpy as np
import pytest
import torch

from dataprune import launch
from dataprune.config import EvaluateConfig, RunConfig
from dataprune.cost import COUNTED
from dataprune.identity import from_plain
from dataprune.pipeline import look
from dataprune.processes import run_in_processes
from tests.test_callbacks import lines

WORDS = [
    "method=el2n_early", "run.threads=1", "run.accelerator=cpu", "surrogate.snapshots=[1]", "method.epoch=1",
    "method.runs=1", "signals.batch_size=50", "evaluate.batch_size=7", "pretrain.model.norm=group",
]  # fmt: skip


@pytest.fixture
def again(jobs, tmp_path):
    """again(role, count, **changes): the stage behind a role of a tiny job once more; its folder and facts."""
    (row,) = jobs.run(*WORDS)
    cfg = jobs.config(*WORDS)

    def build(role, count, **changes):
        (stage,) = (p.parent.name for p in jobs.store.glob(f"*/{row['keys'][role]}"))
        home = jobs.store / stage / row["keys"][role]
        recipe = json.loads((home / "recipe.json").read_text())
        inputs = {name: next(jobs.store.glob(f"*/{row['keys'][of]}")) for name, of in INPUTS[role].items()}
        module = launch.module_of_stage(stage)
        config = from_plain(module.CONFIG, json.loads((home / "manifest.json").read_text())["config"])
        config = replace(config, **changes)
        work = tmp_path / f"{role}{count}"
        (work / "scratch").mkdir(parents=True)
        recipe = launch.recipe_of(stage, config, {})
        launch.write_task(work, launch.task_of(recipe, config, inputs, cfg.run, label=role, processes=count))
        answer = launch.run_task(work) if count == 1 else run_in_processes(work, count, threads=1)
        assert answer["made"]["processes"] == count
        return work, answer["facts"]

    return build


SOURCE = {"examples": "source", "pixels": "source_pixels"}
TARGET = {"examples": "target", "pixels": "target_pixels"}
INPUTS = {
    "signals": {"model": "surrogate"} | SOURCE,
    "target_result": {"model": "adapted"} | TARGET,
    "adapted": {"init": "model"} | TARGET,
    "model": {"subset": "subset"} | SOURCE,
}


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_signals_of_a_snapshot_are_the_same_bytes(again):
    """372 examples in batches of 50: one process has four, the other four with 22 in the last."""
    (one, facts), (two, same) = again("signals", 1), again("signals", 2)
    assert {"labels.npy"} < files(one).keys()
    assert files(one) == files(two)
    assert facts == same
    assert facts["images_forward"] == len(np.load(one / "labels.npy"))


@pytest.mark.parametrize("batch_size", [7, 1000])
def test_an_evaluation_is_the_same_bytes(again, batch_size):
    """With batches of 1000 the second process has none."""
    one, facts = again("target_result", 1, batch_size=batch_size)
    two, same = again("target_result", 2, batch_size=batch_size)
    assert files(one).keys() == {"metrics.json", "outcomes.npz"}
    assert (one / "metrics.json").read_bytes() == (two / "metrics.json").read_bytes()
    outcomes, theirs = np.load(one / "outcomes.npz"), np.load(two / "outcomes.npz")
    assert all(outcomes[name].tobytes() == theirs[name].tobytes() for name in ("ids", *outcomes))
    assert facts == same


def test_features_of_a_linear_probe_are_computed_once_by_all(again):
    (one, facts), (two, same) = again("adapted", 1), again("adapted", 2, processes=2)
    assert {name: same[name] for name in COUNTED} == {name: facts[name] for name in COUNTED}
    ours, theirs = (torch.load(folder / "model.pt") for folder in (one, two))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-5, rtol=1e-4)


def test_parts_of_batches_are_summed_over_processes(again):
    """186 examples in batches of 40: the last one has 26, 13 a process, in parts of 7 and 6."""
    words = {"batch_size": 40, "accumulate": 2, "eval_every": 1}
    (one, facts), (two, same) = again("model", 1, **words | {"accumulate": 1}), again("model", 2, processes=2, **words)
    assert same == facts
    ours, theirs = (torch.load(folder / "model.pt") for folder in (one, two))
    for name in ours:
        torch.testing.assert_close(theirs[name], ours[name], atol=1e-3, rtol=1e-2)
    for line, other in zip(*(lines(folder / "history.jsonl") for folder in (one, two)), strict=True):
        assert line == pytest.approx(other, rel=1e-3)


@pytest.mark.parametrize(
    ("processes", "nodes", "test", "expected"),
    [(8, 1, 50_000, 8), (8, 1, 10_000, 2), (8, 1, 4_000, 1), (1, 1, 50_000, 1), (8, 2, 15_000, 2), (8, 2, 50_000, 8)],
)
def test_as_many_processes_look_as_have_something_to_see(jobs, processes, nodes, test, expected):
    """In batches of 512, eight a process at least, and the same number on each machine."""
    recipe = replace(jobs.config().pretrain, processes=processes)
    stage = Mock(run=RunConfig(nodes=nodes))
    data = Mock(facts={"test": test}, inputs=lambda loader: {})
    look(stage, "evaluate", EvaluateConfig(), "source_result", data, recipe, model=None)
    assert stage.call_args.args[3] == expected

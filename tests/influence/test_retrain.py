"""Many targets of one source model, and a mistake followed to the model that was trained without its cause."""

import shlex

import numpy as np
import pytest
from omegaconf import OmegaConf

import dataprune.__main__ as entry
from dataprune.errors import ConfigError
from dataprune.influence.__main__ import main
from dataprune.influence.analysis import Experiment
from dataprune.influence.store import OutcomeStore
from dataprune.selectors.budget import budget
from dataprune.selectors.classes import left_out, random_halves

OTHER = ["+target@others.few=digits", "others.few.name=few", "others.few.reader.shots=3"]
HALVES = ["method=random_halves", "run.influence.models=6"]


@pytest.fixture
def many(jobs):
    """Four models of two targets."""
    words = [*HALVES, f"run.influence.store={jobs.folder / 'influence'}", *OTHER]
    rows = [jobs.run(*words, f"method.select.model={model}") for model in range(4)]
    return jobs, rows


def test_one_source_model_fills_the_stores_of_all_targets(many):
    jobs, rows = many
    for first, second in rows:
        assert (first["target"], second["target"]) == ("digits", "few")
        assert first["keys"]["model"] == second["keys"]["model"], "trained once"
        assert first["keys"]["adapted"] != second["keys"]["adapted"]
    for place, name in enumerate(("digits", "few")):
        store = OutcomeStore.open(jobs.folder / "influence" / name)
        masks = store.masks(store.models())
        assert [np.flatnonzero(mask).tolist() for mask in masks] == [random_halves(62, 0, i).tolist() for i in range(4)]
        np.testing.assert_array_equal(store.packed(store.models()), np.packbits(masks, axis=1))
        right = (store.outcomes("prediction", store.models()) == store.labels).mean(1)
        assert right == pytest.approx([pair[place]["metrics"]["target_top1"] for pair in rows], abs=1e-6)
    masks = sorted(path.name for path in (jobs.folder / "influence" / "masks").iterdir())
    assert masks == [f"{i:06d}.npy" for i in range(4)], "once, beside the stores"


def test_a_shared_mask_that_changed_is_told(many):
    jobs, _ = many
    path = jobs.folder / "influence" / "masks" / "000001.npy"
    np.save(path, ~np.load(path))
    store = OutcomeStore.open(jobs.folder / "influence" / "few")
    for read in (store.masks, store.packed):
        with pytest.raises(ConfigError, match="models 1, whose files are damaged"):
            read(store.models())
    for name in ("digits", "few"):
        OutcomeStore.open(jobs.folder / "influence" / name).file(1).unlink()
    with pytest.raises(ConfigError, match=r"another subset for model 1: expected the one in .*000001\.npy"):
        jobs.run(*HALVES, f"run.influence.store={jobs.folder / 'influence'}", *OTHER, "method.select.model=1")


def test_the_command_that_is_printed_trains_without_the_worst_class(many, capsys):
    jobs, _ = many
    store = jobs.folder / "influence" / "digits"
    out = jobs.folder / "retrain"
    assert main(["example", str(store), "5", "--half", "all", "--without", "2", "-o", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (command,) = [line for line in lines if line.startswith("  python -m dataprune ")]
    (after,) = [line for line in lines if line.startswith("  python -m dataprune.influence change ")]
    jobs.command(*shlex.split(command)[3:])
    experiment = Experiment.open(store, half="all")
    worst = np.argsort(np.nan_to_num(experiment.influence[5]), kind="stable")[:2]
    words = shlex.split(after)[3:]
    assert main(words) == 0
    assert f"without_{worst[0]}_{worst[1]} p of its class" in capsys.readouterr().out
    (row,) = [row for row in rows_of(jobs) if row["method"].startswith("without")]
    kept = np.load(jobs.store / "select" / row["keys"]["subset"] / "classes.npy")
    assert kept.tolist() == np.setdiff1d(np.arange(62), worst).tolist()
    # the same recipes as the models of the store: nothing but the method differs
    (model,) = [row for row in rows_of(jobs) if row["method"] == "random_halves" and row["target"] == "digits"][:1]
    assert {k: v for k, v in row["config"].items() if k != "method"} == {
        k: v for k, v in model["config"].items() if k != "method"
    }
    assert main([*words[:3], "without_9", *words[4:]]) == 1
    assert "no row of without_9" in capsys.readouterr().err


def rows_of(jobs):
    from dataprune.store import Store

    return Store(jobs.store, verify=False).rows()


def test_pairs_are_shown_as_pictures(many, capsys):
    jobs, _ = many
    store, out = jobs.folder / "influence" / "few", jobs.folder / "pictures"
    words = ["pairs", str(store), "--out", str(jobs.folder / "pairs.csv"), "--pictures", str(out), "--most", "3"]
    assert main(words) == 0
    page = (out / "report.html").read_text()
    assert page.count("data:image/png") == 4, "sources and targets, helpful and harmful"
    assert "The first image of each source class" in page
    assert main([*words, "--results", str(jobs.folder)]) == 1
    assert "without the data of this experiment" in capsys.readouterr().err


def test_the_steps_of_examples_are_those_of_the_paper_on_imagenet():
    template = OmegaConf.load(entry.here("multirun_templates") / "counterfactual_examples.yaml")
    ratios = [float(word) for word in template.hydra.sweeper.params.prune_ratio.split(",")]
    assert [1_281_167 - budget(ratio, 1_281_167) for ratio in ratios] == list(range(50_000, 1_250_001, 50_000))


def test_what_is_left_out_is_not_kept():
    assert left_out(5, ids=[3, 0, 3]).tolist() == [1, 2, 4]
    for wrong in ([5], [], range(5)):
        with pytest.raises(ConfigError, match="ids="):
            left_out(5, ids=wrong)

"""From jobs on random halves to a store, its estimates and its commands."""

import numpy as np
import pytest

from dataprune.errors import ConfigError
from dataprune.influence.__main__ import main
from dataprune.influence.analysis import Experiment, strongest
from dataprune.influence.datamodels import lasso_path
from dataprune.influence.store import OutcomeStore
from dataprune.selectors.classes import random_halves
from dataprune.store import load

NAMES = ["ant", "bee", "cat", "dog", "eel", "fox"]


@pytest.fixture
def store(tmp_path):
    """200 made-up models: `ant` helps target class 0 by 0.3, `fox` harms everything by 0.1."""
    rng = np.random.default_rng(0)
    labels = np.arange(40) % 2
    schema = {"p_true": "float32", "logit_gap": "float32", "prediction": "int32"}
    store = OutcomeStore.create(
        tmp_path / "store",
        models=220,
        units=NAMES,
        labels=labels,
        targets=["no", "yes"],
        schema=schema,
        experiment={"made": "up"},
    )
    for model in range(200):
        mask = np.zeros(6, bool)
        mask[random_halves(6, 0, model)] = True
        p_true = 0.5 + 0.3 * mask[0] * (labels == 0) - 0.1 * mask[5] + rng.normal(0, 0.05, 40)
        prediction = np.where(p_true > 0.5, labels, 1 - labels)
        store.write(model, mask, {"p_true": p_true, "logit_gap": p_true - 0.5, "prediction": prediction}, {})
    return store.root


def test_jobs_on_random_halves_fill_their_rows(jobs):
    influence = [f"run.influence.store={jobs.folder / 'influence'}", "run.influence.models=3"]
    rows = [jobs.run("method=random_halves", f"method.select.model={model}", *influence)[0] for model in (0, 2)]
    store = OutcomeStore.open(jobs.folder / "influence")
    assert store.models().tolist() == [0, 2]
    masks = store.masks(store.models())
    for place, model in enumerate((0, 2)):
        assert np.flatnonzero(masks[place]).tolist() == random_halves(62, 0, model).tolist()
        right = (store.outcomes("prediction", np.array([model])) == store.labels).mean()
        assert right == pytest.approx(rows[place]["metrics"]["target_top1"], abs=1e-6)


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["method=random", "run.influence.models=3"], r"method\.select\.model"),
        (["method=random_halves"], r"run\.influence"),
        (["method=random_halves", "run.influence.models=3", "pretrain.epochs=1"], r"influence\.experiment"),
    ],
)
def test_a_job_that_does_not_belong_into_the_store_is_refused(jobs, words, key):
    store = f"run.influence.store={jobs.folder / 'influence'}"
    jobs.run("method=random_halves", store, "run.influence.models=3")
    with pytest.raises(ConfigError, match=key):
        jobs.run(*words, store)


def test_the_estimates_find_what_was_put_in(store):
    experiment = Experiment.open(store, half="all")
    mean, error = experiment.mean
    # a unit that is in leaves 2 places for the 5 others instead of 3: their effects (0.15 on average, -0.1) come in
    # with 2/5 - 3/5
    assert mean[0] == pytest.approx(0.15 + 0.1 / 5, abs=0.015)
    assert mean[5] == pytest.approx(-0.1 - 0.15 / 5, abs=0.015)
    np.testing.assert_allclose(mean[1:5], (0.1 - 0.15) / 5, atol=4 * error.max())
    assert [i for i, _, _ in strongest(mean, error, 1)] == [0, 5]
    counts, correlations = experiment.stability()
    assert counts[-1] == 200
    # at least that, if the first and the last are the same in both halves: the order of the four between is luck
    assert correlations[-1] >= 0.43
    predicted, measured = experiment.extrapolation(1.0)
    assert np.corrcoef(predicted, measured)[0, 1] > 0.95


def test_the_halves_of_the_targets_share_nothing_and_are_balanced(store):
    first, second = (Experiment.open(store, half=half) for half in ("first", "second"))
    assert set(first.targets) & set(second.targets) == set()
    assert len(first.targets) + len(second.targets) == 40
    assert np.bincount(first.labels).tolist() == [10, 10]


def test_estimate_writes_order_scores_and_report(store, tmp_path, capsys):
    assert main(["estimate", str(store), "-o", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert "200 models, 20 targets (first), p_true" in out
    order = np.load(tmp_path / "out" / "order.npy")
    assert (order[0], order[-1]) == (5, 0)
    assert np.load(tmp_path / "out" / "influence.npy").shape == (20, 6)
    table = (tmp_path / "out" / "classes.csv").read_text().splitlines()
    assert table[1].startswith("0,ant,")
    assert "Influence of source classes" in (tmp_path / "out" / "report.html").read_text()


def test_the_rows_of_a_counterfactual_count_what_the_models_took(jobs, tmp_path):
    influence = [f"run.influence.store={jobs.folder / 'influence'}", "run.influence.models=6"]
    rows = [jobs.run("method=random_halves", f"method.select.model={m}", *influence)[0] for m in (0, 1, 2, 3, 4, 4)]
    assert main(["estimate", str(jobs.folder / "influence"), "-o", str(tmp_path / "out")]) == 0
    path = f"method.path={tmp_path / 'out' / 'mean_influence.npy'}"
    (row,) = jobs.run("method=influence", path, "evaluate.half=second")
    spent = sum(r["cost"]["total_s"] for r in rows[:4]) + rows[5]["cost"]["total_s"]  # model 4 ran twice: its last time
    own = load(jobs.store / "score" / row["keys"]["scores"]).seconds
    assert row["cost"]["score_s"] == pytest.approx(spent + own, abs=0.01)
    assert row["cost"]["surrogate_images"] == sum(r["cost"]["images_seen"] for r in rows[:5])
    assert row["cost"]["unknown"] == [], "these are our own models"
    assert row["cost"]["flops"] > 5 * rows[0]["cost"]["flops"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["target-class", "no"], "ant +0.3"),
        (["example", "0", "--half", "all"], "most harmful: fox"),
        (["sub-population", "ant"], "no  mean +0.3"),
        (["extrapolate"], "40 unseen subsets"),
        (["target-class", "1"], "fox -0."),
    ],
)
def test_commands_answer(store, words, shown, capsys):
    assert main([words[0], str(store), *words[1:]]) == 0
    assert shown in capsys.readouterr().out


def test_pairs_are_listed_with_their_names(store, tmp_path):
    assert main(["pairs", str(store), "-o", str(tmp_path / "pairs.csv"), "--most", "2"]) == 0
    lines = (tmp_path / "pairs.csv").read_text().splitlines()
    assert [line.split(",")[1] for line in lines[1:]] == ["ant", "ant", "fox", "fox"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["target-class", "maybe"], "target class='maybe': expected one of no, yes"),
        (["example", "99", "--half", "all"], "id=99"),
        (["sub-population", "gnu"], "source class='gnu'"),
    ],
)
def test_questions_about_what_is_not_there_are_one_line(store, words, message, capsys):
    assert main([words[0], str(store), *words[1:]]) == 1
    assert message in capsys.readouterr().err


def test_a_folder_that_is_no_store_and_one_without_models_are_refused(tmp_path, capsys):
    assert main(["estimate", str(tmp_path)]) == 1
    what = {"units": NAMES, "labels": np.zeros(4, int), "targets": ["no"], "schema": {"p_true": "float32"}}
    OutcomeStore.create(tmp_path / "s", models=9, **what, experiment={})
    assert main(["estimate", str(tmp_path / "s")]) == 1
    assert "4 finished models or more; there are 0" in capsys.readouterr().err


def test_hand_picked_classes_have_their_rank_in_the_order(store, tmp_path, capsys):
    (tmp_path / "picked.txt").write_text("fox\nant\n")
    assert main(["rank", str(store), str(tmp_path / "picked.txt")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:4] == ["1", "of", "6", "ant"]
    assert lines[1].split()[:4] == ["6", "of", "6", "fox"]
    assert "mean rank 3.5, before an unlisted one with chance 0.50" in lines[2]
    (tmp_path / "picked.txt").write_text("ant\n")
    main(["rank", str(store), str(tmp_path / "picked.txt")])
    assert "with chance 1.00" in capsys.readouterr().out


@pytest.mark.parametrize("how", ["lasso", "ridge"])
def test_datamodels_are_fitted_from_the_command_line(store, how, tmp_path, capsys):
    out = tmp_path / "datamodel"
    words = ["datamodel", str(store), "--how", how, "-o", str(out), "--half", "all", "--steps", "9", "--span", "1e-3"]
    assert main(words) == 0
    coef, labels = np.load(out / "coef.npy"), np.arange(40) % 2
    assert coef[labels == 0, 0].mean() == pytest.approx(0.3, abs=0.05)
    assert float(capsys.readouterr().out.rpartition(": ")[2]) > 0.9, "correlation with the influences"
    if how == "lasso":
        experiment = Experiment.open(store, half="all")
        held_out = np.arange(200) >= 160
        found = lasso_path(experiment.masks, experiment.outputs, held_out, steps=9, span=1e-3)
        np.testing.assert_array_equal(coef, found[0])
        np.testing.assert_array_equal(np.load(out / "penalties.npy"), found[2])

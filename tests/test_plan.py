"""A method, compiled once: what each function gets, in which order the selectors run, what a wrapper may wrap."""

import numpy as np
import pytest

import dataprune.__main__ as entry
from dataprune.arrays import ARRAYS, RECORDED, SIGNALS, table
from dataprune.config import MethodConfig
from dataprune.errors import ConfigError
from dataprune.plan import compiled
from dataprune.selectors.ranked import drop_hardest, per_class, quotas, top
from dataprune.selectors.submodular import craig
from dataprune.stage_configs import SelectConfig
from dataprune.stages.select import select
from dataprune.training.recorder import ROWS

TOP = {"_target_": "dataprune.selectors.ranked.top"}
CUT = "dataprune.selectors.ranked.without_hardest"
PER_CLASS = "dataprune.selectors.ranked.per_class"
HARDNESS = {"_target_": "dataprune.scores.dynamics.area_under_margin"}
SCORE = {"_target_": "dataprune.scores.dynamics.variability"}
N, CLASSES = 60, 4


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {
        "labels": rng.integers(0, CLASSES, N),
        "features": rng.normal(size=(N, 5)).astype(np.float32),
        "class_errors": np.array([0.1, 0.2, 0.3, 0.4]),
    }


@pytest.fixture
def scores():
    rng = np.random.default_rng(1)
    return {"scores": rng.random(N).astype(np.float32), "cut": rng.random(N).astype(np.float32)}


def picked(method, arrays, scores, prune_ratio=0.7):
    """What the stage selects by a method at this ratio: ids in pick order, weights."""
    plan = compiled(method, prune_ratio)
    config = SelectConfig([call.step for call in plan.steps], method.name, prune_ratio, weighted=method.weighted)
    return select(config, N, arrays, scores)


def written(select, **more):
    return MethodConfig("m", score=SCORE, select=select, **more)


def test_cut_and_quota_of_a_method_are_wrappers(arrays, scores):
    short = written(TOP, quota="equal")
    nested = written({"_target_": PER_CLASS, "quota": "equal", "select": TOP})
    assert picked(short, arrays, scores)[0].tolist() == picked(nested, arrays, scores)[0].tolist()
    by_hand = per_class(scores["scores"], arrays["labels"], 18, quota="equal")
    assert picked(short, arrays, scores)[0].tolist() == by_hand.tolist()


def test_a_wrapper_around_nothing_is_a_selector_of_its_own(arrays, scores):
    alone = {"_target_": PER_CLASS, "quota": "equal"}
    by_hand = per_class(scores["scores"], arrays["labels"], 18, quota="equal")
    assert picked(written(alone), arrays, scores)[0].tolist() == by_hand.tolist()
    with pytest.raises(ConfigError, match=r"method\.select\.select=None: expected the selector that"):
        compiled(written({"_target_": CUT, "fraction": 0.1, "score": HARDNESS}), 0.7)


def test_k_of_a_class_selector_stands_for_the_budget_and_k_of_neighbours_does_not():
    classes = written({"_target_": "dataprune.selectors.classes.top_classes", "k": 2}, level="class")
    assert not compiled(classes, 0.7).has_budget
    graph = written({"_target_": "dataprune.selectors.graph.message_passing", "k": 2, "gamma": 1.0})
    assert compiled(graph, 0.7).has_budget


def test_wrappers_nest(arrays, scores):
    """A cut inside every class is not the cut of all examples; each wrapper's arrays are those of its part."""
    inside = {"_target_": CUT, "fraction": 0.5, "score": HARDNESS, "select": TOP}
    ids, _ = picked(written({"_target_": PER_CLASS, "select": inside}), arrays, scores)
    labels = arrays["labels"]
    sizes = np.bincount(labels)
    expected = []
    for c, share in enumerate(quotas(sizes, 18, sizes)):
        members = np.flatnonzero(labels == c)
        left = members[drop_hardest(scores["cut"][members], 0.5)]
        expected += left[top(scores["scores"][left], share)].tolist()
    assert ids.tolist() == expected
    outside = {"_target_": CUT, "fraction": 0.5, "score": HARDNESS, "select": {"_target_": PER_CLASS, "select": TOP}}
    left = drop_hardest(scores["cut"], 0.5)
    ids, _ = picked(written(outside), arrays, scores)
    assert ids.tolist() == left[per_class(scores["scores"][left], labels[left], 18)].tolist()


def test_a_quota_by_recall_is_an_array_of_the_data(arrays, scores):
    plan = compiled(written(TOP, quota="drop"), 0.7)
    assert plan.chain[0].arrays == {"labels": "labels", "quota": "class_errors"}
    assert {"heldout", "examples"} <= plan.roles
    ids, _ = picked(written(TOP, quota="drop"), arrays, scores)
    counts = np.bincount(arrays["labels"][ids], minlength=CLASSES)
    assert counts.tolist() == quotas(np.bincount(arrays["labels"]), 18, arrays["class_errors"]).tolist()


def test_weights_come_through_a_wrapper(arrays, scores):
    method = written({"_target_": "dataprune.selectors.submodular.craig"}, quota="proportional", weighted=True)
    method.arrays = {"features": "features"}
    ids, weights = picked(method, arrays | {"residuals": arrays["features"]}, scores)
    one = np.flatnonzero(arrays["labels"] == 2)
    among = np.isin(ids, one)
    alone, expected = craig(arrays["features"][one], int(among.sum()))
    assert one[alone].tolist() == ids[among].tolist()
    np.testing.assert_allclose(weights[among], expected)


def test_a_table_is_resolved_before_the_key():
    spec = {"_target_": CUT, "by_prune_ratio": [[0.5, 0.0], [0.7, 0.2], [0.9, 0.4]], "score": HARDNESS, "select": TOP}
    plan = compiled(written(spec), 0.7)
    assert plan.steps[0].function == {"_target_": CUT, "fraction": 0.2}
    assert [plan.cuts["cut"].function, plan.steps[0].scores] == [HARDNESS, "cut"]
    between = compiled(written(spec), 0.8)
    assert between.notes == ("method.select.by_prune_ratio: 0.3 of the examples, between its entries for 0.7 and 0.9",)
    nothing = compiled(written(spec), 0.5)
    assert [call.function["_target_"] for call in nothing.steps] == [TOP["_target_"]]
    assert nothing.cuts == {}
    assert nothing.roles == plan.roles, "and still the same experiment"
    with pytest.raises(ConfigError, match=r"prune_ratio=0\.95: expected a ratio of method\.select\.by_prune_ratio"):
        compiled(written(spec), 0.95)


def test_one_run_serves_many_ratios_where_picks_nest():
    greedy = {"_target_": "dataprune.selectors.coverage.k_center"}
    cut = {"_target_": CUT, "fraction": 0.6, "score": HARDNESS, "select": greedy}
    assert compiled(written(greedy, nested_from=0.5), 0.7).order_ratio == 0.5
    assert compiled(written(greedy, nested_from=0.5), 0.4).order_ratio is None
    assert compiled(written(cut, nested_from=0.5), 0.7).order_ratio == 0.6, "more than is left cannot be picked"
    assert compiled(written(greedy, nested_from=0.5, quota="equal"), 0.7).order_ratio is None
    assert compiled(written(greedy, nested_from=0.5, weighted=True), 0.7).order_ratio is None


WRONG_INNER = """
from dataprune.errors import ConfigError

def strict(scores, budget, *, low):
    raise ConfigError("low", low, "another one")

def careless(scores, budget, select):
    raise ConfigError("select", "x", "another one")
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_strict.py").write_text(WRONG_INNER)
    monkeypatch.syspath_prepend(tmp_path)


def test_an_error_names_the_selector_that_raised_it(arrays, scores, mine):
    strict = {"_target_": "my_strict.strict", "low": 3}
    with pytest.raises(ConfigError, match=r"^method\.select\.low=3: expected another one"):
        picked(written(strict, quota="equal"), arrays, scores)
    nested = {"_target_": CUT, "fraction": 0.1, "score": HARDNESS, "select": strict}
    with pytest.raises(ConfigError, match=r"^method\.select\.select\.low=3: expected another one"):
        picked(written(nested, quota="equal"), arrays, scores)
    with pytest.raises(ConfigError, match=r"^method\.select\.select='x': expected another one"):
        picked(written({"_target_": "my_strict.careless", "select": TOP}), arrays, scores)
    with pytest.raises(ConfigError, match=r"^method\.select\.fraction=0\.9: expected a fraction that leaves the 18"):
        picked(written({"_target_": CUT, "fraction": 0.9, "score": HARDNESS, "select": TOP}), arrays, scores)


def test_what_nothing_fills_is_told_with_the_table():
    with pytest.raises(ConfigError) as caught:
        compiled(
            written(
                {"_target_": PER_CLASS, "select": {"_target_": "dataprune.selectors.coverage.herding"}},
                arrays={"features": "fetaures"},
            ),
            0.5,
        )
    assert str(caught.value).startswith("method.select.select.features='fetaures': expected a constant, or one of")
    assert table() in str(caught.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in (entry.here("conf") / "method").glob("*.yaml")))
def test_every_method_has_a_plan_whose_arrays_somebody_makes(jobs, name, monkeypatch):
    (jobs.folder / "scores.npy").touch()
    plan = compiled(jobs.config(f"method={name}", "prune_ratio=0.7").method, 0.7)
    there = {array.role for array in ARRAYS.values()} | {f"signal.{own}" for own in plan.method.signals}
    assert plan.roles <= there
    assert bool(plan.chain) == (plan.method.trains_on == "subset")
    for call in plan.calls:
        assert not set(call.arrays) & set(call.filled)


def test_the_table_says_what_is_recorded_and_what_signals_there_are():
    assert list(ROWS) == list(RECORDED) == ["p_true", "margin", "error", "correct", "logit_gap"]
    assert set(SIGNALS) == {"logits", "features", "grad_norm"}

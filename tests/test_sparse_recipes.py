"""Recipes that make sparse networks: the published phases, rates and ramps, and that each runs to its sparsity."""

import json
from pathlib import Path

import pytest
from hydra.utils import get_method, instantiate

from dataprune.checkpoints.masks import prunable
from dataprune.checks.masks import check_callbacks
from dataprune.models.sparsity import kept
from dataprune.passes import load_network
from tests.test_configs import CONF, composed, options, typed

TOLD = json.loads((Path(__file__).parent / "reference" / "sparse" / "g_numeric.json").read_text())


@pytest.fixture(autouse=True)
def root(monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(CONF.parent))


SPARSITY = {"sparse_none": 0, "sparse_lottery": 0.67232}


def recipe_of(name):
    return typed(composed(f"train@pretrain={name}")).pretrain


def rates(recipe, epochs, per_epoch=10):
    """At the middle of each epoch."""
    constants = {name: value for name, value in recipe.schedule.items() if name != "_target_"}
    schedule, lr = get_method(recipe.schedule["_target_"]), recipe.optimizer["lr"]
    steps = recipe.epochs * per_epoch
    return [schedule(e * per_epoch + per_epoch // 2, steps, per_epoch, lr, **constants) for e in epochs]


TRANSFERS = ("sparse_full", "sparse_linear")
MADE = [name for name in options("train") if name.startswith("sparse_") and name not in TRANSFERS]


@pytest.mark.parametrize("name", MADE)
def test_phases_of_every_recipe_fit_its_epochs(name):
    check_callbacks(recipe_of(name), "pretrain")


def test_ac_dc_is_the_published_one():
    recipe = recipe_of("imagenet_acdc")
    check_callbacks(recipe, "pretrain")
    pruning = instantiate(recipe.callbacks["pruning"])
    assert pruning.events(recipe.epochs) == {int(e): s for e, s in TOLD["acdc"]["events"].items()}
    assert (pruning.scope, pruning.distribution) == ("all", "global")
    found = {name: recipe.optimizer[name] for name in ("lr", "momentum", "weight_decay")}
    assert found == {"lr": 0.256, "momentum": 0.875, "weight_decay": 3.0517578e-5}
    assert (recipe.batch_size, recipe.label_smoothing, recipe.decay_bias_and_norm) == (256, 0, True)
    assert rates(recipe, [4, 52, 99]) == pytest.approx([0.256 * 0.9, 0.128, 0.0], abs=1e-4)


def test_gradual_pruning_is_the_published_one():
    recipe = recipe_of("imagenet_gmp")
    check_callbacks(recipe, "pretrain")
    events = instantiate(recipe.callbacks["pruning"]).events(recipe.epochs)
    assert events == pytest.approx({int(e): s for e, s in TOLD["gmp"]["events"].items()})
    assert rates(recipe, [39, 40, 45, 46, 99]) == pytest.approx([0.005, 0.003, 0.003, 0.0018, 0.005 * 0.6**9])


@pytest.mark.parametrize("name", MADE)
def test_every_recipe_trains_to_its_sparsity(jobs, name):
    epochs = recipe_of(name).epochs
    (row,) = jobs.run("method=full", "target=none", f"train@pretrain={name}", f"pretrain.epochs={epochs}")
    weights = [*prunable(load_network(jobs.store / "train" / row["keys"]["model"])).values()]
    zeros, total = sum(int((w == 0).sum()) for w in weights[:-1]), sum(w.numel() for w in weights[:-1])
    if name == "sparse_nm":
        assert zeros == (total - weights[0].numel()) // 2, "but for the first layer, which has one channel"
    else:
        wanted = SPARSITY.get(name, 0.9)
        assert zeros == pytest.approx(total - kept(wanted, total), abs=2 if name == "sparse_rigl" else 0)

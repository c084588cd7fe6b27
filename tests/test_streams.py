"""Random draws for different purposes never coincide, whatever the seeds and counters."""

import ast
import itertools
from functools import cache

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from scipy.stats import hypergeom

import dataprune.__main__ as entry
from dataprune.checks.config import typed
from dataprune.config import SelectConfig, StepConfig
from dataprune.data.augment import Draws
from dataprune.data.examples import half_of
from dataprune.data.order import Order
from dataprune.dynamic import RS2
from dataprune.models.networks import build
from dataprune.selectors.budget import budget
from dataprune.selectors.classes import random_halves
from dataprune.stages.select import select
from dataprune.streams import number, sequence, stream
from tests.conftest import ROOT


def first(rng: np.random.Generator) -> tuple[int, ...]:
    """What tells a generator's state: 128 bits of its first draws."""
    return tuple(rng.integers(0, 2**64, 2, dtype=np.uint64).tolist())


@cache
def names() -> set[str]:
    """Every name that this package gives a stream, read from its text."""
    found = set()
    for path in (ROOT / "dataprune").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("stream", "number", "sequence"):
                name = node.args[1]
                if path.name != "streams.py":
                    assert isinstance(name, ast.Constant), f"{path}: a stream's name is written out"
                    found.add(name.value)
    return found


def test_the_package_names_its_streams():
    assert {"select", "order", "augment", "network", "dropout", "limit", "halves", "runs"} <= names()


def test_no_two_streams_begin_alike():
    """All names, several seeds, counters of all lengths, and numpy's own generators of the same seeds."""
    counters = [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0), (7, 0), (2**31,)]
    drawn = {
        (name, seed, *places): first(stream(seed, name, *places))
        for name, seed, places in itertools.product(names(), (0, 1, 2, 2**32, 2**63 - 1), counters)
    }
    drawn |= {("numpy", seed): first(np.random.default_rng(seed)) for seed in (0, 1, 2, 2**32, 2**63 - 1)}
    drawn |= {("numpy", seed, "lists"): first(np.random.default_rng([seed, 0, 1])) for seed in (0, 1, 2)}
    assert len(set(drawn.values())) == len(drawn)


def test_lists_of_numbers_are_no_streams():
    """The trap that names and spawn keys avoid: numpy pads what a generator is seeded by with zeros."""
    assert first(np.random.default_rng(3)) == first(np.random.default_rng([3, 0]))
    assert first(stream(3, "a")) != first(stream(3, "a", 0)) != first(stream(3, "a", 0, 0))
    assert first(stream(3, "a")) not in (first(np.random.default_rng(3)), first(np.random.default_rng([3, 0])))


def test_a_stream_is_a_function_of_its_arguments():
    assert first(stream(3, "a", 1)) == first(stream(3, "a", 1)) == first(np.random.default_rng(sequence(3, "a", 1)))
    assert number(3, "a", 1) == number(3, "a", 1)


# random selection and RS2

N, RATIO = 1000, 0.7


def randomly(seed: int) -> np.ndarray:
    """What stage select keeps at random."""
    function = {"_target_": "dataprune.selectors.ranked.random"}
    steps = [StepConfig(function, filled=["budget", "n", "rng"])]
    return select(SelectConfig(steps, "random", RATIO, seed=seed), N, {}, {})[0]


def fresh(seed: int, epoch: int = 0) -> np.ndarray:
    """What RS2 trains on in an epoch."""
    return RS2(N, ratio=RATIO, seed=seed).epoch(epoch)[0]


def shared_by_chance(shared: list[int], kept: int) -> bool:
    """Whether the numbers of ids that independent random subsets of `kept` share could be these (each within what one
    in a million misses, their mean within five standard errors)."""
    law = hypergeom(N, kept, kept)
    low, high = law.interval(1 - 1e-6)
    each = all(low <= count <= high for count in shared)
    return each and abs(np.mean(shared) - law.mean()) < 5 * law.std() / np.sqrt(len(shared))


def test_random_selection_and_the_first_fresh_subset_share_no_more_than_chance():
    shared = [len(np.intersect1d(randomly(seed), fresh(seed))) for seed in range(20)]
    assert shared_by_chance(shared, budget(RATIO, N))
    assert not shared_by_chance([budget(RATIO, N)] * 20, budget(RATIO, N)), "as if both came from one generator"


@pytest.mark.parametrize("draw", [randomly, fresh])
def test_seeds_share_no_more_than_chance(draw):
    shared = [len(np.intersect1d(draw(seed), draw(seed + 1))) for seed in range(20)]
    assert shared_by_chance(shared, budget(RATIO, N))


def test_other_draws_are_not_those_of_the_order():
    """The first numbers of each purpose, drawn as it draws them: permutations of the same length."""
    order, labels = Order(np.arange(N), 64, 0).epoch(0)[0], np.zeros(N, np.int64)
    selected = stream(0, "select").permutation(N)
    halves, of_models = half_of(labels, "first"), random_halves(N, 0, 0)
    for one, other in itertools.combinations([order[: N // 2], selected[: N // 2], halves, of_models], 2):
        assert shared_by_chance([len(np.intersect1d(one, other))], N // 2)


def test_epochs_differ_in_order_and_in_augmentation():
    order = Order(np.arange(N), 64, 0)
    assert not np.array_equal(order.epoch(0)[0], order.epoch(1)[0])
    draws = [Draws.of_epoch(N, 4, True, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for one, other in itertools.combinations(draws, 2):
        assert abs((one.mirrored == other.mirrored).mean() - 0.5) < 0.1
        assert abs((one.rows == other.rows).mean() - 1 / 9) < 0.06
    assert abs((draws[0].mirrored == (order.epoch(0)[0] % 2)).mean() - 0.5) < 0.1


# children: surrogates of several runs, models of an influence experiment


def test_children_of_two_seeds_have_no_seed_in_common():
    children = [{number(seed, "runs", run) for run in range(1, 200)} for seed in range(5)]
    assert all(len(found) == 199 for found in children)
    assert all(one.isdisjoint(other) for one, other in itertools.combinations(children, 2))
    assert min(min(found) for found in children) > 10_000, "no seed that somebody types"


def test_children_differ_by_purpose():
    assert len({number(0, name, 0) for name in names()}) == len(names())


TEMPLATES = [
    path.relative_to(ROOT).with_suffix("").as_posix()
    for folder in ("multirun_templates", "conf/experiment")
    for path in sorted((ROOT / folder).glob("*.yaml"))
    if "random_halves" in path.read_text()
]


def test_there_are_templates_of_influences():
    assert "multirun_templates/influence" in TEMPLATES


@pytest.mark.parametrize("template", TEMPLATES)
def test_each_model_of_an_influence_experiment_has_its_own_weights_and_order(template, monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    group, _, name = template.removeprefix("conf/").rpartition("/")
    seeds: dict[str, list[int]] = {"pretrain": [], "transfer": []}
    for model in (0, 1):
        with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
            composed = compose("config", [f"+{group}={name}", f"method.select.model={model}"])
        for role, found in seeds.items():
            found.append(composed[role].seed)
        assert composed.surrogate.seed == 0
        assert composed.method.select.seed == 0, "one experiment: its halves are drawn by the model's number"
    for role, (one, other) in seeds.items():
        assert one != other, f"{role}.seed"
        assert not np.array_equal(Order(np.arange(N), 64, one).epoch(0)[0], Order(np.arange(N), 64, other).epoch(0)[0])
        assert not torch.equal(weights(one), weights(other))


def weights(seed: int) -> torch.Tensor:
    """The first weights of a fresh network, as stage train draws them."""
    torch.manual_seed(number(seed, "network"))
    network = build({"_target_": "dataprune.models.networks.cnn", "width": 4}, {"kind": "image", "channels": 1}, 2)
    return next(network.parameters()).detach().clone()


def test_a_template_of_influences_is_typed(monkeypatch):
    monkeypatch.setenv("DATAPRUNE_ROOT", str(entry.here("multirun_templates").parent))
    with initialize_config_dir(str(entry.here("conf")), version_base="1.3"):
        cfg = typed(compose("config", ["+multirun_templates=influence", "method.select.model=5"]))
    assert cfg.transfer is not None
    assert (cfg.pretrain.seed, cfg.transfer.seed, cfg.seed) == (5, 5, 0)

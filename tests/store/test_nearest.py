"""Why a result must be built is said in milliseconds, however large the store, and never at the price of the job."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict

import pytest

from dataprune.store import Recipe, Store
from dataprune.store import nearest as module
from dataprune.store.nearest import difference, remember


def recipe(seed, epochs=3):
    recipe = {"optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1, "momentum": 0.9}, "epochs": epochs, "seed": seed}
    return Recipe("train", 1, recipe, {"examples": "ab" * 32, "subset": f"{seed:064x}"})


def place(root, *recipes, listed=True):
    """Results of these recipes, as far as the index looks at them."""
    for one in recipes:
        home = root / "train" / one.key
        home.mkdir(parents=True)
        (home / "recipe.json").write_text(json.dumps(asdict(one)))
        (home / "manifest.json").touch()
        if listed:
            remember(root, one.key, asdict(one))


@pytest.fixture
def store(tmp_path):
    place(tmp_path, *(recipe(seed) for seed in range(3)))
    return Store(tmp_path)


def lines(store):
    return store.root / "recipes" / "train.jsonl"


def test_a_large_store_answers_in_ten_milliseconds(tmp_path):
    (tmp_path / "train").mkdir()
    for seed in range(15_000):
        one = recipe(seed)
        remember(tmp_path, one.key, asdict(one))
        if seed >= 14_900:
            place(tmp_path, one, listed=False)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        told = Store(tmp_path).why_missed(recipe(14_950, epochs=4))
        took.append(time.perf_counter() - began)
    assert told == "differs in config.epochs=4 (was 3)"
    assert min(took) < 0.01


def test_the_nearest_of_the_newest_is_told(store):
    assert store.why_missed(recipe(1, epochs=9)) == "differs in config.epochs=9 (was 3)"
    assert Store(store.root).why_missed(Recipe("score", 1, {})) == "first of its kind"


def test_a_result_that_was_removed_is_not_the_nearest(store):
    (store.root / "train" / recipe(1).key / "manifest.json").unlink()
    assert "config.seed=1" in store.why_missed(recipe(1))


@pytest.mark.parametrize(
    "content", [None, b"", b"\xff\x00 no json", b'{"key": 3}\n[1]\n{"recipe": {}}', b'{"key": "ab']
)
def test_without_a_good_line_the_recipes_themselves_are_read(store, content):
    lines(store).unlink()
    if content is not None:
        lines(store).write_bytes(content)
    assert store.why_missed(recipe(1, epochs=9)) == "differs in config.epochs=9 (was 3)"


def test_a_line_that_a_kill_has_cut_short_spoils_no_other(store):
    with open(lines(store), "a") as file:
        file.write('\n{"key": "half')
    place(store.root, recipe(7))
    assert store.why_missed(recipe(7, epochs=9)) == "differs in config.epochs=9 (was 3)"


def test_parallel_writers_lose_no_line(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda seed: remember(tmp_path, recipe(seed).key, asdict(recipe(seed))), range(200)))
    there = [json.loads(line) for line in lines(Store(tmp_path)).read_text().splitlines() if line]
    assert sorted(entry["recipe"]["config"]["seed"] for entry in there) == list(range(200))


def test_a_finished_result_is_remembered(tmp_path):
    store, one = Store(tmp_path), recipe(0)
    with store.building(one, say=print) as work:
        (work / "model.pt").write_text("weights")
        store.commit(one, {})
    (entry,) = (json.loads(line) for line in lines(store).read_text().splitlines() if line)
    assert entry == {"key": one.key, "recipe": asdict(one)}
    assert difference(tmp_path, asdict(recipe(1))).startswith("differs in config.seed=1 (was 0)")


def test_no_more_than_the_newest_are_compared(store, monkeypatch):
    monkeypatch.setattr(module, "MOST", 2)
    assert "config.seed=0" in store.why_missed(recipe(0, epochs=9)), "the oldest of three is not looked at"

"""Stage calls of many jobs in one table: each result is built once, whoever asks, however workers end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from dataprune.config import RunConfig
from dataprune.errors import ConfigError
from dataprune.executors.answers import LostSlot
from dataprune.executors.graph import Graph, Stopped
from dataprune.launch import recipe_of
from dataprune.stage_configs import CombineConfig
from dataprune.store import Recipe, Store

JOBS = 8


class Engine:
    """Counts what it is asked to build, and builds it when it may."""

    several = True

    def __init__(self, store, *fates):
        self.store, self.fates, self.asked, self.go = store, list(fates), 0, threading.Event()

    def build(self, message, started):
        self.asked += 1
        self.go.wait(20)
        if self.fates and (fate := self.fates.pop(0)) is not None:
            raise fate
        recipe = Recipe(**message["recipe"])
        with self.store.building(recipe, say=print, wait=False) as work:
            if work is None:
                return False
            (work / "made.txt").write_text("content")
            self.store.commit(recipe, {})
        return True

    def stop(self):
        self.go.set()


def asked_by_jobs(graph, store, count=JOBS):
    """Futures of so many jobs that ask for the same result at the same time."""
    config = CombineConfig()
    recipe, together = recipe_of("combine", config, {}), threading.Barrier(count)

    def ask():
        together.wait()
        return graph.obtain(store, recipe, config, {}, RunConfig(), role="scores")

    threads = ThreadPoolExecutor(count)
    return [threads.submit(ask) for _ in range(count)]


def test_what_many_jobs_ask_for_is_built_once(tmp_path):
    store = Store(tmp_path)
    engine = Engine(store)
    futures = asked_by_jobs(Graph(engine), store)
    engine.go.set()
    found = [future.result(20) for future in futures]
    assert engine.asked == 1
    assert sorted(built for _, built in found) == [False] * (JOBS - 1) + [True]
    assert len({result.digest for result, _ in found}) == 1


def test_an_error_of_a_stage_is_every_jobs_that_asks_and_it_is_not_tried_again(tmp_path):
    store = Store(tmp_path)
    engine = Engine(store, ConfigError("x", 1, "2"))
    futures = asked_by_jobs(Graph(engine), store)
    engine.go.set()
    for future in futures:
        with pytest.raises(ConfigError, match="x=1: expected 2"):
            future.result(20)
    assert engine.asked == 1


def test_a_lost_worker_is_replaced_twice_and_then_told(tmp_path):
    store = Store(tmp_path)
    engine = Engine(store, LostSlot("gone"), LostSlot("gone"))
    engine.go.set()
    ((_, built),) = [future.result(20) for future in asked_by_jobs(Graph(engine), store, 1)]
    assert built
    assert engine.asked == 3
    again = Engine(Store(tmp_path / "other"), *[LostSlot("gone")] * 3)
    again.go.set()
    (future,) = asked_by_jobs(Graph(again), again.store, 1)
    with pytest.raises(LostSlot):
        future.result(20)


def test_what_another_driver_builds_is_waited_for_without_a_worker(tmp_path, monkeypatch):
    monkeypatch.setattr("dataprune.executors.graph.POLL_S", 0.05)
    store, other = Store(tmp_path), Store(tmp_path)
    engine, config = Engine(store), CombineConfig()
    engine.go.set()
    recipe = recipe_of("combine", config, {})
    with other.building(recipe, say=print) as work:
        (future,) = asked_by_jobs(Graph(engine), store, 1)
        while not engine.asked:
            assert not future.done()
        time.sleep(0.5)
        assert engine.asked == 1, "a queue is not asked again while the other one builds"
        (work / "made.txt").write_text("theirs")
        other.commit(recipe, {})
    result, built = future.result(20)
    assert not built
    assert (result / "made.txt").read_text() == "theirs"


def test_after_an_interruption_nothing_is_begun(tmp_path):
    store = Store(tmp_path)
    engine = Engine(store)
    graph = Graph(engine)
    graph.stop()
    (future,) = asked_by_jobs(graph, store, 1)
    with pytest.raises(Stopped):
        future.result(20)
    assert engine.asked == 0

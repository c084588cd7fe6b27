"""The three kinds of methods: by columns, by decisions in cells, by a graph; each gives row numbers."""

from pathlib import Path

import numpy as np

from dataprune.callables import parameters
from dataprune.errors import ConfigError
from dataprune.neighbors.cells import FAIR
from dataprune.pools.budget import shown
from dataprune.pools.columns import select_columns
from dataprune.pools.decide import call
from dataprune.pools.graph import QUERIES, Gather, Meet, Nearest, gather, meet, nearest_in, recall_of
from dataprune.pools.layout import BASE
from dataprune.pools.parts import key
from dataprune.pools.request import drawn
from dataprune.pools.steps import MODULE, Steps
from dataprune.streams import stream

Chosen = tuple[np.ndarray, bool]  # row numbers int64, and whether they stand in pick order


def chosen(steps: Steps) -> Chosen:
    """Return the rows that the request keeps."""
    method = steps.request.method
    if method.columns:
        plan, by = steps.request.plan
        arrays = {name: steps.pool.column(column) for name, column in steps.request.columns.items()}
        return select_columns(plan, by, arrays, steps.pool.n, steps.request.seed), True
    if method.pick:
        return np.concatenate([np.load(path / "rows.npy") for path in steps.decided()]), False
    if method.score:
        return _by_scores(steps)
    return _by_graph(steps), True


def _by_scores(steps: Steps) -> Chosen:
    """Score in cells, pick among all."""
    request, n = steps.request, steps.pool.n
    scores = np.empty(n, np.float32)
    for path in steps.decided():
        scores[np.load(path / "rows.npy")] = np.load(path / "values.npy")
    if request.threshold is not None:
        ids = np.flatnonzero(scores >= request.threshold)
        if not len(ids):
            raise ConfigError("--threshold", request.threshold, f"at most {scores.max():.6g}, the highest score")
        return ids, False
    assert request.method.select is not None
    given = {name: steps.pool.column(column) for name, column in request.columns.items()} | {"scores": scores}
    return call(request.method.select, "select", budget=request.count(n), n=n, rng=_rng(steps), **given), True


def _by_graph(steps: Steps) -> np.ndarray:
    """Pick on the graph of all rows."""
    request, n = steps.request, steps.pool.n
    distances, neighbors = graph(steps)
    given = {name: steps.pool.column(column) for name, column in request.columns.items()}
    given |= {"distances": distances, "neighbors": neighbors}
    assert request.method.select is not None
    if "squared_distances" in parameters(request.method.select["_target_"]).names:
        given["squared_distances"] = np.square(given.pop("distances"))
    return call(request.method.select, "select", budget=request.count(n), n=n, rng=_rng(steps), **given)


def graph(steps: Steps) -> tuple[np.ndarray, np.ndarray]:
    """Return distances float32 (n, k) and neighbours (n, k), and note their measured recall."""
    n = steps.pool.n
    met = _met(steps)
    k = np.load(met[0] / "distances.npy", mmap_mode="r").shape[1]
    distances = np.empty((n, k), np.float32)
    neighbors = np.empty((n, k), np.int32 if n < 2**31 else np.int64)
    for path in met:
        rows = np.load(path / "rows.npy")
        distances[rows] = np.load(path / "distances.npy")
        neighbors[rows] = np.load(path / "neighbors.npy")
    recall = _recall(steps, distances)
    advice = "" if recall >= FAIR else f": raise --probes (now {steps.request.probes})"
    print(f"neighbours: {recall:.1%} of the true ones found, measured on {min(n, QUERIES)} random rows{advice}")
    steps.facts["recall"] = recall
    return distances, neighbors


def _met(steps: Steps) -> list[Path]:
    """The parts with the neighbour lists, one a bucket."""
    request, pool = steps.request, steps.pool
    assert request.method.neighbors is not None
    buckets = int(steps.buckets.max()) + 1
    about = {"plan": Path(steps.plan).name, "pool": pool.contents}
    names = [key("gather", f"{MODULE}.graph.gather", bucket=b, rows=steps.room.rows, **about) for b in range(buckets)]
    gathered = [str(steps.folder / name) for name in names]
    unit = request.method.unit
    k, probes = min(request.method.neighbors, pool.n - 1), min(request.probes, len(steps.buckets) - 1)
    largest = np.sort(steps.pieces.sizes)[::-1][: probes + 1].sum()
    if (needed := steps.room.meeting(int(largest))) > steps.room.free:
        expected = f"{shown(BASE + needed)} or more where {probes + 1} cells meet, or more --cells"
        raise ConfigError("--memory", shown(steps.room.memory), expected)
    tasks = []
    for bucket in range(buckets):
        named = key("meet", f"{MODULE}.graph.meet", bucket=bucket, k=k, probes=probes, unit=unit, **about)
        among = (gathered, bucket, steps.plan, steps.centers, probes, k, unit)
        tasks.append(Meet(*among, str(steps.folder / named), f"bucket {bucket}"))
    if not all(Path(task.part).is_dir() for task in tasks):
        if not all(Path(path).is_dir() for path in gathered):
            steps.spread()
        gathers = [Gather(steps.spreads, b, path, f"bucket {b}") for b, path in enumerate(gathered)]
        steps.crew.run(gather, gathers)
    steps.crew.run(meet, tasks)
    return [Path(task.part) for task in tasks]


def _recall(steps: Steps, distances: np.ndarray) -> float:
    """How many of the true neighbours of random rows the lists hold."""
    pool, k, unit = steps.pool, distances.shape[1], steps.request.method.unit
    ids = drawn(stream(steps.request.seed, "rows of the recall"), pool.n, QUERIES)
    queries = steps.sampled(ids)
    tasks = []
    for i, shard in enumerate(pool.shards):
        about = {"content": pool.contents[i], "queries": [Path(path).name for path in queries], "k": k, "unit": unit}
        named = key("nearest", f"{MODULE}.graph.nearest_in", ids=ids.tolist(), start=int(pool.starts[i]), **about)
        tasks.append(Nearest(shard, int(pool.starts[i]), queries, ids, k, unit, str(steps.folder / named), shard.name))
    steps.crew.run(nearest_in, tasks)
    return recall_of(distances[ids], [np.load(Path(task.part) / "distances.npy") for task in tasks])


def _rng(steps: Steps) -> np.random.Generator:
    return stream(steps.request.seed, "select")

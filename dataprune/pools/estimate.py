"""How long a selection takes and what it holds in memory, from rates measured on a few rows of the first shard."""

import time
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from dataprune.neighbors.prototypes import nearest
from dataprune.pools.budget import bytes_of, shown
from dataprune.pools.cells import LARGEST, unit_rows, wanted_sample
from dataprune.pools.decide import call
from dataprune.pools.layout import BASE, Room
from dataprune.pools.request import Request

SAMPLED = 20_000  # rows that are read
TRIED = 4096  # rows whose cells are found
LEAST_S = 0.2  # of starting a worker's libraries and handing over a task


def estimate(request: Request) -> None:
    """Print tasks, peak memory and seconds of each stage, and write nothing."""
    request.check()
    shards, n = request.shards, sum(shard.rows() for shard in request.shards)
    size = sum(path.stat().st_size for shard in shards for path in shard.files)
    print(f"{n} rows in {len(shards)} shards, {shown(size)}; {request.workers} workers of {request.memory}")
    if request.method.columns:
        _tell("scan", len(shards), BASE + size / len(shards), size / 4e8, request.workers)
        columns = len(set(request.columns.values())) + 1
        print(f"this process: {shown(BASE + n * 16 * (columns + 1))} for {columns} columns of {n} rows")
        return
    with threadpool_limits(1):
        _of_cells(request, n)


def _of_cells(request: Request, n: int) -> None:
    began = time.perf_counter()
    rows = next(request.shards[0].batches(min(n, SAMPLED)))[1]
    read_s = (time.perf_counter() - began) / len(rows)
    cells = request.cells_of(n)
    room = Room(bytes_of(request.memory), rows.shape[1], rows.itemsize)
    features = unit_rows(rows) if request.method.unit else rows.astype(np.float32)
    sizes = np.full(cells, n // cells + 1)
    sizes[0] = min(n, int(LARGEST * sizes[0]))
    buckets = int(room.buckets(sizes, request.method.pair_bytes).max()) + 1
    peak = BASE + room.bucket(-(-n // buckets), int(sizes[0]), request.method.pair_bytes)
    shards, workers = len(request.shards), request.workers
    label_s = _label_rate(features, cells)
    held = (
        BASE + 2 * room.rows * room.width * room.itemsize
        if n > shards * room.rows
        else BASE + n // shards * 4 * room.width
    )
    _tell("scan, spread", 2 * shards, min(request_memory(request), held), 4 * read_s * n, workers)
    _tell("k-means", shards + 1, BASE + wanted_sample(n, cells) * room.width * 24, 0.1 * label_s * n, 1)
    _tell("label", shards, BASE + 2**27, label_s * n, workers)
    if request.method.neighbors:
        met = n / cells * (request.probes + 1)
        seconds = n * met * room.width * 2 * label_s / (cells * room.width * 2)
        _tell("gather, meet, nearest", 2 * buckets + shards, BASE + room.meeting(int(met * 2)), seconds, workers)
        print(f"this process: {shown(BASE + n * (133 + 12 * request.method.neighbors))} for the graph of {n} rows")
    else:
        _tell("decide", buckets, peak, cells * _cell_seconds(request, features, n // cells + 1), workers)
    disk = n * room.width * room.itemsize * (2 if request.method.neighbors else 1)
    print(f"disk while it runs: {shown(disk + n * 44)} in {Path(request.output) / 'parts'}")


def request_memory(request: Request) -> int:
    """Return the bytes that a worker may use."""
    return bytes_of(request.memory)


def _tell(what: str, tasks: int, peak: float, cpu_s: float, workers: int) -> None:
    seconds = cpu_s / min(workers, tasks) + LEAST_S * tasks / workers
    print(f"{what}: {tasks} tasks, {shown(peak)} a worker at most, {seconds:.0f} s")


def _label_rate(features: np.ndarray, cells: int) -> float:
    """Seconds to find the cell of one row."""
    few = min(cells, len(features))
    tried = features[:TRIED]
    nearest(tried[:64], features[:few])  # compiled code is loaded before the clock starts
    began = time.perf_counter()
    nearest(tried, features[:few])
    return (time.perf_counter() - began) / len(tried) * cells / few


def _cell_seconds(request: Request, features: np.ndarray, rows: int) -> float:
    """Seconds of the function in a cell of `rows` rows; quadratic beyond the rows that were read."""
    few = features[: min(rows, len(features))]
    assert request.method.function is not None
    name, function = request.method.function
    labels = np.zeros(len(few), np.int64)
    given: dict[str, Any] = {"features": few, "embeddings": few, "labels": labels}
    if name == "score":
        given |= {"assignment": labels, "centers": few[:1]}
    else:
        given |= {"budget": max(1, len(few) // 2), "rng": np.random.default_rng(0)}
    call(function, name, **given)  # compiled code is loaded before the clock starts
    began = time.perf_counter()
    call(function, name, **given)
    return (time.perf_counter() - began) * (rows / len(few)) ** 2

"""Neighbour lists cell by cell: each row meets the rows of its own cell and of the cells nearest to it.

The lists are exact among those; how many of the true neighbours that finds is measured on 500 rows. The greedy picks
are made on the whole graph by one process.
"""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataprune.neighbors.exact import search
from dataprune.neighbors.points import centred_points
from dataprune.pools.cells import BLOCK, Pieces, as_batch, read_bucket, unit_rows
from dataprune.pools.decide import spans_of
from dataprune.pools.lists import rows_of
from dataprune.pools.parts import part, write_facts
from dataprune.pools.shards import Shard

QUERIES = 500  # rows that the recall is measured on
LISTS = 2  # pieces that stay in memory beside those that meet, as the next ones often want them


@dataclass(frozen=True)
class Gather:
    """The task to put the rows of each piece of a bucket together."""

    spreads: list[str]
    bucket: int
    part: str
    about: str


def gather(task: Gather) -> None:
    """Write rows.arrow, a record batch a piece, and which piece each is."""
    row, piece, embeddings = read_bucket(task.spreads, task.bucket)
    with part(task.part) as work:
        writer, order = None, []
        for number, span in spans_of(piece):
            batch = as_batch(row[span], piece[span], embeddings[span])
            writer = writer or pa.ipc.new_file(str(work / "rows.arrow"), batch.schema)
            writer.write_batch(batch)
            order.append(number)
        assert writer is not None
        writer.close()
        write_facts(work, {"pieces": order})


@dataclass(frozen=True)
class Meet:
    """The task to find the neighbours of the rows of a bucket's pieces."""

    gathered: list[str]  # a part a bucket
    bucket: int
    plan: str
    centers: str
    probes: int  # pieces that each piece meets besides its own
    k: int
    unit: bool
    part: str
    about: str


def meet(task: Meet) -> None:
    """Write rows.npy int64 (m,), distances.npy float32 (m, k) and neighbors.npy int64 (m, k), row numbers."""
    pieces = Pieces.load(task.plan)
    bucket_of = np.load(Path(task.plan) / "bucket.npy")
    centers = np.load(Path(task.centers) / "centers.npy")[pieces.cell]
    own = np.flatnonzero(bucket_of == task.bucket)
    order = np.argsort(bucket_of, kind="stable")
    place = np.empty(len(order), np.int64)  # of a piece in its bucket's file
    place[order] = np.arange(len(order)) - np.searchsorted(bucket_of[order], bucket_of[order])

    @lru_cache(maxsize=task.probes + LISTS)
    def rows(piece: int) -> tuple[np.ndarray, np.ndarray]:
        with pa.OSFile(f"{task.gathered[bucket_of[piece]]}/rows.arrow") as file, pa.ipc.open_file(file) as opened:
            batch = opened.get_batch(int(place[piece]))
            embeddings = rows_of(batch["embedding"], "rows.arrow", "embedding")
            return batch["row"].to_numpy(), unit_rows(embeddings) if task.unit else embeddings

    found = []
    for piece in own.tolist():
        together = [rows(near) for near in _near(piece, centers, pieces.sizes, task.probes, task.k)]
        row = np.concatenate([part[0] for part in together])
        order = np.argsort(row)  # ties go to the lower row number
        points = centred_points(np.concatenate([part[1] for part in together])[order], "float32")
        wanted = np.searchsorted(row[order], rows(piece)[0])
        distances, places = search(points, wanted, task.k)
        found.append((rows(piece)[0], distances, row[order][places]))
    with part(task.part) as work:
        for name, values in zip(("rows", "distances", "neighbors"), zip(*found, strict=True), strict=True):
            np.save(work / f"{name}.npy", np.concatenate(values))


def _near(piece: int, centers: np.ndarray, sizes: np.ndarray, probes: int, k: int) -> list[int]:
    """The piece, the `probes` pieces of the nearest centres, and more where these have not k other rows."""
    squares = np.square(centers.astype(np.float64) - centers[piece]).sum(axis=1)
    squares[piece] = -1
    order = np.argsort(squares, kind="stable")
    enough = int(np.searchsorted(np.cumsum(sizes[order]), k + 1)) + 1
    return order[: max(probes + 1, enough)].tolist()


@dataclass(frozen=True)
class Nearest:
    """The task to find the rows of a shard that are nearest to some rows of the pool."""

    shard: Shard
    start: int
    queries: list[str]  # parts with the embeddings of these rows
    ids: np.ndarray  # their row numbers
    k: int
    unit: bool
    part: str
    about: str


def nearest_in(task: Nearest) -> None:
    """Write distances.npy float64 (queries, at most k), sorted, themselves left out."""
    queries = np.concatenate([np.load(Path(path) / "rows.npy") for path in task.queries]).astype(np.float64)
    if task.unit:
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    best = np.full((len(queries), task.k), np.inf)
    for start, rows in task.shard.batches(BLOCK):
        wide = (unit_rows(rows) if task.unit else rows).astype(np.float64)
        squares = np.square(queries).sum(1)[:, None] + np.square(wide).sum(1) - 2 * queries @ wide.T
        place = task.ids - task.start - start
        own = np.flatnonzero((place >= 0) & (place < len(rows)))
        squares[own, place[own]] = np.inf
        together = np.concatenate([best, squares], axis=1)
        best = np.partition(together, task.k - 1, axis=1)[:, : task.k]
    with part(task.part) as work:
        np.save(work / "distances.npy", np.sqrt(np.maximum(np.sort(best, axis=1), 0)))
        task.shard.check_unchanged()


def recall_of(distances: np.ndarray, true: list[np.ndarray]) -> float:
    """Return the share of distances (m, k) that are no longer than the true k-th; true: those of each shard."""
    k = distances.shape[1]
    last = np.sort(np.concatenate(true, axis=1), axis=1)[:, k - 1]
    return float((distances <= last[:, None] * (1 + 1e-5) + 1e-6).mean())

"""Cells of near rows: k-means on a row sample, the cell of every row, rows gathered by buckets of cells.

A task reads one shard or one bucket and writes one part. What it writes depends on neither the engine nor the number of
workers; buckets, which `--memory` chooses, only say what is read together.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from dataprune.neighbors.cells import PER_CELL, spread_centers
from dataprune.neighbors.prototypes import nearest
from dataprune.pools.lists import listed, rows_of
from dataprune.pools.parts import facts_of, part, write_facts
from dataprune.pools.shards import Shard

BLOCK = 8192  # rows that are read together
LARGEST = 2.5  # times the mean size that was asked for; what is larger is cut


def unit_rows(rows: np.ndarray) -> np.ndarray:
    """Return rows (n, d) scaled to length 1, float32."""
    wide = rows.astype(np.float64)
    return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)


@dataclass(frozen=True)
class Sample:
    """The task to read some rows of a shard."""

    shard: Shard
    positions: np.ndarray  # int64, ascending
    part: str
    about: str


def sample(task: Sample) -> None:
    """Write rows.npy float32 (m, d): the embeddings at the positions."""
    found = []
    for start, rows in task.shard.batches(BLOCK):
        inside = task.positions[(task.positions >= start) & (task.positions < start + len(rows))]
        found.append(rows[inside - start].astype(np.float32))
    with part(task.part) as work:
        np.save(work / "rows.npy", np.concatenate(found))
        task.shard.check_unchanged()


@dataclass(frozen=True)
class Fit:
    """The task to find the centres of cells on the samples of all shards."""

    samples: list[str]
    cells: int
    unit: bool
    seed: int
    part: str
    about: str = "k-means"


def fit(task: Fit) -> None:
    """Write centers.npy float32 (c, d): those of about `cells` cells, scaled to length 1 where rows are."""
    rows = np.concatenate([np.load(Path(path) / "rows.npy") for path in task.samples])
    if task.unit:
        rows = unit_rows(rows)
    middle = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    rows -= middle  # products lose digits far from 0
    centers = spread_centers(rows, len(rows) / task.cells, np.random.default_rng(task.seed)) + middle
    with part(task.part) as work:
        np.save(work / "centers.npy", unit_rows(centers) if task.unit else centers)


@dataclass(frozen=True)
class Label:
    """The task to find the cell of each row of a shard."""

    shard: Shard
    centers: str  # the part of `fit`
    unit: bool
    part: str
    about: str


def label(task: Label) -> None:
    """Write cells.npy int32 (n,), the nearest centre of each row, and counts.npy int64 (c,)."""
    centers = np.load(Path(task.centers) / "centers.npy")
    labels = [
        nearest(unit_rows(rows) if task.unit else rows, centers).astype(np.int32)
        for _, rows in task.shard.batches(BLOCK)
    ]
    cells = np.concatenate(labels)
    with part(task.part) as work:
        np.save(work / "cells.npy", cells)
        np.save(work / "counts.npy", np.bincount(cells, minlength=len(centers)))
        task.shard.check_unchanged()


@dataclass(frozen=True)
class Pieces:
    """Cells, those of more than 2.5 mean sizes cut by row number into equal pieces; empty ones left out.

    k-means has split what its sample shows to be large, so what is cut here is mostly copies of one example.
    """

    cell: np.ndarray  # int64 (pieces,), the cell that each is of
    sizes: np.ndarray  # int64 (pieces,)
    first: np.ndarray  # int64 (c,), the first piece of each cell
    steps: np.ndarray  # int64 (c,), rows of a piece, the last of a cell perhaps fewer

    @classmethod
    def of(cls, counts: np.ndarray, mean: float) -> "Pieces":
        """Cut cells of `counts` rows int64 (c,) that have more than 2.5 times the `mean`."""
        there = counts > 0
        most = max(1, int(LARGEST * mean))
        number = np.where(there, -(-counts // most), 0)
        steps = np.where(there, -(-counts // np.maximum(number, 1)), 1)
        cell = np.repeat(np.arange(len(counts)), number)
        first = np.cumsum(number) - number
        place = np.arange(len(cell)) - first[cell]
        sizes = np.minimum(steps[cell], counts[cell] - place * steps[cell])
        return cls(cell, sizes, first, steps)

    @classmethod
    def load(cls, folder: str) -> "Pieces":
        """Read what `save` wrote."""
        return cls(*(np.load(Path(folder) / f"{name}.npy") for name in ("cell", "sizes", "first", "steps")))

    def save(self, folder: Path) -> None:
        """Write a file an array."""
        for name in ("cell", "sizes", "first", "steps"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @property
    def cut_cells(self) -> np.ndarray:
        """Return the cells that are more than one piece, int64."""
        return np.flatnonzero(np.bincount(self.cell) > 1)

    def of_rows(self, cells: np.ndarray, earlier: np.ndarray) -> np.ndarray:
        """Return the piece of each row of a shard, int64 (n,); earlier: rows of each cut cell in the shards before."""
        before = np.zeros(len(self.first), np.int64)
        before[self.cut_cells] = earlier
        order = np.argsort(cells, kind="stable")
        counts = np.bincount(cells, minlength=len(before))
        nth = np.empty(len(cells), np.int64)
        nth[order] = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
        return self.first[cells] + (before[cells] + nth) // self.steps[cells]


@dataclass(frozen=True)
class Spread:
    """The task to write the rows of a shard bucket by bucket."""

    shard: Shard
    cells: str  # the part of `label`
    earlier: np.ndarray  # int64, rows of each cut cell in the shards before
    start: int  # row number of the shard's first row
    plan: str  # the part with the pieces and their buckets
    rows: int  # that fit into memory at a time
    part: str
    about: str


def spread(task: Spread) -> None:
    """Write rows.arrow: a record batch a bucket (row, piece, embedding), all buckets again for each `rows` rows."""
    pieces = Pieces.load(task.plan).of_rows(np.load(Path(task.cells) / "cells.npy"), task.earlier)
    bucket_of = np.load(Path(task.plan) / "bucket.npy")
    buckets = int(bucket_of.max()) + 1
    with part(task.part) as work:
        writer = None
        for start, rows in task.shard.batches(task.rows):
            own = pieces[start : start + len(rows)]
            where = bucket_of[own]
            order = np.argsort(where, kind="stable")
            edges = np.searchsorted(where[order], np.arange(buckets + 1))
            for bucket in range(buckets):
                chosen = order[edges[bucket] : edges[bucket + 1]]
                batch = as_batch(task.start + start + chosen, own[chosen], rows[chosen])
                writer = writer or pa.ipc.new_file(str(work / "rows.arrow"), batch.schema)
                writer.write_batch(batch)
        assert writer is not None
        writer.close()
        write_facts(work, {"buckets": buckets})
        task.shard.check_unchanged()


def as_batch(rows: np.ndarray, pieces: np.ndarray, embeddings: np.ndarray) -> pa.RecordBatch:
    """Return a record batch of row numbers (m,), pieces (m,) and embeddings (m, d)."""
    columns = [pa.array(rows.astype(np.int64)), pa.array(pieces.astype(np.int64)), listed(embeddings)]
    return pa.RecordBatch.from_arrays(columns, names=["row", "piece", "embedding"])


def read_bucket(spreads: list[str], bucket: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row numbers, pieces and embeddings of a bucket from all shards, by piece and then by row number."""
    rows, pieces, embeddings = [], [], []
    for folder in spreads:
        with pa.OSFile(f"{folder}/rows.arrow") as file, pa.ipc.open_file(file) as opened:
            step = facts_of(folder)["buckets"]
            for number in range(bucket, opened.num_record_batches, step):
                batch = opened.get_batch(number)
                if len(batch):
                    rows.append(batch["row"].to_numpy())
                    pieces.append(batch["piece"].to_numpy())
                    embeddings.append(rows_of(batch["embedding"], folder, "embedding"))
    row, piece = np.concatenate(rows), np.concatenate(pieces)
    order = np.argsort(piece, kind="stable")
    together = np.empty((len(row), embeddings[0].shape[1]), embeddings[0].dtype)
    place = np.empty(len(row), np.int64)
    place[order] = np.arange(len(row))
    start = 0
    while embeddings:  # a batch at a time, so that no second copy of all stands in memory
        batch_rows = embeddings.pop(0)
        together[place[start : start + len(batch_rows)]] = batch_rows
        start += len(batch_rows)
    return row[order], piece[order], together


def wanted_sample(n: int, cells: int) -> int:
    """Return how many of n rows k-means is fitted on."""
    return min(n, PER_CELL * cells)

"""How much a task holds in memory, and which pieces are read together."""

import heapq
from dataclasses import dataclass

import numpy as np

from dataprune.errors import ConfigError
from dataprune.pools.budget import shown

BASE = 420 * 2**20  # a worker with its libraries, and what reading a few thousand rows takes
LEAST = 32  # buckets, where there are as many pieces: work for many workers
MOST = 2**16  # rows that are spread at a time: more makes nothing faster
WORK = 44  # bytes for each number of a piece that a function looks at: copies in float64, products


@dataclass(frozen=True)
class Room:
    """What fits into a worker of `memory` bytes."""

    memory: int
    width: int
    itemsize: int

    def __post_init__(self) -> None:
        if self.memory < BASE + 2**26:
            raise ConfigError("--memory", shown(self.memory), f"{shown(BASE + 2**27)} or more: so much a worker needs")

    @property
    def free(self) -> int:
        """Return the bytes that are left for rows."""
        return self.memory - BASE

    @property
    def rows(self) -> int:
        """Return how many rows `spread` may hold at a time."""
        # two batches of values, each with 4 bytes of Parquet's levels beside it, and copies of one
        return int(np.clip(self.free // (self.width * (5 * self.itemsize + 8) + 64), 1024, MOST))

    def bucket(self, rows: int, piece: int, pair_bytes: int) -> int:
        """Return the bytes for a bucket of `rows` rows, its largest piece of `piece` rows being looked at."""
        held = rows * (2 * self.width * self.itemsize + 64)
        return held + piece * self.width * WORK + piece * piece * pair_bytes

    def meeting(self, rows: int) -> int:
        """Return the bytes for `rows` rows that meet."""
        return rows * (self.width * (4 * self.itemsize + 12) + 64) + 2**27

    def buckets(self, sizes: np.ndarray, pair_bytes: int) -> np.ndarray:
        """Return the bucket of each piece of `sizes` rows, int32: largest first, each into the emptiest.

        Raises ConfigError where a piece alone does not fit.
        """
        largest = int(sizes.max())
        if (needed := self.bucket(largest, largest, pair_bytes)) > self.free:
            expected = f"{shown(BASE + needed)} or more for the largest cell ({largest} rows), or more --cells"
            raise ConfigError("--memory", shown(self.memory), expected)
        number = min(len(sizes), LEAST)
        while True:
            bucket = spread_over(sizes, number)
            fullest = int(np.bincount(bucket, sizes).max())
            if self.bucket(fullest, largest, pair_bytes) <= self.free or number == len(sizes):
                return bucket
            number = min(len(sizes), number * 2)


def spread_over(sizes: np.ndarray, number: int) -> np.ndarray:
    """Return for each of the sizes one of `number` buckets, int32, so that they fill evenly."""
    heap = [(0, bucket) for bucket in range(number)]
    found = np.empty(len(sizes), np.int32)
    for piece in np.argsort(-sizes, kind="stable").tolist():
        rows, bucket = heapq.heappop(heap)
        found[piece] = bucket
        heapq.heappush(heap, (rows + int(sizes[piece]), bucket))
    return found

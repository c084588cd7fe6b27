"""Which examples each step of each epoch sees: a function of (seed, epoch), so that a resumed run sees the same.

The global batch is the same whatever the number of processes: process r of w takes every w-th example of it.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dataprune.errors import ConfigError
from dataprune.streams import stream


@dataclass(frozen=True)
class Batch:
    """One process's share of a step."""

    ids: np.ndarray  # int64 (b,)
    places: np.ndarray  # int64 (b,), position in the epoch's order: the index of its random draws
    real: np.ndarray  # bool (b,), False = a repeat that only fills the share up; it must not count
    total: int  # examples of the global batch


@dataclass
class Order:
    """The order of training (shuffled) or of a clean pass (as given).

    ids: examples to use. fresh: instead of all `ids`, this many fresh ones each epoch: the permutation of a round is
    cut into consecutive chunks, without replacement until fewer than `fresh` are left (RS2, ICLR 2024). lengths, int
    (n,) by id: with it batches hold examples of like length (`alike`), out of `pool` batches each.
    """

    ids: np.ndarray
    batch_size: int  # global
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world: int = 1
    fresh: int | None = None
    lengths: np.ndarray | None = None
    pool: int = 50

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of processes={self.world}")
        if self.fresh is not None and not 1 <= self.fresh <= len(self.ids):
            raise ConfigError("fresh", self.fresh, f"1 to {len(self.ids)} examples an epoch")

    @property
    def length(self) -> int:
        """Examples an epoch."""
        return len(self.ids) if self.fresh is None else self.fresh

    @property
    def steps(self) -> int:
        """Steps an epoch; the last batch may be smaller, none is dropped."""
        return math.ceil(self.length / self.batch_size)

    def epoch(self, epoch: int) -> np.ndarray:
        """The ids of one epoch in order, int64 (length,)."""
        if not self.shuffle:
            return self.ids
        ids = self._drawn(epoch)
        if self.lengths is None:
            return ids
        return alike(ids, self.lengths, self.batch_size, self.pool, stream(self.seed, "order", epoch, self.pool))

    def _drawn(self, epoch: int) -> np.ndarray:
        if self.fresh is None:
            return stream(self.seed, "order", epoch).permutation(self.ids)
        chunks = len(self.ids) // self.fresh
        permuted = stream(self.seed, "order", epoch // chunks).permutation(self.ids)
        start = epoch % chunks * self.fresh
        return permuted[start : start + self.fresh]

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This process's share of each step of an epoch. All shares of a step have the same size."""
        order = self.epoch(epoch)
        for start in range(0, len(order), self.batch_size):
            places = np.arange(start, min(start + self.batch_size, len(order)))
            share = math.ceil(len(places) / self.world)
            mine = np.arange(self.rank, share * self.world, self.world)
            real = mine < len(places)
            mine = places[mine % len(places)]
            yield Batch(order[mine], mine, real, len(places))


def alike(ids: np.ndarray, lengths: np.ndarray, batch_size: int, pool: int, rng: np.random.Generator) -> np.ndarray:
    """Return shuffled `ids` in an order whose batches hold examples of like length, so that little of them is padding.

    Of every `pool` batches in a row the examples are sorted by length, then `rng` shuffles the batches. lengths: int by
    id. The last batch stays the last if it is smaller.
    """
    size = pool * batch_size
    parts = [ids[start : start + size] for start in range(0, len(ids), size)]
    in_order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
    full = len(ids) // batch_size
    batches = in_order[: full * batch_size].reshape(full, batch_size)
    return np.concatenate([batches[rng.permutation(full)].ravel(), in_order[full * batch_size :]])

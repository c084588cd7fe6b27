"""Which examples each step of each epoch sees: a function of (seed, epoch), so that a resumed run sees the same.

The global batch is the same whatever the number of processes: process r of w takes every w-th example of it.
"""

import math
from collections.abc import Callable, Iterator
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
    at: float  # where the step stands in the training, in steps of whole epochs: what schedules go by
    weights: np.ndarray | None = None  # float32 (b,), of this epoch


# the ids of an epoch in order, int64 (k,), and their weights, float32 (k,), or None where all are 1
Epoch = tuple[np.ndarray, np.ndarray | None]


@dataclass
class Order:
    """The order of training (shuffled) or of a clean pass (as given).

    ids: examples to use. chosen: gives an epoch's ids among these and their weights instead (a sampler that chooses
    anew each epoch); the same whenever it is asked in that epoch, and at most as many as `ids`. lengths, int (n,) by
    id: with it batches hold examples of like length (`alike`), out of `pool` batches each. repeats: so many places in a
    row are one example's, and an epoch has as many fewer of them (repeated augmentation, Hoffer et al. 2019: timm's
    RepeatAugSampler, whose epoch is as long as without, too).
    """

    ids: np.ndarray
    batch_size: int  # global
    seed: int = 0
    shuffle: bool = True
    rank: int = 0
    world: int = 1
    chosen: Callable[[int], Epoch] | None = None
    lengths: np.ndarray | None = None
    pool: int = 50
    drop_last: bool = False  # leave out what does not fill a batch: other examples in every epoch
    repeats: int = 1

    def __post_init__(self) -> None:
        if self.batch_size % self.world:
            raise ConfigError("batch_size", self.batch_size, f"a multiple of processes={self.world}")
        if self.drop_last and self.steps == 0:
            expected = f"at most the {self.length} examples: with drop_last=true none of them would be seen"
            raise ConfigError("batch_size", self.batch_size, expected)

    @property
    def length(self) -> int:
        """Examples of a whole epoch: the most that one has."""
        return len(self.ids)

    @property
    def steps(self) -> int:
        """Steps of a whole epoch; the last batch may be smaller, or is left out (drop_last)."""
        return steps_of(self.length, self.batch_size, self.drop_last)

    def epoch(self, epoch: int) -> Epoch:
        """The ids of one epoch in order, and their weights."""
        if not self.shuffle and self.chosen is None:
            return self.ids, None
        ids, weights = self._drawn(epoch)
        if self.lengths is None:
            return ids, weights
        rng = stream(self.seed, "order", epoch, self.pool)
        places = alike(self.lengths[ids], self.batch_size, self.pool, rng)
        return ids[places], None if weights is None else weights[places]

    def _drawn(self, epoch: int) -> Epoch:
        if self.chosen is not None:
            ids, weights = self.chosen(epoch)
        else:
            ids = stream(self.seed, "order", epoch).permutation(self.ids) if self.shuffle else self.ids
            ids = ids if self.repeats == 1 else np.repeat(ids, self.repeats)[: self.length]
            weights = None
        return ids, weights

    def batches(self, epoch: int) -> Iterator[Batch]:
        """This process's share of each step of an epoch. All shares of a step have the same size."""
        order, weights = self.epoch(epoch)
        steps = steps_of(len(order), self.batch_size, self.drop_last)
        if self.drop_last and steps == 0:  # a sampler's epoch: nothing would be learned, and nothing observed
            expected = f"at most the {len(order)} examples of epoch {epoch}: drop_last=true leaves a smaller batch out"
            raise ConfigError("batch_size", self.batch_size, expected)
        for step in range(steps):
            start = step * self.batch_size
            places = np.arange(start, min(start + self.batch_size, len(order)))
            share = math.ceil(len(places) / self.world)
            mine = np.arange(self.rank, share * self.world, self.world)
            real = mine < len(places)
            mine = places[mine % len(places)]
            # a shorter epoch passes through the schedule as a whole one does
            at = epoch * self.steps + (step if steps == self.steps else step * self.steps / steps)
            yield Batch(order[mine], mine, real, len(places), at, None if weights is None else weights[mine])


def steps_of(examples: int, batch_size: int, drop_last: bool = False) -> int:
    """Return the steps of an epoch of so many examples; without drop_last the last batch may be smaller."""
    return examples // batch_size if drop_last else math.ceil(examples / batch_size)


def alike(lengths: np.ndarray, batch_size: int, pool: int, rng: np.random.Generator) -> np.ndarray:
    """Return positions of shuffled examples in an order whose batches are of like length: little of them is padding.

    Of every `pool` batches in a row the examples are sorted by length, then `rng` shuffles the batches. lengths: int
    (n,). The last batch stays the last if it is smaller.
    """
    size, n = pool * batch_size, len(lengths)
    parts = [np.arange(start, min(start + size, n)) for start in range(0, n, size)]
    in_order = np.concatenate([part[np.argsort(lengths[part], kind="stable")] for part in parts])
    full = n // batch_size
    batches = in_order[: full * batch_size].reshape(full, batch_size)
    return np.concatenate([batches[rng.permutation(full)].ravel(), in_order[full * batch_size :]])


def batch_for(n: int) -> int:
    """The batch of a transfer to n examples: 1,024, or the largest power of two that is at most a quarter of them.

    The published 1,024 for every target leaves a third of a small one out of each epoch (its last batch is dropped).
    """
    return min(1024, 1 << max(0, (n // 4).bit_length() - 1))

"""What all policies share: a torch Sampler whose epochs follow from the seed and the losses observed before them.

    sampler = InfoBatch(len(dataset), epochs=30)
    loader = DataLoader(WithIds(dataset), batch_size=128, sampler=sampler)
    for epoch in range(30):
        sampler.set_epoch(epoch)                            # what was observed before counts from here on
        for x, y, ids in loader:
            losses = cross_entropy(network(x), y, reduction="none")
            (losses * sampler.weights(ids)).mean().backward()
            ...
            sampler.observe(ids, losses)                    # batch by batch, or once an epoch: the same

Epochs differ in length, so there is no `__len__` (Lightning would take it once, and then skip evaluations or cut longer
epochs). Several processes: each holds the same policy, trains on its share and observes what all of them saw.
"""

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import Sampler

from dataprune.dynamic.arrays import array, checked_ids, like
from dataprune.dynamic.observations import Observations
from dataprune.errors import ConfigError, Shown, first, whole_number
from dataprune.streams import stream


class Policy(Sampler[int]):
    """All examples in a fresh order each epoch; policies that leave some out derive from it and override `keep`.

    n: examples, their ids are 0 to n - 1. epochs: of the whole training, for what depends on it. seed: of all draws,
    by named streams. depth: epochs of losses to remember. constants: of the policy; a state of others is refused.
    """

    _drawn: tuple[np.ndarray, np.ndarray | None] | None  # of the current epoch, made when it is asked for
    _table: np.ndarray | None  # its weights by id
    _iterated: bool

    def __init__(
        self, n: int, epochs: int | None = None, *, seed: int = 0, depth: int = 0, **constants: float | str | None
    ) -> None:
        super().__init__()
        self.n = whole_number("n", n, 1)
        self.epochs = None if epochs is None else whole_number("epochs", epochs, 1)
        self.seed = whole_number("seed", seed, 0)
        name = type(self).__name__
        self.constants = constants | {"policy": name, "n": self.n, "epochs": self.epochs, "seed": self.seed}
        self.now = 0  # the current epoch
        self.seen = Observations(self.n, depth)
        self._forget()

    def keep(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ids of an epoch, ascending int64 (k,), and their weights, float32 (k,) or None: all 1."""
        return np.arange(self.n), None

    def draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return ids and weights of an epoch in the order of training, which is the train stage's for these ids."""
        ids, weights = self.keep(epoch)
        order = stream(self.seed, "order", epoch).permutation(len(ids))
        return ids[order], None if weights is None else weights[order]

    def excluded(self, epoch: int) -> np.ndarray:
        """Return the ids that an epoch leaves out and still wants observed, forward only: ascending int64."""
        return np.empty(0, np.int64)

    def epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Begin an epoch and return its ids in order, int64 (k,), and weights, float32 (k,), or None where all are 1.

        A function of the seed, the epoch and what was observed before it began: the same however often it is asked
        while it lasts.
        """
        self.set_epoch(epoch)
        ids, weights = self._current()
        return ids.copy(), None if weights is None else weights.copy()

    def set_epoch(self, epoch: int) -> None:
        """Begin an epoch: what was observed until now counts in it. `epochs`, behind the last one, has no examples."""
        epoch = whole_number("epoch", epoch, 0, self.epochs)
        if epoch != self.now:
            self.seen.close()
            self.now = epoch
            self._forget()

    def __iter__(self) -> Iterator[int]:
        if self.now == self.epochs:
            warnings.warn(f"the {self.epochs} epochs of this sampler are over: no examples", stacklevel=2)
        if self._iterated and self.seen.any:
            warnings.warn(f"epoch {self.now} begins again, its losses were observed: call set_epoch", stacklevel=2)
        self._iterated = True
        return iter(self._current()[0].tolist())

    @property
    def count(self) -> int:
        """Examples in the current epoch."""
        return len(self._current()[0])

    def progress(self, done: int = 0) -> float:
        """Return the share of the training that is over when `done` examples of the current epoch are, 0 to 1."""
        if self.epochs is None:
            raise ConfigError("epochs", None, f"{type(self).__name__}(n, epochs, ...), for its progress")
        return (self.now + (min(done / self.count, 1.0) if done else 0.0)) / self.epochs

    def weights(self, ids: Any) -> Any:
        """Return the weights of these ids in the current epoch, float32 (b,): a tensor on their device, or an array."""
        if self._table is None:
            kept, weights = self._current()
            self._table = np.full(self.n, np.nan, np.float32)  # NaN = not in this epoch
            self._table[kept] = 1 if weights is None else weights
        found = self._table[checked_ids(ids, self.n)]
        if np.isnan(found).any():
            foreign = Shown(first(array(ids)[np.isnan(found)]))
            raise ConfigError("ids", foreign, f"ids of epoch {self.now}, which is the current one (set_epoch)")
        return like(ids, found)

    def observe(self, ids: Any, losses: Any) -> None:
        """Take in losses of the current epoch: ids int (b,), losses float (b,), unweighted; tensors or arrays.

        In one call or many, in any order; they count when the next epoch begins. Of an example that comes twice the
        first loss counts. Raises ConfigError that names the ids of NaN or inf, and then takes in nothing of the call.
        A GPU is waited for: where that matters, collect the tensors of an epoch and observe once.
        """
        self.seen.add(array(ids), array(losses))

    def state_dict(self) -> dict[str, Any]:
        """Return what later epochs follow from: plain values and tensors; also in the middle of an epoch.

        To go on after a finished epoch: load it, then `set_epoch` of the next one, before the loader is iterated.
        """
        tensors = {name: torch.from_numpy(values) for name, values in self.seen.arrays().items()}
        return {"constants": dict(self.constants), "epoch": self.now, "losses": tensors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state; raises ConfigError if it is of another policy, or of other constants."""
        for name, value in self.constants.items():
            if (theirs := state.get("constants", {}).get(name)) != value:
                raise ConfigError(f"state_dict.{name}", theirs, f"{value!r}, as this sampler has")
        self.seen.restore({name: values.numpy() for name, values in state["losses"].items()})
        self.now = state["epoch"]
        self._forget()

    def _current(self) -> tuple[np.ndarray, np.ndarray | None]:
        if self._drawn is None:
            self._drawn = (np.empty(0, np.int64), None) if self.now == self.epochs else self.draw(self.now)
        return self._drawn

    def _forget(self) -> None:
        self._drawn, self._table, self._iterated = None, None, False

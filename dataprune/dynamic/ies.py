"""IES: an example whose loss has settled is left out, until it moves again."""

import numpy as np

from dataprune.dynamic.policy import Policy
from dataprune.errors import ConfigError, whole_number


class IES(Policy):
    """Leave out the examples whose loss curve has become straight (Yuan et al., ICLR 2025, arXiv 2502.07547).

    With l the losses of an example by epoch and d2(t) = l(t) - 2 l(t-1) + l(t-2): it is left out while the sum of the
    last `k` moving averages, over `average` epochs, of |d2| is below `threshold`. That needs average + k + 2 epochs
    of losses, so the first ones train on all. Decided anew each epoch: `excluded(epoch)` are those left out, to be
    evaluated after the epoch (forward only; the repository does so in eval mode with the training's augmentation) and
    observed like the others. It saves backward passes, not input. No weights.

    threshold: 0 leaves nothing out; the repository has 0.001 for CIFAR-10 and doubles it for CIFAR-100.

    Departures from the published code. An example that was not observed in one of these epochs is kept: it comes back
    if nobody looks at what was left out. An epoch in which no example has settled trains on all (there it keeps the
    list of the epoch before).
    """

    def __init__(
        self,
        n: int,
        epochs: int | None = None,
        *,
        threshold: float = 1e-3,
        average: int = 3,
        k: int = 1,
        seed: int = 0,
    ) -> None:
        self.average, self.k = whole_number("average", average, 1), whole_number("k", k, 1)
        number = isinstance(threshold, int | float | np.floating) and not isinstance(threshold, bool)
        if not number or not 0 <= threshold < np.inf:
            raise ConfigError("threshold", threshold, "a number of 0 or more: 0.001 for CIFAR-10")
        self.threshold = threshold
        super().__init__(
            n, epochs, seed=seed, depth=self.average + self.k + 2, threshold=threshold, average=average, k=k
        )

    def settled(self) -> np.ndarray:
        """Return which examples have a straight loss curve, bool (n,)."""
        history = self.seen.history
        bends = np.abs(np.diff(history, n=2, axis=0))  # (average + k, n)
        means = [bends[start : start + self.average].mean(0) for start in range(1, self.k + 1)]
        return ~np.isnan(history).any(0) & (np.sum(means, axis=0) < self.threshold)

    def keep(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ids of an epoch; no weights."""
        return np.flatnonzero(~self.settled()), None

    def excluded(self, epoch: int) -> np.ndarray:
        """Return the ids that the epoch leaves out, ascending int64, to be evaluated and observed too."""
        return np.setdiff1d(np.arange(self.n), self.epoch(epoch)[0], assume_unique=True)

"""OrderDP: the hardest part of a random pool."""

import numpy as np

from dataprune.dynamic.arrays import fraction, kept
from dataprune.dynamic.policy import Policy
from dataprune.errors import ConfigError
from dataprune.selectors.budget import budget
from dataprune.streams import stream


class OrderDP(Policy):
    """Train on the highest last known losses of a random pool (Jin et al., ICLR 2026, arXiv 2606.08574).

    The pool has s = pool * n examples, the epoch q = (1 - ratio) n of them, both rounded half up: an exact cost, and
    no annealing. Losses of the others stay what they were. No weights: the gradient is that of a surrogate loss in
    which the example of rank j counts by its chance to be among the top q of a pool, not that of the mean loss.

    ratio: left out of an epoch, 0 to below 1. pool: drawn before, from 1 - ratio to 1; the repository's defaults are
    pool 0.75 and q = 0.85 s, which is a ratio of 0.3625; None keeps q = 0.85 s at any ratio, as far as there are
    examples.

    Departures from the published code. Examples that were never observed come first, in the order of the draw (there
    they start with a loss of 3, and equal losses go as torch.topk has them); of those observed, equal losses go to the
    lower id. Sizes are rounded half up, not down.
    """

    def __init__(
        self, n: int, epochs: int | None = None, *, ratio: float = 0.4, pool: float | None = 0.75, seed: int = 0
    ) -> None:
        super().__init__(n, epochs, seed=seed, ratio=ratio, pool=pool)
        self.size = kept(ratio, n)
        pool = min(1.0, (1 - ratio) / 0.85) if pool is None else pool
        self.pool = budget(float(1 - fraction("pool", pool, low="above 0", high="1")), n)
        if self.pool < self.size:
            raise ConfigError(
                "pool", pool, f"{1 - ratio:g} to 1: an epoch takes 1 - ratio={ratio} of all from the pool"
            )

    def keep(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ids of an epoch; no weights."""
        pool = stream(self.seed, "prune", epoch).permutation(self.n)[: self.pool]
        new = np.isnan(self.seen.last[pool])
        known = np.sort(pool[~new])
        hardest = known[np.argsort(-self.seen.last[known], kind="stable")]
        return np.sort(np.concatenate([pool[new], hardest])[: self.size]), None

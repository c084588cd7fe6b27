"""InfoBatch: drop some of what is learnt well, and let the rest of it count for more."""

import numpy as np

from dataprune.dynamic.arrays import annealed_from, fraction
from dataprune.dynamic.policy import Policy
from dataprune.streams import stream


class InfoBatch(Policy):
    """Each epoch drop a random part of the examples whose loss is below the mean (Qin et al., ICLR 2024, 2.3 and 2.4).

    With m examples below the mean L of all last known losses, floor((1 - ratio) m) of them are drawn and weigh
    1 / (1 - ratio); all others stay with weight 1. The expected sum of weighted gradients is then that of all examples,
    but for the rounding. From epoch ceil((1 - anneal) epochs) on, which is never where epochs * anneal is below 1: all
    examples, weight 1. The batch's loss is mean(weight * loss).

    ratio: dropped of those below the mean, 0 to below 1. anneal: last part of the training on all, 0 to 1.

    Departures from the published code. An example that was never observed is kept with weight 1 and takes no part in
    the mean (there it starts with a loss of 3, which is below the mean where losses are larger). The annealed epochs
    follow the paper's delta for any number of epochs (there the weights are reset only if delta * epochs is whole).
    Draws are functions of (seed, epoch), not of numpy's global state.
    """

    def __init__(self, n: int, epochs: int, *, ratio: float = 0.5, anneal: float = 0.125, seed: int = 0) -> None:
        super().__init__(n, epochs, seed=seed, ratio=ratio, anneal=anneal)
        self.kept = 1 - fraction("ratio", ratio)  # of those below the mean
        self.stop = annealed_from(epochs, anneal)

    def keep(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return ids and weights of an epoch."""
        losses = self.seen.last
        known = ~np.isnan(losses)
        if epoch >= self.stop or not known.any():
            return super().keep(epoch)
        below = np.flatnonzero(losses < losses.mean(where=known, dtype=np.float64))  # NaN is not below anything
        drawn = stream(self.seed, "prune", epoch).permutation(below)[: int(self.kept * len(below))]
        weights = np.ones(self.n, np.float32)
        weights[below] = 0
        weights[drawn] = 1 / self.kept
        ids = np.flatnonzero(weights)
        return ids, weights[ids]

"""SeTa: a random share, in groups by loss, of which a window slides from easy to hard."""

import numpy as np

from dataprune.dynamic.arrays import annealed_from, fraction, kept
from dataprune.dynamic.policy import Policy
from dataprune.errors import whole_number
from dataprune.streams import stream


class SeTa(Policy):
    """Train on a sliding window of loss groups in a random share (Zhou et al., CVPR 2025, arXiv 2503.13385).

    A random (1 - ratio) of the examples, rounded half up, is grouped by last known loss (1-D k-means) into G groups,
    easy to hard. Of w = round(window * G) consecutive ones, at least 1, the epoch trains on those from group
    epoch mod (G - w + 1) on: from easy to hard, then from the easiest again. Epoch 0 and those from
    ceil((1 - anneal) epochs) on take the whole random share. No weights.

    ratio: left out at random before, 0 to below 1. groups: 1 or more. window: share of the groups, above 0 to 1.
    Defaults are those of the repository's command for CIFAR.

    Departures from the published code. Examples that were never observed are kept where the random share has them
    (there they start with a loss of 3 and lie in that group). The k-means is exact Lloyd on sorted values from
    quantiles, not from random starts; equal losses are never parted, so G is smaller where there are fewer distinct
    losses (there, all equal ones are cut by position). round is to the even number at a half, as there.
    """

    def __init__(
        self,
        n: int,
        epochs: int,
        *,
        ratio: float = 0.1,
        groups: int = 5,
        window: float = 0.9,
        anneal: float = 0.125,
        seed: int = 0,
    ) -> None:
        super().__init__(n, epochs, seed=seed, ratio=ratio, groups=groups, window=window, anneal=anneal)
        self.size = kept(ratio, n)
        self.groups = whole_number("groups", groups, 1)
        self.window = fraction("window", window, low="above 0", high="1")
        self.stop = annealed_from(epochs, anneal)

    def keep(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ids of an epoch; no weights."""
        share = np.sort(stream(self.seed, "prune", epoch).permutation(self.n)[: self.size])
        new = np.isnan(self.seen.last[share])
        if epoch >= self.stop or new.all():
            return share, None
        group = loss_groups(self.seen.last[share[~new]], self.groups)
        there = int(group.max()) + 1
        width = max(1, round(self.window * there))
        start = epoch % (there - width + 1)
        new[~new] = (start <= group) & (group < start + width)
        return share[new], None


def loss_groups(losses: np.ndarray, groups: int) -> np.ndarray:
    """Return the group of each loss, int64 (n,), 0 = the lowest: 1-D k-means, at most `groups`, none empty.

    losses: (n,), finite, n >= 1. Lloyd's steps from equal-sized groups until nothing moves: every loss then lies at
    the nearest mean, the lower one if it lies halfway.
    """
    order = np.argsort(losses, kind="stable")
    values = losses[order].astype(np.float64)
    totals = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.unique(np.linspace(0, len(values), groups + 1).astype(np.int64))
    for _ in range(300):  # it ends by itself; the means of real losses settle in some tens of steps
        means = np.diff(totals[ends]) / np.diff(ends)
        inner = np.searchsorted(values, (means[1:] + means[:-1]) / 2, side="right")
        moved = np.unique(np.concatenate([[0], inner, [len(values)]]))
        if np.array_equal(moved, ends):
            break
        ends = moved
    found = np.empty(len(values), np.int64)
    found[order] = np.repeat(np.arange(len(ends) - 1), np.diff(ends))
    return found

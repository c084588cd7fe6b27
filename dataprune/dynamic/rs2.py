"""RS2: a random subset, another one each epoch."""

import numpy as np

from dataprune.dynamic.arrays import kept
from dataprune.dynamic.policy import Policy
from dataprune.streams import stream


class RS2(Policy):
    """Each epoch the next budget of a permutation (Okanovic et al., ICLR 2024, arXiv 2305.18424, without replacement).

    A round is a permutation of all examples, cut into consecutive pieces of (1 - ratio) n, rounded half up, at least
    1; when fewer are left than a piece takes, the next round begins. No weights, nothing observed.

    ratio: fraction of the examples that an epoch leaves out, 0 to below 1. What is left of a round is dropped, as
    published: with ratio 0.3 a round shows 70 % of the examples.
    """

    def __init__(self, n: int, epochs: int | None = None, *, ratio: float, seed: int = 0) -> None:
        super().__init__(n, epochs, seed=seed, ratio=ratio)
        self.size = kept(ratio, n)

    def draw(self, epoch: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the ids of an epoch in the permutation's order; no weights."""
        turn, piece = divmod(epoch, self.n // self.size)
        order = stream(self.seed, "order", turn).permutation(self.n)
        return order[piece * self.size : (piece + 1) * self.size], None

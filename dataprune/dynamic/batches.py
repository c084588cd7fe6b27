"""Policies that choose inside a batch, after a forward pass without gradient: progressive dropout, loss and rho-loss.

    for x, y, ids in loader:
        with torch.no_grad():
            logits = network(x)
            losses = cross_entropy(logits, y, reduction="none")
            p_true = logits.softmax(1).gather(1, y[:, None])[:, 0]
        chosen = sampler.choose(ids, losses, p_true)
        if chosen.any():
            cross_entropy(network(x[chosen]), y[chosen]).backward()
            ...

They save backward passes, not input. The mean over the chosen is the loss that was published. In several processes
choose from the whole batch, and go backward in each, also where none of its share was chosen.
"""

import hashlib
from typing import Any

import numpy as np

from dataprune.dynamic.arrays import array, checked_ids, fraction, like
from dataprune.dynamic.policy import Policy
from dataprune.errors import ConfigError, Shown, finite, first, shaped, whole_number
from dataprune.selectors.budget import budget


class BatchPolicy(Policy):
    """All examples in each epoch, of which each batch trains on some."""

    def choose(self, ids: Any, losses: Any, p_true: Any = None) -> Any:
        """Return which of a batch to train on, bool (b,): a tensor where `ids` is one, on its device, or an array.

        ids: int (b,). losses: float (b,). p_true: float (b,), probability of the true class. In the current epoch.
        """
        raise NotImplementedError


class ProgressiveDropout(BatchPolicy):
    """Train on what the network is not sure of, and on all at the end (DBPD, arXiv 2505.22342).

    Chosen are the examples of the batch with p_true < threshold; in the last `revision` epochs all. May be none.

    threshold: above 0 to 1; published 0.3. revision: epochs at the end, 0 to epochs; published 1 of 30.

    Departure from the published code: there a threshold of 0 means the misclassified; p_true does not tell these.
    """

    def __init__(self, n: int, epochs: int, *, threshold: float = 0.3, revision: int = 1, seed: int = 0) -> None:
        super().__init__(n, epochs, seed=seed, threshold=threshold, revision=revision)
        self.threshold = float(fraction("threshold", threshold, low="above 0", high="1"))
        self.start = whole_number("epochs", epochs, 1) - whole_number("revision", revision, 0, epochs)

    def choose(self, ids: Any, losses: Any = None, p_true: Any = None) -> Any:
        """Return which examples have p_true below the threshold, or all in the revision; losses are not needed."""
        if p_true is None:
            raise ConfigError("p_true", None, "the probability of the true class, float (b,)")
        rows = checked_ids(ids, self.n)
        known = _numbers("p_true", p_true, rows)
        return like(ids, (known < self.threshold) | (self.now >= self.start))


class RhoLoss(BatchPolicy):
    """Train on the part of each batch that still can be learnt (Mindermann et al., ICML 2022, arXiv 2206.07137).

    Chosen are the (1 - ratio) of the batch, rounded half up, at least 1, with the largest loss - irreducible[id];
    equal ones by the lower id.

    irreducible: float (n,), each example's loss under a model that was trained on other data (or on the other half);
    None: 0 for all, which selects by the training loss. ratio: left out, 0 to below 1; published 0.9, of large batches.
    """

    def __init__(
        self, n: int, epochs: int | None = None, *, irreducible: Any = None, ratio: float = 0.9, seed: int = 0
    ) -> None:
        n = whole_number("n", n, 1)
        known = np.zeros(n, np.float32) if irreducible is None else shaped("irreducible", array(irreducible), n)
        self.irreducible = finite("irreducible", known).astype(np.float32)
        digest = hashlib.sha256(self.irreducible.tobytes()).hexdigest()[:16]
        super().__init__(n, epochs, seed=seed, irreducible=digest, ratio=ratio)
        self.ratio = float(fraction("ratio", ratio))

    def choose(self, ids: Any, losses: Any, p_true: Any = None) -> Any:
        """Return which examples have the largest reducible loss; p_true is not needed."""
        rows = checked_ids(ids, self.n)
        reducible = _numbers("losses", losses, rows) - self.irreducible[rows]
        chosen = np.zeros(len(rows), bool)
        if len(rows):
            chosen[np.lexsort([rows, -reducible])[: budget(self.ratio, len(rows))]] = True
        return like(ids, chosen)


def _numbers(name: str, values: Any, ids: np.ndarray) -> np.ndarray:
    """Return values as float32 (b,), or raise a ConfigError that names the ids of NaN and inf."""
    found = shaped(name, array(values), len(ids)).astype(np.float32)
    broken = ~np.isfinite(found)
    if broken.any():
        raise ConfigError(name, Shown(f"NaN or inf at ids {first(ids[broken])}"), "finite numbers")
    return found

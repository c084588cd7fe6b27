"""What to keep of near duplicates, given SemDeDup's scores (`scores.features.semdedup`)."""

import numpy as np

from dataprune.errors import ConfigError, Shown, finite, shaped
from dataprune.selectors.ranked import top


def semdedup(scores: np.ndarray, budget: int | None = None, *, threshold: float | None = None) -> np.ndarray:
    """Drop examples that are too similar to one further out in their cluster (Abbas et al. 2023).

    scores: (n,), finite, from -1 to 0: the NEGATED largest cosine to an example further out.
    Give one of the two:
    threshold: cosine, above 0 and at most 1; keep all whose similarity is at most this. The paper writes 1 - epsilon;
        0.945 in a released script, 0.86 in another. Returns sorted int64.
    budget: keep this many; returns int64 (budget,) in rank order, equal scores by lower id. The paper searches epsilon
        for the size it wants. A score does not depend on what else is dropped, so that search is a ranking, and the
        threshold it finds is -scores[ids[-1]].
    """
    scores = finite("scores", shaped("scores", scores, "n"))
    outside = np.flatnonzero((scores < -1.001) | (scores > 0))
    if len(outside):
        expected = "negated cosines from -1 to 0 (scores.features.semdedup)"
        raise ConfigError("scores", Shown(f"{scores[outside[0]]} at id {outside[0]}"), expected)
    if (budget is None) == (threshold is None):
        raise ConfigError("threshold", threshold, f"a number if and only if no budget is given (budget={budget})")
    if threshold is None:
        return top(scores, budget)  # type: ignore[arg-type]  # not None here
    if not 0 < threshold <= 1:
        raise ConfigError("threshold", threshold, "a cosine above 0, at most 1 (0.945)")
    return np.flatnonzero(scores >= -threshold)


def rank_range(scores: np.ndarray, *, low: float, high: float) -> np.ndarray:
    """Ids whose rank lies between two fractions, counted from the best score: int(low n) to int(high n).

    SemDeDup's second stage on the survivors, by their image-text similarity; low 0 keeps the best too (the released
    slice starts one example late and loses it). Returns int64 in rank order, int(high n) - int(low n) of them.
    """
    n = len(shaped("scores", scores, "n"))
    start, stop = int(low * n), int(high * n)
    if not 0 <= low < high <= 1 or start == stop:
        raise ConfigError("low, high", (low, high), f"two fractions with at least one of {n} examples between them")
    return top(scores, stop)[start:]

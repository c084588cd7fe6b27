"""Selection that spreads its budget over the score range: CCS (stratified) and DUAL (Beta sampling).

`allocate` is the shared rule that gives each of several bins its part of a budget.
"""

import numpy as np

from dataprune.errors import ConfigError, Shown, finite, first, generator, shaped, whole_number
from dataprune.selectors.budget import check_budget
from dataprune.selectors.ranked import draw, top


def allocate(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Share `budget` over bins as evenly as their sizes allow (CCS, Zheng et al. 2023, algorithm 1).

    sizes: integers (bins,), 0 or more; an empty bin gets 0.
    budget: 0 or more; more than all bins hold is cut to what they hold.
    Returns int64 (bins,) with sum min(budget, sizes.sum()).

    Bins are visited in ascending size (equal sizes: lower index first); each gets min(size, floor(rest / bins
    left)), so what a small bin cannot take passes to the larger ones and remainders land in the largest.
    Raises ConfigError for negative or fractional sizes and for a negative budget.
    """
    sizes = shaped("sizes", sizes, "bins")
    wrong = np.flatnonzero((sizes < 0) | (sizes != np.floor(sizes)))
    if len(wrong):
        raise ConfigError("sizes", Shown(f"{sizes[wrong[0]]} at bins {first(wrong)}"), "whole numbers of 0 or more")
    if isinstance(budget, bool) or int(budget) != budget or budget < 0:
        raise ConfigError("budget", budget, "a whole number of 0 or more")
    shares = np.zeros(len(sizes), np.int64)
    visited = [k for k in np.argsort(sizes, kind="stable").tolist() if sizes[k] > 0]
    rest = int(budget)
    for bins_left, k in zip(range(len(visited), 0, -1), visited, strict=True):
        shares[k] = min(int(sizes[k]), rest // bins_left)
        rest -= int(shares[k])
    return shares


def stratified(scores: np.ndarray, budget: int, rng: np.random.Generator, *, strata: int = 50) -> np.ndarray:
    """Coverage-centric selection, CCS (Zheng et al. 2023): equal-width score strata, even budgets, random inside.

    scores: (n,), finite; CCS uses the area under the margin (negated, the strata are the mirror image, but for which
        side holds an edge). The mislabel cut comes before (`drop_hardest`): give the scores of the survivors, and as
        budget the one counted before the cut.
    strata: 50 in CCS, 25 in D2's commands.
    Returns sorted int64 (budget,). Subsets of different budgets do not nest.
    A budget above n raises ConfigError; the released code returns all n and does not say that they are too few.
    """
    bins = strata_of(scores, strata)
    budget = check_budget(budget, len(bins))
    return draw(bins, allocate(np.bincount(bins, minlength=strata), budget), rng)


def strata_of(scores: np.ndarray, strata: int) -> np.ndarray:
    """The stratum of each example: int64 (n,) in 0..strata-1, equal widths from the lowest to the highest score.

    Arithmetic is float32, as in the released code: stratum k holds lo + k step <= s < lo + (k + 1) step with
    step = (hi - lo) / strata and hi a little above the highest score. Equal scores all go to stratum 0.
    """
    scores = finite("scores", finite("scores", shaped("scores", scores, "n")).astype(np.float32))
    if not len(scores):
        raise ConfigError("scores", Shown("no scores"), "at least one example to select from")
    strata = whole_number("strata", strata, 1)
    low, high = scores.min(), scores.max()
    if low == high:
        return np.zeros(len(scores), np.int64)  # the released code loses them all when they are 0
    # The released code has hi = 1.0001 * max for every sign, which cuts off the top when max <= 0.
    above = high * np.float32(1.0001 if high > 0 else 0.9999) if high else np.float32(-1e-4) * low
    step = (above - low) / np.float32(strata)
    if not np.isfinite(step):
        raise ConfigError("scores", Shown(f"from {low} to {high}"), "a range that float32 can hold")
    edges = low + np.arange(1, strata, dtype=np.float32) * step  # the last stratum has no upper edge
    return np.searchsorted(edges, scores, side="right")


def beta(scores: np.ndarray, p_mean: np.ndarray, budget: int, rng: np.random.Generator, *, c: float) -> np.ndarray:
    """DUAL's sampling (Cho et al. 2025): draw by score, tilted to easier examples the more is pruned.

    scores: (n,), finite, 0 or more. p_mean: (n,) in 0..1, mean probability of the true class over the same epochs.
    c: how late the tilt sets in; 4 in the released CIFAR command, 11 for ImageNet.
    Returns int64 (budget,) in the order drawn, without replacement, by `beta_probabilities`. Examples of probability 0
    come last, in random order (the released code stops with an error when it needs one).
    """
    probabilities = beta_probabilities(scores, p_mean, budget, c=c)
    # Adding Gumbel noise to log-probabilities and ranking draws without replacement (Efraimidis and Spirakis 2006);
    # -1e5 stands for log 0: below every real logarithm, and the noise still counts in float64.
    logs = np.log(probabilities, where=probabilities > 0, out=np.full(len(probabilities), -1e5))
    return top(logs + generator("rng", rng).gumbel(size=len(logs)), budget)


def beta_probabilities(scores: np.ndarray, p_mean: np.ndarray, budget: int, *, c: float) -> np.ndarray:
    """The probability of each example to be drawn first in DUAL's sampling: float64 (n,), sum 1.

    Proportional to score * density of Beta(a, b) at p_mean, with b = 15 (1 - m)(1 - p^c) and a = 16 - b; p is the
    fraction pruned, 1 - budget / n, and m the mean p_mean of the ten highest scores.
    """
    scores = finite("scores", shaped("scores", scores, "n")).astype(np.float64)
    p_mean = finite("p_mean", shaped("p_mean", p_mean, len(scores))).astype(np.float64)
    budget = check_budget(budget, len(scores))
    if (scores < 0).any() or not scores.any():
        expected = "scores of 0 or more, not all 0: they are the weights of a draw"
        raise ConfigError("scores", Shown(f"from {scores.min()} to {scores.max()}"), expected)
    wrong = np.flatnonzero((p_mean < 0) | (p_mean > 1))
    if len(wrong):
        raise ConfigError("p_mean", Shown(f"{p_mean[wrong[0]]} at ids {first(wrong)}"), "probabilities from 0 to 1")
    if not c > 0:
        raise ConfigError("c", c, "a number above 0")
    pruned = 1 - budget / len(scores)
    anchor = p_mean[top(scores, min(10, len(scores)))].mean()
    b = 15 * (1 - anchor) * (1 - pruned**c)
    inside = np.clip(p_mean, 1e-6, 1 - 1e-6)
    # the density without its constant, which cancels
    density = (15 - b) * np.log(inside) + (b - 1) * np.log1p(-inside)
    weights = scores * np.exp(density - density[scores > 0].max())
    return weights / weights.sum()

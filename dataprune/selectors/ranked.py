"""Selectors that need only a ranking, and class quotas around any of them.

Scores are (n,), higher = kept first. Equal scores rank by id, the lower first. Every selector returns distinct
int64 ids, as many as the budget says; a budget outside 1..n, NaN and inf raise ConfigError.
"""

import warnings
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, finite, first, generator, shaped, whole_number
from dataprune.selectors.bound import Bound, Picks
from dataprune.selectors.budget import check_budget


def top(scores: np.ndarray, budget: int, *, ties: np.ndarray | None = None) -> np.ndarray:
    """The `budget` highest scores, in rank order; equal scores by lower id.

    scores: (n,), finite. ties: (n,), a second score that orders equal ones, higher first; what is still equal goes by
    lower id. Returns int64 (budget,); a smaller budget gives a prefix.

    A warning tells when ids alone decide over a tenth of the budget: in a data set that is sorted by class that keeps
    whole classes and drops others (forgetting counts, of which most are 0, do so).
    """
    scores = _scores(scores)
    budget = check_budget(budget, len(scores))
    if ties is not None:
        return np.lexsort([-finite("ties", shaped("ties", ties, len(scores))), -scores])[:budget]
    ids, equal = _highest(scores, budget)
    at_cut = int((scores[ids] == scores[ids[-1]]).sum())
    if at_cut < equal and at_cut > budget / 10:
        text = f"{at_cut} of the {budget} kept are the lowest ids of {equal} examples with score {scores[ids[-1]]:g}"
        warnings.warn(f"{text}: give `ties` to order them by another score", stacklevel=2)
    return ids


def highest(scores: np.ndarray, budget: int) -> np.ndarray:
    """`top` of finite (n,) scores without its checks and its warning, for a selector's inner loop."""
    return _highest(scores, budget)[0]


def _highest(scores: np.ndarray, budget: int) -> tuple[np.ndarray, int]:
    """Ids of the highest scores in rank order, and how many examples have the lowest score among them."""
    cut = np.partition(scores, len(scores) - budget)[len(scores) - budget]
    above, equal = np.flatnonzero(scores > cut), np.flatnonzero(scores == cut)
    ids = np.sort(np.concatenate([above, equal[: budget - len(above)]]))
    return ids[np.argsort(-scores[ids], kind="stable")], len(equal)


def prefix(order: np.ndarray, budget: int) -> np.ndarray:
    """The first `budget` of `order`, int64 ids in pick order of a nested selector that ran for a larger budget."""
    return order[: check_budget(budget, len(order))]


def random(n: int, budget: int, rng: np.random.Generator) -> np.ndarray:
    """`budget` of `n` ids, uniform without replacement: a prefix of one permutation.

    Returns int64 (budget,). Generators of equal seed give nested subsets, whatever the budgets.
    """
    budget = check_budget(budget, n)
    return generator("rng", rng).permutation(n)[:budget]


def middle(scores: np.ndarray, budget: int) -> np.ndarray:
    """The central band of the ranking (moderate coreset, Xia et al. 2023).

    scores: (n,), finite, for the paper the distance to the own class's centre.
    Returns int64 (budget,) from the median outward: every prefix is the band of that smaller budget.

    Sorted ascending (equal scores in id order), the band starts at position (n - budget) / 2, rounded half to even.
    The paper's code rounds both ends for a ratio r, round(n (0.5 - r/2)) to round(n (0.5 + r/2)), and so may keep
    one example more or less than asked; where it keeps `budget`, the bands are equal.
    """
    scores = _scores(scores)
    budget = check_budget(budget, len(scores))
    start = np.rint((len(scores) - np.arange(budget + 1)) / 2).astype(np.int64)  # of the bands of 0, 1, ... examples
    # a band is its predecessor and one position more: before it where the start moves down, otherwise behind it
    joins = np.where(start[1:] < start[:-1], start[1:], start[1:] + np.arange(budget))
    return np.argsort(scores, kind="stable")[joins]


def band(scores: np.ndarray, budget: int, *, skip_hardest: float) -> np.ndarray:
    """The `budget` examples that rank right behind the hardest (ELFS, Zheng et al. 2025; CCS with a hard cut).

    scores: (n,), finite. skip_hardest: fraction of n, from 0 to below 1; int(skip_hardest * n) examples are skipped.
    Returns int64 (budget,) in rank order. Raises ConfigError when fewer than `budget` examples are left.
    """
    scores = _scores(scores)
    skipped = _count("skip_hardest", skip_hardest, len(scores))
    budget = check_budget(budget, len(scores) - skipped)
    return top(scores, skipped + budget)[skipped:]


def drop_hardest(scores: np.ndarray, fraction: float) -> np.ndarray:
    """Ids that survive the mislabel cut: all but the int(fraction * n) highest scores (CCS, Zheng et al. 2023).

    scores: (n,), finite, higher = harder (a negated margin). Returns sorted int64. Equal scores at the cut: the
    lower id is dropped first. The cut is over all examples, not per class, so classes shrink unevenly.
    """
    scores = _scores(scores)
    dropped = _count("fraction", fraction, len(scores))
    survives = np.ones(len(scores), bool)
    if dropped:
        survives[top(scores, dropped)] = False
    return np.flatnonzero(survives)


def without_hardest(scores: np.ndarray, budget: int, select: Callable[..., Picks], *, fraction: float) -> Picks:
    """Select among what survives the mislabel cut (CCS, D2): a wrapper around any selector.

    scores: (n,), finite, higher = harder; int(fraction * n) examples leave (`drop_hardest`). select(ids, budget): picks
    among the ids that are left. The budget counts from all n, so a cut makes no subset smaller; raises ConfigError when
    fewer are left.
    """
    left = drop_hardest(scores, fraction)
    if len(left) < budget:
        expected = f"a fraction that leaves the {budget} examples to keep (of {len(scores)})"
        raise ConfigError("fraction", fraction, expected)
    return select(left, budget)


def per_class(
    scores: np.ndarray,
    labels: np.ndarray,
    budget: int,
    *,
    quota: str | np.ndarray = "proportional",
    select: Callable[[np.ndarray, int], Picks] = top,
) -> Picks:
    """Select inside every class by a quota, with any selector of (scores, budget): a wrapper.

    scores (n,), finite, or what `select` takes in their place, such as features (n, d) for `coverage.herding`.
    labels: int (n,), from 0, gaps allowed.
    quota: "proportional" to class sizes | "equal" | weights (classes,), shared out by `quotas`; weights that are whole
        numbers, sum to the budget and fit the classes are taken as they are.
    select: gets the scores of one class and its quota, returns positions in that class. A bound one (that of a method)
        gets the ids of the class, returns ids, and may add a weight each; `scores` are not looked at then.
    Returns int64 (budget,): class after class in ascending class id, inside a class in the order of `select`.
    A class whose quota is 0 is left out; that cannot be avoided when the budget is below the number of classes.
    """
    inner = select
    if not isinstance(select, Bound):
        scores = finite("scores", np.asarray(scores))
        inner = partial(_of_scores, select, scores)
    labels = class_labels("labels", labels, None if isinstance(select, Bound) else len(scores))
    budget = check_budget(budget, len(labels))
    sizes = np.bincount(labels)
    if isinstance(quota, str):
        if quota not in ("proportional", "equal"):
            raise ConfigError("quota", quota, '"proportional", "equal" or an array of one weight per class')
        quota = sizes if quota == "proportional" else np.ones(len(sizes))
    elif isinstance(select, Bound):
        quota = quota[: len(sizes)]  # a part of the examples may lack the last classes
    shares = quotas(sizes, budget, quota)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    picked, weights = [np.empty(0, np.int64)], []
    for c in np.flatnonzero(shares).tolist():
        picks = inner(members[c], int(shares[c]))
        ids, *rest = picks if isinstance(picks, tuple) else (picks,)
        picked.append(ids)
        weights += rest
    together = np.concatenate(picked)
    return (together, np.concatenate(weights)) if weights else together


def _of_scores(select: Callable[..., Picks], scores: np.ndarray, ids: np.ndarray, count: int) -> np.ndarray:
    """What a selector of (scores, budget) picks of the ids, checked."""
    positions = np.asarray(select(scores[ids], count))
    if len(np.unique(positions)) != count:
        raise ConfigError("select", select, f"a selector of {count} distinct positions among {len(ids)}")
    return ids[positions]


def recall_weights(predictions: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Weights for `quotas` and `per_class`: 1 - recall of each class, so that hard classes keep more (DRoP, ICLR 2025).

    predictions, labels: int (m,), of HELD-OUT examples by a model trained on all the data; on training examples recall
    is near 1 everywhere. Returns float64 (n_classes,). A class without held-out examples gets the mean of the others;
    if every class is recalled perfectly, all weigh 1.
    """
    n_classes = whole_number("n_classes", n_classes, 1)
    labels = class_labels("labels", labels, n_classes=n_classes)
    right = class_labels("predictions", predictions, len(labels), n_classes) == labels
    if len(labels) == 0:
        raise ConfigError("labels", Shown("empty array"), "held-out examples")
    counts = np.bincount(labels, minlength=n_classes)
    recall = np.bincount(labels, right, minlength=n_classes) / np.maximum(counts, 1)
    recall[counts == 0] = recall[counts > 0].mean()
    return 1 - recall if (recall < 1).any() else np.ones(n_classes)


def random_stratified(labels: np.ndarray, budget: int, rng: np.random.Generator) -> np.ndarray:
    """A random subset with quotas proportional to class sizes: a permutation prefix inside each class.

    labels int (n,), from 0, gaps allowed. Returns sorted int64 (budget,). With generators of equal seed the subsets
    nest inside each class (a quota may shrink by one where a budget grows; this is how largest remainders are).
    """
    labels = class_labels("labels", labels)
    budget = check_budget(budget, len(labels))
    sizes = np.bincount(labels)
    return draw(labels, quotas(sizes, budget, sizes), rng)


def quotas(sizes: np.ndarray, budget: int, weights: np.ndarray) -> np.ndarray:
    """Share `budget` over classes by `weights`, never more than a class holds.

    sizes: whole numbers (classes,). budget: 1 to sizes.sum(). weights: finite, 0 or more (classes,), any scale.
    Returns int64 (classes,) with sum `budget`.

    Water-filling: a class that is due more than its size gives the excess to the others, by the same weights. Then
    floors, and the rest by largest remainder; equal remainders go to the lower class. Classes of weight 0 get
    something only when all others are full, in proportion to their sizes. (DRoP's released code floors and so loses up
    to classes - 1 examples.)
    """
    sizes, weights = shaped("sizes", sizes, "classes"), finite("weights", shaped("weights", weights, len(sizes)))
    if (sizes < 0).any() or (sizes != np.floor(sizes)).any():
        raise ConfigError("sizes", Shown(str(sizes)), "whole numbers of 0 or more")
    if (weights < 0).any():
        raise ConfigError("weights", Shown(f"below 0 for classes {first(np.flatnonzero(weights < 0))}"), "0 or more")
    budget = check_budget(budget, int(sizes.sum()))
    shares = np.zeros(len(sizes), np.int64)
    open_ = np.flatnonzero((weights > 0) & (sizes > 0))
    while len(open_):
        due = (budget - shares.sum()) * (weights[open_] / weights[open_].sum())
        full = open_[due >= sizes[open_]]
        if not len(full):
            break
        shares[full] = sizes[full]
        open_ = np.setdiff1d(open_, full)
    rest = int(budget - shares.sum())
    if len(open_):
        shares[open_] = _largest_remainder(rest, weights[open_], sizes[open_])
    elif rest:
        unweighted = np.where(weights > 0, 0, sizes)
        shares += quotas(unweighted, rest, unweighted)
    return shares


def draw(bins: np.ndarray, shares: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw shares[b] of the examples of every bin b, uniform without replacement; sorted int64 ids.

    bins: int (n,), the bin of each example. shares: int (bins,), none above its bin's size.
    One permutation serves all bins and every bin takes a prefix of its part, so larger shares contain smaller ones.
    """
    sizes = np.bincount(bins, minlength=len(shares))
    if (shares > sizes).any():
        raise ConfigError("shares", Shown(str(shares)), f"at most the sizes of the bins {sizes}")
    order = generator("rng", rng).permutation(len(bins))
    # numpy sorts 16-bit integers by radix: 0.05 s instead of 0.15 s for 1.28 million examples in 50 bins
    shuffled = bins[order].astype(np.uint16) if len(shares) <= 2**16 else bins[order]
    order = order[np.argsort(shuffled, kind="stable")]
    nth = np.arange(len(bins)) - np.repeat(np.cumsum(sizes) - sizes, sizes)  # position inside its bin
    return np.sort(order[nth < np.repeat(shares, sizes)])


def _largest_remainder(budget: int, weights: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Round budget * weights / sum to whole numbers of the same sum; exact, so equal remainders are equal."""
    exact = [Fraction(w) for w in weights.tolist()]
    unit = budget / sum(exact, Fraction(0))
    shares = np.minimum([int(unit * w) for w in exact], limits)
    remainders = [unit * w - share for w, share in zip(exact, shares.tolist(), strict=True)]
    by_remainder = sorted(range(len(exact)), key=lambda c: (-remainders[c], c))
    shares[by_remainder[: budget - int(shares.sum())]] += 1
    return shares


def _scores(scores: np.ndarray) -> np.ndarray:
    """Finite scores (n,) that may be negated: floats as they are, integers and bools as float64."""
    scores = finite("scores", shaped("scores", scores, "n"))
    return scores if scores.dtype.kind == "f" else scores.astype(np.float64)


def _count(key: str, fraction: float, n: int) -> int:
    """int(fraction * n), as the papers' code counts, for a fraction from 0 to below 1."""
    if not 0 <= fraction < 1:
        raise ConfigError(key, fraction, "a fraction from 0 to below 1")
    return int(fraction * n)

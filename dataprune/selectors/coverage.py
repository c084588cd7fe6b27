"""Selectors that cover the feature space: k-center and herding; facility location and CRAIG come from `submodular`.

All are greedy: they return ids in pick order, and a smaller budget gives a prefix. Ties go to the lower id.
Work memory is O(n) beyond the features, apart from what a docstring names. Bad input raises ConfigError: a budget
outside 1..n, NaN or inf (with the ids), a wrong shape.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, finite, shaped
from dataprune.selectors.budget import check_budget
from dataprune.selectors.ranked import highest
from dataprune.selectors.submodular import craig, facility_location

__all__ = ["craig", "facility_location", "herding", "k_center"]

TILE = 2048  # rows that are centred and multiplied at a time: 4 MB at 512 features
MOST = 1000  # picks found per pass over the features; bounds the tile of products
GRAM_LIMIT = 8192  # herding keeps all inner products up to here: 268 MB
ROUNDING = 2e-6  # of a float32 inner product, as part of both lengths; at 512 features 2e-7 was the largest seen


def k_center(features: np.ndarray, budget: int, *, first: int = 0, centers: np.ndarray | None = None) -> np.ndarray:
    """Farthest-first traversal: each pick is the example farthest from all earlier picks (Sener and Savarese 2018).

    features: float (n, d), finite; Euclidean distances, from differences summed in float64, compared as float32.
    first: id of the first pick; `herding(features, 1)` gives the example nearest to the mean.
    centers: ids that are selected already, used instead of `first`. They lead the result and count in the budget.
    Returns int64 (budget,) in pick order. Once all that is left equals a pick, the lowest ids follow.

    The picks are those of the one-by-one greedy, which passes over the features once per pick. Here the examples
    that are farthest now are thinned out among themselves first, which gives many picks per pass: the distance to
    the nearest pick can only fall, so a candidate still farther than every non-candidate is the next pick.
    """
    features = _features(features)
    n = len(features)
    budget = check_budget(budget, n)
    picks = fresh = _starts(first, centers, n, budget)
    space = _Space(features)
    nearest = np.full(n, np.inf, np.float32)  # squared distance to the nearest pick; -1 = picked
    while len(picks) < budget:
        space.lower(nearest, fresh)
        fresh = _next_picks(space, nearest, budget - len(picks))
        picks = np.concatenate([picks, fresh])
    return picks


def herding(features: np.ndarray, budget: int) -> np.ndarray:
    """Pick examples whose running mean stays closest to the mean of all (Welling 2009).

    features: float (n, d), finite. Pick t is the argmin over unpicked x of ||t mean - sum(picked) - x||, in float64.
    Returns int64 (budget,) in pick order. DeepCore's code takes the argmax, which is the opposite of herding.

    Up to 8192 examples all inner products are kept (float32 n x n) and a pick costs O(n). Above, a pick costs a pass
    over the features, O(n d), and work memory is O(n), or one float32 copy where the features lie far from the origin:
    meant for the classes of a large set, one by one.
    """
    features = _features(features)
    if features.dtype == np.float16:
        features = features.astype(np.float32)  # numpy has no fast product for half precision
    n, budget = len(features), check_budget(budget, len(features))
    mean = features.mean(0, dtype=np.float64)
    # With the mean as origin the target is 0: pick t minimises ||total + x||, total being the sum of the picks, that
    # is value = |x|^2 / 2 + x.total. Inner products are float32; what they cannot tell apart is compared in float64.
    value, longest = np.empty(n), 0.0
    for rows in _tiles(n):
        value[rows] = np.square(features[rows] - mean).sum(1) / 2
        longest = max(longest, np.sqrt(np.square(features[rows], dtype=np.float64).sum(1).max()))
    farthest = np.sqrt(2 * value.max())
    _check_range(farthest)
    factors = features  # unshifted, every x.p lacks mean.p alike, which changes no argmin
    if n <= GRAM_LIMIT or longest > 4 * farthest:
        factors = np.subtract(features, mean, out=np.empty(features.shape, np.float32), casting="same_kind")
        longest = farthest
    products = factors @ factors.T if n <= GRAM_LIMIT else None
    total = np.zeros(features.shape[1])
    picks = np.empty(budget, np.int64)
    for t in range(budget):
        doubt = ROUNDING * longest * farthest * np.sqrt(t + 1)
        near = np.flatnonzero(value <= value.min() + doubt)
        if len(near) > 1:
            x = features[near] - mean
            exact = (x * (x / 2 + total)).sum(1)
            near = near[exact <= exact.min() + 1e-12 * farthest**2]  # ties, such as between integers
        picks[t] = pick = near[0]
        step = features[pick] - mean
        total += step
        value += factors @ step.astype(factors.dtype) if products is None else products[pick]
        value[pick] = np.inf  # stays so
    return picks


class _Space:
    """Features seen from their mean, a tile at a time: no copy of all, and small norms lose few digits."""

    def __init__(self, features: np.ndarray) -> None:
        self.features = features
        mean = features.mean(0, dtype=np.float64)
        self.origin = mean.astype(np.promote_types(features.dtype, np.float32))
        self.norms = np.empty(len(features), np.float32)
        for rows in _tiles(len(features)):
            tile = self.at(rows)
            self.norms[rows] = np.einsum("ij,ij->i", tile, tile)
        _check_range(np.sqrt(self.norms.max()))

    def at(self, rows: np.ndarray | slice) -> np.ndarray:
        """Rows as float32, the origin subtracted: for products."""
        return (self.features[rows] - self.origin).astype(np.float32, copy=False)

    def raw(self, rows: np.ndarray | slice) -> np.ndarray:
        """Rows as they were given: for differences. Subtracting the origin can cost digits of small numbers."""
        return self.features[rows].astype(self.origin.dtype, copy=False)

    def lower(self, nearest: np.ndarray, picks: np.ndarray) -> None:
        """Lower the squared distances `nearest` (n,) to those to `picks`, in place, and mark the picks."""
        for k in range(0, len(picks), MOST):
            chosen = picks[k : k + MOST]
            raw, norms = self.raw(chosen), self.norms[chosen]
            # |c|^2 - 2 x.c as one product: (x, 1) . (-2 c, |c|^2)
            factors = np.concatenate([-2 * self.at(chosen), norms[:, None]], axis=1).T
            extended = np.ones((TILE, len(factors)), np.float32)
            for rows in _tiles(len(nearest)):
                tile = extended[: rows.stop - rows.start]
                np.subtract(self.features[rows], self.origin, out=tile[:, :-1], casting="same_kind")
                products = tile @ factors
                _settle(nearest[rows], products.argmin(1), products, self.raw(rows), self.norms[rows], raw, norms)
        nearest[picks] = -1


def _next_picks(space: _Space, nearest: np.ndarray, limit: int) -> np.ndarray:
    """The next 1 to `limit` picks of the greedy, in order."""
    if not nearest.max() > 0:
        return np.flatnonzero(nearest == 0)[:limit]
    n = len(nearest)
    # Enough candidates for several hundred picks a pass, few enough that their products cost less than the pass.
    farthest = highest(nearest, min(n, 64 + int(4 * np.sqrt(n))))
    candidates, rival = np.sort(farthest[:-1]), farthest[-1]
    x = space.at(candidates)
    order = _thin_out(
        nearest[candidates],
        x @ x.T,
        space.raw(candidates),
        space.norms[candidates],
        np.maximum(nearest[rival], 0),  # float32
        np.searchsorted(candidates, rival),
        min(limit, MOST),
    )
    return candidates[order]


@njit(cache=True)
def _thin_out(nearest, products, x, norms, rest, before, limit):  # noqa: ANN001, ANN202
    """Greedy among candidates, while none else can be farther: positions in pick order.

    rest: the value of the farthest other, which a candidate must exceed, or equal if it is among the first `before`:
    those have a lower id.
    """
    order = np.empty(limit, np.int64)
    for t in range(limit):
        best = nearest.argmax()
        if nearest[best] <= 0 or nearest[best] < rest or (nearest[best] == rest and best >= before):
            return order[:t]
        order[t] = best
        for i in range(len(x)):
            scale = norms[i] + norms[best]
            if scale - 2 * products[best, i] - 2 * ROUNDING * scale < nearest[i]:
                nearest[i] = min(nearest[i], _squared_distance(x[i], x[best]))
        nearest[best] = -1
    return order


@njit(cache=True)
def _settle(nearest, closest, products, x, norms, centers, center_norms):  # noqa: ANN001, ANN202
    """Lower `nearest` of a tile of rows x to the squared distances to the centers.

    products + norms are these distances, but for rounding, and `closest` is the column of their minimum. They only
    tell which centers may lower `nearest`; what it becomes is computed from differences, which keep their digits
    where rows are close, are 0 where they are equal, and tie where the distances do.
    """
    longest = center_norms.max()
    for i in range(len(nearest)):
        doubt = 2 * ROUNDING * (norms[i] + longest)
        if norms[i] + products[i, closest[i]] - doubt >= nearest[i]:
            continue
        nearest[i] = min(nearest[i], _squared_distance(x[i], centers[closest[i]]))
        for j in range(len(centers)):
            if norms[i] + products[i, j] - doubt < nearest[i] and j != closest[i]:
                nearest[i] = min(nearest[i], _squared_distance(x[i], centers[j]))


@njit(cache=True)
def _squared_distance(x, y):  # noqa: ANN001, ANN202
    """From differences, in float64."""
    a = b = 0.0  # two sums hide the latency of an addition
    for k in range(0, len(x) - 1, 2):
        a += (np.float64(x[k]) - y[k]) ** 2
        b += (np.float64(x[k + 1]) - y[k + 1]) ** 2
    if len(x) % 2:
        a += (np.float64(x[-1]) - y[-1]) ** 2
    return np.float32(a + b)


def _features(features: np.ndarray) -> np.ndarray:
    """Finite features (n, d) with at least one example and one column, as floats."""
    features = finite("features", shaped("features", features, "n", "d"))
    if not features.size:
        raise ConfigError("features", Shown(f"array of shape {features.shape}"), "at least one example and one column")
    return features if features.dtype.kind == "f" else features.astype(np.float32)


def _check_range(farthest: float) -> None:
    """Refuse features whose largest distance from the mean is too long for float32."""
    if not farthest < 1e18:
        raise ConfigError(
            "features", Shown(f"{farthest:.3g} away from their mean"), "less than 1e18 (float32 overflows)"
        )


def _starts(first: int, centers: np.ndarray | None, n: int, budget: int) -> np.ndarray:
    """The ids a k-center selection begins with."""
    key, ids = ("first", np.array([first])) if centers is None else ("centers", shaped("centers", centers, "m"))
    fits = ids.dtype.kind in "iu" and 1 <= len(ids) <= budget and len(np.unique(ids)) == len(ids)
    if not fits or ids.min() < 0 or ids.max() >= n:
        expected = f"distinct ids from 0 to {n - 1}, at least one and at most the budget ({budget})"
        raise ConfigError(key, first if centers is None else Shown(str(ids)), expected)
    return ids.astype(np.int64)


def _tiles(n: int) -> Iterator[slice]:
    return (slice(k, min(k + TILE, n)) for k in range(0, n, TILE))

"""Facility location, greedy and lazy, and CRAIG, which is facility location on distances with cluster sizes as weights.

Import both from `dataprune.selectors.coverage`. Their memory is the exception of this folder: n x n similarities,
in float64 up to 4096 examples (134 MB), in float32 up to 20,000 (1.6 GB); above, facility location works on a
nearest-neighbour graph. Mutual nearest neighbours tie in exact arithmetic, so between machines compare gains, not ids.
"""

import heapq

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, class_labels, finite, first, generator, shaped
from dataprune.selectors.budget import check_budget
from dataprune.selectors.ranked import quotas

DENSE_LIMIT = 20_000  # examples with all their similarities in memory
DOUBLE_LIMIT = 4096  # examples whose similarities are float64: gains to 1e-6 even where they are small
LANES = 128  # sums kept side by side for SIMD: four times as fast as one sum, and closer to the exact sum
SPARSE_NEIGHBORS = 64  # of each example, where a graph is built here


def facility_location(
    features: np.ndarray,
    budget: int,
    *,
    neighbors: tuple[np.ndarray, np.ndarray] | None = None,
    stochastic: float | None = None,
    rng: np.random.Generator | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pick examples that every example finds one similar to: greedily maximise sum_i max_{j picked} s_ij.

    features: float (n, d), finite, no row of zeros. s = 0.5 + 0.5 cosine, from 0 to 1.
    neighbors: (distances (n, k), ids (n, k)) as `neighbors.knn` returns for features of LENGTH 1, self excluded. Then
        s_ij counts only for j among the k of i (and for j = i), else it is 0. Without it, all pairs count up to 20,000
        examples; above, the 64 nearest neighbours are searched here (one float32 copy of the features).
    stochastic: None = exact greedy by lazy evaluation (Minoux 1978); or epsilon, such as 0.1: each pick is the best
        of n / budget * ln(1 / epsilon) random unpicked examples, drawn from `rng` (Mirzasoleiman et al. 2015).
    Returns (ids int64 (budget,), gains float64 (budget,)) in pick order; gains sum to the objective.
    Equal gains go to the lower id. A smaller budget gives a prefix, except with `stochastic`.
    """
    features = finite("features", shaped("features", features, "n", "d"))
    n = len(features)
    budget = check_budget(budget, n)
    if neighbors is None and n > DENSE_LIMIT:
        from dataprune.neighbors.exact import knn

        neighbors = knn(_unit(features, np.float32), SPARSE_NEIGHBORS)
    if neighbors is None:
        unit = _unit(features, _precision(n))
        similarity = unit @ unit.T
        similarity *= 0.5
        similarity += 0.5
        np.fill_diagonal(similarity, 1)
        columns = _dense(similarity)
    else:
        columns = _sparse(*neighbors, n)
    if stochastic is None:
        return _lazy_greedy(*columns, n, budget)
    rng = generator("rng", rng)  # type: ignore[arg-type]  # None is answered here
    if not 0 < stochastic < 1:
        raise ConfigError("stochastic", stochastic, "None or an epsilon between 0 and 1 (0.1)")
    sample = int(np.ceil(n / budget * np.log(1 / stochastic)))
    return _stochastic_greedy(*columns, n, budget, sample, rng)


def craig(
    features: np.ndarray,
    budget: int,
    *,
    residuals: np.ndarray | None = None,
    labels: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Pick examples whose weighted gradients stand for those of all (CRAIG, Mirzasoleiman et al. 2020).

    features: float (n, d), finite: gradients of a sum-reduced loss, one a row. Or, with `residuals`, the inputs of the
        last layer, whose gradient residual x (1, feature) is then never formed.
    residuals: float (n, c), softmax probabilities minus the one-hot label.
    labels: int (n,). Given, each class is covered by its own picks (the paper's form), quotas are proportional, and
        every class gets at least one pick. Needed above 20,000 examples; a class may hold as many.
    Returns (ids int64 (budget,), weights int64 (budget,)): class by class, in pick order; weights[j] is the number of
    examples nearest to pick j, itself included, and the weights sum to n. Divide by the mean to weigh a loss.

    Similarity is the largest distance (in the class) minus the distance. DeepCore's weights sum to n + budget.
    """
    features = finite("features", shaped("features", features, "n", "d"))
    n = len(features)
    budget = check_budget(budget, n)
    if residuals is not None:
        residuals = finite("residuals", shaped("residuals", residuals, n, "c"))
    if labels is None:
        groups, shares = [np.arange(n)], np.array([budget])
    else:
        labels = class_labels("labels", labels, n)
        groups = [np.flatnonzero(labels == c) for c in np.unique(labels)]
        shares = _at_least_one(np.array([len(g) for g in groups]), budget)
    largest = max(len(group) for group in groups)
    if largest > DENSE_LIMIT:
        expected = f"at most {DENSE_LIMIT} together (one distance matrix); give labels, or prune in shards"
        raise ConfigError("features", Shown(f"{largest} examples in one group"), expected)
    ids, weights = [], []
    for group, share in zip(groups, shares, strict=True):
        similarity = _distances(features[group], None if residuals is None else residuals[group])
        np.subtract(similarity.max(), similarity, out=similarity)
        picks, _ = _lazy_greedy(*_dense(similarity), len(group), int(share))
        ids.append(group[picks])
        weights.append(np.bincount(_nearest_pick(similarity, picks), minlength=len(picks)))
    return np.concatenate(ids), np.concatenate(weights)


def _nearest_pick(similarity: np.ndarray, picks: np.ndarray) -> np.ndarray:
    """Position in `picks` of the most similar pick of each example, the earliest of equals; a pick is its own."""
    best, nearest = np.full(len(similarity), -1.0), np.empty(len(similarity), np.int64)
    for position, pick in enumerate(picks):
        closer = similarity[pick] > best
        best[closer], nearest[closer] = similarity[pick][closer], position
    nearest[picks] = np.arange(len(picks))
    return nearest


def _at_least_one(sizes: np.ndarray, budget: int) -> np.ndarray:
    """Proportional quotas; where they leave a group without any, one for each and the rest proportional."""
    if budget < len(sizes):
        raise ConfigError("budget", budget, f"at least {len(sizes)}, one pick for every class")
    shares = quotas(sizes, budget, sizes)
    spare = budget - len(sizes)
    if not shares.all():
        shares = 1 + (quotas(sizes - 1, spare, sizes - 1) if spare else np.zeros_like(shares))
    return shares


def _precision(n: int) -> type:
    """What n x n similarities are kept in."""
    return np.float64 if n <= DOUBLE_LIMIT else np.float32


def _unit(features: np.ndarray, dtype: type) -> np.ndarray:
    """Rows of length 1."""
    lengths = np.sqrt(np.einsum("ij,ij->i", features, features, dtype=np.float64))
    if not lengths.all():
        expected = "rows with a direction, for cosines"
        raise ConfigError("features", Shown(f"rows of zeros at ids {first(np.flatnonzero(lengths == 0))}"), expected)
    return np.divide(features, lengths[:, None], dtype=dtype, casting="same_kind")


def _distances(features: np.ndarray, residuals: np.ndarray | None) -> np.ndarray:
    """Euclidean distances (n, n) between rows, or between last-layer gradients residual x (1, feature)."""
    dtype = _precision(len(features))
    if residuals is None:
        x = (features - features.mean(0, dtype=np.float64)).astype(dtype)  # keeps digits; distances do not change
        squared = x @ x.T
    else:
        x = features.astype(dtype)
        squared = x @ x.T
        squared += 1
        x = residuals.astype(dtype)
        squared *= x @ x.T
    norms = squared.diagonal().copy()
    squared *= -2
    squared += norms
    squared += norms[:, None]
    np.fill_diagonal(squared, 0)
    return np.sqrt(np.maximum(squared, 0, out=squared), out=squared)


def _dense(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A symmetric matrix in the form of `_gain`."""
    return similarity.ravel(), np.empty(0, np.int64), np.empty(0, np.int64)


def _sparse(distances: np.ndarray, ids: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Columns of a similarity matrix that holds a row's neighbours and 1 on its diagonal, in the form of `_gain`."""
    distances = finite("neighbors[0]", shaped("neighbors[0]", distances, n, "k"))
    ids = shaped("neighbors[1]", ids, *distances.shape)
    wrong = np.flatnonzero(((ids < 0) | (ids >= n) | (ids == np.arange(n)[:, None])).any(1))
    if len(wrong):
        raise ConfigError("neighbors[1]", Shown(f"wrong ids in rows {first(wrong)}"), f"0 to {n - 1}, without the row")
    wrong = np.flatnonzero(((distances < 0) | (distances > 2.001)).any(1))
    if len(wrong):
        expected = "distances from 0 to 2, as between features of length 1"
        raise ConfigError("neighbors[0]", Shown(f"other distances in rows {first(wrong)}"), expected)
    similarity = np.maximum(1 - np.square(distances) / 4, 0).astype(np.float32)  # cosine = 1 - distance^2 / 2
    everyone = np.arange(n)
    column = np.concatenate([everyone, ids.ravel()])
    order = np.argsort(column, kind="stable")
    rows = np.concatenate([everyone, np.repeat(everyone, ids.shape[1])])[order]
    starts = np.concatenate([[0], np.cumsum(np.bincount(column, minlength=n))])
    return np.concatenate([np.ones(n, np.float32), similarity.ravel()])[order], rows, starts


@njit(cache=True)
def _lazy_greedy(values, rows, starts, n, budget):  # noqa: ANN001, ANN202
    """Picks and gains of the greedy. Gains only fall, so an old gain is a bound: only the best bound is renewed."""
    covered = np.zeros(n, values.dtype)  # similarity to the nearest pick
    heap = [(-_gain(j, values, rows, starts, covered), j) for j in range(n)]
    heapq.heapify(heap)
    known_at = np.zeros(n, np.int64)  # the pick at which the gain was computed
    picks, gains = np.empty(budget, np.int64), np.empty(budget)
    for t in range(budget):
        while known_at[heap[0][1]] < t:
            j = heap[0][1]
            known_at[j] = t
            heapq.heapreplace(heap, (-_gain(j, values, rows, starts, covered), j))
        bound, picks[t] = heapq.heappop(heap)
        gains[t] = -bound
        _cover(picks[t], values, rows, starts, covered)
    return picks, gains


def _stochastic_greedy(
    values: np.ndarray, rows: np.ndarray, starts: np.ndarray, n: int, budget: int, sample: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Picks and gains when each pick is the best of a random sample of the unpicked."""
    covered = np.zeros(n, values.dtype)
    unpicked = np.arange(n)
    picks, gains = np.empty(budget, np.int64), np.empty(budget)
    for t in range(budget):
        drawn = rng.choice(len(unpicked), min(sample, len(unpicked)), replace=False, shuffle=False)
        gain = np.array([_gain(j, values, rows, starts, covered) for j in unpicked[drawn]])
        best = np.lexsort([unpicked[drawn], -gain])[0]
        picks[t], gains[t] = unpicked[drawn[best]], gain[best]
        _cover(picks[t], values, rows, starts, covered)
        unpicked[drawn[best]] = unpicked[-1]
        unpicked = unpicked[:-1]
    return picks, gains


@njit(cache=True)
def _gain(j, values, rows, starts, covered):  # noqa: ANN001, ANN202
    """What picking j adds to the objective.

    The similarities to j are values[starts[j] : starts[j + 1]], those of the examples `rows` at the same places; with
    empty `rows` and `starts` they are row j of a square matrix.
    """
    total = 0.0
    if len(rows):
        for edge in range(starts[j], starts[j + 1]):
            total += max(values[edge] - covered[rows[edge]], 0)
        return total
    n = len(covered)
    zero = covered.dtype.type(0)
    lanes = np.zeros(LANES, covered.dtype)
    for begin in range(0, n, LANES):
        own, known = values[j * n + begin : j * n + min(begin + LANES, n)], covered[begin : begin + LANES]
        for k in range(len(own)):
            more = own[k] - known[k]
            lanes[k] += more if more > zero else zero
    for k in range(LANES):
        total += lanes[k]
    return total


@njit(cache=True)
def _cover(j, values, rows, starts, covered):  # noqa: ANN001, ANN202
    """Raise `covered`, the similarity of each example to its nearest pick, by the pick j."""
    if len(rows):
        for edge in range(starts[j], starts[j + 1]):
            covered[rows[edge]] = max(covered[rows[edge]], values[edge])
    else:
        n = len(covered)
        for i in range(n):
            covered[i] = max(covered[i], values[j * n + i])

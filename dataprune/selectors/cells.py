"""The k nearest neighbours, approximately, for sets too large for the exact search: k-means cells, measured recall.

Near examples mostly lie in the same or in adjacent cells. Each cell of about 600 examples meets its nearest
cells by whole blocks of products, each pair of cells once with both sides updated: 0.4 % of the exact work at
1.28M, at the speed of matrix products.
"""

import warnings
from itertools import pairwise

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, generator
from dataprune.selectors.neighbors import EXTRA, insert, knn, offer_tile, rerank, search
from dataprune.selectors.points import Points, Product, blocks, centred_points, positive, products

ROUNDS = 6  # of k-means; more did not raise the recall
PER_CELL = 64  # examples per centre that k-means is trained on
BRANCHES = 64  # centres at a time: cells within cells cost n * 64 per level instead of n * cells
FAIR = 0.9  # a lower recall is worth a warning
STUCK = 0.9  # k-means that leaves so much in one cell will not split it
LARGEST = 2.5  # a cell may hold this multiple of the mean: pairs of larger ones cost quadratically


def approximate_knn(
    features: np.ndarray,
    k: int,
    *,
    rng: np.random.Generator,
    cell: int = 600,
    probes: int = 4,
    precision: str = "float32",
    sample: int = 500,
) -> tuple[np.ndarray, np.ndarray, float]:
    """Find most of the k nearest other examples of every example, and measure how many.

    features, k, precision: as in `knn`. rng draws the k-means starts and the rows of the recall.
    cell: mean number of examples in a cell. probes: nearest cells that each example meets besides its own; more
    raise recall and cost. Clusters need few; without clusters 4 may find 60 %, 16 find 90 % (then also warns).

    Returns distances float32 (n, k), ids int64 (n, k), sorted and exact for the neighbours that were found, and
    the recall: over `sample` random rows (500 or more; all rows of a smaller set), the share of the k that are no
    farther than the true k-th neighbour. Write it beside the result: a subset picked greedily on this graph can
    differ much from the exact graph's even at recall 0.99. Every row has k distinct neighbours; a set of one or
    two cells is searched exactly. Memory beyond the features: one float32 copy of them, and O(n k).
    """
    if sample < 500:
        raise ConfigError("sample", sample, "500 rows or more, so that the recall is worth stating")
    points = centred_points(features, precision)
    n = len(points.rows)
    k, cell, probes = min(positive("k", k), n - 1), max(positive("cell", cell), k + 1), positive("probes", probes)
    cells = _cells(points, np.arange(n), cell, generator("rng", rng))
    if len(cells) == 1:
        return *knn(points.rows, max(k, 1)), 1.0
    wanted = min(k + EXTRA, n - 1) if precision == "bfloat16" else k
    distances, ids = rerank(points.rows, _candidates(points, cells, probes, wanted), k)
    short = np.flatnonzero((ids < 0).any(1))  # in small cells that met too few others
    distances[short], ids[short] = search(points, short, k)
    rows = np.sort(rng.choice(n, min(sample, n), replace=False))
    recall = float((distances[rows] <= search(points, rows, k)[0][:, -1:]).mean())
    if recall < FAIR:
        advice = f"raise probes (now {probes})"
        warnings.warn(f"the approximate graph holds only {recall:.3f} of the neighbours: {advice}", stacklevel=2)
    return distances, ids, recall


def _cells(points: Points, members: np.ndarray, cell: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Split the ids `members` into cells by k-means, at most BRANCHES at a time, until none is too large."""
    if len(members) <= LARGEST * cell:
        return [members]
    labels = _assign(points, members, min(BRANCHES, round(len(members) / cell)), rng)
    sizes = np.bincount(labels)
    if sizes.max() > STUCK * len(members):  # mostly copies of one example: no centre can tell them apart
        return np.array_split(members, -(-len(members) // cell))
    parts = np.split(members[np.argsort(labels, kind="stable")], np.cumsum(sizes)[:-1])
    return [part for some in parts if len(some) for part in _cells(points, some, cell, rng)]


def _assign(points: Points, members: np.ndarray, cells: int, rng: np.random.Generator) -> np.ndarray:
    """The cell of each of `members`, by k-means with `cells` centres that is trained on a sample of them."""
    taken = rng.choice(len(members), min(len(members), PER_CELL * cells), replace=False)
    trained = points.centred(members[np.sort(taken)])
    centers = trained[rng.choice(len(trained), cells, replace=False)]

    def nearest(rows: np.ndarray) -> np.ndarray:
        return (np.square(centers).sum(1) - 2 * rows @ centers.T).argmin(1)

    for _ in range(ROUNDS):
        labels = nearest(trained)
        sums, counts = _sums(trained, labels, cells)
        full = counts > 0  # a centre without examples stays where it was
        centers[full] = sums[full] / counts[full, None]
    return np.concatenate([nearest(points.centred(members[part])) for part in blocks(len(members))])


@njit(cache=True)
def _sums(rows: np.ndarray, labels: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows of each cell, float64 (cells, d), and their number."""
    sums, counts = np.zeros((cells, rows.shape[1])), np.zeros(cells, np.int64)
    for i in range(len(rows)):
        counts[labels[i]] += 1
        for place in range(rows.shape[1]):
            sums[labels[i], place] += rows[i, place]
    return sums, counts


def _candidates(points: Points, cells: list[np.ndarray], probes: int, wanted: int) -> np.ndarray:
    """Ids of the nearest examples met, int32 (n, wanted), -1 where a row met too few.

    Every row meets its own cell and its `probes` nearest other cells; both sides of a meeting are updated.
    """
    n = len(points.rows)
    order = np.concatenate(cells)  # from here on an example is its place in this order: a cell is one block
    starts = np.concatenate([[0], np.cumsum([len(cell) for cell in cells])])
    data = np.empty(points.rows.shape, np.float32)
    for part in blocks(n):
        data[part] = points.centred(order[part])
    squares = points.squares[order]
    best = np.full((n, wanted), np.inf, np.float32)
    places = np.full((n, wanted), -1, np.int32)
    with products(points.precision) as multiply:
        visitors, first = _visitors(data, starts, min(probes, len(cells) - 1), multiply)
        for cell, (start, stop) in enumerate(pairwise(starts)):
            own, coming = np.arange(start, stop), visitors[first[cell] : first[cell + 1]]
            for rows, inside in [(own, True)] + [(coming[part], False) for part in blocks(len(coming))]:
                out = np.empty((len(rows), stop - start), np.float32)
                multiply(data[start:stop] if inside else data[rows], data[start:stop], out)
                offer_tile(out, squares, rows, start, best, places, inside, not inside)
    ids = np.empty_like(places)
    for part in blocks(n):
        ids[order[part]] = np.where(places[part] < 0, -1, order[places[part]])
    return ids


def _visitors(data: np.ndarray, starts: np.ndarray, probes: int, multiply: Product) -> tuple[np.ndarray, np.ndarray]:
    """For each cell the places whose `probes` nearest other cells include it: one int64 array and where each starts."""
    n, cells = len(data), len(starts) - 1
    centers = np.stack([data[start:stop].mean(0) for start, stop in pairwise(starts)])
    lengths = np.square(centers).sum(1)
    home = np.repeat(np.arange(cells), np.diff(starts))
    near = np.empty((n, probes), np.int32)
    for part in blocks(n):
        values = np.empty((part.stop - part.start, cells), np.float32)
        multiply(data[part], centers, values)
        _nearest_cells(values, lengths, home[part], near[part])
    visits = np.argsort(near.ravel(), kind="stable") // max(probes, 1)
    return visits, np.concatenate([[0], np.cumsum(np.bincount(near.ravel(), minlength=cells))])


@njit(cache=True)
def _nearest_cells(values: np.ndarray, lengths: np.ndarray, home: np.ndarray, near: np.ndarray) -> None:
    """Write the cells with the smallest values[i] + lengths, other than home[i], to near[i]."""
    for i in range(len(values) if near.shape[1] else 0):
        best = np.full(near.shape[1], np.inf, np.float32)
        for cell in range(len(lengths)):
            value = values[i, cell] + lengths[cell]
            if value < best[-1] and cell != home[i]:
                insert(best, near[i], value, cell)

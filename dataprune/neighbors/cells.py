"""The k nearest neighbours, approximately, for sets too large for the exact search: k-means cells, measured recall.

Near examples mostly lie in the same cell or in a neighbouring one. Every example meets its own cell of about 600
and the few whose centres are next nearest to it, by whole blocks of products, and both sides of a meeting are
updated: below 1 % of the exact work at 1.28M, at the speed of matrix products. Meetings of rows with cells found
more than meetings of whole cells at the same cost (0.85 against 0.58 of the neighbours on 50k without clusters).
"""

import warnings

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, generator, whole_number
from dataprune.neighbors.exact import SPARE, insert, knn, offer_tile, rerank, search
from dataprune.neighbors.points import Points, blocks, centred_points, products

PER_CELL = 40  # examples per cell that k-means is trained on
ROUNDS, STEPS = 3, 6  # of k-means over all cells, and within a cell that is split
BRANCHES = 64  # parts at a time: cells within cells cost 64 a level instead of their number
LARGEST = 2  # a cell of the sample may hold this multiple of the mean: pairs of larger ones cost quadratically
TOO_LARGE = 5  # what the sample did not show: such a cell is cut
STUCK = 0.9  # k-means that leaves so much in one part will not split it
FAIR = 0.9  # a lower recall is worth a warning


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
    raise recall and cost. Clusters need few (2 found all); of 200k without clusters 4 found 69 %, 16 found 94 %.
    Warns below 90 %.

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
    k, probes = min(whole_number("k", k, 1), n - 1), whole_number("probes", probes, 1)
    cell = max(whole_number("cell", cell, 1), k + 1)
    generator("rng", rng)
    if n <= LARGEST * cell:
        return *knn(points.rows, max(k, 1)), 1.0
    wanted = min(k + SPARE[precision], n - 1) if precision == "bfloat16" else k
    distances, ids = rerank(points.rows, _candidates(points, _centers(points, cell, rng), cell, probes, wanted), k)
    short = np.flatnonzero((ids < 0).any(1))  # in small cells that met too few others
    distances[short], ids[short] = search(points, short, k)
    rows = np.sort(rng.choice(n, min(sample, n), replace=False))
    recall = float((distances[rows] <= search(points, rows, k)[0][:, -1:]).mean())
    if recall < FAIR:
        advice = f"raise probes (now {probes})"
        warnings.warn(f"the approximate graph holds only {recall:.3f} of the neighbours: {advice}", stacklevel=2)
    return distances, ids, recall


def _centers(points: Points, cell: int, rng: np.random.Generator) -> np.ndarray:
    """Centres of cells of about `cell` examples, float32 (cells, d): k-means on a sample, large cells split again."""
    n = len(points.rows)
    sample = np.sort(rng.choice(n, min(n, PER_CELL * round(n / cell)), replace=False))
    return spread_centers(points.centred(sample), len(sample) * cell / n, rng)


def spread_centers(data: np.ndarray, size: float, rng: np.random.Generator) -> np.ndarray:
    """Return centres of cells of about `size` rows of `data`, float32 (cells, d); what is too large is split again.

    data: float32 (n, d) with its mean near 0, a sample of what the cells are for. rng draws the starts of k-means.
    """
    groups = [np.arange(len(data))]
    for _ in range(ROUNDS):
        groups = [part for group in groups for part in _split(data, group, size, rng)]
        centers = np.stack([data[group].mean(0) for group in groups])
        labels = np.concatenate([_nearest(data[part], centers) for part in blocks(len(data))])
        groups = _members(labels)
    return centers


def _split(data: np.ndarray, group: np.ndarray, size: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Split the rows `group` by k-means, at most BRANCHES ways at a time, until no part is too large."""
    if len(group) <= LARGEST * size:
        return [group]
    rows = data[group]
    centers = rows[rng.choice(len(rows), min(BRANCHES, max(2, round(len(rows) / size))), replace=False)]
    for _ in range(STEPS):
        labels = _nearest(rows, centers)
        sums, counts = _sums(rows, labels, len(centers))
        full = counts > 0  # a centre without examples stays where it was
        centers[full] = sums[full] / counts[full, None]
    parts = _members(labels)
    if max(map(len, parts)) > STUCK * len(group):  # mostly copies of one example: no centre can tell them apart
        return [group]
    return [piece for part in parts for piece in _split(data, group[part], size, rng)]


def _nearest(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    return (np.square(centers).sum(1) - 2 * rows @ centers.T).argmin(1)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """The ids with each label that occurs, ascending."""
    return [ids for ids in np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1]) if len(ids)]


@njit(cache=True)
def _sums(rows: np.ndarray, labels: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Sum of the rows of each cell, float64 (cells, d), and their number."""
    sums, counts = np.zeros((cells, rows.shape[1])), np.zeros(cells, np.int64)
    for i in range(len(rows)):
        counts[labels[i]] += 1
        for place in range(rows.shape[1]):
            sums[labels[i], place] += rows[i, place]
    return sums, counts


def _candidates(points: Points, centers: np.ndarray, cell: int, probes: int, wanted: int) -> np.ndarray:
    """Ids of the nearest examples met, int32 (n, wanted), -1 where a row met too few.

    Every row meets the cell of its nearest centre, its own, and the next `probes`; a meeting updates both sides.
    """
    n = len(points.rows)
    near = _nearest_cells(points, centers, min(probes + 1, len(centers)))
    cells, visited = [], []
    for own in _members(near[:, 0]):
        # only copies of one example make a cell this large: each part has near enough, and visitors need one part
        parts = np.array_split(own, -(-len(own) // (TOO_LARGE * cell)))
        cells += parts
        visited += [int(near[own[0], 0])] + [-1] * (len(parts) - 1)
    order = np.concatenate(cells)  # from here on an example is its place in this order: a cell is one block
    place = np.empty(n, np.int32)
    place[order] = np.arange(n)
    data = np.empty(points.rows.shape, np.float32)
    for part in blocks(n):
        data[part] = points.centred(order[part])
    squares = points.squares[order]
    best = np.full((n, wanted), np.inf, np.float32)
    places = np.full((n, wanted), -1, np.int32)
    visits, first = _visits(near[:, 1:], place, len(centers))
    start = 0
    with products(points.precision) as multiply:
        for label, members in zip(visited, cells, strict=True):
            here = slice(start, start + len(members))
            own = np.arange(here.start, here.stop)
            coming = visits[first[label] : first[label + 1]] if label >= 0 else own[:0]
            for rows in [own] + [coming[part] for part in blocks(len(coming))]:
                out = np.empty((len(rows), len(own)), np.float32)
                multiply(data[here] if rows is own else data[rows], data[here], out)
                offer_tile(out, squares, rows, start, best, places, rows is own, rows is not own)
            start = here.stop
    ids = np.empty_like(places)
    for part in blocks(n):
        ids[order[part]] = np.where(places[part] < 0, -1, order[places[part]])
    return ids


def _visits(near: np.ndarray, place: np.ndarray, cells: int) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows that visit each cell, one after the other, and where each cell's begin, (cells + 1,)."""
    labels = near.ravel()
    rows = np.argsort(labels, kind="stable") // max(near.shape[1], 1)
    return place[rows], np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=cells))])


def _nearest_cells(points: Points, centers: np.ndarray, count: int) -> np.ndarray:
    """The `count` nearest centres of each row, nearest first: int32 (n, count)."""
    n = len(points.rows)
    lengths = np.square(centers).sum(1)
    near = np.empty((n, count), np.int32)
    with products(points.precision) as multiply:
        for part in blocks(n):
            values = np.empty((part.stop - part.start, len(centers)), np.float32)
            multiply(points.centred(part), centers, values)
            _smallest(values, lengths, near[part])
    return near


@njit(cache=True)
def _smallest(values: np.ndarray, lengths: np.ndarray, near: np.ndarray) -> None:
    """Write the places of the smallest values[i] + lengths to near[i], smallest first."""
    best = np.empty(near.shape[1], np.float32)
    for i in range(len(values)):
        best[:] = np.inf
        for cell in range(len(lengths)):
            value = values[i, cell] + lengths[cell]
            if value < best[-1]:
                insert(best, near[i], value, cell)

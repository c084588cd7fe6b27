"""The k nearest neighbours of every example, exact.

The matrix of distances is never held: blocks of rows meet block by block, each pair of blocks once, and both
sides keep a short sorted list of candidates. Products |x|^2 + |y|^2 - 2xy find the candidates; the distances
that are returned, and their order, come from float32 differences. A row whose candidates could have missed a
neighbour by rounding is searched again, so that the result is exact, ties included.
"""

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, whole_number
from dataprune.neighbors.points import Points, blocks, centred_points, matmul_setting, products

# candidates beyond k: in float32 they settle nearly every row; in bfloat16 they hold the true k (recall 1.0000)
SPARE = {"float32": 2, "bfloat16": 6}
TORCH_ROWS, TORCH_COLUMNS = 4096, 65536  # a tile on a torch device; 1 GB
LANES = 64  # products that are tested together before any of them is looked at


def knn(
    features: np.ndarray, k: int, *, precision: str = "float32", device: str = "cpu"
) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest other examples of every example, by Euclidean distance.

    features: (n, d), finite, any float or integer type; computed in float32. A memory map is read in blocks.
    k: 1 or more; at most n - 1 neighbours exist, so the result has min(k, n - 1) columns.
    precision: "float32", exact; or "bfloat16": the products that choose k + 6 candidates are taken in
    bfloat16 (twice to four times the speed where the processor has such instructions), and the k are chosen
    from them in float32: a neighbour can then be missed, though none was in our measurements.
    device: "cpu", or a torch device such as "cuda", for the products.

    Returns distances float32 (n, k), not squared, and ids int64 (n, k), each row sorted by (distance, id). An
    example is excluded by its id, so an exact copy of it is a neighbour at distance exactly 0. Of equal
    distances (as float32 numbers) the lower ids are kept. Memory beyond the features: O(n k) and a few blocks.
    """
    points = centred_points(features, precision)
    n = len(points.rows)
    k = min(whole_number("k", k, 1), n - 1)
    wanted = min(k + SPARE[precision], n - 1)
    if n == 1:
        return np.empty((1, 0), np.float32), np.empty((1, 0), np.int64)
    if device == "cpu":
        values, candidates = _candidates(points, wanted)
    else:
        values, candidates = _torch_candidates(points, wanted, device)
    distances, ids = rerank(points.rows, candidates, k)
    if wanted < n - 1 and precision == "float32":
        doubtful = np.flatnonzero(_limit(points.squares, distances[:, -1], points.rows.shape[1]) >= values)
        distances[doubtful], ids[doubtful] = search(points, doubtful, k)
    return distances, ids


@njit(cache=True)
def _limit(square: np.ndarray, distance: np.ndarray, d: int) -> np.ndarray:
    """Largest product-form squared distance that an example as near as `distance` can show: rounding included.

    square: |x|^2. A sum of d rounded terms is off by far less than sqrt(d) units of |x| |y|, and an example
    within the distance is at most |x| + distance long. Works on arrays and on single numbers, in float64.
    """
    unit = (8 + np.sqrt(d)) * 2.0**-24
    longest = np.sqrt(square * 1.0) + distance * 1.0
    smallest = (8 + d) * 2.0**-126  # below this a product may have been rounded to 0
    return (distance * 1.0) ** 2 * (1 + 2.0**-20) + unit * (square * 1.0 + longest**2) + smallest


def _candidates(points: Points, wanted: int) -> tuple[np.ndarray, np.ndarray]:
    """For each row the largest product-form value among its `wanted` nearest, (n,), and their ids int32 (n, wanted)."""
    n = len(points.rows)
    best = np.full((n, wanted), np.inf, np.float32)
    ids = np.full((n, wanted), -1, np.int32)
    largest = next(blocks(n)).stop
    tile = np.empty(largest * largest, np.float32)
    with products(points.precision) as multiply:
        for rows in blocks(n):
            left = points.centred(rows)
            for columns in blocks(n):
                if columns.start < rows.start:
                    continue
                right = left if columns == rows else points.centred(columns)
                out = tile[: len(left) * len(right)].reshape(len(left), len(right))
                multiply(left, right, out)
                who = np.arange(rows.start, rows.stop)
                offer_tile(out, points.squares, who, columns.start, best, ids, columns == rows, False)
    return best[:, -1].copy(), ids


@njit(cache=True)
def offer_tile(
    products: np.ndarray,
    squares: np.ndarray,
    rows: np.ndarray,
    column0: int,
    best: np.ndarray,
    ids: np.ndarray,
    diagonal: bool,
    met: bool,
) -> None:
    """Offer every pair of a tile, the examples `rows` against column0, column0 + 1, .., to the lists of both ends.

    products: -2xy. squares: |x|^2 of all. best, ids: (n, wanted), sorted lists.
    diagonal: rows and columns are the same, and each pair is taken once. met: a pair may have been offered before.
    """
    height, width = products.shape
    worst = best[column0 : column0 + width, -1].copy()
    lengths = squares[column0 : column0 + width].copy()
    for i in range(height):
        row, values = rows[i], products[i]
        start = i + 1 if diagonal else 0
        own, length = best[row, -1], squares[row]
        while start < width:
            stop = min(start + LANES, width)
            if _any_near(values[start:stop], lengths[start:stop], worst[start:stop], length, own):
                for j in range(start, stop):
                    value, column = values[j] + lengths[j] + length, column0 + j
                    if value < own and not (met and _holds(ids[row], column)):
                        insert(best[row], ids[row], value, column)
                        own = best[row, -1]
                    if value < worst[j] and not (met and _holds(ids[column], row)):
                        insert(best[column], ids[column], value, row)
                        worst[j] = best[column, -1]
            start = stop


@njit(cache=True)
def _holds(ids: np.ndarray, example: int) -> bool:
    found = False
    for one in ids:
        found |= one == example
    return found


@njit(cache=True)
def _any_near(values: np.ndarray, lengths: np.ndarray, worst: np.ndarray, length: float, own: float) -> bool:
    """Whether any pair belongs in a list; free of branches, so that the compiler makes vector code of it."""
    near = np.int32(0)
    for j in range(len(values)):
        value = values[j] + lengths[j] + length
        near |= np.int32(value < own) | np.int32(value < worst[j])
    return near != 0


@njit(cache=True)
def insert(values: np.ndarray, ids: np.ndarray, value: np.float32, example: int) -> None:
    """Put (value, example) into a list sorted by (value, id), where its last entry falls out."""
    place = len(values) - 1
    while place > 0 and (values[place - 1] > value or (values[place - 1] == value and ids[place - 1] > example)):
        values[place], ids[place] = values[place - 1], ids[place - 1]
        place -= 1
    values[place], ids[place] = value, example


@njit(cache=True)
def _distance(x: np.ndarray, y: np.ndarray, room: np.ndarray) -> np.float32:
    """Float32 differences, squared and added in float64, halves onto halves: the same for (x, y) and (y, x).

    room: float64 (d,), overwritten. The two loops stand alone so that the compiler makes vector code of them.
    """
    _squares(x, y, room)
    width = len(x)
    while width > 1:
        half = width // 2
        _add(room[:half], room[width - half : width])
        width -= half
    return np.float32(np.sqrt(room[0]))


@njit(cache=True)
def _squares(x: np.ndarray, y: np.ndarray, out: np.ndarray) -> None:
    for place in range(len(x)):
        gap = np.float64(x[place] - y[place])
        out[place] = gap * gap


@njit(cache=True)
def _add(sums: np.ndarray, others: np.ndarray) -> None:
    for place in range(len(sums)):
        sums[place] += others[place]


def rerank(features: np.ndarray, candidates: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest of each row's candidates (n, m) by exact distance: float32 (n, k), int64 (n, k).

    A candidate of -1 is none; a row with fewer than k candidates ends in distance inf, id -1.
    """
    n = len(candidates)
    distances = np.full((n, k), np.inf, np.float32)
    ids = np.full((n, k), -1, np.int64)
    direct = features.dtype == np.float32 and features.flags.c_contiguous
    for block in blocks(n, 256):
        chosen = candidates[block]
        places = chosen if direct else np.arange(chosen.size, dtype=chosen.dtype).reshape(chosen.shape)
        pool = np.asarray(features) if direct else np.asarray(features[chosen.ravel()], np.float32)
        own = np.ascontiguousarray(features[block], np.float32)
        _rerank_block(own, pool, places, chosen, distances[block], ids[block])
    return distances, ids


@njit(cache=True)
def _rerank_block(
    own: np.ndarray, pool: np.ndarray, places: np.ndarray, chosen: np.ndarray, distances: np.ndarray, ids: np.ndarray
) -> None:
    room = np.empty(own.shape[1])
    for i in range(len(own)):
        for j in range(chosen.shape[1]):
            if chosen[i, j] >= 0:
                _offer(distances[i], ids[i], _distance(own[i], pool[places[i, j]], room), chosen[i, j])


@njit(cache=True)
def _offer(distances: np.ndarray, ids: np.ndarray, distance: np.float32, example: int) -> None:
    """Insert by (distance, id) if it belongs in the list."""
    if distance < distances[-1] or (distance == distances[-1] and (example < ids[-1] or ids[-1] < 0)):
        insert(distances, ids, distance, example)


def search(points: Points, wanted: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The exact neighbours of the rows `wanted` alone: as in `knn`, float32 (m, k) and int64 (m, k)."""
    distances = np.full((len(wanted), k), np.inf, np.float32)
    ids = np.full((len(wanted), k), -1, np.int64)
    for part in blocks(len(wanted)):
        rows = wanted[part]
        own, left = points.raw(rows), np.float32(-2) * points.centred(rows)
        for columns in blocks(len(points.rows)):
            products = left @ points.centred(columns).T
            lengths = points.squares[columns]
            _search_tile(
                products,
                points.squares[rows],
                lengths,
                rows,
                columns.start,
                own,
                points.raw(columns),
                distances[part],
                ids[part],
            )
    return distances, ids


@njit(cache=True)
def _search_tile(
    products: np.ndarray,
    squares: np.ndarray,
    lengths: np.ndarray,
    rows: np.ndarray,
    column0: int,
    own: np.ndarray,
    others: np.ndarray,
    distances: np.ndarray,
    ids: np.ndarray,
) -> None:
    """Offer to each row's list, by exact distance, every column whose product-form value is not too large."""
    d = own.shape[1]
    room = np.empty(d)
    for i in range(len(rows)):
        limit = _limit(squares[i], distances[i, -1], d)
        for j in range(len(lengths)):
            if distances[i, -1] == 0:
                break  # columns come in ascending order: no later one can be nearer or have a lower id
            if products[i, j] + lengths[j] + squares[i] <= limit and column0 + j != rows[i]:
                _offer(distances[i], ids[i], _distance(own[i], others[j], room), column0 + j)
                limit = _limit(squares[i], distances[i, -1], d)


def _torch_candidates(points: Points, wanted: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """As `_candidates`, with the products and the choice on a torch device; all features must fit there."""
    import torch

    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("device", device, '"cpu": torch finds no CUDA device here')
    n, d = points.rows.shape
    half = points.precision == "bfloat16"
    data = torch.empty((n, d), dtype=torch.bfloat16 if half else torch.float32, device=device)
    for block in blocks(n):
        data[block] = torch.from_numpy(points.centred(block)).to(data)
    squares = torch.from_numpy(points.squares).to(device)
    values, ids = np.empty(n, np.float32), np.empty((n, wanted), np.int32)
    with matmul_setting(torch.backends.cuda.matmul, "ieee"):  # not TF32: the error bound is that of float32
        for rows in blocks(n, TORCH_ROWS):
            near = torch.full((rows.stop - rows.start, wanted), torch.inf, device=device)
            who = torch.full_like(near, -1, dtype=torch.int64)
            own = torch.arange(rows.start, rows.stop, device=device)
            for columns in blocks(n, TORCH_COLUMNS):
                right = data[columns].T
                # float32 results also of bfloat16 operands: rounding them would lose the neighbours
                value = torch.mm(data[rows], right, torch.float32) if half else torch.mm(data[rows], right)
                value.mul_(-2).add_(squares[columns]).add_(squares[rows, None])
                here = (own >= columns.start) & (own < columns.stop)
                value[here.nonzero()[:, 0], own[here] - columns.start] = torch.inf  # an example is not its neighbour
                some = value.topk(min(wanted, value.shape[1]), largest=False)
                near, place = torch.cat([near, some.values], 1).topk(wanted, largest=False)
                who = torch.cat([who, some.indices + columns.start], 1).gather(1, place)
            values[rows], ids[rows] = near[:, -1].cpu().numpy(), who.cpu().numpy()
    return values, ids

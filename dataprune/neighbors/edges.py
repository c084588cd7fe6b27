"""Neighbour lists as a weighted graph in compressed rows, and the density that D2 starts from."""

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, shaped, whole_number

LEAST = np.float32(1e-7)  # D2's floor for the score that a neighbour sends

_WRONG = (
    "",
    "ids from 0 to n - 1, or -1 for no neighbour",
    "lists without the example itself (drop column 0 of a file that lists it)",
    "each neighbour once in a row",
    "finite numbers of 0 or more",
    "rows sorted from near to far, so that the first k columns are the k nearest",
)


def positions(neighbors: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return lists of ids (n, columns) as positions in `ids` int (n,), int64 (n, columns); -1 = an id not there."""
    order = np.argsort(ids, kind="stable")
    places = np.minimum(np.searchsorted(ids, neighbors, sorter=order), len(ids) - 1)
    return np.where(ids[order[places]] == neighbors, order[places], -1)


def unclear(expected: str, **given: object) -> ConfigError:
    """Return the error for arguments of which too many, or too few, say what the graph is: those that are not None."""
    names = [name for name, value in given.items() if value is not None]
    return ConfigError("graph from", Shown(", ".join(names) or "nothing"), expected)


def checked_lists(
    distances: np.ndarray, neighbors: np.ndarray, n: int, k: int | None, *, key: str = "distances"
) -> tuple[np.ndarray, np.ndarray]:
    """Check lists (n, columns) and return their first k columns as float32 and integer; -1 = no neighbour there."""
    neighbors = np.ascontiguousarray(shaped("neighbors", neighbors, n, "k"))
    distances = np.ascontiguousarray(shaped(key, distances, n, neighbors.shape[1]), np.float32)
    columns = neighbors.shape[1]
    if neighbors.dtype.kind not in "iu":
        raise ConfigError("neighbors", Shown(f"array of {neighbors.dtype}"), "integer ids")
    if neighbors.dtype.kind == "u":
        neighbors = neighbors.astype(np.int64)
    if n > 1 and not columns:
        raise ConfigError("neighbors", Shown(f"array of shape {neighbors.shape}"), "one column or more")
    k = columns if k is None else min(whole_number("k", k, 1), n - 1)
    if k > columns:
        raise ConfigError("k", k, f"at most {columns}, the columns of `neighbors`")
    row, wrong = _first_wrong(neighbors, distances, k < columns)
    if wrong:
        name = "neighbors" if wrong <= 3 else key
        raise ConfigError(name, Shown(f"{(neighbors if wrong <= 3 else distances)[row]} at id {row}"), _WRONG[wrong])
    return distances[:, :k], neighbors[:, :k]


@njit(cache=True)
def _first_wrong(neighbors: np.ndarray, distances: np.ndarray, ascending: bool) -> tuple[int, int]:
    """The first row with a fault and the fault's place in _WRONG; (0, 0) if there is none."""
    n, columns = neighbors.shape
    for i in range(n):
        for place in range(columns):
            fault = _fault(neighbors, distances, ascending, i, place)
            if fault:
                return i, fault
    return 0, 0


@njit(cache=True)
def _fault(neighbors: np.ndarray, distances: np.ndarray, ascending: bool, i: int, place: int) -> int:
    """The fault of one entry of the lists, as its place in _WRONG; 0 = none."""
    j, distance = neighbors[i, place], distances[i, place]
    if j == -1:
        return 0
    if not 0 <= j < len(neighbors):
        return 1
    if j == i:
        return 2
    if _place(neighbors[i, :place], j) >= 0:
        return 3
    if not 0 <= distance < np.inf:
        return 4
    if ascending and place and neighbors[i, place - 1] >= 0 and distance < distances[i, place - 1]:
        return 5
    return 0


def directed(distances: np.ndarray, neighbors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The lists as they are: offsets int64 (n + 1,), targets int32 (edges,), lengths float32 (edges,)."""
    there = neighbors >= 0
    if there.all():
        offsets = np.arange(len(neighbors) + 1, dtype=np.int64) * neighbors.shape[1]
        return offsets, neighbors.astype(np.int32).ravel(), distances.ravel()
    offsets = np.concatenate([[0], np.cumsum(there.sum(1))])
    return offsets, neighbors[there].astype(np.int32), distances[there]


def union(distances: np.ndarray, neighbors: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An edge in both directions wherever one end lists the other; as `directed`.

    Where the two ends give different lengths (lists from elsewhere) the shorter one counts, for both.
    """
    return _union(neighbors.astype(np.int32), np.ascontiguousarray(distances))


@njit(cache=True)
def _union(neighbors: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n, k = neighbors.shape
    offsets = np.zeros(n + 1, np.int64)
    for i in range(n):
        for place in range(k):
            j = neighbors[i, place]
            if j >= 0:
                offsets[i + 1] += 1
                offsets[j + 1] += _place(neighbors[j], i) < 0
    offsets = np.cumsum(offsets)
    free = offsets[:-1].copy()
    targets, lengths = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
    for i in range(n):
        for place in range(k):
            j, length = neighbors[i, place], distances[i, place]
            if j < 0:
                continue
            back = _place(neighbors[j], i)
            if back >= 0:
                length = min(length, distances[j, back])
            targets[free[i]], lengths[free[i]] = j, length
            free[i] += 1
            if back < 0:
                targets[free[j]], lengths[free[j]] = i, length
                free[j] += 1
    return offsets, targets, lengths


@njit(cache=True)
def _place(row: np.ndarray, example: int) -> int:
    """Where `example` stands in a row, or -1."""
    for place in range(len(row)):
        if row[place] == example:
            return place
    return -1


@njit(cache=True)
def density(
    own: np.ndarray, sent: np.ndarray, offsets: np.ndarray, targets: np.ndarray, weights: np.ndarray, product: bool
) -> np.ndarray:
    """Start value of every example: own + (or times) the sum over its neighbours j of weight * sent[j]. float32 (n,).

    Products are float32; the sum is taken in float64, so that the order of the edges does not matter.
    """
    values = np.empty(len(own), np.float32)
    for i in range(len(own)):
        total = 0.0
        for edge in range(offsets[i], offsets[i + 1]):
            total += weights[edge] * sent[targets[edge]]
        values[i] = total * own[i] if product else total + own[i]
    return values

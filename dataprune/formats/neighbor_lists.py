"""Lists of nearest neighbours that somebody else has computed, as D2's command takes them.

Ids and distances (Euclidean, not squared) of each example's neighbours, from near to far.
"""

from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, first


def read(
    neighbors: str | Path, distances: str | Path, n: int, *, ids: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return `by_example` of the arrays in these .npy files."""
    rows = None if ids is None else _loaded("ids", ids)
    return by_example(_loaded("neighbors", neighbors), _loaded("distances", distances), n, ids=rows)


def by_example(
    neighbors: np.ndarray, distances: np.ndarray, n: int, *, ids: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances float32 (n, k) and neighbors int64 (n, k), a row for each of n examples, -1 = no neighbour.

    neighbors int, distances float (m, columns): as they were computed. A first column that is the row itself (as faiss
    gives it, and as D2's files have it) is left out. ids: int (m,), the example of each row, where rows are not all
    examples in order: those of D2's files are what its cut left, in the order of the cut, and their neighbours are
    places in that order. Raises ConfigError named `neighbors`, `distances` or `ids`.
    """
    _check(neighbors, distances, n, ids)
    lists, lengths = neighbors.astype(np.int64), distances.astype(np.float32)
    wrong = np.flatnonzero(((lists < -1) | (lists >= len(lists))).any(1))
    if len(wrong):
        expected = f"places of 0 to {len(lists) - 1}, or -1 for none"
        raise ConfigError("neighbors", Shown(f"others in rows {first(wrong)}"), expected)
    itself = lists == np.arange(len(lists))[:, None]
    if itself[:, :1].all():
        lists, lengths, itself = lists[:, 1:], lengths[:, 1:], itself[:, 1:]
    if itself.any():
        found = Shown(f"rows {first(np.flatnonzero(itself.any(1)))} list themselves")
        raise ConfigError("neighbors", found, "the row itself as the first column of all rows, or nowhere")
    return (lengths, lists) if ids is None else _spread(lengths, lists, ids.astype(np.int64), n)


def _loaded(key: str, path: str | Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(key, str(path), f"a .npy file of numbers ({error})") from None


def _check(neighbors: np.ndarray, distances: np.ndarray, n: int, ids: np.ndarray | None) -> None:
    """Raise a ConfigError for arrays of wrong shapes, and for rows that are not one an example."""
    if neighbors.ndim != 2 or neighbors.dtype.kind not in "iu":
        found = Shown(f"array of {neighbors.dtype}, {neighbors.shape}")
        raise ConfigError("neighbors", found, "integers (n, columns)")
    if distances.shape != neighbors.shape:
        raise ConfigError("distances", Shown(f"array of shape {distances.shape}"), f"{neighbors.shape}, as neighbors")
    if ids is not None:
        _check_ids(ids, len(neighbors), n)
    elif len(neighbors) != n:
        expected = f"{n}, one an example, or the examples that the rows are (ids)"
        raise ConfigError("neighbors", Shown(f"{len(neighbors)} rows"), expected)


def _check_ids(ids: np.ndarray, m: int, n: int) -> None:
    """Raise a ConfigError for ids that are not m different ones of n examples."""
    fits = ids.shape == (m,) and ids.dtype.kind in "iu" and len(np.unique(ids)) == m
    if not fits or (m and not 0 <= ids.min() <= ids.max() < n):
        found = Shown(f"array of {ids.dtype}, {ids.shape}")
        raise ConfigError("ids", found, f"{m} different numbers of 0 to {n - 1}, the example of each row")


def _spread(lengths: np.ndarray, lists: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists of some examples as lists of all: those of the others are empty."""
    all_lists = np.full((n, lists.shape[1]), -1, np.int64)
    all_lengths = np.full(all_lists.shape, np.inf, np.float32)
    all_lists[rows] = np.where(lists >= 0, rows[lists], -1)
    all_lengths[rows] = lengths
    return all_lengths, all_lists

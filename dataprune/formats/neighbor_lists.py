"""Lists of nearest neighbours that somebody else has computed, as D2's command takes them: two .npy files, the ids and
the distances (Euclidean, not squared) of each example's neighbours from near to far."""

from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, first


def read(
    neighbors: str | Path, distances: str | Path, n: int, *, ids: str | Path | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return distances float32 (n, k) and neighbors int64 (n, k), rows by example, -1 = no neighbour.

    neighbors, distances: files of the same shape (m, columns). A first column that is the row itself, at distance 0 (as
    faiss gives it, and as D2's files have it), is left out. ids: file int (m,), the example of each row, where rows are
    not all examples in order: those of the published files are what a cut left, in the order of the cut, and their
    neighbours are places in that order. Raises ConfigError named `neighbors`, `distances` or `ids`.
    """
    lists, lengths = _loaded("neighbors", neighbors), _loaded("distances", distances)
    if lists.ndim != 2 or lists.dtype.kind not in "iu":
        found = Shown(f"{str(neighbors)!r} with an array of {lists.dtype}, {lists.shape}")
        raise ConfigError("neighbors", found, "integers (n, columns)")
    if lengths.shape != lists.shape:
        found = Shown(f"{str(distances)!r} with an array of shape {lengths.shape}")
        raise ConfigError("distances", found, f"{lists.shape}, as the neighbours have")
    rows = None if ids is None else _rows(ids, n, len(lists))
    if rows is None and len(lists) != n:
        found = Shown(f"{str(neighbors)!r} with {len(lists)} rows")
        raise ConfigError("neighbors", found, f"{n}, one an example, or a file of the examples that they are (ids)")
    lists, lengths = lists.astype(np.int64), lengths.astype(np.float32)
    wrong = np.flatnonzero(((lists < -1) | (lists >= len(lists))).any(1))
    if len(wrong):
        found = Shown(f"{str(neighbors)!r} with rows {first(wrong)}")
        raise ConfigError("neighbors", found, f"places of 0 to {len(lists) - 1}, or -1 for none")
    itself = lists == np.arange(len(lists))[:, None]
    if itself[:, :1].all():
        lists, lengths, itself = lists[:, 1:], lengths[:, 1:], itself[:, 1:]
    if itself.any():
        found = Shown(f"{str(neighbors)!r}: rows {first(np.flatnonzero(itself.any(1)))} list themselves")
        raise ConfigError("neighbors", found, "the row itself as the first column of all rows, or nowhere")
    return (lengths, lists) if rows is None else _spread(lengths, lists, rows, n)


def _loaded(key: str, path: str | Path) -> np.ndarray:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ConfigError(key, str(path), f"a .npy file of numbers ({error})") from None


def _rows(path: str | Path, n: int, m: int) -> np.ndarray:
    """The example of each row."""
    rows = _loaded("ids", path)
    fits = rows.shape == (m,) and rows.dtype.kind in "iu" and len(np.unique(rows)) == m
    if not fits or (m and not 0 <= rows.min() <= rows.max() < n):
        found = Shown(f"{str(path)!r} with an array of {rows.dtype}, {rows.shape}")
        raise ConfigError("ids", found, f"{m} different numbers of 0 to {n - 1}, the example of each row")
    return rows.astype(np.int64)


def _spread(lengths: np.ndarray, lists: np.ndarray, rows: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The lists of some examples as lists of all: those of the others are empty."""
    all_lists = np.full((n, lists.shape[1]), -1, np.int64)
    all_lengths = np.full(all_lists.shape, np.inf, np.float32)
    all_lists[rows] = np.where(lists >= 0, rows[lists], -1)
    all_lengths[rows] = lengths
    return all_lengths, all_lists

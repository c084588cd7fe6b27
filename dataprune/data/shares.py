"""A part of a data set with the same share of every class."""

import numpy as np


def same_share(labels: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Return `count` ids, int64 sorted, drawn by `rng`: of every class the same share, and at least one.

    labels: int (n,). count: at least the number of classes that occur, at most n.
    """
    order = rng.permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    # an example's rank inside its class, as a fraction: taking the smallest keeps the same share of each class
    place = (np.arange(len(labels)) - starts + 0.5) / np.repeat(counts, counts)
    place[np.unique(starts)] = 0
    return np.sort(by_class[np.argsort(place, kind="stable")[:count]])

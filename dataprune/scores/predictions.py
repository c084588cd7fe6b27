"""Scores from one look of the trained model at each example (eval mode, no augmentation, the training normalisation).

Probabilities are (n, c) softmax values, any float type, memory maps welcome: they are read in blocks of rows. All
scores return float32 (n,), higher = less certain = kept first. They take probabilities, not logits: DeepCore ranks
least confidence by the largest logit and, without class balance, keeps the most certain examples; the papers mean
neither. NaN, values outside 0 to 1 and rows that do not sum to 1 raise ConfigError with the first ids.
"""

from collections.abc import Callable

import numpy as np

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, class_labels, first, shaped

_SUM_SLACK = 0.01  # a row of 1000 float16 values misses 1 by up to 0.003


def entropy(probabilities: np.ndarray) -> np.ndarray:
    """Entropy of the prediction in nats, -sum_c p log(p + 1e-10) (Coleman et al., ICLR 2020; 1e-10 as in CCS).

    probabilities: (n, c). From 0 (certain) to log c; the 1e-10 makes 0 log 0 = 0.
    """
    return _each_row(probabilities, lambda p, ids: -(p * np.log(p + 1e-10)).sum(axis=1))


def least_confidence(probabilities: np.ndarray) -> np.ndarray:
    """One less the largest probability (Coleman et al., ICLR 2020). probabilities: (n, c); from 0 to 1 - 1/c."""
    return _each_row(probabilities, lambda p, ids: 1 - p.max(axis=1))


def margin(probabilities: np.ndarray) -> np.ndarray:
    """One less the gap between the two largest probabilities (Coleman et al., ICLR 2020).

    probabilities: (n, c). From 0 (certain) to 1 (a tie). The label plays no part; the margin of the true class is
    recorded while training, see `dynamics.area_under_margin`.
    """
    return _each_row(probabilities, _closeness)


def error_norm(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the EL2N norm ||p - onehot||_2 of one moment (Paul et al. 2021): float32 (n,), from 0 to sqrt(2).

    probabilities: (n, c) of the network after an early epoch; labels: integers (n,) below c. The paper's mean over
    several networks: `gradients.aggregate`. From recorded dynamics: `dynamics.el2n`.
    """
    labels = class_labels("labels", labels, *probability_array(probabilities).shape)

    def length(p: np.ndarray, ids: slice) -> np.ndarray:
        p[np.arange(len(p)), labels[ids]] -= 1
        return np.linalg.norm(p, axis=1)

    return _each_row(probabilities, length)


def loss(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy -log p(label). probabilities: (n, c); labels: integers (n,) below c.

    A probability that underflowed to 0 counts as the smallest normal float32, so a loss is at most 87.3.
    """
    labels = class_labels("labels", labels, *probability_array(probabilities).shape)
    smallest = np.finfo(np.float32).tiny
    return _each_row(probabilities, lambda p, ids: -np.log(np.maximum(p[np.arange(len(p)), labels[ids]], smallest)))


def probability_array(probabilities: np.ndarray) -> np.ndarray:
    """Return an (n, c) array of real numbers, two classes or more, or raise ConfigError; nothing is read."""
    probabilities = shaped("probabilities", probabilities, "n", "c")
    if probabilities.dtype.kind not in "fiub" or probabilities.shape[1] < 2:
        found = f"{probabilities.dtype} array of shape {probabilities.shape}"
        raise ConfigError("probabilities", Shown(found), "real numbers (n, c) of at least 2 classes")
    return probabilities


def probability_rows(probabilities: np.ndarray, ids: slice) -> np.ndarray:
    """Rows of an (n, c) array as a new float64 array (m, c), or ConfigError unless each is a distribution."""
    rows = np.array(probabilities[ids], np.float64)
    sums = rows.sum(axis=1)
    wrong = np.flatnonzero(~((np.abs(sums - 1) <= _SUM_SLACK) & (rows >= 0).all(axis=1)))  # NaN is never within
    if len(wrong):
        found = f"{rows[wrong[0]].min():g} to {rows[wrong[0]].max():g} with sum {sums[wrong[0]]:g}"
        found += f" at ids {first(wrong + ids.start)}"
        raise ConfigError("probabilities", Shown(found), "softmax values: 0 to 1 with sum 1, no NaN")
    return rows


def _each_row(probabilities: np.ndarray, score: Callable[[np.ndarray, slice], np.ndarray]) -> np.ndarray:
    """score(rows, their ids) for all rows, in blocks."""
    probabilities = probability_array(probabilities)
    scores = np.empty(len(probabilities), np.float32)
    for ids in spans(len(scores), 8 * probabilities.shape[1]):
        scores[ids] = score(probability_rows(probabilities, ids), ids)
    return scores


def _closeness(rows: np.ndarray, ids: slice) -> np.ndarray:
    """1 - (largest - second largest) of each row; overwrites the rows."""
    everyone, best = np.arange(len(rows)), rows.argmax(axis=1)
    largest = rows[everyone, best]
    rows[everyone, best] = -1  # two maxima are cheaper than a partial sort
    return 1 - (largest - rows.max(axis=1))

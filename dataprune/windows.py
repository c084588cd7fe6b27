"""Compiled inner loops of the scores from training dynamics, and how an (e, n) array is fed to them.

All loops take float64 blocks (e, m) in C order, one column an example, NaN = not seen, and treat each column by
itself. A block fits the cache, so several loops over it cost little more than one: its values are checked,
summed and compared where they already are.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numba import njit

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, first, shaped

HUGE = np.finfo(np.float64).max


@dataclass(frozen=True)
class Limits:
    """Between what the values of a recorded quantity lie, and how to say so."""

    low: float
    high: float
    words: str


# a softmax in 16 bits can end a little above 1
PROBABILITY = Limits(0.0, 1.0001, "probabilities of 0 to 1, NaN where not seen")
LENGTH = Limits(0.0, HUGE, "lengths of 0 or more, NaN where not seen")
FINITE = Limits(-HUGE, HUGE, "finite numbers, NaN where not seen")


def recorded(name: str, array: np.ndarray) -> np.ndarray:
    """Return an (e, n) array of real numbers, at least one epoch, or raise ConfigError; nothing is read."""
    array = shaped(name, array, "e", "n")
    if array.dtype.kind not in "fiub" or len(array) == 0:
        found = f"{array.dtype} array of shape {array.shape}"
        raise ConfigError(name, Shown(found), "real numbers (e, n) of at least one epoch")
    return array


def checked_blocks(
    name: str, array: np.ndarray, limits: Limits, first_epoch: int = 0
) -> Iterator[tuple[slice, np.ndarray, bool]]:
    """Read an (e, n) array in blocks: the ids, their values as float64 (e, m), and whether any was not seen.

    Always a copy: memory maps, 16 bits and foreign strides become what the compiled loops want, and 8 bytes a value
    cost the same time as 4, because a block stays in the cache. Raises ConfigError for values outside `limits`, with
    the row as counted from `first_epoch`.
    """
    for ids in spans(array.shape[1], 8 * len(array)):
        block = np.array(array[:, ids], np.float64, order="C")
        clean = _within(block, limits.low, limits.high)
        if not clean:
            wrong = (block < limits.low) | (block > limits.high)  # not NaN, which is below and above nothing
            columns = np.flatnonzero(wrong.any(axis=0))
            if len(columns):
                epoch = int(wrong[:, columns[0]].argmax())
                found = f"{block[epoch, columns[0]]:g} in row {first_epoch + epoch} at ids {first(columns + ids.start)}"
                raise ConfigError(name, Shown(found), limits.words)
        yield ids, block, not clean


@njit(cache=True)
def _within(block: np.ndarray, low: float, high: float) -> bool:
    """Whether all values are there and within the limits; flat, and counting, so that it becomes vector code."""
    flat = block.ravel()
    count = 0
    for i in range(len(flat)):
        count += (flat[i] >= low) & (flat[i] <= high)
    return count == len(flat)


# rows are indexed, not iterated over: numba then knows that they are contiguous and vectorises


@njit(cache=True)
def totals(block: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each column that were seen: float64 (m,), float64 (m,)."""
    total, seen = np.zeros(block.shape[1]), np.zeros(block.shape[1])
    for t in range(len(block)):
        row = block[t]
        for i in range(len(row)):
            there = row[i] == row[i]
            total[i] += row[i] if there else 0.0
            seen[i] += 1.0 if there else 0.0
    return total, seen


@njit(cache=True)
def squares_around(block: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Sum of squared differences of each column's seen values to `center` (m,): float64 (m,)."""
    total = np.zeros(block.shape[1])
    for t in range(len(block)):
        row = block[t]
        for i in range(len(row)):
            off = row[i] - center[i]
            total[i] += off * off if row[i] == row[i] else 0.0
    return total


@njit(cache=True)
def window_sums(block: np.ndarray, window: int, tilt: float) -> np.ndarray:
    """Sum over all windows of std * (1 - tilt * mean) of each column, std unbiased: float64 (m,), NaN after a gap.

    The running mean and the running sum of squares around it (Welford's update, with the value that leaves the
    window) take the same time as running sums of w and w^2 and lose fewer digits: a column that never changes
    gets exactly 0, not the root of a rounding error.
    """
    epochs, m = block.shape
    mean, squares, total = np.zeros(m), np.zeros(m), np.zeros(m)
    share, unbiased = 1.0 / window, 1.0 / (window - 1)
    for t in range(window):
        new, grown = block[t], 1.0 / (t + 1)
        for i in range(m):
            off = new[i] - mean[i]
            mean[i] += off * grown
            squares[i] += off * (new[i] - mean[i])
    for i in range(m):
        total[i] = np.sqrt(squares[i] * unbiased) * (1.0 - tilt * mean[i])
    for t in range(window, epochs):
        new, old = block[t], block[t - window]
        for i in range(m):
            step = new[i] - old[i]
            before = mean[i]
            after = before + step * share
            around = squares[i] + step * ((new[i] - after) + (old[i] - before))
            around = 0.0 if around < 0.0 else around  # rounding; NaN stays NaN
            mean[i], squares[i] = after, around
            total[i] += np.sqrt(around * unbiased) * (1.0 - tilt * after)
    return total


@njit(cache=True)
def window_means_with_gaps(
    block: np.ndarray, columns: np.ndarray, window: int, tilt: float, zeros: bool, out: np.ndarray
) -> None:
    """out[c] = mean over windows of std * (1 - tilt * mean), for columns with gaps.

    A window ends at every epoch from `window` - 1 on and holds the last `window` values seen by then. Before there
    are as many it is shorter, and skipped while it has fewer than 2 (no window at all: NaN); or with `zeros` it is
    filled up with zeros, as the released Dyn-Unc code does.
    """
    ring = np.empty(window)
    for c in columns:
        ring[:] = 0.0
        filled, at = (window if zeros else 0), 0
        total, windows = 0.0, 0
        for t in range(len(block)):
            value = block[t, c]
            if value == value:
                ring[at] = value
                at = (at + 1) % window
                filled = min(filled + 1, window)
            if t < window - 1 or filled < 2:
                continue
            mean = ring[:filled].mean()
            around = 0.0
            for j in range(filled):
                around += (ring[j] - mean) ** 2
            total += np.sqrt(around / (filled - 1)) * (1.0 - tilt * mean)
            windows += 1
        out[c] = total / windows if windows else np.nan


@njit(cache=True)
def falls(states: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Count turns from right to wrong. states: uint8 (e, m) of 0, 1 and 255 = not seen, which no turn notices.

    Returns, for each column, the turns, whether it was ever right, and whether it was ever seen.
    """
    m = states.shape[1]
    count = np.zeros(m, np.int32)
    last, ever, seen = np.zeros(m, np.uint8), np.zeros(m, np.uint8), np.zeros(m, np.uint8)
    for t in range(len(states)):
        row = states[t]
        for i in range(m):
            there = row[i] != 255
            count[i] += 1 if (there & (last[i] > row[i])) else 0
            last[i] = row[i] if there else last[i]
            ever[i] |= row[i] == 1
            seen[i] |= there
    return count, ever, seen


@njit(cache=True)
def decayed_spread(changes: np.ndarray, window: int, decay: float) -> np.ndarray:
    """Moving average over windows of the spread of each column's changes (TDDS): float64 (m,).

    changes: (e - 1, m), NaN where there is none; a column's windows run over those that it has. A window is
    `window` epochs, so `window` - 1 changes, or all of a column that has fewer; without any change: NaN.
    """
    scores = np.empty(changes.shape[1])
    own = np.empty(len(changes))
    for i in range(changes.shape[1]):
        count = 0
        for t in range(len(changes)):
            if changes[t, i] == changes[t, i]:
                own[count] = changes[t, i]
                count += 1
        width = min(window - 1, count)
        average = 0.0 if count else np.nan
        for start in range(count - width + 1 if count else 0):
            part = own[start : start + width]
            mean = part.mean()
            around = 0.0
            for value in part:
                around += (value - mean) ** 2
            average = decay * np.sqrt(around) + (1.0 - decay) * average
        scores[i] = average
    return scores

"""Scores from training dynamics: what one training run recorded of every example in every epoch.

Arrays are (e, n), one row an epoch and one column an example, in any float type, memory maps welcome: they are read
in blocks of ids and each value once. NaN = the example was not seen in that epoch. Every score treats each
example by itself, so that any split of the ids gives the same numbers.

All return float32 (n,), higher = kept first. An example that was seen too rarely for its score gets NaN, which no
selector accepts: a run that leaves examples out for good cannot score them. A value that cannot be (an infinity, a
probability of 1.5) raises ConfigError with the row and the first ids.
"""

import numpy as np

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, class_labels, first, one_of, shaped, whole_number
from dataprune.windows import (
    FINITE,
    LENGTH,
    PROBABILITY,
    Limits,
    checked_blocks,
    decayed_spread,
    falls,
    recorded,
    squares_around,
    totals,
    window_means_with_gaps,
    window_sums,
)


def dynamic_uncertainty(
    p_true: np.ndarray, *, window: int = 10, windows: str = "reference", missing: str = "skip"
) -> np.ndarray:
    """Mean over sliding windows of 10 times the std of the true class's probability (Dyn-Unc, He et al., CVPRW 2024).

    p_true: (e, n), from 0 to 1. Std with ddof 1; the factor 10 of the released code changes no rank.
    window: epochs a window, from 2. windows: "reference" leaves out the window that ends in the last epoch, as the
    released code does (e - window of them, so e > window); "all" takes e - window + 1 as the paper writes.
    missing: "skip" takes each window over the last `window` values that were seen, skips it while there are fewer
    than 2, and is NaN for an example without any window; "reference" starts from a buffer of zeros instead, which
    inflates examples that miss early epochs. Both are the same where nothing is missing.
    """
    p_true = recorded("p_true", p_true)
    omitted = 1 if one_of("windows", windows, "reference", "all") == "reference" else 0
    one_of("missing", missing, "skip", "reference")
    window = _window(window, len(p_true) - omitted, f"{len(p_true)} epochs recorded, windows={windows!r}")
    return _windowed(p_true, window, omitted=omitted, zeros=missing == "reference")


def dual(p_true: np.ndarray, *, window: int = 10, epochs: int | None = None) -> np.ndarray:
    """Mean over sliding windows of 10 * std * (1 - mean): uncertain and difficult (DUAL, Cho et al., ICML 2025).

    p_true: (e, n), from 0 to 1. epochs: only the first so many rows (30 of 200 on CIFAR, 60 on ImageNet in the
    paper) or all, if fewer are recorded; None = all. Std with ddof 1, all epochs - window + 1 windows. Gaps as "skip"
    in `dynamic_uncertainty`.
    """
    p_true = recorded("p_true", p_true)
    epochs = len(p_true) if epochs is None else min(whole_number("epochs", epochs, 1), len(p_true))
    return _windowed(p_true[:epochs], _window(window, epochs, f"{epochs} epochs scored"), tilt=1.0)


def forgetting(correct: np.ndarray, *, never_learned: str = "max") -> np.ndarray:
    """Count how often each example turns from right to wrong (Toneva et al., ICLR 2019).

    correct: bool (e, n), or 0, 1 and NaN, or uint8 with 255 = not seen. Turns are those between epochs in which the
    example was seen. never_learned: an example that was never right gets e ("max", above every count, as in
    the original code) or 0 ("zero", as in CCS, D2 and DeepCore, where it ranks with the easiest).
    Counts tie often: the lower id then goes first. Never seen: NaN.
    """
    correct = recorded("correct", correct)
    unlearned = len(correct) if one_of("never_learned", never_learned, "max", "zero") == "max" else 0
    scores = np.empty(correct.shape[1], np.float32)
    for ids in spans(correct.shape[1], len(correct)):
        count, ever, seen = falls(_states(correct, ids))
        scores[ids] = np.where(seen, np.where(ever, count, unlearned), np.nan)
    return scores


def area_under_margin(margin: np.ndarray, *, reduce: str = "sum") -> np.ndarray:
    """NEGATED sum (or mean) over epochs of the margin (AUM, Pleiss et al., NeurIPS 2020, in the form of CCS).

    margin: (e, n), the true class's probability less the largest other, so from -1 to 1; margins of logits, the
    original definition, work as well. Higher = smaller margins = harder, and mislabelled at the very top, which is
    why its users cut the hardest off first. reduce: "sum" (CCS, D2: their strata depend on it) or "mean", over the
    epochs in which the example was seen; where examples miss epochs the mean is the fairer one. Never seen: NaN.
    """
    return -_reduced("margin", margin, FINITE, reduce)


def el2n(error: np.ndarray, *, epochs: int = 10, reduce: str = "sum") -> np.ndarray:
    """Sum (or mean) of the error length over the first epochs (EL2N, Paul et al., NeurIPS 2021, in the form of CCS).

    error: (e, n), ||p - onehot(y)||_2. epochs: the first so many rows, or all when fewer were recorded. reduce and
    gaps as in `area_under_margin`.
    The paper's own form is one early epoch in eval mode, averaged over ten models: stack that epoch's row of
    every run and call `gradients.aggregate(rows)`, rows (runs, n).
    """
    return _reduced("error", recorded("error", error)[: whole_number("epochs", epochs, 1)], LENGTH, reduce)


def variability(p_true: np.ndarray) -> np.ndarray:
    """Population std over epochs of the true class's probability (data maps, Swayamdipta et al., EMNLP 2020).

    p_true: (e, n), from 0 to 1; std (ddof 0) over the epochs in which the example was seen, 0 for a single one.
    D2's code for text fills missing epochs up with 1.0; this does not. Never seen: NaN.
    """
    return np.sqrt(_variance("p_true", recorded("p_true", p_true), PROBABILITY)).astype(np.float32)


def eva(error: np.ndarray, *, early: tuple[int, int], late: tuple[int, int]) -> np.ndarray:
    """Variance of the error length in an early window plus that in a late one (EVA, Hong et al., ACM MM 2024).

    error: (e, n), ||p - onehot(y)||_2. early, late: ranges of epochs [start, stop), e.g. (0, 10) and (190, 200);
    variance with ddof 0 over the epochs seen. NaN for an example that one of the windows never saw. The paper takes
    the best of each class (`selectors.ranked.per_class`); over all classes the score is badly unbalanced.
    """
    error = recorded("error", error)
    spread = np.zeros(error.shape[1])
    for key, (start, stop) in (("early", early), ("late", late)):
        if not 0 <= start < stop - 1 < len(error):
            expected = f"(start, stop) with at least 2 epochs, within 0 to {len(error)}"
            raise ConfigError(key, (start, stop), expected)
        spread += _variance("error", error[start:stop], LENGTH, start)
    return spread.astype(np.float32)


def tdds(probabilities: np.ndarray, labels: np.ndarray, *, window: int = 10, decay: float = 0.9) -> np.ndarray:
    """Spread of the epoch-to-epoch changes of the whole softmax, late windows first (TDDS, Zhang et al., CVPR 2024).

    probabilities: (e, n, c). labels: integers (n,), only checked: the score compares predictions with earlier ones,
    not with the label. A change is sum_c |q_t log((q_t + 1e-8) / (q_t-1 + 1e-8))|; a window's spread is the root of the
    summed squares of its window - 1 changes around their mean; windows are averaged with weights
    decay (1 - decay)^age, so at 0.9 the last counts nearly alone.
    Gaps (NaN in any class): changes are those between epochs in which the example was seen; one seen fewer than
    `window` times has a single shorter window, one seen fewer than twice gets NaN.
    """
    probabilities = shaped("probabilities", probabilities, "e", "n", "c")
    epochs, n, classes = probabilities.shape
    class_labels("labels", labels, n, classes)
    window = _window(window, epochs, f"{epochs} epochs recorded", least=3)
    if not 0 < decay <= 1:
        raise ConfigError("decay", decay, "above 0 to 1: the weight of the newest window")
    scores = np.empty(n, np.float32)
    for ids in spans(n, 8 * max(4 * classes, epochs)):
        scores[ids] = decayed_spread(_changes(probabilities, ids), window, decay)
    return scores


def p_mean(p_true: np.ndarray, *, epochs: int | None = None) -> np.ndarray:
    """Mean probability of the true class over the first epochs: what `selectors.strata.beta` takes beside `dual`.

    p_true: (e, n), from 0 to 1; epochs as in `dual`. Not a score: high = easy. Never seen: NaN.
    """
    p_true = recorded("p_true", p_true)
    epochs = whole_number("epochs", len(p_true) if epochs is None else epochs, 1, len(p_true), "epochs recorded")
    return _reduced("p_true", p_true[:epochs], PROBABILITY, "mean")


def _windowed(
    p_true: np.ndarray, window: int, *, omitted: int = 0, tilt: float = 0.0, zeros: bool = False
) -> np.ndarray:
    """10 times the mean over windows of std * (1 - tilt * mean); the last `omitted` epochs end no window."""
    scores = np.empty(p_true.shape[1], np.float32)
    used = len(p_true) - omitted
    for ids, block, gaps in checked_blocks("p_true", p_true, PROBABILITY):
        means = window_sums(block[:used], window, tilt) / (used - window + 1)
        if gaps:  # they turned the sums of their columns into NaN, and of no others
            window_means_with_gaps(block[:used], np.flatnonzero(np.isnan(means)), window, tilt, zeros, means)
        scores[ids] = 10 * means
    return scores


def _reduced(name: str, array: np.ndarray, limits: Limits, reduce: str) -> np.ndarray:
    """Sum or mean of each column over the epochs in which it was seen."""
    array = recorded(name, array)
    one_of("reduce", reduce, "sum", "mean")
    scores = np.empty(array.shape[1], np.float32)
    for ids, block, _ in checked_blocks(name, array, limits):
        total, seen = totals(block)
        seen[seen == 0] = np.nan
        scores[ids] = total / seen if reduce == "mean" else np.where(np.isnan(seen), np.nan, total)
    return scores


def _variance(name: str, array: np.ndarray, limits: Limits, first_epoch: int = 0) -> np.ndarray:
    """Population variance of each column over the epochs in which it was seen: float64 (n,)."""
    variance = np.empty(array.shape[1])
    for ids, block, _ in checked_blocks(name, array, limits, first_epoch):
        total, seen = totals(block)
        seen[seen == 0] = np.nan
        variance[ids] = squares_around(block, total / seen) / seen  # in two passes: the block lies in the cache
    return variance


def _states(correct: np.ndarray, ids: slice) -> np.ndarray:
    """A block of `correct` as uint8: 0 wrong, 1 right, 255 not seen."""
    block = np.ascontiguousarray(correct[:, ids])
    if block.dtype == bool:
        return block.view(np.uint8)
    block = np.where(np.isnan(block), 255, block) if block.dtype.kind == "f" else block
    wrong = (block > 1) & (block != 255) | (block < 0) | (block != np.floor(block))
    columns = np.flatnonzero(wrong.any(axis=0))
    if len(columns):
        value = block[wrong[:, columns[0]].argmax(), columns[0]]
        found = f"{value:g} at ids {first(columns + ids.start)}"
        raise ConfigError("correct", Shown(found), "bool, or 0 and 1 with NaN (255 in uint8) where not seen")
    return block.astype(np.uint8, copy=False)


def _changes(probabilities: np.ndarray, ids: slice) -> np.ndarray:
    """Change of every example into each epoch since it was last seen: float64 (e - 1, m), NaN where there is none."""
    before = np.full((ids.stop - ids.start, probabilities.shape[2]), np.nan)
    changes = np.empty((len(probabilities), len(before)))
    for t, row in enumerate(probabilities):
        now = row[ids].astype(np.float64)
        sums = now.sum(axis=1)
        wrong = np.flatnonzero(((now < 0) | (now > PROBABILITY.high)).any(axis=1) | (np.abs(sums - 1) > 0.01))
        if len(wrong):
            found = f"no softmax in row {t} at ids {first(wrong + ids.start)}"
            raise ConfigError("probabilities", Shown(found), "values of 0 to 1 whose sum over classes is 1")
        logs = np.log(now + 1e-8)
        changes[t] = np.abs(now * (logs - before)).sum(axis=1)
        seen = ~np.isnan(sums)
        before[seen] = logs[seen]
    return changes[1:]


def _window(window: int, most: int, why: str, least: int = 2) -> int:
    """Return `window`, from `least` to `most`, or raise."""
    if most < least:
        raise ConfigError("window", window, f"more epochs: no window of {least} or more fits ({why})")
    return whole_number("window", window, least, most, why)

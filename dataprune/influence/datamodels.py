"""Linear datamodels: the output of a model as a sum of what it was trained on (Ilyas et al., ICML 2022).

For target t: output = coef[t] . mask + intercept[t], fitted over the m models of an influence experiment (masks
(m, c), outputs (m, t) as in estimates.py). For random halves `coef` is close to the influence; a fit tells the
columns apart where they are correlated, and predicts subsets that nobody trained on. Class level: memory holds c x c
float64, a few thousand columns. Every fit returns coef float64 (t, c) and intercept float64 (t,).
"""

import warnings

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, finite, shaped
from dataprune.influence.estimates import bool_columns, finite_models, near_mean, runs, sums


def ridge(masks: np.ndarray, outputs: np.ndarray, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimise sum (y - X w - b)^2 + alpha |w|^2 per target, the intercept b free; in closed form.

    alpha above 0: with subsets of one fixed size the columns of X sum to a constant and w is not determined without.
    """
    if not alpha > 0:
        raise ConfigError("alpha", alpha, "above 0: subsets of equal size do not determine the weights without it")
    masks, outputs = runs(masks, outputs)
    gram, cov, rate, mean = _moments(masks, outputs)
    m = len(masks)
    coef = np.linalg.solve(gram * m + alpha * np.eye(len(gram)), cov.T * m).T
    return coef, mean - coef @ rate


def lasso(
    masks: np.ndarray, outputs: np.ndarray, alpha: float | np.ndarray, *, tolerance: float = 1e-7, sweeps: int = 1000
) -> tuple[np.ndarray, np.ndarray]:
    """Minimise 1/(2m) sum (y - X w - b)^2 + alpha |w|_1 per target, the intercept b free; coordinate descent.

    alpha: one number, or (t,). Stops when no step changes a gradient by more than `tolerance` of the largest at w = 0;
    targets that need more than `sweeps` rounds give a warning.
    """
    masks, outputs = runs(masks, outputs)
    alphas = np.broadcast_to(np.asarray(alpha, np.float64), (outputs.shape[1],))
    if not (alphas > 0).all():
        raise ConfigError("alpha", alpha, "above 0, one number or one a target")
    gram, cov, rate, mean = _moments(masks, outputs)
    coef = np.zeros_like(cov)
    _fit(gram, cov, alphas, coef, tolerance, sweeps)
    return coef, mean - coef @ rate


def max_lambda(masks: np.ndarray, outputs: np.ndarray, *, standardize: bool = False) -> np.ndarray:
    """The smallest lasso penalty that leaves no weight, float64 (t,): max over columns of |sum X (y - mean y)| / m.

    standardize: X is first scaled to population deviation 1, as `lasso_path` does; the reference takes plain 0/1.
    """
    masks, outputs = runs(masks, outputs)
    gram, cov, _, _ = _moments(masks, outputs)
    return np.abs(cov / _deviation(gram) if standardize else cov).max(axis=1)


def lasso_path(
    masks: np.ndarray,
    outputs: np.ndarray,
    held_out: np.ndarray,
    *,
    steps: int = 50,
    span: float = 1e-5,
    tolerance: float = 1e-5,
    sweeps: int = 1000,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lasso with a penalty chosen for every target by models that were held out, then fitted again on all models.

    held_out: bool (m,), the models to choose by (paper's class level: 1,540 of 7,540). Columns are standardised to
    population deviation 1; `steps` penalties fall geometrically from `max_lambda` to `span` times it; the one with
    the least squared error on the held-out models wins, the larger one when equal.
    At 1,000 columns a target takes about 0.1 s.
    Returns coef (t, c) and intercept (t,) for plain 0/1 masks, and the penalties (t,) on the standardised scale.
    """
    masks, outputs = runs(masks, outputs)
    finite_models(outputs)
    held_out = shaped("held_out", held_out, len(masks))
    if held_out.dtype != np.bool_ or held_out.all() or not held_out.any():
        raise ConfigError("held_out", Shown(f"array of {held_out.dtype}"), "bool with some models True and some False")
    if steps < 2 or not 0 < span < 1:
        raise ConfigError("steps, span", (steps, span), "2 or more steps and a span between 0 and 1")
    penalties = _choose(masks, outputs, held_out, span ** (np.arange(steps) / (steps - 1)), tolerance, sweeps)
    gram, cov, rate, mean = _moments(masks, outputs)
    deviation = _deviation(gram)
    coef = np.zeros_like(cov)
    _fit(gram / np.outer(deviation, deviation), cov / deviation, penalties, coef, tolerance, sweeps)
    coef /= deviation
    return coef, mean - coef @ rate, penalties


def extrapolate(coef: np.ndarray, intercept: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Predicted outputs float64 (m, t) of models trained on other subsets `masks` (m, c), bool or 0/1.

    coef (t, c) and intercept (t,) from `ridge`, `lasso` or `lasso_path`. Far from the subsets of the fit
    (half of all columns) this extrapolates: compare with a measured counterfactual.
    """
    coef = finite("coef", shaped("coef", coef, "t", "c"))
    intercept = finite("intercept", shaped("intercept", intercept, len(coef)))
    masks = shaped("masks", masks, "m", coef.shape[1])
    return masks.astype(np.float64) @ coef.T + intercept


def _moments(masks: np.ndarray, outputs: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Over models: covariance of columns (c, c) and with outputs (t, c), column means (c,), output means (t,)."""
    m, shift = len(masks), near_mean(outputs)
    inside, total = sums(bool_columns(masks), outputs, masks.shape[1], shift=shift)
    rate = masks.mean(axis=0)
    both = np.zeros((masks.shape[1], masks.shape[1]))
    for start in range(0, m, 4096):  # counts below 2**24: exact in float32
        block = masks[start : start + 4096].astype(np.float32)
        both += block.T @ block
    gram = both / m - np.outer(rate, rate)
    return gram, (inside - np.outer(total, rate)) / m, rate, shift + total / m


def _deviation(gram: np.ndarray) -> np.ndarray:
    """Population deviation of each column; infinite for a constant one, whose weight then stays 0."""
    variance = gram.diagonal()
    return np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 0)), np.inf)


def _choose(
    masks: np.ndarray, outputs: np.ndarray, held_out: np.ndarray, path: np.ndarray, tolerance: float, sweeps: int
) -> np.ndarray:
    """The penalty of every target (t,) with the least squared error on the held-out models; `path` falls from 1."""
    gram, cov, rate, mean = _moments(masks[~held_out], outputs[~held_out])
    deviation = _deviation(gram)
    gram, cov = gram / np.outer(deviation, deviation), cov / deviation
    largest = np.abs(cov).max(axis=1)
    x = (masks[held_out] - rate) / deviation
    y = outputs[held_out].astype(np.float64) - mean
    coef = np.zeros_like(cov)
    best, least = largest.copy(), np.full(len(cov), np.inf)
    for factor in path:
        _fit(gram, cov, factor * largest, coef, tolerance, sweeps)  # starts from the previous penalty's weights
        error = ((y - x @ coef.T) ** 2).mean(axis=0)
        better = error < least
        best[better], least[better] = factor * largest[better], error[better]
    return best


def _fit(
    gram: np.ndarray, cov: np.ndarray, alphas: np.ndarray, coef: np.ndarray, tolerance: float, sweeps: int
) -> None:
    """Improve `coef` (t, c) in place to the lasso solutions; warn about targets that did not settle."""
    unsettled = int(_descend(gram, cov, np.ascontiguousarray(alphas), coef, tolerance, sweeps))
    if unsettled:
        warnings.warn(f"lasso: {unsettled} of {len(cov)} targets did not settle in {sweeps} sweeps", stacklevel=3)


@njit(cache=True)
def _descend(gram, cov, alphas, coef, tolerance, sweeps):  # noqa: ANN001, ANN202
    """Cyclic coordinate descent on the moments, a target at a time; the number of targets that hit `sweeps`."""
    unsettled = 0
    for t in range(len(cov)):
        w = coef[t]
        gradient = cov[t] - gram @ w
        threshold = tolerance * np.abs(cov[t]).max()
        settled = False
        for _ in range(sweeps):
            largest = 0.0
            for j in range(len(w)):
                if gram[j, j] > 1e-12:
                    pull = gradient[j] + gram[j, j] * w[j]
                    new = np.sign(pull) * max(abs(pull) - alphas[t], 0.0) / gram[j, j]
                    step = new - w[j]
                    if step != 0.0:
                        gradient -= step * gram[j]
                        w[j] = new
                        largest = max(largest, abs(step) * gram[j, j])
            if largest <= threshold:
                settled = True
                break
        if not settled:
            unsettled += 1
    return unsettled

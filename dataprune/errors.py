"""What is raised when a value cannot work, and the array checks that raise it.

Layer 0: everything may import this file, it imports nothing of ours. The checks look at values where
they are first used; each message names the argument (or config key), its value and what would do.
"""

from collections.abc import Sequence

import numpy as np


class ConfigError(ValueError):
    """A value that cannot work: says which key or argument, what it was, and what would do."""

    def __init__(self, key: str, value: object, expected: str) -> None:
        shown = value if isinstance(value, Shown) else repr(value)
        super().__init__(f"{key}={shown}: expected {expected}")
        self.key, self.value, self.expected = key, value, expected

    def under(self, prefix: str) -> "ConfigError":
        """The same error with its key below `prefix`: `window` -> `method.score.window`."""
        return ConfigError(f"{prefix}.{self.key}", self.value, self.expected)

    def __reduce__(self) -> tuple:  # a launcher pickles the error of its job; the default form drops two arguments
        return ConfigError, (self.key, self.value, self.expected)


class Shown(str):
    """Words that describe a value in a ConfigError, printed without quotes: `features=NaN or inf in rows 3, 8`."""


def first_line(error: Exception) -> str:
    """Return what another library's error says, without what it adds in further lines and sentences."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return said.partition(". ")[0].removesuffix(".")


def first(ids: Sequence[int] | np.ndarray, shown: int = 5) -> str:
    """The first few of `ids` for a message: `3, 8, 9, 12, 40 and 7 more`."""
    words = ", ".join(str(int(i)) for i in ids[:shown])
    return words if len(ids) <= shown else f"{words} and {len(ids) - shown} more"


def finite(name: str, array: np.ndarray, *, id_axis: int = 0) -> np.ndarray:
    """Return `array`, or raise a ConfigError that names the first ids (along `id_axis`) holding NaN or inf."""
    array = np.asarray(array)
    # one number tells whether anything is wrong: a sum over finite values is finite unless it overflows,
    # and then the exact look below decides
    with np.errstate(over="ignore", invalid="ignore"):
        if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
            return array
    bad = ~np.isfinite(array)
    other = tuple(axis for axis in range(array.ndim) if axis != id_axis % array.ndim)
    ids = np.flatnonzero(bad.any(axis=other))
    if len(ids):
        raise ConfigError(name, Shown(f"NaN or inf at ids {first(ids)}"), "finite numbers")
    return array


def shaped(name: str, array: np.ndarray, *dims: int | str) -> np.ndarray:
    """Return `array` if its shape is `dims`; a letter stands for any length: `shaped("features", x, "n", "d")`."""
    array = np.asarray(array)
    fits = array.ndim == len(dims) and all(
        isinstance(dim, str) or dim == size for dim, size in zip(dims, array.shape, strict=True)
    )
    if not fits:
        raise ConfigError(name, Shown(f"array of shape {array.shape}"), f"shape ({', '.join(map(str, dims))})")
    return array


def class_labels(name: str, labels: np.ndarray, n: int | None = None, n_classes: int | None = None) -> np.ndarray:
    """Return `labels` as int64 (n,), or raise: not integers, wrong length, below 0, or not below `n_classes`.

    Gaps are allowed: a class may have no example.
    """
    labels = shaped(name, labels, "n" if n is None else n)
    if labels.dtype.kind not in "iu":
        raise ConfigError(name, Shown(f"array of {labels.dtype}"), "integer class ids")
    top = np.inf if n_classes is None else n_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= top))
    if len(wrong):
        span = "0 or more" if n_classes is None else f"0 to {n_classes - 1}"
        raise ConfigError(name, Shown(f"{int(labels[wrong[0]])} at ids {first(wrong)}"), f"class ids of {span}")
    return labels.astype(np.int64, copy=False)


def generator(name: str, rng: np.random.Generator) -> np.random.Generator:
    """Return `rng`, or raise: a selector draws from a numpy Generator, so that a seed is given once and outside."""
    if not isinstance(rng, np.random.Generator):
        raise ConfigError(name, rng, "a numpy Generator: numpy.random.default_rng(seed)")
    return rng


def whole_number(key: str, value: int, low: int, high: int | None = None, why: str = "") -> int:
    """Return `value` as int, or raise: no whole number, below `low` or above `high`; `why`: of these bounds."""
    # True is the integer 1 to Python; None and text have no order; int() of 2.5 would hide what was asked for
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    top = np.inf if high is None else high
    if not number or not np.isfinite(value) or int(value) != value or not low <= value <= top:
        span = f"{low} or more" if high is None else f"{low} to {high}"
        raise ConfigError(key, value, f"{span} ({why})" if why else f"a whole number, {span}")
    return int(value)


def one_of(key: str, value: str, *options: str) -> str:
    """Return `value`, or raise: it is none of `options`."""
    if value not in options:
        raise ConfigError(key, value, " | ".join(options))
    return value


def share(key: str, value: float) -> float:
    """Return `value` as float, or raise: no share of a whole from 0 to below 1, such as a sparsity."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
        raise ConfigError(key, value, "a share from 0 to below 1")
    return float(value)

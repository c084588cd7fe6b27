"""Between tensors of a loop and the numpy arrays that policies decide with; checks of fractions and ids."""

from fractions import Fraction
from math import ceil, isfinite
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, first, whole_number
from dataprune.selectors.budget import budget


def array(values: Any) -> np.ndarray:
    """Return values as a numpy array; a tensor leaves its graph and its device, bfloat16 becomes float32."""
    import torch

    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return np.asarray(values)


def like(given: Any, values: np.ndarray) -> Any:
    """Return `values` as `given` was: a tensor on its device, or an array."""
    import torch

    return torch.from_numpy(values).to(given.device) if isinstance(given, torch.Tensor) else values


def checked_ids(ids: Any, n: int) -> np.ndarray:
    """Return ids as int64 (b,), or raise: they are numbers of 0 to n - 1, a bool mask or a table is not meant."""
    found = array(ids)
    if found.ndim != 1 or (found.dtype.kind not in "iu" and len(found)):
        raise ConfigError("ids", Shown(f"{found.dtype} of shape {found.shape}"), "whole numbers of shape (b,)")
    wrong = found[(found < 0) | (found >= n)]
    if len(wrong):
        raise ConfigError("ids", Shown(first(wrong)), f"ids of 0 to {n - 1}")
    return found.astype(np.int64)


def fraction(key: str, value: float, *, low: str = "0", high: str = "below 1") -> Fraction:
    """Return a fraction as it was typed (0.9, not its binary neighbour), or raise.

    It lies from 0 to 1; low="above 0" and high="below 1" leave out the ends.
    """
    number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    inside = number and isfinite(value) and 0 <= value <= 1
    if not inside or (value == 0 and low != "0") or (value == 1 and high == "below 1"):
        raise ConfigError(key, value, f"a fraction from {low} to {high}")
    return Fraction(repr(float(value)))


def kept(ratio: float, n: int) -> int:
    """Return how many of n examples are left when `ratio` of them leave: rounded half up, at least 1."""
    fraction("ratio", ratio)
    return budget(ratio, n)


def annealed_from(epochs: int, anneal: float) -> int:
    """Return the first of the last epochs, a share `anneal` of all, that train without pruning: counted from 0."""
    return ceil((1 - fraction("anneal", anneal, high="1")) * whole_number("epochs", epochs, 1))

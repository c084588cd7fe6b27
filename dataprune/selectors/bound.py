"""A selector with all that it takes but the examples to choose from and how many.

A selector may wrap another one: it has a parameter `select` and gets, in its place, the inner selector bound to its
arrays: `select(ids, budget) -> ids`, where ids are rows of the arrays that the wrapper itself has been given. So
wrappers nest, and none knows what the inner one looks at.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dataprune.errors import ConfigError

Picks = np.ndarray | tuple[np.ndarray, np.ndarray]  # ids in pick order; or these and a weight each


@dataclass(frozen=True)
class Selector:
    """A function with its constants, the arrays that have a row an example, and what is filled at each call."""

    function: Callable[..., Any]
    constants: Mapping[str, Any]  # what is the same for any part of the examples
    rows: Mapping[str, tuple[np.ndarray, int]]  # by parameter: the array and its axis of examples
    n: int  # examples in all
    filled: frozenset[str]  # of budget, n, select
    key: str = "select"  # for errors
    inner: "Selector | None" = None


class Bound:
    """A selector on a part of the examples: `bound(places, budget)` picks among places of `ids`, and returns places."""

    def __init__(self, selector: Selector, ids: np.ndarray) -> None:
        self.selector, self.ids = selector, ids  # ids int64, ascending

    def __call__(self, places: np.ndarray, budget: int) -> Picks:
        """Pick `budget` of the places int64 (m,): int64 in pick order, with weights where the function gives them."""
        selector, places = self.selector, np.sort(places)
        ids = self.ids[places]
        given: dict[str, Any] = {"budget": budget, "n": len(ids)}
        if selector.inner is not None:
            given["select"] = Bound(selector.inner, ids)
        rows = {
            name: array if len(ids) == selector.n else array[(slice(None),) * axis + (ids,)]
            for name, (array, axis) in selector.rows.items()
        }
        given = {name: value for name, value in given.items() if name in selector.filled}
        try:
            picked = selector.function(**given, **rows, **selector.constants)
        except ConfigError as error:
            raise (error if error.key.startswith(self._keys_below()) else error.under(selector.key)) from None
        if isinstance(picked, tuple):
            return places[picked[0]], picked[1]
        return places[picked]

    def _keys_below(self) -> tuple[str, ...]:
        keys, inner = [], self.selector.inner
        while inner is not None:
            keys.append(f"{inner.key}.")
            inner = inner.inner
        return tuple(keys)

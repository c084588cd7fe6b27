"""Prune ratios as a person types them, and what a table says that is written for some of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from dataprune.errors import ConfigError

DIGITS = 12  # 1 - 0.85 differs from 0.15 in the 17th


def as_typed(ratio: float) -> float:
    """Return the ratio as it was typed: 0.15 for 0.15000000000000002, which arithmetic makes of it."""
    return float(f"{ratio:.{DIGITS}g}")


def table(pairs: Any, key: str) -> dict[float, float]:
    """Return {prune_ratio: fraction} in ascending order, from pairs [[ratio, fraction], ...] or a mapping.

    Raises ConfigError for what is neither, a ratio that is not in [0, 1), a fraction that is not in [0, 0.99], and a
    ratio that is there twice.
    """
    entries = list(pairs.items()) if isinstance(pairs, Mapping) else list(pairs or [])
    found: dict[float, float] = {}
    for entry in entries:
        if not _is_pair(entry):
            raise ConfigError(key, pairs, "pairs of a prune_ratio and a fraction: [[0.8, 0.2], [0.9, 0.3]]")
        ratio, fraction = as_typed(entry[0]), as_typed(entry[1])
        if not (0 <= ratio < 1 and 0 <= fraction <= 0.99) or ratio in found:
            raise ConfigError(key, pairs, "ratios from 0 to below 1, each once, and fractions of 0 to 0.99")
        found[ratio] = fraction
    return dict(sorted(found.items()))


def around(pairs: Any, ratio: float, key: str, instead: str = "") -> tuple[float, float] | None:
    """Return the nearest ratios of the table below and above this one: twice the same where it has an entry.

    None: the table is empty. Raises ConfigError for a ratio outside the table, with those it has. instead: what else
    the user may give, for that message.
    """
    entries, ratio = table(pairs, key), as_typed(ratio)
    if not entries:
        return None
    below, above = ([r for r in entries if r <= ratio], [r for r in entries if r >= ratio])
    if not (below and above):
        there = ", ".join(f"{r:g}" for r in entries)
        instead = instead or f"{key}=[] and {key.rpartition('.')[0]}.fraction=... cut the same at every ratio"
        raise ConfigError("prune_ratio", ratio, f"a ratio of {key}, or one between two of them: {there} ({instead})")
    return below[-1], above[0]


def fraction_at(fraction: float, pairs: Any, ratio: float, key: str, instead: str = "") -> float:
    """Return what the table says at this prune ratio, or `fraction` where it is empty; 0 where nothing is pruned.

    Between two entries: what lies on the straight line between them. Raises ConfigError where both say something,
    and as `around`.
    """
    entries = table(pairs, key)
    if entries and fraction:
        expected = f"0 beside {key}, or {key}=[] to cut the same at every prune ratio"
        raise ConfigError(f"{key.rpartition('.')[0]}.fraction", fraction, expected)
    if as_typed(ratio) == 0:
        return 0.0
    ends = around(entries, ratio, key, instead)
    if ends is None:
        return fraction
    low, high = ends
    share = 0.0 if low == high else (as_typed(ratio) - low) / (high - low)
    return as_typed(entries[low] + share * (entries[high] - entries[low]))


def _is_pair(entry: Any) -> bool:
    return isinstance(entry, Sequence) and len(entry) == 2 and all(map(_is_number, entry))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)

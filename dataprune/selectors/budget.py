"""How many examples (or classes) to keep, and how a total is shared out."""

from decimal import ROUND_HALF_UP, Decimal

from dataprune.errors import ConfigError, whole_number


def budget(prune_ratio: float, n: int) -> int:
    """Number of examples (or classes) to keep out of `n`: (1 - prune_ratio) * n rounded half up, at least 1.

    The ratio counts as it is written (0.9 of 5 keeps 0.5, rounded to 1), not as its binary neighbour.
    Raises ConfigError when prune_ratio is not in [0, 1) or n is not positive.
    """
    if not 0 <= prune_ratio < 1:
        raise ConfigError("prune_ratio", prune_ratio, "a fraction from 0 to below 1 (0.9 keeps every tenth example)")
    if n < 1:
        raise ConfigError("n", n, "at least one example to select from")
    kept = (1 - Decimal(repr(float(prune_ratio)))) * n
    return max(1, int(kept.quantize(Decimal(1), rounding=ROUND_HALF_UP)))


def check_budget(budget: int, n: int) -> int:
    """Return `budget` as int, or raise a ConfigError: it must be a whole number from 1 to `n`."""
    return whole_number("budget", budget, 1, n)

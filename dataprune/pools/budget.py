"""What a user gives as text: how much to keep, how much memory."""

import re
from typing import Any

from dataprune.errors import ConfigError, whole_number
from dataprune.selectors.budget import budget as kept_at

UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def count_of(budget: int | float | str, n: int) -> int:
    """Return how many of n rows are kept: a whole number is a count, a fraction (0.3) a share."""
    if isinstance(budget, str):
        try:
            budget = int(budget) if re.fullmatch(r"\d+", budget) else float(budget)
        except ValueError:
            raise ConfigError("--budget", budget, "how many rows to keep, or the share of them (0.3)") from None
    if isinstance(budget, float) and 0 < budget <= 1:
        return kept_at(round(1 - budget, 12), n)
    whole: Any = budget
    return whole_number("--budget", whole, 1, n, "a count of at most the rows, or a share above 0 to 1")


def bytes_of(memory: int | str) -> int:
    """Return bytes of "8G", "500M" or a number of bytes."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", str(memory).strip(), re.IGNORECASE)
    if not found:
        raise ConfigError("--memory", memory, "bytes with K, M, G or T: 8G")
    return int(float(found[1]) * UNITS[found[2].upper()])


def shown(size: float) -> str:
    """Return bytes for a person."""
    return f"{size / 2**30:.1f} GiB" if size >= 2**30 else f"{size / 2**20:.0f} MiB"

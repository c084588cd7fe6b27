"""What a field of a config class may say of its values beside their type: a range, or a few words."""

from dataclasses import field
from typing import Any


def number(default: Any, low: float, high: float = float("inf"), *, unit: str = "") -> Any:
    """Return a field whose value must lie in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


def choice(default: str | None, *choices: str) -> Any:
    """Return a field that takes one of a few words."""
    return field(default=default, metadata={"choices": choices})

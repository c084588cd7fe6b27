"""Fields of config classes: what they may say of their values beside the type, and plain values put into them."""

import dataclasses
from dataclasses import field
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints


def number(default: Any, low: float, high: float = float("inf"), *, unit: str = "") -> Any:
    """Return a field whose value must lie in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high, "unit": unit})


def choice(default: str | None, *choices: str) -> Any:
    """Return a field that takes one of a few words."""
    return field(default=default, metadata={"choices": choices})


class Inexact(ValueError):
    """A value that is not of the type that its field says."""


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def exactly(kind: Any, value: Any) -> Any:
    """Return `value`, plain, as what the annotation `kind` says: a dataclass, a list or dictionary of them, a number.

    Raises Inexact for anything that is to be converted or refused: that is OmegaConf's work, which takes a tenth of a
    second for a job, this a thousandth.
    """
    if kind is Any:
        return value
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = _hints(kind)  # type: ignore[arg-type]
        if not value.keys() <= hints.keys():
            raise Inexact(kind)
        return kind(**{name: exactly(hints[name], inner) for name, inner in value.items()})  # type: ignore[operator]
    inner = get_args(kind)
    if isinstance(kind, UnionType):
        return None if value is None else exactly(next(option for option in inner if option is not NoneType), value)
    if get_origin(kind) is list and isinstance(value, list):
        return [exactly(inner[0], one) for one in value]
    if get_origin(kind) is dict and isinstance(value, dict):
        return {name: exactly(inner[1], one) for name, one in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or value == "???":  # True is no number; OmegaConf's sign of a missing value
        raise Inexact(kind)
    return value

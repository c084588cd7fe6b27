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
    if isinstance(kind, UnionType):
        named = next(option for option in get_args(kind) if option is not NoneType)
        return None if value is None else exactly(named, value)
    if isinstance(value, dict):
        return _filled(kind, value)
    if isinstance(value, list) and get_origin(kind) is list:
        return [exactly(get_args(kind)[0], one) for one in value]
    return _plain(kind, value)


def _plain(kind: Any, value: Any) -> Any:
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind or value == "???":  # True is no number; OmegaConf's sign of a missing value
        raise Inexact(kind)
    return value


def _filled(kind: Any, values: dict[str, Any]) -> Any:
    """The dataclass or dictionary with these values."""
    if get_origin(kind) is dict:
        return {name: exactly(get_args(kind)[1], one) for name, one in values.items()}
    if not dataclasses.is_dataclass(kind) or not values.keys() <= _hints(kind).keys():  # type: ignore[arg-type]
        raise Inexact(kind)
    hints = _hints(kind)  # type: ignore[arg-type]
    return kind(**{name: exactly(hints[name], one) for name, one in values.items()})  # type: ignore[operator]

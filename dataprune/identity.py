"""Configs as plain values: the part that makes a result what it is, and the way to a worker process and back."""

import contextlib
import dataclasses
from typing import Any

from omegaconf import OmegaConf

from dataprune.fields import Inexact, exactly


def identity(config: Any) -> dict[str, Any]:
    """The part of a config that makes a result what it is: plain values, fields at their default left out.

    Leaving defaults out keeps old results valid when a new option with a default arrives.
    """
    plain = {}
    for f in dataclasses.fields(config):
        if f.metadata.get("place"):
            continue
        value = getattr(config, f.name)
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if value != default:
            plain[f.name] = _identity(value)
    return plain


def _identity(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _identity(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_identity(inner) for inner in value]
    return identity(value) if dataclasses.is_dataclass(value) else value


def from_plain(kind: type, plain: dict[str, Any]) -> Any:
    """The dataclass `kind` from what `dataclasses.asdict` made of it (a worker process gets its config so).

    Values of other types are converted where omegaconf can. Raises its errors for unknown names and wrong types.
    """
    with contextlib.suppress(Inexact):
        return exactly(kind, plain)
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(kind), plain))

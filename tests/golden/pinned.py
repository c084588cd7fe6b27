"""When values may be pinned again: not while the VERSION of their stage stays what it was and they do not."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent
COMMAND = "python -m tests.golden"
LIBRARIES = ("numpy", "torch", "pillow")


@dataclass(frozen=True)
class Near:
    """Floating-point numbers and how far they may lie from the pinned ones.

    tolerance: of the largest difference, as a fraction of the largest pinned magnitude; with `mean`, of the mean
    difference in the values' own unit.
    """

    values: np.ndarray
    tolerance: float
    mean: bool = False

    def distance(self, pinned: np.ndarray) -> float:
        """How far the pinned values are from these, in the unit of the tolerance; inf where shapes or NaN differ."""
        ours, theirs = np.asarray(self.values, np.float64), np.asarray(pinned, np.float64)
        if ours.shape != theirs.shape or (np.isnan(ours) != np.isnan(theirs)).any():
            return float("inf")
        apart = np.nan_to_num(np.abs(ours - theirs))
        if self.mean:
            return float(apart.mean())
        return float(apart.max() / (np.nanmax(np.abs(theirs)) or 1.0))


@dataclass(frozen=True)
class Found:
    """What a stage gives: values that must be the pinned ones, and values that must be near them."""

    exact: dict[str, Any]
    near: dict[str, Near]

    def plain(self) -> dict[str, Any]:
        """As it stands in a golden file."""
        near = {name: {"shape": list(n.values.shape), "values": _digits(n.values)} for name, n in self.near.items()}
        return {"exact": _plain(self.exact), "near": near}

    def moved(self, pinned: dict[str, Any]) -> list[str]:
        """What is no longer as it was pinned, a few words each."""
        exact, moved = _plain(self.exact), []
        for name, value in pinned["exact"].items():
            if name not in exact:
                moved.append(f"{name} is gone")
            elif exact[name] != value:
                moved.append(f"{name} is {_short(exact[name])}, was {_short(value)}")
        for name, value in pinned["near"].items():
            if name not in self.near:
                moved.append(f"{name} is gone")
                continue
            there = self.near[name]
            if not (distance := there.distance(array_of(value))) <= there.tolerance:
                moved.append(f"{name} is {distance:.2g} away (tolerance {there.tolerance:.2g})")
        return moved

    def added(self, pinned: dict[str, Any]) -> list[str]:
        """Names that are not pinned yet."""
        return sorted({*self.exact} - {*pinned["exact"]} | {*self.near} - {*pinned["near"]})


def array_of(value: dict[str, Any]) -> np.ndarray:
    """The floats of a golden file, float64."""
    return np.array(value["values"], np.float64).reshape(value["shape"])


def complaint(
    config: type, pinned: dict[str, Any] | None, moved: Callable[[Any], list[str]], added: Callable[[Any], list[str]]
) -> str | None:
    """Why the pinned values do not do for this config class's VERSION, in a line; None = they do."""
    name, now = config.__name__, config.VERSION  # type: ignore[attr-defined]
    if pinned is None:
        return f"not pinned yet: {COMMAND}"
    if pinned["VERSION"] != now:
        return f"VERSION of {name} is {now}, pinned are the values of {pinned['VERSION']}: pin again ({COMMAND})"
    if words := moved(pinned):
        since = [f"{k} {v}" for k, v in libraries().items() if pinned.get("libraries", {}).get(k, v) != v]
        other = f" [pinned with other libraries than {', '.join(since)}]" if since else ""
        return f"raise VERSION of {name} and pin again ({COMMAND}): {'; '.join(words[:6])}{other}"
    if names := added(pinned):
        return f"new, pin them too ({COMMAND}): {', '.join(names[:6])}"
    return None


def refuse(config: type, pinned: dict[str, Any] | None, moved: Callable[[Any], list[str]]) -> str | None:
    """Why these values must not be pinned in place of the old ones, in a line; None = they may."""
    name, now = config.__name__, config.VERSION  # type: ignore[attr-defined]
    if pinned is None or pinned["VERSION"] < now:
        return None
    if pinned["VERSION"] > now:
        return f"VERSION of {name} is {now}, pinned are the values of {pinned['VERSION']}: a VERSION only rises"
    words = moved(pinned)
    return f"raise VERSION of {name} first: {'; '.join(words[:6])}" if words else None


def load(name: str) -> Any:
    """What is pinned in tests/golden/<name>.json, or None."""
    path = HERE / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else None


def dump(name: str, pinned: dict[str, Any]) -> None:
    """Write tests/golden/<name>.json, one line a value: a change shows as a change of lines."""
    (HERE / f"{name}.json").write_text(_text(pinned, 0) + "\n")


def libraries() -> dict[str, str]:
    """Versions of the libraries that values may depend on."""
    return {name: version(name) for name in LIBRARIES}


def _text(value: Any, depth: int) -> str:
    if not isinstance(value, dict) or depth == 2:
        return json.dumps(value)
    inner = [f"{' ' * (depth + 1)}{json.dumps(name)}: {_text(part, depth + 1)}" for name, part in value.items()]
    return "{\n" + ",\n".join(inner) + f"\n{' ' * depth}}}" if inner else "{}"


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda array: array.tolist()))


def _digits(values: np.ndarray) -> list[float]:
    return [float(f"{value:.8g}") for value in np.asarray(values, np.float64).ravel()]


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 60 else f"{text[:57]}..."

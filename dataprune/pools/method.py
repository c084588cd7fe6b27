"""A method on a pool: an option of conf/pool or a YAML file of that form, else an option of conf/method.

name: semdedup
unit: true                 # rows are scaled to length 1
score: {_target_: ...}     # of the rows of one cell: one number each; `select` then picks among all rows
pick: {_target_: ...}      # or: picks among the rows of one cell, `budget` being its share
neighbors: 10              # or: neighbour lists, which `select` takes
select: {_target_: ...}    # of scores, higher = kept first, and columns
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf import OmegaConf

from dataprune.callables import check_target, parameters
from dataprune.commands import conf
from dataprune.commands.arrays import method_named
from dataprune.config import MethodConfig
from dataprune.errors import ConfigError, one_of, whole_number

FILLED = frozenset({"scores", "budget", "n", "rng", "distances", "squared_distances", "neighbors", "labels"})
SCORED = frozenset({"features", "embeddings", "labels", "assignment", "centers"})
PICKED = frozenset({"features", "embeddings", "labels", "budget", "rng"})


@dataclass(frozen=True)
class PoolMethod:
    """What is done with the rows of a pool."""

    name: str
    unit: bool = False
    score: Mapping[str, Any] | None = None
    pick: Mapping[str, Any] | None = None
    neighbors: int | None = None
    select: Mapping[str, Any] | None = None
    pair_bytes: int = 0  # memory of the function in a cell for each pair of its rows
    columns: MethodConfig | None = None  # a method that goes by columns alone

    @property
    def function(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return the function in a cell, and its key."""
        return ("score", self.score) if self.score else ("pick", self.pick) if self.pick else None

    def facts(self) -> dict[str, Any]:
        """Return what the method is, as plain values."""
        names = ("name", "unit", "score", "pick", "neighbors", "select")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


def method_of(name: str, overrides: Sequence[str] = ()) -> PoolMethod:
    """Return the method called `name` with constants replaced by "constant=value" words, checked."""
    if name in conf.options("method") and name not in conf.options("pool"):
        return PoolMethod(name, columns=method_named(name, list(overrides)))
    if name not in conf.options("pool") and not name.endswith(".yaml"):
        there = ", ".join(conf.options("pool"))
        raise ConfigError("--method", name, f"{there}, one of conf/method that goes by columns, or a YAML file")
    method = _with(_read(name), overrides)
    kinds = [kind for kind in ("score", "pick", "neighbors") if getattr(method, kind)]
    if len(kinds) > 1 or bool(method.pick) == bool(method.select):
        raise ConfigError("--method", name, "one of score, pick and neighbors at most, and `select` but beside `pick`")
    _check(method, name)
    if not kinds:
        return PoolMethod(method.name, columns=MethodConfig(name=method.name, select=dict(method.select or {})))
    return method


def _read(name: str) -> PoolMethod:
    """The method of an option of conf/pool, or of a YAML file."""
    content: Any = OmegaConf.to_container(conf.read("pool", name), resolve=True)
    known = ("name", "unit", "score", "pick", "neighbors", "select", "pair_bytes")
    if wrong := sorted(content.keys() - set(known)):
        raise ConfigError(f"{name}.{wrong[0]}", content[wrong[0]], ", ".join(known))
    return PoolMethod(**{"name": name} | content)


def _check(method: PoolMethod, name: str) -> None:
    for key, filled in (("score", SCORED), ("pick", PICKED), ("select", FILLED)):
        if (spec := getattr(method, key)) is not None:
            check_target(dict(spec), f"{name}.{key}", filled)
    one_of("unit", str(method.unit), "True", "False")
    if method.neighbors is not None:
        whole_number("neighbors", method.neighbors, 1)


def _with(method: PoolMethod, overrides: Sequence[str]) -> PoolMethod:
    for word in overrides:
        if "=" not in word:
            raise ConfigError("--set", word, "constant=value: --set gamma=0.1")
        ((constant, value),) = OmegaConf.to_container(OmegaConf.from_dotlist([word])).items()  # type: ignore[union-attr]
        name = str(constant)
        if name == "unit" or (name == "neighbors" and method.neighbors is not None):
            changed: dict[str, Any] = {name: value}
            method = replace(method, **changed)
            continue
        where = [key for key in ("score", "pick", "select") if _takes(getattr(method, key), name)]
        if not where:
            expected = f"a constant of {method.name}: {', '.join(_constants(method))}"
            raise ConfigError("--set", word, expected)
        changed = {key: {**getattr(method, key), name: value} for key in where}
        method = replace(method, **changed)
    return method


def _takes(spec: Mapping[str, Any] | None, constant: str) -> bool:
    filled = FILLED | SCORED | PICKED
    return spec is not None and constant in parameters(spec["_target_"]).names and constant not in filled


def _constants(method: PoolMethod) -> list[str]:
    specs = [spec for spec in (method.score, method.pick, method.select) if spec]
    names = [name for spec in specs for name in parameters(spec["_target_"]).names if _takes(spec, name)]
    return [*names, "unit", *(["neighbors"] if method.neighbors is not None else [])]

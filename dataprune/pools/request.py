"""What is asked for: checked against the shards before anything is computed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import code_of, dotted_paths
from dataprune.errors import ConfigError, Shown, one_of, whole_number
from dataprune.plan import Plan
from dataprune.pools.budget import bytes_of, count_of
from dataprune.pools.columns import planned
from dataprune.pools.layout import Room
from dataprune.pools.method import PoolMethod
from dataprune.pools.shards import Fields, Shard, find

PROBES = 8  # cells that a row meets besides its own


@dataclass(frozen=True)
class Request:
    """A selection that is asked for. Engine, workers, memory and output are no part of what it gives."""

    input: str | Sequence[str]
    method: PoolMethod
    budget: int | float | str | None
    output: Path
    engine: str = "local"
    workers: int = 1
    memory: int | str = "4G"
    address: str | None = None
    seed: int = 0
    uid: str = "uid"
    embedding: str = "embedding"
    columns: Mapping[str, str] = field(default_factory=dict)  # parameter -> column: scores, labels, cut, ...
    cut: float | None = None
    cells: int | None = None
    probes: int = PROBES
    quota: str = "proportional"  # of cells: or equal
    threshold: float | None = None
    write: Path | None = None

    def __post_init__(self) -> None:
        whole_number("--workers", self.workers, 1)
        whole_number("--probes", self.probes, 1)
        whole_number("--seed", self.seed, 0)
        one_of("--quota", self.quota, "proportional", "equal")
        bytes_of(self.memory)
        if self.cells is not None:
            whole_number("--cells", self.cells, 1)
        if (self.budget is None) == (self.threshold is None):
            raise ConfigError(
                "--budget", self.budget, "how many rows to keep; or --threshold beside a method of scores"
            )
        if self.threshold is not None and self.method.score is None:
            raise ConfigError("--threshold", self.threshold, "a method that scores rows in cells (semdedup)")
        if self.method.neighbors is not None and "scores" not in self.columns:
            raise ConfigError("--scores", None, f"the column that {self.method.name} goes by, higher = kept first")

    @cached_property
    def fields(self) -> Fields:
        """Return which columns are read."""
        embedding = None if self.method.columns else self.embedding
        return Fields(self.uid, embedding, tuple(sorted(set(self.columns.values()))))

    @cached_property
    def shards(self) -> list[Shard]:
        """Return the shards, in the order of their names."""
        return find(self.input, self.fields)

    def count(self, n: int) -> int:
        """Return how many of n rows are kept."""
        return n if self.budget is None else count_of(self.budget, n)

    def check(self) -> None:
        """Raise a ConfigError for what cannot work, from the shards' metadata alone."""
        rows = [shard.rows() for shard in self.shards]
        n = sum(rows)
        if empty := [shard.name for shard, count in zip(self.shards, rows, strict=True) if not count]:
            raise ConfigError("--input", empty[0], "a row at least in each shard; it is empty")
        self.count(n)
        if self.method.columns:
            assert self.plan
            return
        if self.cells is not None:
            whole_number("--cells", self.cells, 1, n, "the rows")
        first = self.shards[0].kind()
        Room(bytes_of(self.memory), first[0], first[1].itemsize)
        for shard in self.shards[1:]:
            kind = shard.kind()
            if kind != first:
                found, expected = (f"{dtype} of width {width}" for width, dtype in (kind, first))
                raise ConfigError(
                    "--embedding", Shown(f"{found} in {shard.name}"), f"{expected}, as {self.shards[0].name}"
                )

    @cached_property
    def plan(self) -> tuple[Plan, str]:
        """Return the plan of a method that goes by columns, and what its cut goes by."""
        assert self.method.columns is not None
        n = sum(shard.rows() for shard in self.shards)
        return planned(self.method.columns, self.count(n), n, self.columns, self.cut)

    def cells_of(self, n: int) -> int:
        """Return how many cells: what makes finding them and working in them cost alike, about sqrt(n)."""
        ways = 2 * self.probes + 2 if self.method.neighbors else 1
        return min(n, self.cells or max(1, round(np.sqrt(ways * n / 2))))

    def facts(self, n: int) -> dict[str, Any]:
        """Return everything but the pool that makes the selection."""
        method = self.method.facts()
        if self.method.columns:
            plan, by = self.plan
            method |= {"steps": [dict(call.function) for call in plan.steps], "cut": by, "name": plan.method.name}
        code = {path: code_of(path, ours=True) for path in dotted_paths(method)}
        facts: dict[str, Any] = {
            "method": method,
            "functions": code,
            "budget": self.count(n),
            "columns": dict(self.columns),
        }
        facts |= {"seed": self.seed, "uid": self.uid}
        if not self.method.columns:
            facts |= {"embedding": self.embedding, "cells": self.cells_of(n)}
        if self.method.neighbors:
            facts["probes"] = self.probes
        if self.method.pick:
            facts["quota"] = self.quota
        if self.threshold is not None:
            facts |= {"threshold": self.threshold, "budget": None}
        return facts


def drawn(rng: np.random.Generator, n: int, count: int) -> np.ndarray:
    """Return `count` of n row numbers: int64, ascending."""
    return np.sort(rng.choice(n, min(n, count), replace=False)).astype(np.int64)

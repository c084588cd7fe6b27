"""Local decisions: a function of the rows of one cell, called cell by cell, a bucket a task."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_method

from dataprune.callables import parameters
from dataprune.errors import ConfigError
from dataprune.pools.cells import Pieces, read_bucket, unit_rows
from dataprune.pools.parts import part
from dataprune.streams import stream


def call(function: Mapping[str, Any], key: str, **values: Any) -> Any:
    """Call what `_target_` names with its constants and with those of `values` that it takes."""
    takes = parameters(function["_target_"]).names
    constants = {name: value for name, value in function.items() if name != "_target_"}
    given = {name: value for name, value in values.items() if name in takes and name not in constants}
    try:
        return get_method(function["_target_"])(**given, **constants)
    except ConfigError as error:
        raise error.under(key) from None


@dataclass(frozen=True)
class Decide:
    """The task to score, or to pick among, the rows of a bucket's pieces."""

    spreads: list[str]  # a part a shard
    bucket: int
    plan: str
    centers: str
    function: Mapping[str, Any]
    key: str  # of the function, for errors
    shares: Mapping[int, int] | None  # how many of each piece; None = the function gives scores
    unit: bool
    seed: int
    part: str
    about: str


def decide(task: Decide) -> None:
    """Write rows.npy int64, and with scores values.npy float32, one a row; else rows.npy are the picks."""
    row, piece, embeddings = read_bucket(task.spreads, task.bucket)
    cell = Pieces.load(task.plan).cell
    centers = np.load(Path(task.centers) / "centers.npy")
    picked: list[np.ndarray] = []
    scores = np.empty(len(row), np.float32)
    for number, span in spans_of(piece):
        budget = None if task.shares is None else task.shares[number]
        if budget == 0:
            continue
        features = embeddings[span]
        features = unit_rows(features) if task.unit else features.astype(np.float32)
        labels = np.zeros(len(features), np.int64)
        given: dict[str, Any] = {"features": features, "embeddings": features, "labels": labels}
        if budget is None:
            given |= {"assignment": labels, "centers": centers[cell[number]][None]}
        else:
            given |= {"budget": budget, "rng": stream(task.seed, "cell", number)}
        found = call(task.function, task.key, **given)
        if budget is None:
            scores[span] = found
        else:
            picked.append(row[span][found[0] if isinstance(found, tuple) else found])
    with part(task.part) as work:
        np.save(work / "rows.npy", row if task.shares is None else np.concatenate([*picked, row[:0]]))
        if task.shares is None:
            np.save(work / "values.npy", scores)


def spans_of(pieces: np.ndarray) -> Iterator[tuple[int, slice]]:
    """Yield each piece and where its rows lie in a bucket that is sorted by pieces."""
    starts = np.flatnonzero(np.diff(pieces, prepend=-1))
    for start, stop in zip(starts, [*starts[1:], len(pieces)], strict=True):
        yield int(pieces[start]), slice(int(start), int(stop))

"""Influences of examples on disk, some columns a file: 1.28 million units on 10,000 targets are 51 GB.

    columns.json              shape, columns a file, and what the influences are of
    <start>.npy               float32 (targets, columns): influence[:, start:stop]

A kill leaves finished files; the next call goes on behind them. Memory holds one part.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError
from dataprune.influence.analysis import Experiment
from dataprune.influence.estimates import influence_columns, part_of
from dataprune.store import whole_file, write_json

ABOUT = "columns.json"


def write(experiment: Experiment, folder: Path, columns: int | None = None) -> Path:
    """Write the influences of all units on all targets, or the files that are missing; returns the folder.

    columns: so many a file; None = as many as 128 MiB of float64 hold. Raises ConfigError for a folder that holds
    influences of something else: other models, targets or outcome.
    """
    targets = len(experiment.targets)
    about = {
        "targets": targets,
        "units": experiment.n,
        "columns": part_of(targets, columns),
        "models": experiment.models.tolist(),
        "outcome": experiment.outcome,
        "half": experiment.half,
        "of": experiment.store.of,
    }
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / ABOUT).exists() and json.loads((folder / ABOUT).read_text()) != about:
        raise ConfigError("--out", str(folder), "another folder: this one holds influences of other models or targets")
    write_json(folder / ABOUT, about)
    first = next(
        (start for start in range(0, experiment.n, about["columns"]) if not _file(folder, start).exists()), None
    )
    if first is not None:
        parts = influence_columns(experiment.packed, experiment.outputs, experiment.n, columns=columns, first=first)
        for start, _, part in parts:
            with whole_file(_file(folder, start)) as file:
                np.save(file, part.astype(np.float32))
    return folder


def read(folder: Path) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (start, influence float32 (targets, columns)) of every file in order, memory-mapped."""
    about = json.loads((folder / ABOUT).read_text())
    for start in range(0, about["units"], about["columns"]):
        yield start, np.load(_file(folder, start), mmap_mode="r")


def _file(folder: Path, start: int) -> Path:
    return folder / f"{start:09d}.npy"

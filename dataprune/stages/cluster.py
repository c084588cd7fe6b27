"""Stage cluster: pseudo classes of the source for methods that do without its labels.

Inputs: `signals` and `val_signals` (signals, features of the source's train split and of the split that stands for
val); or, for assignments that somebody else made, `examples` (index). Files: train.npy int64 (n,) and val.npy int64
(m,), the cluster of each example (val: where it is known); count.npy, how many clusters there are; of our own
centroids.npy float32 (clusters, d). They are kept, so that another target or another number of clusters to keep needs
no clustering again.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.formats.legacy import read_assignment
from dataprune.neighbors.prototypes import clusters, nearest
from dataprune.stage_configs import ClusterConfig

CONFIG = ClusterConfig
KEY = "method.clusters"


def run(config: ClusterConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Cluster, or read what is there; returns how many clusters there are, how many have no member, and of how many."""
    assigned, facts = _read(config, inputs["examples"]) if config.path else _made(config, inputs, work)
    count = max(int(part.max(initial=0)) + 1 for part in assigned.values()) if config.path else config.number
    for name, part in assigned.items():
        np.save(work / f"{name}.npy", part)
    np.save(work / "count.npy", count)
    empty = count - len(np.unique(assigned["train"]))
    return facts | {"clusters": count, "empty": empty} | {name: len(part) for name, part in assigned.items()}


def _made(config: ClusterConfig, inputs: dict[str, Path], work: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Clusters of the train split, centroids written; the other split falls on the nearest centroid."""
    train, val = (np.load(inputs[role] / "features.npy", mmap_mode="r") for role in ("signals", "val_signals"))
    try:
        centroids, assignment = clusters(train, config.number, np.random.default_rng(config.seed))
    except ConfigError as error:
        raise error.under(KEY) from None
    np.save(work / "centroids.npy", centroids)
    return {"train": assignment, "val": nearest(val, centroids)}, {}


def _read(config: ClusterConfig, index: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The assignments in files, checked: each example of a split is in one cluster."""
    there = Examples(index, "train").splits
    val = "validation" if "validation" in there else "test"
    assigned = {}
    for name, path, split in (("train", config.path, "train"), ("val", config.val_path, val)):
        if path is not None:
            key = f"{KEY}.{'path' if name == 'train' else 'val_path'}"
            assigned[name] = assignment_of(path, len(Examples(index, split)), key)
    assert config.path is not None
    return assigned, {"elsewhere": told_of(config.path, f"{KEY}.path")}


def assignment_of(path: str, n: int, key: str) -> np.ndarray:
    """Return the cluster of each of n examples int64 (n,), from a file {cluster: list of sample ids}.

    Raises ConfigError under `key` unless the ids are each of 0 to n-1 once.
    """
    cluster, ids = read_assignment(path, key)
    if not np.array_equal(np.sort(ids), np.arange(n)):
        found = Shown(f"{path!r} with {len(ids)} ids, {len(np.unique(ids))} of them different")
        raise ConfigError(key, found, f"each of 0 to {n - 1} once, an example's place in the data set")
    assignment = np.empty(n, np.int64)
    assignment[ids] = cluster
    return assignment

"""Stage neighbors: lists of nearest neighbours that somebody else has computed, checked, with a row for each example.

Inputs: `examples` (index); the files lie outside the store, their content is in the recipe. Files: neighbors.npy int64
(n, k), distances.npy float32 (n, k), -1 = no neighbour.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.formats.neighbor_lists import read
from dataprune.stage_configs import NeighborsConfig

CONFIG = NeighborsConfig
KEY = "method.neighbors"


def run(config: NeighborsConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Read, check, write; returns how many examples have a list, and its columns."""
    n = len(Examples(inputs["examples"], "train"))
    assert config.neighbors is not None
    assert config.distances is not None
    try:
        distances, neighbors = read(config.neighbors, config.distances, n, ids=config.ids)
    except ConfigError as error:
        raise error.under(KEY) from None
    np.save(work / "neighbors.npy", neighbors)
    np.save(work / "distances.npy", distances)
    listed = int((neighbors >= 0).any(1).sum())
    elsewhere = told_of(config.neighbors, f"{KEY}.neighbors")
    return {"listed": listed, "columns": neighbors.shape[1], "elsewhere": elsewhere}

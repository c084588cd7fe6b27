"""Stage score: one number an example (or a class of the source), higher = kept first.

Inputs: those that hold the arrays which the function's parameters name (dataprune.arrays). Files: scores.npy float32
(n,) or (classes,).
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.arrays import entry, load
from dataprune.callables import function_at
from dataprune.config import RunConfig
from dataprune.cost import told_of
from dataprune.errors import ConfigError, Shown, finite, first
from dataprune.plan import FROM_FILE
from dataprune.stage_configs import ScoreConfig

CONFIG = ScoreConfig


def run(config: ScoreConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Call the function and write what it gives; returns how many different values there are, the range, and what a
    foreign file of scores took."""
    # as the user wrote it: scores.run1 and scores.pets are calls of the same function
    key = "method.cut.score" if label == "cut" else "method.score"
    scores = compute(config, inputs, key)
    np.save(work / "scores.npy", scores)
    elsewhere = {} if config.path is None else {"elsewhere": told_of(config.path, "method.path")}
    distinct = len(np.unique(scores))
    return {"n": len(scores), "distinct": distinct, "low": float(scores.min()), "high": float(scores.max())} | elsewhere


def compute(config: ScoreConfig, inputs: dict[str, Path], key: str) -> np.ndarray:
    """The scores, float32, checked: one-dimensional and finite."""
    constants = {k: v for k, v in config.function.items() if k != "_target_"}
    constants |= {} if config.path is None else {"path": config.path}
    arrays = load(config.arrays, inputs, key)
    try:
        scores = np.asarray(function_at(config.function["_target_"])(**arrays, **constants), np.float32)
    except ConfigError as error:
        raise error.under("method" if error.key in FROM_FILE else key) from None
    if scores.ndim != 1:
        raise ConfigError(key, Shown(f"array of shape {scores.shape}"), "one number an example or a class")
    recorded = any(entry(array).role == "dynamics" for array in config.arrays.values())
    if recorded and len(rare := np.flatnonzero(np.isnan(scores))):
        expected = "numbers for all: more surrogate.epochs, or no drop_last nor repeats, which leave examples out"
        raise ConfigError(key, Shown(f"NaN at ids {first(rare)}, recorded in too few epochs"), expected)
    return finite(key, scores)

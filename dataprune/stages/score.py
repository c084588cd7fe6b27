"""Stage score: one number an example (or a class of the source), higher = kept first.

Inputs: those that hold the arrays which the function's parameters name (stages.arrays). Files: scores.npy float32 (n,)
or (classes,).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_method

from dataprune.config import RunConfig, ScoreConfig
from dataprune.errors import ConfigError, Shown, finite
from dataprune.stages.arrays import load, wanted

CONFIG = ScoreConfig
COST = "cost.json"
FILLED = frozenset({"path"})  # the parameter that is no array: the file that a score function reads


def run(config: ScoreConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Call the function and write what it gives; returns how many different values there are, and the range."""
    # as the user wrote it: scores.run1 and scores.pets are calls of the same function
    key = "method.cut.score" if label == "cut" else "method.score"
    scores = compute(config, inputs, key)
    np.save(work / "scores.npy", scores)
    spent = cost_of(config.path)
    return {
        **({f"elsewhere_{unit}": value for unit, value in json.loads(spent.read_text()).items()} if spent else {}),
        "n": len(scores),
        "distinct": len(np.unique(scores)),
        "low": float(scores.min()),
        "high": float(scores.max()),
    }


def cost_of(path: str | None) -> Path | None:
    """The file beside a file of scores that says what they took: {"seconds": ..., "images": ...}; None = there is none.

    Rows add it to their costs: scores that other programs made are not free either.
    """
    beside = None if path is None else Path(path).with_name(COST)
    return beside if beside is not None and beside.is_file() else None


def compute(config: ScoreConfig, inputs: dict[str, Path], key: str) -> np.ndarray:
    """The scores, float32, checked: one-dimensional and finite."""
    constants = {k: v for k, v in config.function.items() if k != "_target_"}
    constants |= {} if config.path is None else {"path": config.path}
    arrays = load(wanted(config.function, config.arrays, key, FILLED), inputs, key)
    try:
        scores = np.asarray(get_method(config.function["_target_"])(**arrays, **constants), np.float32)
    except ConfigError as error:
        raise error.under("method" if error.key in FILLED else key) from None
    if scores.ndim != 1:
        raise ConfigError(key, Shown(f"array of shape {scores.shape}"), "one number an example or a class")
    return finite(key, scores)

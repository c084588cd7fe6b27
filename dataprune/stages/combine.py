"""Stage combine: the class scores of several targets as one ranking of the source's classes.

Inputs: `scores_0`, `scores_1`, ... (score), one a target; beside each, where the score looked at the surrogate's
outputs, `signals_0`, ... (signals), whose mean softmax orders classes of equal score. Files: scores.npy float32
(classes,), places without ties.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import CombineConfig, RunConfig
from dataprune.scores.classes import combine
from dataprune.stages.arrays import ARRAYS

CONFIG = CombineConfig


def run(config: CombineConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Combine and write; returns how many targets there are."""
    targets = sum(name.startswith("scores_") for name in inputs)
    scores = np.stack([np.load(inputs[f"scores_{i}"] / "scores.npy") for i in range(targets)])
    ties = None
    if "signals_0" in inputs:
        load = ARRAYS["target_class_probability"].load
        ties = np.stack([load(inputs[f"signals_{i}"]) for i in range(targets)])
    np.save(work / "scores.npy", combine(scores, how=config.how, ties=ties))
    return {"targets": targets, "classes": scores.shape[1]}

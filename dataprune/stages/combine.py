"""Stage combine: scores of several targets, or of several surrogates, as one.

Inputs: `scores_0`, `scores_1`, ... (score), one a target or surrogate; with targets, where the score looked at the
surrogate's outputs, `signals_0`, ... (signals), whose mean softmax orders classes of equal score. Files: scores.npy
float32: places (classes,) without ties for targets, means (n,) or (classes,) for surrogates.
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.arrays import mean_probability
from dataprune.config import CombineConfig, RunConfig
from dataprune.scores.classes import combine
from dataprune.scores.gradients import aggregate

CONFIG = CombineConfig


def run(config: CombineConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Combine and write; returns how many there were of what length."""
    count = sum(name.startswith("scores_") for name in inputs)
    scores = np.stack([np.load(inputs[f"scores_{i}"] / "scores.npy") for i in range(count)])
    if config.how == "runs":
        together = aggregate(scores)
    else:
        seen = [inputs[f"signals_{i}"] for i in range(count) if f"signals_{i}" in inputs]
        together = combine(scores, how=config.how, ties=np.stack([mean_probability(f) for f in seen]) if seen else None)
    np.save(work / "scores.npy", together)
    return {"combined": count, "n": scores.shape[1]}

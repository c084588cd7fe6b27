"""Stage signals: outputs of a frozen model for every example of a split, one pass, eval mode, not augmented.

Inputs: `model` (train or adopt), `examples` (index). Files: logits.npy float32 (n, classes), features.npy float32
(n, d): those that `arrays` asks for; labels.npy int64 (n,).
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import RunConfig, SignalsConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.stages.frozen import load_network, outputs

CONFIG = SignalsConfig
FROM_ONE_PASS = ("logits", "features")


def run(config: SignalsConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Write the arrays row by row; returns the shape of each."""
    unknown = set(config.arrays) - set(FROM_ONE_PASS)
    if unknown:
        raise ConfigError("signals.arrays", config.arrays, "some of " + ", ".join(FROM_ONE_PASS))
    network = load_network(inputs["model"])
    examples = Examples(inputs["examples"], config.split)
    n, at = len(examples), 0
    widths = {"features": network.head.in_features, "logits": network.head.out_features}
    arrays = {
        name: np.lib.format.open_memmap(work / f"{name}.npy", "w+", np.float32, (n, widths[name]))
        for name in config.arrays
    }
    for features, logits in outputs(network, examples, np.arange(n), config.batch_size, run, label):
        both = {"features": features, "logits": logits}
        for name, array in arrays.items():
            array[at : at + len(features)] = both[name].cpu().numpy()
        at += len(features)
    for array in arrays.values():
        array.flush()
    np.save(work / "labels.npy", examples.labels)
    return {name: list(array.shape) for name, array in arrays.items()} | {"images_seen": n}

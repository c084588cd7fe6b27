"""Stage signals: outputs of a frozen model for every example of a split, one pass, eval mode, not augmented.

Inputs: `model` (train or adopt), `examples` (index). Files: logits.npy float32 (n, classes), features.npy float32
(n, d), grad_norm.npy float32 (n,): those that `arrays` asks for; labels.npy int64 (n,).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.config import RunConfig, SignalsConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, laid_out
from dataprune.models.tally import GRADIENT, Tally
from dataprune.passes import clean_loader, device_of, load_network, outputs
from dataprune.progress import track
from dataprune.scores.gradients import grand
from dataprune.store import create_array

CONFIG = SignalsConfig
FROM_ONE_PASS = ("logits", "features")
GRADIENTS = ["grad_norm"]  # in a pass of its own: a forward and a backward an example


def run(config: SignalsConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Write the arrays row by row; returns the shape of each, and the images and FLOPs of the pass."""
    network, tally = load_network(inputs["model"]), Tally()
    examples = Examples.of(inputs, config.split)
    if config.arrays == GRADIENTS:
        return gradients(network, examples, config, work, run, label)
    unknown = set(config.arrays) - set(FROM_ONE_PASS)
    if unknown:
        raise ConfigError("signals.arrays", config.arrays, "some of " + ", ".join(FROM_ONE_PASS))
    n, at = len(examples), 0
    widths = {"features": network.head.in_features, "logits": network.head.out_features}
    arrays = {name: create_array(work / f"{name}.npy", np.float32, (n, widths[name])) for name in config.arrays}
    for features, logits in outputs(network, examples, np.arange(n), config.batch_size, run, label, tally):
        both = {"features": features, "logits": logits}
        for name, array in arrays.items():
            array[at : at + len(features)] = both[name].cpu().numpy()
        at += len(features)
    for array in arrays.values():
        array.flush()
    np.save(work / "labels.npy", examples.labels)
    return {name: list(array.shape) for name, array in arrays.items()} | {"images_seen": n} | tally.facts(network)


def gradients(
    network: Network, examples: Examples, config: SignalsConfig, work: Path, run: RunConfig, label: str
) -> dict[str, Any]:
    """Write the length of each example's own gradient; returns its shape, and the images and FLOPs of the pass."""
    network, tally = network.to(device_of(run)), Tally()
    lengths = np.empty(len(examples), np.float32)
    loader = clean_loader(examples, np.arange(len(examples)), config.batch_size, run)
    for batch in track(loader, label, len(loader)):
        inputs = laid_out(batch["inputs"], torch.contiguous_format)
        lengths[batch["id"].numpy(force=True)] = grand(network, inputs, batch["y"])
        tally.add(GRADIENT, batch["inputs"], batch["real"])
    tally.settle()
    np.save(work / "grad_norm.npy", lengths)
    return {"grad_norm": list(lengths.shape), "images_seen": len(examples)} | tally.facts(network)

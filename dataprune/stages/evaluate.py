"""Stage evaluate: measure a model on a split.

Inputs: `model` (train or adopt), `examples` (index); `subset` (select) if whole classes were pruned: then only examples
of kept classes count, and figures of different ratios must not be compared. Files: metrics.json; outcomes.npz with
`ids`, `prediction`, `p_true`, `logit_gap` (logit of the true class minus the largest other), per example.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.config import EvaluateConfig, RunConfig
from dataprune.data.examples import Examples, half_of
from dataprune.models.tally import Tally
from dataprune.passes import feed_of, load_network, outputs
from dataprune.selectors.classes import examples_of

CONFIG = EvaluateConfig
log = logging.getLogger(__name__)


def run(config: EvaluateConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Measure; returns the metrics (fractions, 0 to 1; loss in nats), and the images and FLOPs of the pass."""
    network, tally = load_network(inputs["model"]), Tally()
    examples = Examples.of(inputs, config.split)
    ids = np.arange(len(examples))
    if "subset" in inputs and (inputs["subset"] / "classes.npy").exists():
        ids = examples_of(np.load(inputs["subset"] / "classes.npy"), examples.labels)
    if config.half != "all":
        ids = np.intersect1d(ids, half_of(examples.labels, config.half))
    with feed_of(run) as feed:
        passed = outputs(network, examples, ids, config.batch_size, feed, label, tally)
        logits = torch.cat([batch_logits.cpu() for _, batch_logits in passed])
    present = len(np.unique(examples.labels[ids]))
    if config.metric == "per_class" and present < len(examples.classes):
        missing = len(examples.classes) - present
        log.warning("%s: %d of %d classes have no example, and do not count", label, missing, len(examples.classes))
    metrics, outcomes = measure(logits, torch.from_numpy(examples.labels[ids]))
    (work / "metrics.json").write_text(json.dumps(metrics, indent=1))
    arrays: dict[str, Any] = {"ids": ids} | outcomes
    np.savez(work / "outcomes.npz", **arrays)
    return metrics | tally.facts(network)


def measure(logits: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics over all examples, and outcomes per example, from logits float32 (n, classes) and labels int64 (n,).

    top1, top5 (of min(5, classes)), mean_class_top1 (classes without examples are left out), worst_class_top1, loss.
    """
    at = labels[:, None]
    true = logits.gather(1, at)[:, 0]
    others = logits.scatter(1, at, -torch.inf).amax(1)
    prediction = logits.argmax(1)
    right = (prediction == labels).double()
    best = logits.topk(min(5, logits.shape[1]), 1).indices
    counts = torch.bincount(labels, minlength=logits.shape[1])
    per_class = torch.bincount(labels, right, minlength=logits.shape[1])[counts > 0] / counts[counts > 0]
    metrics = {
        "top1": right.mean().item(),
        "top5": (best == at).any(1).double().mean().item(),
        "mean_class_top1": per_class.mean().item(),
        "worst_class_top1": per_class.min().item(),
        "loss": torch.nn.functional.cross_entropy(logits.double(), labels).item(),
        "n": len(labels),
    }
    p_true = logits.softmax(1).gather(1, at)[:, 0]
    outcomes = {"prediction": prediction, "p_true": p_true, "logit_gap": true - others}
    return metrics, {name: values.numpy() for name, values in outcomes.items()}

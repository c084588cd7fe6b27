"""Stage evaluate: measure a model on a split.

Inputs: `model` (train or adopt), `examples` (index); `features` (signals) of this split, if its backbone is known to
give them; `subset` (select) if whole classes were pruned, or the split has a
subset file of its own: then only examples of kept classes (or those that the file keeps) count, and figures of
different ratios must not be compared. Files: metrics.json; outcomes.npz with `ids`, `prediction`, `p_true`, `logit_gap`
(logit of the true class minus the largest other), per example.

With ReaL's labels also real_top1, real_top5 and real_n (images that count). With a file of columns (mapping_dict.txt)
these are the only outputs that are looked at, and classes are positions among them.
"""

import json
import logging
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune import ranks
from dataprune.config import EvaluateConfig, RunConfig
from dataprune.data.examples import Examples, half_of
from dataprune.errors import ConfigError
from dataprune.formats.imagenet import positions, read_mapping, read_real, real_metrics
from dataprune.models.tally import Tally
from dataprune.passes import batches_in, feed_of, load_network, measured, of_features, outputs

CONFIG = EvaluateConfig
log = logging.getLogger(__name__)


def run(config: EvaluateConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Measure; returns the metrics (fractions, 0 to 1; loss in nats), and the images and FLOPs of the pass."""
    network, tally = load_network(inputs["model"]), Tally()
    examples = Examples.of(inputs, config.split)
    ids = measured(inputs.get("subset"), examples)
    if config.half != "all":
        ids = np.intersect1d(ids, half_of(examples.labels, config.half))
    with feed_of(run) as feed:
        if (features := inputs.get("features")) is not None:
            passed = of_features(network, features, ids, config.batch_size, feed.device, tally)
        else:
            passed = map(itemgetter(1), outputs(network, examples, ids, config.batch_size, feed, label, tally))
        mine = (batch_logits.cpu() for batch_logits in passed)
        batches = list(ranks.in_order(mine, batches_in(ids, config.batch_size)))
    tally.settle(ranks.summed, ranks.united)
    if ranks.place()[0] > 0:  # process 0 has them all
        return {}
    logits, labels = torch.cat(batches), torch.from_numpy(examples.labels[ids])
    if config.metric == "per_class":
        tell_absent(examples, ids, label)
    try:
        if config.classes_file is not None:
            logits, labels = gathered(logits, labels, read_mapping(config.classes_file, logits.shape[1]), examples)
        metrics, outcomes = measure(logits, labels)
        if config.real is not None:
            names = [examples.names[i] for i in ids]
            metrics |= real_metrics(highest(logits).numpy(), names, read_real(config.real))
    except ConfigError as error:
        raise error.under("evaluate") from None
    (work / "metrics.json").write_text(json.dumps(metrics, indent=1))
    arrays: dict[str, Any] = {"ids": ids} | outcomes
    np.savez(work / "outcomes.npz", **arrays)
    return metrics | tally.facts(network)


def tell_absent(examples: Examples, ids: np.ndarray, label: str) -> None:
    """Warn of classes without an example among these."""
    missing = len(examples.classes) - len(np.unique(examples.labels[ids]))
    if missing:
        log.warning("%s: %d of %d classes have no example, and do not count", label, missing, len(examples.classes))


def gathered(
    logits: torch.Tensor, labels: torch.Tensor, columns: np.ndarray, examples: Examples
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the logits of some columns, (n, columns), and labels as positions among them. Raises ConfigError for a
    label that is none of them."""
    found = positions(labels.numpy(), columns, examples.classes, examples.split)
    return logits[:, torch.from_numpy(columns)], torch.from_numpy(found)


def highest(logits: torch.Tensor) -> torch.Tensor:
    """Return the classes of the five highest logits, best first, int64 (n, min(5, classes))."""
    return logits.topk(min(5, logits.shape[1]), 1).indices


def measure(logits: torch.Tensor, labels: torch.Tensor) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Metrics over all examples, and outcomes per example, from logits float32 (n, classes) and labels int64 (n,).

    top1, top5 (of min(5, classes)), mean_class_top1 (classes without examples are left out), worst_class_top1, loss.
    """
    at = labels[:, None]
    true = logits.gather(1, at)[:, 0]
    others = logits.scatter(1, at, -torch.inf).amax(1)
    prediction = logits.argmax(1)
    right = (prediction == labels).double()
    counts = torch.bincount(labels, minlength=logits.shape[1])
    per_class = torch.bincount(labels, right, minlength=logits.shape[1])[counts > 0] / counts[counts > 0]
    metrics = {
        "top1": right.mean().item(),
        "top5": (highest(logits) == at).any(1).double().mean().item(),
        "mean_class_top1": per_class.mean().item(),
        "worst_class_top1": per_class.min().item(),
        "loss": torch.nn.functional.cross_entropy(logits.double(), labels).item(),
        "n": len(labels),
    }
    p_true = logits.softmax(1).gather(1, at)[:, 0]
    outcomes = {"prediction": prediction, "p_true": p_true, "logit_gap": true - others}
    return metrics, {name: values.numpy() for name, values in outcomes.items()}

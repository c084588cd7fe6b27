"""Signals: what a frozen network tells of each example, as functions that the table of arrays names.

A signal takes `network` (in eval mode), `inputs` (the batch's columns by name: `network(**inputs)` gives logits) and
`labels` int64 (b,), and returns a tensor (b, ...): one row an example. One that names `features` (b, d) or `logits`
(b, classes) among its parameters gets them too, computed once a batch for all signals. Gradients are off; a signal that
wants them says so with `torch.enable_grad` or uses `torch.func`.
"""

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import torch

from dataprune.checkpoints.masks import prunable
from dataprune.errors import share, whole_number
from dataprune.models.networks import Network
from dataprune.models.sparsity import kept, kept_by_channel
from dataprune.scores.gradients import grand

Signal = Callable[..., torch.Tensor]
# of a network and its constants, by weight: the level from which on it is zero; read at each batch, ranked once
Levels = dict[str, torch.Tensor]
LEVELS: WeakKeyDictionary[Network, dict[tuple[int, float], Levels]] = WeakKeyDictionary()


def logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the network's outputs, float32 (b, classes)."""
    return logits


def features(features: torch.Tensor) -> torch.Tensor:
    """Return what the head sees, float32 (b, d)."""
    return features


def grad_norm(network: Network, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Return the length of each example's own gradient in all trainable parameters, float32 (b,) (GraNd)."""
    return torch.from_numpy(grand(network, {name: values.contiguous() for name, values in inputs.items()}, labels))


@torch.no_grad()
def features_by_sparsity(
    network: Network, inputs: Mapping[str, torch.Tensor], *, levels: int = 10, interval: float = 0.1
) -> torch.Tensor:
    """Return what the head would see of a network that is pruned more and more, float32 (b, levels, d) (DLC).

    At each level the share `interval` of the backbone's remaining weights goes, the smallest of all layers, and nothing
    is trained; at least one weight of each output channel stays. Ten levels of 0.1 end at a sparsity of 0.65. Weights
    are ranked at the first call for a network, which is frozen.
    """
    whole_number("levels", levels, 1)
    weights = {name: w for name, w in prunable(network).items() if not name.startswith("head.")}
    known = LEVELS.setdefault(network, {})
    if (levels, interval) not in known:
        known[levels, interval] = _levels(weights, levels, share("interval", interval))
    gone, dense = known[levels, interval], {name: w.detach().clone() for name, w in weights.items()}
    found = []
    try:
        for level in range(levels):
            for name, weight in weights.items():
                weight.masked_fill_(gone[name] <= level, 0)
            found.append(network.features(**inputs).float())
    finally:
        for name, weight in weights.items():
            weight.copy_(dense[name])
    return torch.stack(found, 1)


def _levels(weights: Mapping[str, torch.Tensor], levels: int, interval: float) -> Levels:
    scores = [w.detach().abs().float() for w in weights.values()]
    left, at = sum(each.numel() for each in scores), [torch.full(each.shape, levels) for each in scores]
    for level in reversed(range(levels)):
        keep = left
        for _ in range(level + 1):
            keep = kept(interval, keep)
        for place, mask in zip(at, kept_by_channel(scores, keep)[0], strict=True):
            place[~mask.cpu()] = level
    return {name: place.to(w.device) for (name, w), place in zip(weights.items(), at, strict=True)}


class Batch(dict[str, Any]):
    """What the signals of one batch may ask for by name; features and logits are computed when they are first."""

    def __missing__(self, name: str) -> torch.Tensor:
        network, inputs = self["network"], self["inputs"]
        with torch.no_grad():
            value = network.features(**inputs) if name == "features" else network.head(self["features"])
        self[name] = value.float()
        return self[name]

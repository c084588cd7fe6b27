"""Signals: what a frozen network tells of each example, as functions that the table of arrays names.

A signal takes `network` (in eval mode), `inputs` (the batch's columns by name: `network(**inputs)` gives logits) and
`labels` int64 (b,), and returns a tensor (b, ...): one row an example. One that names `features` (b, d) or `logits`
(b, classes) among its parameters gets them too, computed once a batch for all signals. Gradients are off; a signal that
wants them says so with `torch.enable_grad` or uses `torch.func`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch

from dataprune.models.networks import Network
from dataprune.scores.gradients import grand

Signal = Callable[..., torch.Tensor]


def logits(logits: torch.Tensor) -> torch.Tensor:
    """Return the network's outputs, float32 (b, classes)."""
    return logits


def features(features: torch.Tensor) -> torch.Tensor:
    """Return what the head sees, float32 (b, d)."""
    return features


def grad_norm(network: Network, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
    """Return the length of each example's own gradient in all trainable parameters, float32 (b,) (GraNd)."""
    return torch.from_numpy(grand(network, {name: values.contiguous() for name, values in inputs.items()}, labels))


class Batch(dict[str, Any]):
    """What the signals of one batch may ask for by name; features and logits are computed when they are first."""

    def __missing__(self, name: str) -> torch.Tensor:
        network, inputs = self["network"], self["inputs"]
        with torch.no_grad():
            value = network.features(**inputs) if name == "features" else network.head(self["features"])
        self[name] = value.float()
        return self[name]

"""Scores from the length of each example's own gradient (GraNd, Paul et al., NeurIPS 2021), and means over runs.

float32 (n,), higher = larger gradient = kept first. The loss is summed, never averaged, over a batch: DeepCore divides
every gradient by its batch size, so that the examples of a short last batch look hardest. Take the network of an
early epoch and average over runs (`aggregate`); the claim that the score works at initialisation did not reproduce.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, class_labels, finite, first, shaped, whole_number
from dataprune.neighbors.prototypes import feature_rows
from dataprune.scores.predictions import probability_array, probability_rows
from dataprune.windows import FINITE, checked_blocks, recorded, totals

if TYPE_CHECKING:
    import torch


def grand_last_layer(probabilities: np.ndarray, features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Length of the gradient of the cross-entropy in a last linear layer with bias, in closed form.

    probabilities: (n, c) softmax; features: (n, d), what the layer is fed; labels: integers (n,) below c.
    The gradient is (p - onehot(y)) (x, 1)^T, so its length is ||p - onehot(y)|| sqrt(1 + ||x||^2); it is never built.
    """
    features, probabilities = feature_rows("features", features), probability_array(probabilities)
    n, classes = probabilities.shape
    if len(features) != n:
        raise ConfigError("features", Shown(f"{len(features)} rows"), f"{n} rows, as probabilities has")
    labels = class_labels("labels", labels, n, classes)
    scores = np.empty(n, np.float32)
    for ids in spans(n, 8 * (classes + features.shape[1])):
        residual = probability_rows(probabilities, ids)
        residual[np.arange(len(residual)), labels[ids]] -= 1
        lengths = np.linalg.norm(features[ids].astype(np.float64), axis=1)
        scores[ids] = np.linalg.norm(residual, axis=1) * np.hypot(1, lengths)
    return scores


def grand(
    network: "torch.nn.Module",
    inputs: "torch.Tensor | np.ndarray | Mapping[str, torch.Tensor | np.ndarray]",
    labels: "torch.Tensor | np.ndarray",
    *,
    chunk: int = 16,
) -> np.ndarray:
    """Length of the gradient of the cross-entropy in all trainable parameters, one gradient an example.

    network: inputs -> logits (m, c); it is scored in eval mode, on the device where its parameters lie, and left as
    it was. inputs: (n, ...), its only argument, or several by name; labels: integers (n,) below c; tensors or arrays,
    the deterministic view (the reference of DP4TL scores train mode, random crops and batches of 4). chunk: examples at
    once; each holds a gradient of the size of the network. Costs a forward and a backward pass an example.
    Raises ConfigError when nothing is trainable or a gradient is not finite (with the first ids).
    """
    import torch

    chunk = whole_number("chunk", chunk, 1)
    trainable = {name: weight.detach() for name, weight in network.named_parameters() if weight.requires_grad}
    if not trainable:
        raise ConfigError("network", Shown("no parameter that requires a gradient"), "at least one")
    device = next(iter(trainable.values())).device
    targets = class_labels(
        "labels", labels.numpy(force=True) if isinstance(labels, torch.Tensor) else labels, _length(inputs)
    )
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        lengths = _gradient_lengths(network, trainable)
        scores = np.empty(len(targets), np.float32)
        for start in range(0, len(targets), chunk):
            ids = slice(start, min(start + chunk, len(targets)))
            part = _part(inputs, ids, device)
            if start == 0:
                with torch.no_grad():
                    first_logits = _called(network, _part(inputs, slice(0, 1), device))
                class_labels("labels", targets, n_classes=first_logits.shape[1])
            scores[ids] = lengths(trainable, part, torch.from_numpy(targets[ids]).to(device)).numpy(force=True)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return finite("gradients", scores)


def gradient_length(grad_norm: np.ndarray) -> np.ndarray:
    """GraNd of lengths that are there already, e.g. those that the pipeline computes with `grand`: float32 (n,).

    grad_norm: (n,), finite and not negative. A mean over several surrogates: `aggregate`.
    """
    lengths = finite("grad_norm", shaped("grad_norm", grad_norm, "n"))
    if lengths.min(initial=0) < 0:
        raise ConfigError("grad_norm", Shown(f"ids {first(np.flatnonzero(lengths < 0))} below 0"), "lengths")
    return lengths.astype(np.float32)


def aggregate(run_scores: np.ndarray) -> np.ndarray:
    """Mean over runs (r, n) of any score: float32 (n,). NaN = run r did not score the example; no run did: NaN.

    GraNd and EL2N are published as means over five to ten independently initialised models. For EL2N at one epoch t
    the rows are that epoch's errors: `aggregate(np.stack([error[t] for error in runs]))`.
    """
    run_scores = recorded("run_scores", run_scores)
    scores = np.empty(run_scores.shape[1], np.float32)
    for ids, block, _ in checked_blocks("run_scores", run_scores, FINITE):
        total, seen = totals(block)
        scores[ids] = total / np.where(seen == 0, np.nan, seen)
    return scores


def _gradient_lengths(
    network: "torch.nn.Module", trainable: "dict[str, torch.Tensor]"
) -> "Callable[..., torch.Tensor]":
    """A function (trainable, inputs, labels) -> length of each example's gradient, float64 (m,)."""
    import torch
    from torch.func import functional_call, grad, vmap

    rest = {name: weight.detach() for name, weight in network.named_parameters() if name not in trainable}
    rest |= dict(network.named_buffers())

    def loss(weights: "dict[str, torch.Tensor]", example: Any, label: "torch.Tensor") -> "torch.Tensor":
        if isinstance(example, dict):
            logits = functional_call(network, (weights, rest), (), {name: x[None] for name, x in example.items()})
        else:
            logits = functional_call(network, (weights, rest), (example[None],))
        return torch.nn.functional.cross_entropy(logits, label[None], reduction="sum")

    def length(weights: "dict[str, torch.Tensor]", example: Any, label: "torch.Tensor") -> "torch.Tensor":
        gradient = grad(loss)(weights, example, label)
        return torch.stack([part.double().square().sum() for part in gradient.values()]).sum().sqrt()

    def one_by_one(weights: "dict[str, torch.Tensor]", examples: Any, labels: "torch.Tensor") -> "torch.Tensor":
        return torch.stack([length(weights, _at(examples, i), label) for i, label in enumerate(labels)])

    together: Callable[..., torch.Tensor] = vmap(length, in_dims=(None, 0, 0))

    def lengths(weights: "dict[str, torch.Tensor]", examples: Any, labels: "torch.Tensor") -> "torch.Tensor":
        nonlocal together
        try:
            return together(weights, examples, labels)
        except RuntimeError:  # a network that looks at values, as encoders of text do for padding, takes one at a time
            together = one_by_one
            return together(weights, examples, labels)

    return lengths


def _at(examples: Any, i: int) -> Any:
    return {name: x[i] for name, x in examples.items()} if isinstance(examples, dict) else examples[i]


def _length(inputs: Any) -> int:
    return len(next(iter(inputs.values()))) if isinstance(inputs, Mapping) else len(inputs)


def _part(inputs: Any, ids: slice, device: "torch.device") -> Any:
    """These examples on the device."""
    import torch

    if isinstance(inputs, Mapping):
        return {name: _part(column, ids, device) for name, column in inputs.items()}
    part = inputs[ids] if isinstance(inputs, torch.Tensor) else torch.from_numpy(np.array(inputs[ids]))
    return part.to(device)


def _called(network: "torch.nn.Module", inputs: Any) -> "torch.Tensor":
    return network(**inputs) if isinstance(inputs, dict) else network(inputs)

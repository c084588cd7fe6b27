"""Masks: which weights of a network stay zero, and how many there are.

Prunable are the weights of convolutions and linear layers, nothing else (biases, batch norms). A mask is bool, of the
weight's shape, True = kept. Density is the share that is kept, sparsity the share that is not.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataprune.errors import ConfigError, Shown

FILE = "masks.npz"  # of an adopt result: one bool array a parameter
TOLERANCE = 0.005  # by which a density may differ from the claimed one


def prunable(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return the weights that a mask may have, by their names, in the network's order."""
    kinds = nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear
    layers = ((name, layer) for name, layer in network.named_modules() if isinstance(layer, kinds))
    return {f"{name}.weight".lstrip("."): layer.weight for name, layer in layers}


def figures(masks: Mapping[str, torch.Tensor]) -> dict[str, Any]:
    """Return counts of zeros: `per_layer` {name: [zeros, numbers]}; `backbone` without the classifier (the last), and
    `all_prunable` with it: {zeros, total, sparsity}."""
    per_layer = {name: [int((~mask).sum()), mask.numel()] for name, mask in masks.items()}
    body = [*per_layer.values()][:-1]
    return {"backbone": _sum(body), "all_prunable": _sum([*per_layer.values()]), "per_layer": per_layer}


def _sum(counts: list[list[int]]) -> dict[str, Any]:
    zeros, total = sum(zeros for zeros, _ in counts), sum(total for _, total in counts)
    return {"zeros": zeros, "total": total, "sparsity": zeros / total if total else 0.0}


def check_density(found: float, claimed: float | None, key: str) -> None:
    """Raise ConfigError if the density of a backbone is not what it is said to be."""
    if claimed is not None and abs(found - claimed) > TOLERANCE:
        raise ConfigError(key, claimed, f"{found:.4f}, which the weights have: a mask is lost, or it is another file")


def write(masks: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write masks as bool arrays by the names of their parameters."""
    np.savez_compressed(path, **{name: mask.numpy() for name, mask in masks.items()})  # type: ignore[arg-type]


def read_masks(path: Path) -> dict[str, torch.Tensor]:
    """Return the masks of a file that `write` wrote."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: torch.from_numpy(archive[name]) for name in archive.files}


def of_weights(
    weights: Mapping[str, torch.Tensor], stored: Mapping[str, torch.Tensor], key: str
) -> dict[str, torch.Tensor]:
    """Return a mask for each prunable weight: the stored one, or where the weight is not zero.

    Raises ConfigError for a stored mask of anything else.
    """
    if strange := sorted(stored.keys() - weights.keys()):
        raise ConfigError(key, Shown(f"masks of {', '.join(strange[:3])}"), "masks of convolutions and linear layers")
    return {name: stored[name] if name in stored else weight.detach() != 0 for name, weight in weights.items()}

"""What users call: `inspect` a foreign file, `load` it into a network."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from dataprune.checkpoints.conversion import Converted, convert
from dataprune.checkpoints.fitting import fitted
from dataprune.checkpoints.masks import check_density, figures, of_weights, prunable
from dataprune.checkpoints.paths import check_paths
from dataprune.errors import ConfigError, Shown
from dataprune.formats.dynamics import digest


def inspect(path: Path | str, *, format: str | None = None, weights: str = "ticket") -> dict[str, Any]:
    """Return what is in a foreign checkpoint; nothing of it is run.

    `format`; `tensors`: [{name, from, shape, density}], under timm's names; `masks`: names of the stored ones;
    `unknown`: names that the format has no place for; `dropped` and `made`: {name: why}; `beside`, `says`: what else
    the file holds; `arch`, `needs`: what network it is of, and what that must be built with; `backbone`,
    `all_prunable`, `per_layer`: zeros (see `masks.figures`); `sha256`. format, weights: see `conversion.convert`, also
    for errors.
    """
    path = Path(path)
    return report(convert(path, "checkpoint", format=format, weights=weights))


def load(
    path: Path | str,
    model: nn.Module,
    *,
    format: str | None = None,
    trust: bool = False,
    weights: str = "ticket",
    density: float | None = None,
) -> dict[str, np.ndarray]:
    """Put a foreign checkpoint's weights into a network; return its masks: {parameter: bool array}, True = kept.

    Each convolution and linear layer has one: the stored one, or where its weight is not 0. format, weights, trust: see
    `conversion.convert`. density: that the backbone (without the classifier) must have, within 0.005.
    Raises ConfigError, and leaves the network as it was, where anything is left over, missing or of another shape.
    """
    found = convert(Path(path), "checkpoint", format=format, weights=weights, trust=trust)
    state, masks = placed(found, model)
    if missing := sorted(model.state_dict().keys() - state.keys()):
        raise ConfigError("checkpoint", Shown(f"no {', '.join(missing)} in {path}"), "weights with their classifier")
    check_claims(found, figures(masks), density, "density")
    size = getattr(model, "default_cfg", {}).get("input_size")  # timm's networks know what they take
    check_paths(model, masks, size, path, "checkpoint")
    model.load_state_dict(state)
    return {name: mask.numpy() for name, mask in masks.items()}


def placed(found: Converted, model: nn.Module) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Return the tensors of a foreign file, and a mask for each prunable weight, under the network's own names.

    A checkpoint of a backbone alone gives no classifier of our networks, and its mask keeps all. Raises ConfigError as
    `load`, under the key that it was read with.
    """
    ledger = found.ledger
    if ledger.unknown:
        unknown = Shown(f"{len(ledger.unknown)} unknown {ledger.unknown[:3]}")
        raise ConfigError(ledger.key, unknown, f"only tensors of the format {found.format}")
    state = fitted(ledger.tensors, model, ledger.key)
    names = origins(ledger.tensors, state)
    stored = {name: ledger.masks[was] for name, was in names.items() if was in ledger.masks}
    if lost := sorted(ledger.masks.keys() - {names[name] for name in stored}):
        raise ConfigError(ledger.key, Shown(f"masks of {', '.join(lost[:3])}"), "masks of weights of this network")
    weights = prunable(model)
    masks = of_weights({name: state.get(name, torch.ones(p.shape)) for name, p in weights.items()}, stored, ledger.key)
    return state, masks


def check_claims(found: Converted, counts: dict[str, Any], density: float | None, key: str) -> None:
    """Raise ConfigError where the backbone has another density than `density` (under `key`), or than the file itself
    says as `density` or `sparsity` (a share, of the backbone or with the classifier)."""
    check_density(1 - counts["backbone"]["sparsity"], density, key)
    both = [1 - counts[figure]["sparsity"] for figure in ("backbone", "all_prunable")]
    for name in ("density", "sparsity"):
        claimed = found.says.get(name)
        if isinstance(claimed, int | float) and 0 <= claimed <= 1:
            claimed = claimed if name == "density" else 1 - claimed
            check_density(min(both, key=lambda of: abs(of - claimed)), claimed, f"{found.ledger.key}: density")


def origins(before: dict[str, torch.Tensor], after: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return under which name each tensor was before, if it is the same one."""
    was = {id(tensor): name for name, tensor in before.items()}
    return {name: was[id(tensor)] for name, tensor in after.items() if id(tensor) in was}


def report(found: Converted, state: dict[str, torch.Tensor] | None = None) -> dict[str, Any]:
    """Return what `inspect` says of a converted file; with `state`, its tensors under the names of a network."""
    ledger = found.ledger
    weights = {name: t for name, t in ledger.tensors.items() if name.endswith(".weight") and t.ndim in (2, 4)}
    masks = of_weights(weights, {n: m for n, m in ledger.masks.items() if n in weights}, ledger.key)
    state = ledger.tensors if state is None else state
    names = origins(ledger.tensors, state)
    rows = [_row(name, tensor, ledger.sources.get(names.get(name, ""))) for name, tensor in state.items()]
    held: dict[str, Any] = {
        "format": found.format,
        "tensors": rows,
        "masks": sorted(ledger.masks),
        "unknown": ledger.unknown,
    }
    held |= {"dropped": ledger.dropped, "made": ledger.made, "arch": found.arch, "needs": found.needs}
    held |= {"interpolation": "bicubic" if found.is_rigl else "bilinear", "says": found.says}
    held |= {"beside": sorted(map(str, found.file.beside)), **figures(masks)}
    return held | {"file": found.file.path.name, "sha256": digest([found.file.path])}


def _row(name: str, tensor: torch.Tensor, source: str | None) -> dict[str, Any]:
    density = int(tensor.count_nonzero()) / max(1, tensor.numel())
    return {"name": name, "from": source, "shape": list(tensor.shape), "density": density}

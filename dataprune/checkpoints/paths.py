"""Layers that a mask has emptied: they are told, and where nothing of the input reaches the output, refused."""

import copy
import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network

log = logging.getLogger(__name__)


def check_paths(
    network: nn.Module, masks: Mapping[str, torch.Tensor], image: tuple[int, ...] | None, path: Path | str, key: str
) -> None:
    """Log which layers have lost all weights, or all of an output channel's.

    image: (channels, height, width) that the network takes, None = not known. Raises ConfigError for `key` where a
    layer is empty and no shortcut leads around it.
    """
    empty = [name for name, mask in masks.items() if not mask.any()]
    thin = [name for name, mask in masks.items() if mask.any() and not mask.flatten(1).any(1).all()]
    if thin:
        log.warning("%s: output channels without a weight in %d layers (%s)", path, len(thin), thin[0])
    if not empty:
        return
    if image is not None and not reaches(network, masks, image):
        found = Shown(f"no weight in {', '.join(empty[:3])}")
        raise ConfigError(key, found, "a path from the input to the output that masks leave")
    log.warning("%s: no weight is left in %s", path, ", ".join(empty))


@torch.no_grad()
def reaches(network: nn.Module, masks: Mapping[str, torch.Tensor], image: tuple[int, ...]) -> bool:
    """Return whether the output depends on the input at all, whatever the kept weights are: in a copy in which they are
    positive, and which has no biases and no statistics."""
    probe = copy.deepcopy(network).double().eval()
    for name, parameter in probe.named_parameters():
        mask = masks.get(name)
        if mask is not None:
            parameter.copy_(mask / mask.flatten(1).sum(1).clamp(min=1).view(-1, *[1] * (mask.ndim - 1)))
        else:
            parameter.fill_(float(name.endswith("weight")))  # of norms
    for module in probe.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.reset_running_stats()
    x = torch.rand((1, *image), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    whole = [probe(image=t) if isinstance(probe, Network) else probe(t) for t in (x, torch.zeros_like(x))]
    return not torch.equal(*whole)

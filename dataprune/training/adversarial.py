"""Adversarial examples for source pretraining (DP4TL): each batch is replaced by a worst case nearby."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn import functional as F


def attack_images(
    network: Callable[..., torch.Tensor], inputs: Mapping[str, torch.Tensor], y: torch.Tensor, **constants: Any
) -> dict[str, torch.Tensor]:
    """The inputs of a batch with `pgd` on their images; network(**inputs) -> logits, constants: as `pgd` takes them."""
    moved = pgd(lambda image: network(**{**inputs, "image": image}), inputs["image"], y, **constants)
    return {**inputs, "image": moved}


def pgd(
    network: Callable[[torch.Tensor], torch.Tensor],
    x: torch.Tensor,
    y: torch.Tensor,
    *,
    epsilon: float,
    steps: int,
    mean: torch.Tensor,
    std: torch.Tensor,
) -> torch.Tensor:
    """L-infinity PGD (Madry et al. 2018) around normalised images `x` float (b, c, h, w), labels `y` int64 (b,).

    epsilon in pixel units (3/255), `steps` steps of 2 epsilon / steps, random start, cross entropy; the result stays
    within epsilon and within [0, 1] in pixel space. mean, std: (c,), as the images were normalised. The network is used
    in the mode it is in (DP4TL: train mode). The released code adds its steps in normalised space and projects in pixel
    space, so its attack is about 4 times weaker; here everything is in pixel units.
    """
    mean, std = (v.view(1, -1, 1, 1).to(x) for v in (mean, std))
    low, high = torch.maximum(x - epsilon / std, -mean / std), torch.minimum(x + epsilon / std, (1 - mean) / std)
    step = 2 * epsilon / steps / std
    moved = x + (2 * torch.rand_like(x) - 1) * epsilon / std
    for _ in range(steps):
        moved = torch.clamp(moved, low, high).detach().requires_grad_()
        with torch.enable_grad():
            # the sum: of a mean over a large batch, half precision loses the small gradients
            loss = F.cross_entropy(network(moved).float(), y, reduction="sum")
            (gradient,) = torch.autograd.grad(loss, moved)
        moved = moved + step * gradient.sign()
    return torch.clamp(moved, low, high).detach()

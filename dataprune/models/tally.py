"""How many examples went through a network, and how: what a stage reports as its images and FLOPs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from dataprune.models.flops import Attack, forward_flops, step_flops

# a clean pass; a training step; one pass of its attack; a gradient of each example (eval mode, no step); a user's own
# function, of which nobody knows what it does with the network
FORWARD, STEP, ATTACK, GRADIENT, UNKNOWN = "forward", "step", "attack", "gradient", "unknown"


class Tally:
    """Counts examples by what was done with them and by their shape.

    `add` counts on the device, without waiting for it; `settle` makes whole numbers of that, at the end of an epoch or
    a pass. What is not settled is lost with the process, as the epoch is that it belongs to.
    """

    def __init__(self) -> None:
        self.here: dict[tuple[str, tuple[int, ...]], int | torch.Tensor] = {}
        self.counts: dict[tuple[str, tuple[int, ...]], int] = {}

    def add(self, kind: str, x: torch.Tensor, real: torch.Tensor | None = None) -> None:
        """Count the examples x (b, ...); real: bool (b,), False = only fills the batch up, None = all are real."""
        key = kind, tuple(x.shape[1:])
        self.here[key] = self.here.get(key, 0) + (len(x) if real is None else real.sum())

    def settle(self, summed: Callable[[torch.Tensor], list[float]] = torch.Tensor.tolist) -> None:
        """Take over what was added since the last time. summed: gives the sums (k,) over all processes."""
        kinds = sorted(self.here)  # the same order in every process
        if kinds:
            numbers = summed(torch.tensor([float(self.here[key]) for key in kinds], dtype=torch.float64))
            for key, number in zip(kinds, numbers, strict=True):
                self.counts[key] = self.counts.get(key, 0) + round(number)
        self.here = {}

    def state(self) -> list[list[Any]]:
        """Return [kind, shape, examples] of all that is settled: plain values, for a checkpoint."""
        return [[kind, list(shape), n] for (kind, shape), n in self.counts.items()]

    def take_over(self, state: Sequence[Sequence[Any]]) -> None:
        """Add what `state` of another tally gave."""
        for kind, shape, n in state:
            self.counts[kind, tuple(shape)] = self.counts.get((kind, tuple(shape)), 0) + n

    @property
    def seen(self) -> int:
        """Examples that were trained on, each time that they were."""
        return sum(n for (kind, _), n in self.counts.items() if kind == STEP)

    def facts(self, network: nn.Module, attack: Attack | None = None) -> dict[str, Any]:
        """Return images_forward, images_backward and flops (float; None = unknown) of all that is settled.

        Vectors (d,) go through the head alone: they cost FLOPs, but are no images.
        """
        images = {"images_forward": 0, "images_backward": 0}
        flops: float | None = 0.0
        for (kind, shape), n in self.counts.items():
            if len(shape) > 1:
                images["images_forward"] += n
                images["images_backward"] += 0 if kind in (FORWARD, UNKNOWN) else n
            if kind == UNKNOWN:
                flops = None
            elif kind != ATTACK:  # a step's FLOPs hold those of its attack
                each = forward_flops(network, shape) if kind == FORWARD else step_flops(network, shape, attack)
                flops = None if flops is None or each is None else flops + n * each
        return images | {"flops": flops}

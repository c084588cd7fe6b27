"""How many examples went through a network, and how: what a stage reports as its images and FLOPs."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from dataprune.models.flops import Attack, forward_flops, step_flops
from dataprune.models.lengths import by_length
from dataprune.models.networks import FEATURES

# a clean pass; a training step; one pass of its attack; a gradient of each example (eval mode, no step); a user's own
# function, of which nobody knows what it does with the network
FORWARD, STEP, ATTACK, GRADIENT, UNKNOWN = "forward", "step", "attack", "gradient", "unknown"

Form = tuple[tuple[str, str, tuple[int, ...]], ...]  # of an example's inputs: name, dtype, shape


class Tally:
    """Counts examples by what was done with them and by the form of their inputs.

    `add` counts on the device, without waiting for it; `settle` makes whole numbers of that, at the end of an epoch or
    a pass. What is not settled is lost with the process, as the epoch is that it belongs to.
    """

    def __init__(self) -> None:
        self.here: dict[tuple[str, Form], int | torch.Tensor] = {}
        self.counts: dict[tuple[str, Form], int] = {}

    def add(self, kind: str, inputs: Mapping[str, torch.Tensor], real: torch.Tensor | None = None) -> None:
        """Count the examples of a batch by its inputs, each (b, ...); real: bool (b,), False = only fills the batch up,
        None = all are real."""
        key = kind, form_of(inputs)
        size = len(next(iter(inputs.values())))
        self.here[key] = self.here.get(key, 0) + (size if real is None else real.sum())

    def settle(
        self,
        summed: Callable[[torch.Tensor], list[float]] = torch.Tensor.tolist,
        united: Callable[[set[tuple[str, Form]]], set[tuple[str, Form]]] = set,
    ) -> None:
        """Take over what was added since the last time.

        summed: gives the sums (k,) over all processes; united: all that any process has seen (texts are padded to
        another length in each).
        """
        kinds = sorted(united(set(self.here)))  # the same ones in the same order in every process
        if kinds:
            numbers = summed(torch.tensor([float(self.here.get(key, 0)) for key in kinds], dtype=torch.float64))
            for key, number in zip(kinds, numbers, strict=True):
                self.counts[key] = self.counts.get(key, 0) + round(number)
        self.here = {}

    def state(self) -> list[list[Any]]:
        """Return [kind, form, examples] of all that is settled: plain values, for a checkpoint."""
        return [[k, [[name, d, list(shape)] for name, d, shape in form], n] for (k, form), n in self.counts.items()]

    def take_over(self, state: Sequence[Sequence[Any]]) -> None:
        """Add what `state` of another tally gave."""
        for kind, plain, n in state:
            key = kind, tuple((name, dtype, tuple(shape)) for name, dtype, shape in plain)
            self.counts[key] = self.counts.get(key, 0) + n

    @property
    def seen(self) -> int:
        """Examples that were trained on, each time that they were."""
        return sum(n for (kind, _), n in self.counts.items() if kind == STEP)

    def facts(self, network: nn.Module, attack: Attack | None = None) -> dict[str, Any]:
        """Return images_forward, images_backward and flops (float; None = unknown) of all that is settled.

        Features go through the head alone: they cost FLOPs, but are no images.
        """
        images = {"images_forward": 0, "images_backward": 0}
        for (kind, form), n in self.counts.items():
            if FEATURES not in {name for name, _, _ in form}:
                images["images_forward"] += n
                images["images_backward"] += 0 if kind in (FORWARD, UNKNOWN) else n
        return images | {"flops": self.flops(self.each_flops(network, attack))}

    def flops(self, known: Mapping[tuple[str, Form], float | None]) -> float | None:
        """Return the FLOPs of all that is settled, from those of one example; None = unknown."""
        total = 0.0
        for (kind, form), n in self.counts.items():
            if kind != ATTACK:  # a step's FLOPs hold those of its attack
                each = None if kind == UNKNOWN else known[kind, form]
                if each is None:
                    return None
                total += n * each
        return total

    def each_flops(self, network: nn.Module, attack: Attack | None) -> dict[tuple[str, Form], float | None]:
        """Return the FLOPs of one example of each kind and form that is settled; None = unknown."""

        def count(key: tuple[str, Form]) -> float | None:
            kind, example = key[0], _example(key[1])
            return forward_flops(network, example) if kind == FORWARD else step_flops(network, example, attack)

        alike: dict[Hashable, dict[tuple[str, Form], int]] = {}
        for kind, form in self.counts:
            if kind not in (ATTACK, UNKNOWN):
                length = length_of(form)
                group = (kind, form) if length is None else (kind, *(name for name, _, _ in form))
                alike.setdefault(group, {})[kind, form] = length or 0
        return {key: each for group in alike.values() for key, each in by_length(group, count).items()}


def form_of(inputs: Mapping[str, torch.Tensor]) -> Form:
    """Return name, dtype and shape without the batch of each input, sorted by name."""
    return tuple((name, str(inputs[name].dtype), tuple(inputs[name].shape[1:])) for name in sorted(inputs))


def length_of(form: Form) -> int | None:
    """Return how long the inputs are if they are sequences of one length (texts), else None."""
    shapes = {shape for name, _, shape in form if name != FEATURES}
    (shape,) = shapes if len(shapes) == 1 else (None,)
    return shape[0] if shape is not None and len(shape) == 1 else None


def _example(form: Form) -> dict[str, torch.Tensor]:
    """The inputs of one example without values."""
    dtypes = {str(dtype): dtype for dtype in vars(torch).values() if isinstance(dtype, torch.dtype)}
    return {name: torch.empty(shape, dtype=dtypes[dtype], device="meta") for name, dtype, shape in form}

"""Gradient accumulation: a batch comes in parts, and the optimiser steps when all of them have been backward."""

import math
from collections.abc import Iterator
from typing import Any

import torch

from dataprune.data.loaders import Loader


class Parts:
    """A loader whose batches come in parts: `count` of a whole batch, fewer of a smaller one.

    Only the last batch of an epoch may be smaller: the trainer steps after `count` parts, and at the epoch's end. It
    divides each loss by `count`, which `scale` makes good: the sum over the parts is the mean loss of the whole batch,
    weights and fillers as they are.
    """

    def __init__(self, loader: Loader, count: int) -> None:
        self.loader, self.count = loader, count
        self.most = loader.order.batch_size // loader.order.world // count  # examples of a part

    @property
    def sampler(self) -> Loader:
        """What has `set_epoch`."""
        return self.loader

    def go_on_after(self, epochs: int) -> None:
        """The next epoch is the one after this many."""
        self.loader.go_on_after(epochs)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for batch in self.loader:
            yield from split(batch | {"scale": batch["scale"] * self.count}, self.most)


def split(batch: dict[str, Any], most: int) -> Iterator[dict[str, Any]]:
    """Yield a batch in parts of like size, of at most so many examples."""
    count = math.ceil(len(batch["y"]) / most)
    for places in torch.arange(len(batch["y"])).tensor_split(count):
        here = slice(int(places[0]), int(places[-1]) + 1)
        each = {name: value[here] if isinstance(value, torch.Tensor) else value for name, value in batch.items()}
        yield each | {"inputs": {name: values[here] for name, values in batch["inputs"].items()}}

"""Which loader a stage reads a data set with, and the worker processes that all its loaders share."""

from typing import Any

import numpy as np
import torch

from dataprune.data.examples import Examples
from dataprune.data.images import Images
from dataprune.data.loaders import KeptLoader, Loader, MemoryLoader, WorkerLoader
from dataprune.data.order import Order
from dataprune.data.workers import Workers


class Feed:
    """Where the batches of a stage come from: onto a device, by worker processes that all its loaders share.

    A context: the processes end with it.
    """

    def __init__(self, device: torch.device, workers: int) -> None:
        self.device = device
        self.workers = Workers(workers, pinned=device.type == "cuda")

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *error: object) -> None:
        self.workers.__exit__(*error)

    def loader(self, examples: Examples, order: Order, **augment: Any) -> Loader:
        """The loader that fits how the data set is decoded; `augment` and `weights` as the loaders take them."""
        if examples.header["kept"]:
            kind = MemoryLoader if isinstance(examples.codec, Images) else KeptLoader
            return kind(examples, order, device=self.device, **augment)
        if getattr(examples.codec, "decoder", "").startswith("dali"):
            from dataprune.data.dali import DaliLoader  # an extra

            return DaliLoader(examples, order, device=self.device, threads=max(1, self.workers.count), **augment)
        return WorkerLoader(examples, order, workers=self.workers, device=self.device, **augment)

    def views(self, loader: Loader) -> Loader:
        """What a loader of a training gives, in the same order and not augmented; to be iterated beside it."""
        return loader.views() or self.loader(loader.examples, loader.order)

    def clean(self, examples: Examples, ids: np.ndarray, batch_size: int, rank: int = 0, world: int = 1) -> Loader:
        """Batches of `ids` in order, not augmented."""
        return self.loader(examples, Order(ids, batch_size, shuffle=False, rank=rank, world=world))

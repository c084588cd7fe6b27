"""Batches for training and for clean passes: from memory, or decoded by worker processes.

A batch is a dict: `inputs`, what the network is called with, by name (`image` float32 (b, c, h, w) normalised), `y`
int64 (b,), `id` int64 (b,), `real` bool (b,) or None when all are, `weight` float32 (b,) or None when all are 1,
`scale` float: the factor that makes the processes' mean of scale * sum(loss) the mean loss of the global batch; `at`
number: where the step stands, in steps of whole epochs.

Loaders have no length: epochs may differ in it, and Lightning takes a length once (it then skips evaluations or cuts
longer epochs). It fetches one batch ahead instead.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from dataprune.data.augment import Draws, batch, batch_on_device
from dataprune.data.codecs import Inputs
from dataprune.data.examples import Examples
from dataprune.data.images import Images
from dataprune.data.order import Batch, Order
from dataprune.data.workers import Decoded, Workers
from dataprune.errors import ConfigError


class Loader:
    """What all loaders share: order, labels, weights, and the epoch that Lightning sets.

    Lightning calls `loader.sampler.set_epoch(epoch)` before it iterates, counting from this start of the program;
    `epochs_done` are those of earlier attempts.
    """

    def __init__(self, examples: Examples, order: Order, weights: np.ndarray | None, device: torch.device) -> None:
        self.examples, self.order, self.device = examples, order, device
        self.labels = torch.from_numpy(np.ascontiguousarray(examples.labels))
        self.weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        self.epoch = self.epochs_done = 0

    @property
    def sampler(self) -> "Loader":
        """Itself: has `set_epoch`."""
        return self

    def go_on_after(self, epochs: int) -> None:
        """The next epoch is the one after this many; Lightning fetches its first batch before it sets the epoch."""
        self.epochs_done = self.epoch = epochs

    def set_epoch(self, epoch: int) -> None:
        """The next iteration is this epoch's."""
        self.epoch = self.epochs_done + epoch

    def __iter__(self) -> Iterator[dict[str, Any]]:
        raise NotImplementedError

    def views(self) -> "Loader | None":
        """The same batches without augmentation, if it has them anyway; None = they are another loader's work."""
        return None

    def _assemble(self, inputs: Inputs, share: Batch) -> dict[str, Any]:
        ids = torch.from_numpy(share.ids)
        result: dict[str, Any] = {
            "inputs": inputs,
            "y": self.labels[ids].to(self.device, non_blocking=True),
            "id": ids.to(self.device, non_blocking=True),
            "real": None,
            "weight": None if self.weights is None else self.weights[ids].to(self.device),
            "scale": self.order.world / share.total,
            "at": share.at,
        }
        if share.weights is not None:
            of_epoch = torch.from_numpy(share.weights).to(self.device)
            result["weight"] = of_epoch if result["weight"] is None else result["weight"] * of_epoch
        if not share.real.all():
            real = torch.from_numpy(share.real).to(self.device)
            result["real"] = real
            result["weight"] = real.float() if result["weight"] is None else result["weight"] * real
        return result


class MemoryLoader(Loader):
    """Batches of images from a uint8 array in RAM (or, on a GPU, from its copy there): no worker processes."""

    def __init__(
        self,
        examples: Examples,
        order: Order,
        *,
        padding: int = 0,
        flip: bool = False,
        weights: np.ndarray | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(examples, order, weights, device or torch.device("cpu"))
        self.padding, self.flip = padding, flip
        codec = examples.codec
        assert isinstance(codec, Images)
        self.table = codec.table
        self.images = np.ascontiguousarray(examples.column("image"))
        if padding >= (side := min(self.images.shape[1:3])):
            raise ConfigError("augment.crop_padding", padding, f"0 to {side - 1}: below the side of the images")
        self.on_device = self.device.type != "cpu"
        if self.on_device:
            self.device_images = torch.from_numpy(self.images).to(self.device)
            self.device_table = torch.from_numpy(self.table).to(self.device)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        length = self.order.length
        if self.padding or self.flip:
            draws = Draws.of_epoch(length, self.padding, self.flip, self.order.seed, self.epoch)
        else:
            draws = Draws.none(length)
        for share in self.order.batches(self.epoch):
            if self.on_device:
                ids = torch.from_numpy(share.ids).to(self.device)
                x = batch_on_device(self.device_images, ids, draws, share.places, self.device_table)
            else:
                x = batch(self.images, share.ids, draws, share.places, self.table)
            yield self._assemble({"image": x}, share)


class KeptLoader(Loader):
    """Batches of columns that stage decode has kept, put together by their codec (texts)."""

    def __init__(
        self,
        examples: Examples,
        order: Order,
        *,
        weights: np.ndarray | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(examples, order, weights, device or torch.device("cpu"))
        self.kept, self.codec = examples.kept, examples.codec

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for share in self.order.batches(self.epoch):
            stacked = self.codec.stack([self.kept[i] for i in share.ids])
            yield self._assemble(self.codec.finish(stacked, self.device), share)


class VectorLoader(Loader):
    """Batches of features (b, d) that were computed before. For a head on a frozen, unaugmented backbone."""

    def __init__(
        self,
        examples: Examples,
        order: Order,
        vectors: torch.Tensor,  # (n, d) on the device, rows of ids that are not in the order may hold anything
        *,
        weights: np.ndarray | None = None,
    ) -> None:
        super().__init__(examples, order, weights, vectors.device)
        self.vectors = vectors

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for share in self.order.batches(self.epoch):
            yield self._assemble({"features": self.vectors[torch.from_numpy(share.ids).to(self.device)]}, share)


class WorkerLoader(Loader):
    """Batches decoded at every epoch by worker processes; for sets that do not fit in memory.

    augment: `size`, `area`, `flip` and `changes`, as `workers.Decoded` takes them. workers: of the stage, shared by its
    loaders.
    """

    def __init__(
        self,
        examples: Examples,
        order: Order,
        *,
        workers: Workers | None = None,
        weights: np.ndarray | None = None,
        device: torch.device | None = None,
        **augment: Any,
    ) -> None:
        super().__init__(examples, order, weights, device or torch.device("cpu"))
        self.workers = workers or Workers(0)
        self.decoded = Decoded(examples.items, examples.codec, order.seed, **augment)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        shares = self.order.batches(self.epoch)
        for share, stacked in self.workers.batches(self.decoded, self.epoch, shares):
            yield self._assemble(self.decoded.codec.finish(stacked, self.device), share)

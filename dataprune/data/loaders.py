"""Batches for training and for clean passes: from memory, or decoded by worker processes.

A batch is a dict: `x` float32 (b, c, h, w) normalised, `y` int64 (b,), `id` int64 (b,), `real` bool (b,) or None when
all are, `weight` float32 (b,) or None when all are 1, `scale` float: the factor that makes the processes' mean of
scale * sum(loss) the mean loss of the global batch; `at` number: where the step stands, in steps of whole epochs.

Loaders have no length: epochs may differ in it, and Lightning takes a length once (it then skips evaluations or cuts
longer epochs). It fetches one batch ahead instead.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataprune.data.augment import Draws, batch, batch_on_device, normalising_table
from dataprune.data.examples import Encoded, Examples
from dataprune.data.images import decode, random_box, size_of
from dataprune.data.order import Batch, Order
from dataprune.errors import ConfigError
from dataprune.streams import stream


class Loader:
    """What memory and file loaders share: order, labels, weights, and the epoch that Lightning sets.

    Lightning calls `loader.sampler.set_epoch(epoch)` before it iterates, counting from this start of the program;
    `epochs_done` are those of earlier attempts.
    """

    def __init__(self, examples: Examples, order: Order, weights: np.ndarray | None, device: torch.device) -> None:
        self.examples, self.order, self.device = examples, order, device
        self.labels = torch.from_numpy(np.ascontiguousarray(examples.labels))
        self.weights = None if weights is None else torch.from_numpy(weights.astype(np.float32))
        self.table = normalising_table(examples.header["mean"], examples.header["std"])
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

    def _assemble(self, x: torch.Tensor, share: Batch) -> dict[str, Any]:
        ids = torch.from_numpy(share.ids)
        result: dict[str, Any] = {
            "x": x,
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
    """Batches from a uint8 array in RAM (or, on a GPU, from its copy there): no worker processes."""

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
        self.images = np.ascontiguousarray(examples.images)  # out of the memory map
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
            yield self._assemble(x, share)


class VectorLoader(Loader):
    """Batches of vectors computed before: `x` is float32 (b, d). For a head on a frozen, unaugmented backbone."""

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
            yield self._assemble(self.vectors[torch.from_numpy(share.ids).to(self.device)], share)


class FileLoader(Loader):
    """Batches decoded from files at every epoch by `workers` processes; for sets that do not fit in memory.

    area: [smallest, largest] share of a random resized crop; None = the centred square. size: pixels, or a function of
    the epoch (picklable, for the workers).
    """

    def __init__(
        self,
        examples: Examples,
        order: Order,
        *,
        size: int | Callable[[int], int],
        area: list[float] | None = None,
        flip: bool = False,
        workers: int = 0,
        weights: np.ndarray | None = None,
        device: torch.device | None = None,
    ) -> None:
        super().__init__(examples, order, weights, device or torch.device("cpu"))
        self.pixels = Pixels(examples.encoded(), examples.header["channels"], size, area, flip, order.seed)
        self.workers = workers

    def __iter__(self) -> Iterator[dict[str, Any]]:
        table = torch.from_numpy(self.table).to(self.device)
        # new workers each epoch: those that live on until the loader is collected are waited for, 5 seconds each, when
        # it is part of a cycle of references, as everything that a trainer has held
        decoded: DataLoader = DataLoader(
            self.pixels,  # type: ignore[arg-type]
            batch_sampler=_Shares(self.order, self.epoch),
            num_workers=self.workers,
            collate_fn=np.stack,
            generator=torch.Generator(),  # the global one is the network's
        )
        for share, pixels in zip(self.order.batches(self.epoch), decoded, strict=True):
            every, unchanged = np.arange(len(pixels)), Draws.none(len(pixels))
            if self.device.type == "cpu":
                x = batch(pixels, every, unchanged, every, self.table)
            else:
                images = torch.from_numpy(pixels).to(self.device)  # as uint8: a quarter of the bytes to move
                x = batch_on_device(images, torch.from_numpy(every).to(self.device), unchanged, every, table)
            yield self._assemble(x, share)


class _Shares:
    """What the workers fetch: (id, place, epoch) of each example. The epoch travels along, so workers keep no state."""

    def __init__(self, order: Order, epoch: int) -> None:
        self.order, self.epoch = order, epoch

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        for share in self.order.batches(self.epoch):
            yield [(int(i), int(p), self.epoch) for i, p in zip(share.ids, share.places, strict=True)]


class Pixels:
    """Decoded and cropped images by (id, place, epoch); its draws depend on (seed, epoch, place) alone."""

    def __init__(
        self,
        encoded: Encoded,
        channels: int,
        size: int | Callable[[int], int],
        area: list[float] | None,
        flip: bool,
        seed: int,
    ) -> None:
        self.encoded, self.channels, self.size, self.area, self.flip = encoded, channels, size, area, flip
        self.seed = seed

    def __getitem__(self, at: tuple[int, int, int]) -> np.ndarray:
        i, place, epoch = at
        image = self.encoded[i]
        rng = stream(self.seed, "augment", epoch, place)
        box = None if self.area is None else random_box(*size_of(image), self.area, rng)
        size = self.size(epoch) if callable(self.size) else self.size
        pixels = decode(image, self.channels, size, box)
        return pixels[:, ::-1] if self.flip and rng.random() < 0.5 else pixels

"""Batches that NVIDIA's DALI decodes at every epoch: on a GPU, or in threads of this process. The extra `dali`.

An epoch is a reader of its own, of this process's share of the order: files or bytes, with ids for labels, no shuffle.
So all loaders follow one order, and samplers choose for this one too.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from dataprune.data.codecs import Inputs
from dataprune.data.dali_graph import Look, Source, pipeline
from dataprune.data.examples import Examples
from dataprune.data.images import Images
from dataprune.data.loaders import Loader
from dataprune.data.order import Batch, Order
from dataprune.errors import ConfigError
from dataprune.streams import number

AHEAD = 2  # batches that are decoded while others are trained on


class DaliLoader(Loader):
    """Batches of one process's share, decoded and changed by DALI.

    size, area, flip, changes: as `workers.Decoded` takes them. threads: of the CPU that decode. What is random is drawn
    by (seed, epoch, process), whatever the number of threads.
    """

    def __init__(
        self,
        examples: Examples,
        order: Order,
        *,
        weights: np.ndarray | None = None,
        device: torch.device | None = None,
        threads: int = 1,
        size: int | Callable[[int], int] | None = None,
        **augment: Any,
    ) -> None:
        super().__init__(examples, order, weights, device or torch.device("cpu"))
        codec = examples.codec
        assert isinstance(codec, Images)
        self.gpu = codec.decoder == "dali-gpu"
        if self.gpu and self.device.type == "cpu":
            raise ConfigError("run.accelerator", "cpu", "gpu: these examples are decoded on one, as their key says")
        self.codec, self.threads, self.size, self.augment = codec, threads, size, augment
        self.seen: deque[dict[str, Any]] | None = None  # clean views of what was given out

    def views(self) -> "Views":
        """The same batches without augmentation, of the pictures that are decoded anyway; takes effect with the next
        epoch."""
        self.seen = deque()
        return Views(self, self.seen)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        shares = list(self.order.batches(self.epoch))
        if not shares:
            return
        made, ahead = self._pipeline(shares), min(AHEAD, len(shares))
        made.schedule_run()  # the first time as many as are made ahead
        for i, share in enumerate(shares):
            *views, ids = made.share_outputs()
            if not np.array_equal(np.asarray(ids.as_array())[: len(share.ids), 0], share.ids):
                raise RuntimeError("DALI gave other examples than it was asked for")
            inputs: list[Inputs] = [{"image": self._tensor(view)[: len(share.ids)]} for view in views]
            made.release_outputs()
            if i + ahead < len(shares):
                made.schedule_run()
            if self.seen is not None:
                self.seen.append(self._assemble(inputs[1], share))
            yield self._assemble(inputs[0], share)

    def _pipeline(self, shares: list[Batch]) -> Any:
        """The pipeline of an epoch."""
        order, size = self.order, self.size(self.epoch) if callable(self.size) else self.size
        size = size or self.codec.size
        assert size is not None
        channels = self.examples.input["channels"]
        look = Look(self.codec, channels, size, self.gpu, **self.augment, twice=self.seen is not None)
        if self.seen is not None:
            self.seen.clear()
        seed = number(order.seed, "augment", self.epoch, order.rank) % 2**31
        device = self.device.index or 0 if self.gpu else None
        words: dict[str, Any] = {"num_threads": self.threads, "device_id": device, "seed": seed}
        words["exec_dynamic"] = True  # of DALI 1.44 and later
        words["prefetch_queue_depth"] = min(AHEAD, len(shares))  # no batch is decoded that nobody takes
        return pipeline(look, self._source(shares), len(shares[0].ids), **words)

    def _source(self, shares: list[Batch]) -> Source | tuple[list[str], np.ndarray]:
        ids = np.concatenate([share.ids for share in shares])
        files = self.examples.items.files(ids)
        return self._held(shares) if files is None else (files, ids)

    def _held(self, shares: list[Batch]) -> Source:
        """Batches of encoded bytes that the index holds."""
        items = self.examples.items
        for share in shares:
            encoded = [np.frombuffer(items[int(i)], np.uint8) for i in share.ids]  # type: ignore[arg-type]
            yield encoded, share.ids.astype(np.int32)[:, None]

    def _tensor(self, view: Any) -> torch.Tensor:
        """A view of a batch as a tensor float32 (b, c, h, w) on the device.

        On a CPU it is the very memory that DALI filled, which the dynamic executor leaves to whom it has given it. On a
        GPU it is a copy, on a stream of its own: DALI may fill the memory anew when that is over, whatever the network
        still computes.
        """
        whole = view.as_tensor()
        if not self.gpu:
            return torch.from_dlpack(whole).to(self.device, non_blocking=True)
        from nvidia.dali.plugin.pytorch import feed_ndarray

        copying = torch.cuda.Stream(self.device)
        with torch.cuda.stream(copying):
            tensor = torch.empty(whole.shape(), dtype=torch.float32, device=self.device)
            feed_ndarray(whole, tensor, cuda_stream=copying)
        copying.synchronize()
        tensor.record_stream(torch.cuda.current_stream(self.device))
        return tensor


class Views(Loader):
    """The clean views of a DaliLoader, each to be taken after its training view."""

    def __init__(self, loader: DaliLoader, seen: deque[dict[str, Any]]) -> None:
        super().__init__(loader.examples, loader.order, None, loader.device)
        self.seen = seen

    def __iter__(self) -> Iterator[dict[str, Any]]:
        while self.seen:
            yield self.seen.popleft()

"""Processes that decode examples for all loaders of a stage: kept over epochs and passes, ended with the stage."""

import pickle
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from dataprune.data.changes import Changes
from dataprune.data.codecs import Codec, Columns, Inputs
from dataprune.data.examples import Encoded
from dataprune.data.images import Draw
from dataprune.data.order import Batch
from dataprune.streams import stream


@dataclass
class Decoded:
    """What a loader sees of the examples of a split: columns whose draws depend on (seed, epoch, place) alone.

    area, flip, changes: as `images.Draw` takes them. size: pixels, or a function of the epoch (picklable); None = the
    codec's.
    """

    items: Encoded
    codec: Codec
    seed: int = 0
    size: int | Callable[[int], int] | None = None
    area: list[float] | None = None
    flip: bool = False
    changes: Changes | None = None

    def stacked(self, ids: np.ndarray, places: np.ndarray, epoch: int) -> Inputs:
        """Return the examples `ids` at these places of an epoch, as they travel between processes."""
        return self.codec.stack([self.columns(int(i), int(p), epoch) for i, p in zip(ids, places, strict=True)])

    def columns(self, i: int, place: int, epoch: int) -> Columns:
        """Return the columns of example i."""
        if self.size is None and self.area is None and not self.flip and self.changes is None:
            return self.codec.decode(self.items[i])
        size = self.size(epoch) if callable(self.size) else self.size
        draw = Draw(stream(self.seed, "augment", epoch, place), size, self.area, self.flip, self.changes)
        return self.codec.decode(self.items[i], draw)


Request = tuple[bytes, np.ndarray, np.ndarray, int]  # a pickled Decoded, ids, places, epoch


class Workers:
    """`count` processes that serve one pass over the data at a time, as many again for a pass inside another one.

    0 = decode in this process. pinned: batches come in memory that a GPU reads by itself. A context: the processes end
    with it.
    """

    def __init__(self, count: int, *, pinned: bool = False) -> None:
        self.count, self.pinned = count, pinned
        self.idle: list[_Pass] = []
        self.started: list[_Pass] = []

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        """End all processes, and wait for them."""
        for each in self.started:
            each.end()
        self.started, self.idle = [], []

    def batches(self, decoded: Decoded, epoch: int, shares: Iterable[Batch]) -> Iterator[tuple[Batch, Inputs]]:
        """Each share of an epoch with its examples, stacked; a few are decoded ahead."""
        if self.count == 0:
            yield from ((share, decoded.stacked(share.ids, share.places, epoch)) for share in shares)
            return
        if not self.idle:
            self.started.append(_Pass(self.count, self.pinned))
            self.idle.append(self.started[-1])
        serving = self.idle.pop()
        try:
            yield from serving.batches(pickle.dumps(decoded), epoch, shares)
        finally:
            self.idle.append(serving)


class _Pass:
    """Processes that serve one pass at a time."""

    def __init__(self, count: int, pinned: bool) -> None:
        self.requests = _Requests()
        self.loader: DataLoader = DataLoader(
            _Served(),  # type: ignore[arg-type]
            batch_size=None,
            sampler=self.requests,
            num_workers=count,
            persistent_workers=True,
            pin_memory=pinned,
            collate_fn=_as_it_is,
            generator=torch.Generator(),  # the global one is the network's
        )
        self.running: Any = None

    def batches(self, view: bytes, epoch: int, shares: Iterable[Batch]) -> Iterator[tuple[Batch, Inputs]]:
        ahead: deque[Batch] = deque()

        def requests() -> Iterator[Request]:
            for share in shares:
                ahead.append(share)
                yield view, share.ids, share.places, epoch

        self.requests.now = requests()
        self.running = iter(self.loader)  # the same object each time; what a pass that was broken off left is dropped
        for stacked in self.running:
            yield ahead.popleft(), stacked

    def end(self) -> None:
        # torch ends its workers when the iterator is collected; in a cycle of references, as everything that a trainer
        # has held, each of them is then waited for 5 seconds
        if self.running is not None:
            self.running._shutdown_workers()


class _Requests:
    """What the next pass asks for."""

    def __init__(self) -> None:
        self.now: Iterator[Request] = iter(())

    def __iter__(self) -> Iterator[Request]:
        return self.now


class _Served:
    """Answers requests in a worker process, which keeps what it has unpickled."""

    def __init__(self) -> None:
        self.known: dict[bytes, Decoded] = {}

    def __getitem__(self, request: Request) -> Inputs:
        view, ids, places, epoch = request
        if view not in self.known:
            self.known[view] = pickle.loads(view)
        return self.known[view].stacked(ids, places, epoch)


def _as_it_is(inputs: Any) -> Any:
    return inputs

"""A sampler of `dataprune.dynamic` (or a user's own) in a training of ours: its ids, what it observes, what it chooses.

The sampler counts the examples that it is given from 0: of a training on a subset these are positions in it. Each
process holds one, and all observe the same: the losses of the whole global batches.
"""

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist

from dataprune.callables import make
from dataprune.data.loaders import Loader
from dataprune.data.order import Epoch
from dataprune.dynamic import Policy
from dataprune.errors import ConfigError, Shown
from dataprune.training.classifier import Classifier


class Sampling:
    """A sampler over some of a data set's examples.

    sampler: `epoch(e) -> ids, weights | None`, `observe(ids, losses)`, `state_dict()`, `load_state_dict(state)`;
    perhaps `choose(ids, losses, p_true) -> bool (b,)` and `excluded(e) -> ids`. ids: int64 (k,), ascending: the example
    that the sampler calls i is ids[i].
    """

    def __init__(self, spec: dict[str, Any], ids: np.ndarray, epochs: int, seed: int) -> None:
        self.sampler, self.ids = make(spec, "sampler", n=len(ids), epochs=epochs, seed=seed), ids

    @property
    def choose(self) -> "Callable[..., tuple[torch.Tensor, int]] | None":
        """What picks inside a batch, if this sampler does."""
        return self._choose if hasattr(self.sampler, "choose") else None

    @property
    def excludes(self) -> bool:
        """Whether the sampler may want losses of what an epoch has left out."""
        return getattr(type(self.sampler), "excluded", Policy.excluded) is not Policy.excluded

    def epoch(self, epoch: int) -> Epoch:
        """Begin an epoch; its ids in order, and their weights."""
        places, weights = self.sampler.epoch(epoch)
        if not 1 <= len(places) <= len(self.ids):
            raise ConfigError("sampler", Shown(f"{len(places)} examples in epoch {epoch}"), f"1 to {len(self.ids)}")
        return self.ids[places], weights

    def excluded(self, epoch: int) -> Epoch:
        """The ids that an epoch leaves out and that are looked at too."""
        return self.ids[self.sampler.excluded(epoch)], None

    def observe(self, ids: np.ndarray, losses: np.ndarray) -> None:
        """Tell the sampler an epoch's losses: ids int64 (k,), losses float32 (k,)."""
        self.sampler.observe(np.searchsorted(self.ids, ids), losses)

    def _choose(
        self, ids: torch.Tensor, losses: torch.Tensor, p_true: torch.Tensor, real: torch.Tensor | None
    ) -> tuple[torch.Tensor, int]:
        """Which of this process's share to train on, bool (b,), and how many of all shares."""
        shares = gathered(ids, losses, p_true, real=real)  # (processes, 4, b)
        rank = dist.get_rank() if len(shares) > 1 else 0
        whole = shares.transpose(1, 0, 2).reshape(4, -1)
        there = whole[3] > 0
        places = np.searchsorted(self.ids, whole[0, there].astype(np.int64))
        chosen = np.zeros(whole.shape[1], bool)
        losses_there, p_there = (whole[row, there].astype(np.float32) for row in (1, 2))
        chosen[there] = self.sampler.choose(places, losses_there, p_there)
        return torch.from_numpy(chosen.reshape(len(shares), -1)[rank]).to(ids.device), int(chosen.sum())


class ObserveLosses(pl.Callback):
    """Tell a sampler, at the end of each epoch, the losses of what was trained on and of what it wants to see too.

    left_out: batches of what the epoch has left out, if the sampler asks for these: forward only, in eval mode, changed
    at random like the others.
    """

    def __init__(self, sampling: Sampling, left_out: Loader | None = None) -> None:
        self.sampling, self.left_out = sampling, left_out
        self.seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget an epoch that was cut short."""
        self.seen = []

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Keep the step's losses on the device."""
        assert isinstance(pl_module, Classifier)
        assert pl_module.losses is not None
        self.seen.append((batch["id"], pl_module.losses, batch["real"]))

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Gather what all processes saw, and hand it over sorted by id; each example once."""
        assert isinstance(pl_module, Classifier)
        if self.left_out is not None:
            self.left_out.epoch = pl_module.epoch
            for batch, logits in pl_module.clean_pass(self.left_out):
                self.seen.append((batch["id"], pl_module.each_loss(logits, batch["y"]), batch["real"]))
        if not self.seen:
            return
        ids, losses = (torch.cat(parts) for parts in list(zip(*self.seen, strict=True))[:2])
        real = torch.cat([torch.ones_like(part[0]) if part[2] is None else part[2].long() for part in self.seen])
        self.seen = []
        whole = gathered(ids, losses, real=real).transpose(1, 0, 2).reshape(3, -1)
        whole = whole[:, whole[2] > 0]
        known, first = np.unique(whole[0].astype(np.int64), return_index=True)
        self.sampling.observe(known, found := whole[1, first].astype(np.float32))
        _agree(zlib.crc32(found.tobytes(), zlib.crc32(known.tobytes())), pl_module.device)


def gathered(*columns: torch.Tensor, real: torch.Tensor | None) -> np.ndarray:
    """Numbers of all processes, float64 (processes, columns + 1, b), the last row being 1 for real examples.

    columns: (b,) each, the same b in every process (shares of a batch are filled up). float64 holds ids to 2**53.
    """
    filled = torch.ones_like(columns[0]) if real is None else real
    mine = torch.stack([column.detach().double() for column in (*columns, filled)])
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return mine.cpu().numpy()[None]
    parts = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, mine)
    return torch.stack(parts).cpu().numpy()


def _agree(checksum: int, device: torch.device) -> None:
    """Raise unless all processes observed the same: they would train on different epochs from here on."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return
    both = torch.tensor([checksum, -checksum], device=device)
    dist.all_reduce(both, dist.ReduceOp.MAX)
    if both[0] != checksum or both[1] != -checksum:
        raise RuntimeError(f"process {dist.get_rank()} observed other losses than the others in this epoch")

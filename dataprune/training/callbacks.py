"""What happens around a training: dynamics recorded, history written, checkpoints that survive a kill.

Their order in the trainer matters: dynamics and history of an epoch are on disk before its checkpoint, so a resumed run
repeats at most the epoch that was cut short, and repeats it whole.
"""

import json
import logging
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from dataprune import ranks
from dataprune.data.loaders import Loader
from dataprune.errors import ConfigError
from dataprune.progress import Bar
from dataprune.store import read_lines
from dataprune.streams import number
from dataprune.training.classifier import Classifier
from dataprune.training.recorder import Recorder

log = logging.getLogger(__name__)


class SeedEpochs(pl.Callback):
    """Seed torch (dropout, stochastic depth) by (seed, epoch, rank): a resumed run draws what it would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the epoch that begins."""
        assert isinstance(pl_module, Classifier)
        torch.manual_seed(number(self.seed, "dropout", pl_module.epoch, trainer.global_rank))


class EndAtOnce(pl.Callback):
    """Let SIGTERM end a worker process at once: the last checkpoint is what the next run goes on from.

    Lightning's own handler calls a collective, in which the ranks wait for one that has gone already (30 s and more).
    """

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the place of Lightning's handler; Lightning puts back the original one after the fit."""
        if trainer.world_size > 1:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


class RecordDynamics(pl.Callback):
    """Feed a Recorder: from the training forward itself, or (`clean` given) from an eval-mode pass after each epoch."""

    def __init__(self, recorder: Recorder, clean: Iterable[dict[str, Any]] | None = None) -> None:
        self.recorder, self.clean = recorder, clean

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the step's logits."""
        if self.clean is None:
            assert isinstance(pl_module, Classifier)
            assert pl_module.logits is not None
            self.recorder.update(pl_module.epoch, batch["id"], pl_module.logits, batch["y"], batch["real"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take in the clean pass, if there is one, and write the epoch's row."""
        if self.clean is not None:
            assert isinstance(pl_module, Classifier)
            for batch, logits in pl_module.clean_pass(self.clean):
                self.recorder.update(pl_module.epoch, batch["id"], logits, batch["y"], batch["real"])
        self.recorder.flush()


class History(pl.Callback):
    """One line of JSON an epoch in `path`: training loss and accuracy, learning rate.

    With `heldout`, also the accuracy on its examples, every `every` epochs and after the last of `epochs`.
    """

    def __init__(self, path: Path, epochs: int, heldout: Loader | None, every: int) -> None:
        self.path, self.epochs, self.heldout, self.every = path, epochs, heldout, every

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the lines of epochs that a killed run had begun and that are now repeated."""
        assert isinstance(pl_module, Classifier)
        if trainer.is_global_zero:
            kept = [line for line in read_lines(self.path) if line["epoch"] < pl_module.epochs_done]
            part = self.path.with_suffix(".part")
            part.write_text("".join(json.dumps(line) + "\n" for line in kept))
            os.replace(part, self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the epoch's line."""
        assert isinstance(pl_module, Classifier)
        loss, right, count = ranks.summed(pl_module.sums)
        line: dict[str, Any] = {"epoch": pl_module.epoch, "step": pl_module.step}
        line |= {"train_loss": loss / count, "train_top1": right / count}
        line |= {"lr": trainer.optimizers[0].param_groups[0]["lr"]} | pl_module.noted
        done = pl_module.epoch + 1
        if self.heldout is not None and (done % self.every == 0 or done == self.epochs):
            line[f"{self.heldout.examples.split}_top1"] = self._accuracy(pl_module, self.heldout)
        if trainer.is_global_zero:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")

    def _accuracy(self, module: Classifier, heldout: Loader) -> float:
        sums = torch.zeros(2, device=module.device, dtype=torch.float64)  # right, examples
        for batch, logits in module.clean_pass(heldout):
            right = logits.argmax(1) == batch["y"]
            if batch["real"] is not None:
                right = right[batch["real"]]
            sums += torch.stack([right.sum(), sums.new_tensor(len(right))])
        right_sum, count = ranks.summed(sums)
        return right_sum / count


class SumImages(pl.Callback):
    """Sum over all processes what the epoch's passes took; before its checkpoint, so that it counts once."""

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Settle the tally."""
        assert isinstance(pl_module, Classifier)
        pl_module.tally.settle(ranks.summed, ranks.united)


class KeepLast(pl.Callback):
    """`path` is always the whole checkpoint of a finished epoch: written beside it, then renamed.

    Of the last finished epoch, unless that came within `every_s` seconds of the one before: epochs of milliseconds need
    no checkpoint each. until: the training's number of epochs, the last of which is not kept: what callbacks do at the
    end is done when it is trained again. 0 = it is kept too, as nothing is left to do.
    """

    def __init__(self, path: Path, every_s: float = 1.0, until: int = 0) -> None:
        self.path, self.every_s, self.until = path, every_s, until
        self.saved = -float("inf")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save."""
        assert isinstance(pl_module, Classifier)
        if time.monotonic() - self.saved < self.every_s or pl_module.epoch + 1 == self.until:
            return
        self.saved = time.monotonic()
        if trainer.is_global_zero:
            part = self.path.with_suffix(".part")
            torch.save(pl_module.state(), part)
            os.replace(part, self.path)


class EMA(pl.Callback):
    """Train as usual, and leave behind the exponential moving average of the weights over the steps (torch's own).

    After each step average = decay * average + (1 - decay) * weights; batch norm's statistics are those of the last
    step. History and dynamics are those of the weights that are trained. For `callbacks` of a recipe.
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ConfigError("decay", decay, "a number from 0 to below 1")
        self.decay = decay
        self.saved: dict[str, Any] | None = None
        self.average: AveragedModel | None = None
        self.step = 0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin with the weights as they are, or go on."""
        assert isinstance(pl_module, Classifier)
        self.step = pl_module.steps_done
        self.average = AveragedModel(pl_module.network, multi_avg_fn=get_ema_multi_avg_fn(self.decay))
        if self.saved is not None:
            self.average.load_state_dict(self.saved)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Take in the step's weights."""
        assert isinstance(pl_module, Classifier)
        assert self.average is not None
        if pl_module.step > self.step:  # a batch may come in parts
            self.step = pl_module.step
            self.average.update_parameters(pl_module.network)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Put the average in the network's place."""
        assert isinstance(pl_module, Classifier)
        assert self.average is not None
        pl_module.network.load_state_dict(self.average.module.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the average."""
        assert self.average is not None
        return self.average.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from an average, when the fit starts."""
        self.saved = state


class Progress(pl.Callback):
    """A bar over all steps of a training; process 0 only."""

    def __init__(self, label: str, steps: int) -> None:
        self.label, self.steps = label, steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the training stands."""
        assert isinstance(pl_module, Classifier)
        self.bar = Bar(self.label, self.steps, done=pl_module.steps_done, show=trainer.is_global_zero)
        self.bar.__enter__()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step further, or a part of one."""
        assert isinstance(pl_module, Classifier)
        self.bar.advance(pl_module.step - self.bar.done)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.__exit__()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        if hasattr(self, "bar"):
            self.bar.__exit__()

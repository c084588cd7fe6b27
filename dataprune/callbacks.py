"""What happens around a training: dynamics recorded, history written, checkpoints that survive a kill.

Their order in the trainer matters: dynamics and history of an epoch are on disk before its checkpoint, so a resumed run
repeats at most the epoch that was cut short, and repeats it whole.
"""

import json
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch

from dataprune.models.classifier import Classifier
from dataprune.progress import Bar
from dataprune.recorder import Recorder
from dataprune.store import read_lines

log = logging.getLogger(__name__)


class SeedEpochs(pl.Callback):
    """Seed torch (dropout, stochastic depth) by (seed, epoch, rank): a resumed run draws what it would have drawn."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Seed the epoch that begins."""
        drawn = np.random.SeedSequence([self.seed, trainer.current_epoch, trainer.global_rank])
        torch.manual_seed(int(drawn.generate_state(1, np.uint64)[0] >> 1))


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
            self.recorder.update(trainer.current_epoch, batch["id"], pl_module.logits, batch["y"], batch["real"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take in the clean pass, if there is one, and write the epoch's row."""
        if self.clean is not None:
            assert isinstance(pl_module, Classifier)
            pl_module.eval()
            with torch.no_grad():
                for batch in self.clean:
                    logits = pl_module.network(batch["x"].to(pl_module.device))
                    self.recorder.update(trainer.current_epoch, batch["id"], logits, batch["y"], batch["real"])
            pl_module.train()
        self.recorder.flush()


class History(pl.Callback):
    """One line of JSON an epoch in `path`: training loss and accuracy, learning rate, test accuracy where measured."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Drop the lines of epochs that a killed run had begun and that are now repeated."""
        if trainer.current_epoch:
            log.info("going on after epoch %d of %s", trainer.current_epoch, trainer.max_epochs)
        if trainer.is_global_zero:
            kept = [line for line in read_lines(self.path) if line["epoch"] < trainer.current_epoch]
            part = self.path.with_suffix(".part")
            part.write_text("".join(json.dumps(line) + "\n" for line in kept))
            os.replace(part, self.path)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Append the epoch's line."""
        assert isinstance(pl_module, Classifier)
        sums = trainer.strategy.reduce(pl_module.sums, reduce_op="sum")
        loss, right, count = sums.tolist()
        line: dict[str, Any] = {"epoch": trainer.current_epoch, "step": trainer.global_step}
        line |= {"train_loss": loss / count, "train_top1": right / count}
        line["lr"] = trainer.optimizers[0].param_groups[0]["lr"]
        every = trainer.check_val_every_n_epoch
        if trainer.enable_validation and every and (trainer.current_epoch + 1) % every == 0:
            validated = trainer.strategy.reduce(pl_module.validated, reduce_op="sum").tolist()
            line["test_top1"] = validated[0] / validated[1]
        if trainer.is_global_zero:
            with open(self.path, "a") as file:
                file.write(json.dumps(line) + "\n")


class KeepLast(pl.Callback):
    """`path` is always the whole checkpoint of a finished epoch: written beside it, then renamed.

    Of the last finished epoch, unless that came within `every_s` seconds of the one before: epochs of milliseconds need
    no checkpoint each.
    """

    def __init__(self, path: Path, every_s: float = 1.0) -> None:
        self.path, self.every_s = path, every_s
        self.saved = -float("inf")

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, on all processes together."""
        if not trainer.strategy.broadcast(time.monotonic() - self.saved >= self.every_s):
            return
        self.saved = time.monotonic()
        part = self.path.with_suffix(".part")
        trainer.save_checkpoint(part)
        if trainer.is_global_zero:
            os.replace(part, self.path)


class Progress(pl.Callback):
    """A bar over all steps of a training; process 0 only."""

    def __init__(self, label: str, steps: int) -> None:
        self.label, self.steps = label, steps

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar where the training stands."""
        self.bar = Bar(self.label, self.steps, done=trainer.global_step, show=trainer.is_global_zero)
        self.bar.__enter__()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """One step further."""
        self.bar.advance(1)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Close the bar."""
        self.bar.__exit__()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close the bar."""
        if hasattr(self, "bar"):
            self.bar.__exit__()

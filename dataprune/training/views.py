"""Record dynamics in the step itself, but of its examples without augmentation (as Dyn-Unc, He et al. 2024, does)."""

from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
import torch

from dataprune.data.loaders import Loader
from dataprune.training.classifier import Classifier
from dataprune.training.parts import Parts
from dataprune.training.recorder import Recorder


class RecordViews(pl.Callback):
    """Feed a Recorder from a second forward of each step: eval mode, no gradient, float32, before the update.

    views: batches of the same order as those that are trained on, not augmented. It is iterated beside them, so that
    worker processes decode both ahead. The step's batch statistics are in the network's running ones already, as in the
    reference; every architecture is in eval mode.
    """

    def __init__(self, recorder: Recorder, views: Loader | Parts) -> None:
        self.recorder, self.views = recorder, views
        self.batches: Iterator[dict[str, Any]] = iter(())

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin the epoch's views."""
        assert isinstance(pl_module, Classifier)
        self.views.go_on_after(pl_module.epoch)
        self.batches = iter(self.views)

    def on_before_backward(self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor) -> None:
        """Take in what the network says of the step's examples, before it learns from them."""
        assert isinstance(pl_module, Classifier)
        for batch, logits in pl_module.clean_pass([next(self.batches)]):
            self.recorder.update(pl_module.epoch, batch["id"], logits, batch["y"], batch["real"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the epoch's row."""
        self.recorder.flush()

"""Weights of early epochs, kept beside those of the end: for signals of a surrogate that has learned little yet."""

from collections.abc import Iterable
from pathlib import Path

import pytorch_lightning as pl

from dataprune.passes import save_weights, snapshot_file
from dataprune.training.classifier import Classifier


class KeepSnapshots(pl.Callback):
    """Save the network's state_dict after each of `epochs` (1 = the first is done): written beside it, then renamed.

    Before the checkpoint of its epoch: an epoch that a killed run repeats writes the same weights again.
    """

    def __init__(self, folder: Path, epochs: Iterable[int]) -> None:
        self.folder, self.epochs = folder, set(epochs)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if this is one of the epochs."""
        assert isinstance(pl_module, Classifier)
        done = pl_module.epoch + 1
        if done not in self.epochs or not trainer.is_global_zero:
            return
        path = self.folder / snapshot_file(done)
        path.parent.mkdir(exist_ok=True)
        save_weights(pl_module.network, path)

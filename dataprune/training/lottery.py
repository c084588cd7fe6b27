"""Lottery tickets (Frankle & Carbin 2019; Frankle et al. 2020): prune a trained network, and train what is left again
from the weights that it had early on."""

from typing import Any

import pytorch_lightning as pl
import torch

from dataprune.config import TrainConfig
from dataprune.errors import ConfigError, share, whole_number
from dataprune.training.classifier import Classifier
from dataprune.training.events import Events, rounds
from dataprune.training.pruning import Pruning

REWOUND = "dataprune.training.schedules.rewound"


class Lottery(Pruning):
    """Train for `length` epochs, prune by magnitude, put back all weights (and norms) of the beginning of epoch
    `rewind`, train on to the end of the round, and so on: `length - rewind` epochs a round. For `callbacks`.

    The last round, at `sparsity`, is the network; each draw takes the same share of what is left. Rounds follow from
    the recipe's epochs = length + draws (length - rewind); three draws of 20 % are sparsity 0.488. The learning rate
    goes back with schedule `rewound` of the same `length` and `rewind`. rewind 0 = the fresh weights.
    """

    def __init__(
        self, sparsity: float, length: int, rewind: int = 0, scope: str = "backbone", distribution: str = "global"
    ) -> None:
        super().__init__(scope, distribution)
        self.target, self.length = share("sparsity", sparsity), whole_number("length", length, 1)
        self.rewind = whole_number("rewind", rewind, 0, length - 1, f"an epoch of the first {length}")
        self.early: dict[str, torch.Tensor] | None = None  # the network's state at the beginning of epoch `rewind`

    def events(self, epochs: int) -> Events:
        """Return when a ticket is drawn."""
        return rounds(epochs, self.length, self.rewind, self.target)

    def check(self, recipe: TrainConfig) -> None:
        """Raise a ConfigError for rounds that do not fit the epochs, or are others than those of the schedule."""
        super().check(recipe)
        for name in ("length", "rewind") if recipe.schedule.get("_target_") == REWOUND else ():
            if (theirs := recipe.schedule.get(name, 0)) != getattr(self, name):
                raise ConfigError(name, getattr(self, name), f"{theirs}, as the schedule has it")

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the early weights, or draw a ticket."""
        assert isinstance(pl_module, Classifier)
        if pl_module.epoch == self.rewind:
            self.early = {name: v.detach().cpu().clone() for name, v in pl_module.network.state_dict().items()}
        super().on_train_epoch_start(trainer, pl_module)

    def _change(self, trainer: pl.Trainer, module: Classifier) -> None:
        """Hold the masks of the trained weights over the early ones; the optimiser begins anew."""
        assert self.early is not None
        module.network.load_state_dict(self.early)
        for optimizer in trainer.optimizers:
            optimizer.state.clear()
        super()._change(trainer, module)

    def state_dict(self) -> dict[str, Any]:
        """Return the masks and the early weights."""
        return super().state_dict() | {"early": self.early}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with those of a checkpoint."""
        super().load_state_dict(state)
        self.early = state["early"]

"""N:M sparsity: of each M consecutive input channels N weights stay, which some hardware multiplies faster (2:4)."""

import logging

import pytorch_lightning as pl

from dataprune.errors import ConfigError, whole_number
from dataprune.models.sparsity import kept_of_groups
from dataprune.training.classifier import Classifier
from dataprune.training.events import Events, inside
from dataprune.training.pruning import Pruning

log = logging.getLogger(__name__)


class Groups(Pruning):
    """Keep, at the beginning of `epoch`, the `n` largest weights of each `m` consecutive input channels.

    Layers whose input channels are no multiple of m stay dense (the first one of a picture, depthwise ones), and the
    log says which. The rest of the training is the fine-tuning, as of OneShot.
    """

    def __init__(self, n: int = 2, m: int = 4, epoch: int = 0, scope: str = "backbone") -> None:
        super().__init__(scope)
        self.m = whole_number("m", m, 2)
        self.n = whole_number("n", n, 1, m - 1, f"fewer than m={m}")
        self.epoch = whole_number("epoch", epoch, 0)

    def events(self, epochs: int) -> Events:
        """Return the one epoch, and the sparsity where every layer can be pruned."""
        return {inside("epoch", self.epoch, epochs): 1 - self.n / self.m}

    def _prune(self, trainer: pl.Trainer, module: Classifier, sparsity: float) -> None:
        assert self.masks is not None
        weights = self._weights(module.network)
        fits = {name: weight for name, weight in weights.items() if weight.shape[1] % self.m == 0}
        if not fits:
            raise ConfigError("m", self.m, "a divisor of the input channels of some layer")
        for name, weight in fits.items():
            self.masks[name] &= kept_of_groups(self._scores(name, weight), self.n, self.m).to(self.masks[name].device)
        self._change(trainer, module)
        dense = [name for name in weights if name not in fits]
        said = f"; dense: {', '.join(dense)}" if dense else ""
        log.info("epoch %d: %d of each %d input channels are kept%s", module.epoch, self.n, self.m, said)

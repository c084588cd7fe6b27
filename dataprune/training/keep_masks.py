"""Sparse networks stay sparse: what a mask holds at zero is zero after every step of every optimiser."""

import logging
from typing import Any

import pytorch_lightning as pl
import torch

from dataprune.checkpoints.masks import check_density, prunable
from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network
from dataprune.training.classifier import Classifier

log = logging.getLogger(__name__)


class KeepMasks(pl.Callback):
    """Hold the zeros of the backbone that comes in through a training. For `callbacks` of a recipe.

    The masks are those of the adopted checkpoint, else the zeros of the weights where a layer has more than the share
    `least` of them: fresh weights may be zero by chance. What they hold is zero after each step, and its gradients are
    zero before they are clipped, so momentum stays zero too. Biases, batch norms and the head stay dense, as in the
    study of sparse transfer (Iofinova et al. 2022). The checkpoint has the masks; without zeros nothing is done.

    density: share of the backbone's weights that must be left at the start, within 0.005; None = any.
    Raises ConfigError for another density; RuntimeError at the end of an epoch in which something else than the
    optimiser brought a zero back.
    """

    def __init__(self, density: float | None = None, least: float = 0.005) -> None:
        if not 0 <= least < 1:
            raise ConfigError("least", least, "a share from 0 to below 1")
        self.density, self.least = density, least
        self.masks: dict[str, torch.Tensor] | None = None  # by parameter of the network; bool, True = kept
        self.held: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}  # name -> parameter, bool: where it is zero
        self.hooks: list[Any] = []

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the masks of the network, or go on with those of the checkpoint, and watch the optimiser."""
        assert isinstance(pl_module, Classifier)
        weights = self._weights(pl_module.network)
        if self.masks is None:
            self.masks = self._first(pl_module, weights)
        _check_shapes(self.masks, weights)
        self._hold(weights)
        check_density(1 - self.sparsity(weights), self.density, "density")
        zeros, total = self._counts(weights)
        log.info("%d of %d weights of the backbone are held at zero", zeros, total)
        self._apply()
        self.hooks = [o.register_step_post_hook(lambda *ignored: self._apply()) for o in trainer.optimizers]

    def _weights(self, network: Network) -> dict[str, torch.Tensor]:
        """The weights that a mask may hold, by name."""
        return {name: w for name, w in prunable(network).items() if not name.startswith("head.")}

    def _first(self, module: Classifier, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The masks with which a training begins."""
        return self._found(module.network, weights)

    def _found(self, network: Network, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The masks with zeros in them: what came with the network, else the weights that are not zero."""
        masks = {name: w.detach() != 0 for name, w in weights.items()}
        few = {name for name, mask in masks.items() if float((~mask).float().mean()) <= self.least}
        if network.masks is not None:
            masks, few = masks | {name: network.masks[name] for name in masks.keys() & network.masks.keys()}, set()
        return {name: mask.cpu() for name, mask in masks.items() if name not in few and not bool(mask.all())}

    def _hold(self, weights: dict[str, torch.Tensor]) -> None:
        """Hold what the masks say from here on."""
        assert self.masks is not None
        gone = {name: (~mask).to(weights[name].device) for name, mask in self.masks.items()}
        self.held = {name: (weights[name], zeros) for name, zeros in gone.items() if zeros.any()}

    def _counts(self, weights: dict[str, torch.Tensor]) -> tuple[int, int]:
        return sum(int(gone.sum()) for _, gone in self.held.values()), sum(w.numel() for w in weights.values())

    def sparsity(self, weights: dict[str, torch.Tensor]) -> float:
        """Return the share of these weights that is held at zero."""
        zeros, total = self._counts(weights)
        return zeros / max(1, total)

    @torch.no_grad()
    def _apply(self) -> None:
        for weight, gone in self.held.values():
            weight.masked_fill_(gone, 0)  # not a product: what has overflown would become NaN

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Zero the gradients of what is held, before they are clipped."""
        for weight, gone in self.held.values():
            if weight.grad is not None:
                weight.grad.masked_fill_(gone, 0)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look whether every zero is there, before the epoch's checkpoint is written."""
        self._check()

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look once more, as other callbacks may have put an average in the weights' place."""
        self._check()
        for hook in self.hooks:
            hook.remove()

    def _check(self) -> None:
        back = {name: int(weight[gone].count_nonzero()) for name, (weight, gone) in self.held.items()}
        if lost := [f"{count} in {name}" for name, count in back.items() if count]:
            raise RuntimeError(f"weights that a mask holds at zero came back: {', '.join(lost[:3])}")

    def state_dict(self) -> dict[str, Any]:
        """Return the masks."""
        return {"masks": self.masks and {name: mask.cpu() for name, mask in self.masks.items()}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the masks of a checkpoint, when the fit starts."""
        self.masks = state["masks"]


def _check_shapes(masks: dict[str, torch.Tensor], weights: dict[str, torch.Tensor]) -> None:
    """Raise ConfigError for masks that are not those of this network's weights."""
    strange = [n for n, mask in masks.items() if n not in weights or weights[n].shape != mask.shape]
    if strange:
        raise ConfigError("masks", Shown(f"masks of {', '.join(strange[:3])}"), "masks of this network's backbone")

"""Sparse networks made while they train: by magnitude, at once, gradually, or in phases (AC/DC). For `callbacks`."""

import logging
from abc import abstractmethod
from collections.abc import Iterable

import pytorch_lightning as pl
import torch

from dataprune import ranks
from dataprune.checkpoints.masks import prunable
from dataprune.config import TrainConfig
from dataprune.errors import ConfigError, one_of, share, whole_number
from dataprune.models.networks import Network
from dataprune.models.sparsity import erk, kept, kept_by_channel, uniform
from dataprune.training.classifier import Classifier
from dataprune.training.events import Events, alternating, gradual, gradual_of_str, inside
from dataprune.training.keep_masks import KeepMasks

log = logging.getLogger(__name__)


class Pruning(KeepMasks):
    """Change masks at the beginning of some epochs, and hold them as KeepMasks does.

    Pruned are weights of convolutions and linear layers, of the backbone (`scope` backbone) or of the head too (all);
    never biases and batch norms. distribution: `global`, one ranking of all weights; `uniform`, the same sparsity in
    each layer but the first and the head, which stay dense; `erk`, densities that grow with how thin a layer is (Evci
    et al. 2020). Of n weights floor(sparsity n) go, the smallest, of equal ones the lowest index first; but at least
    one weight of each output channel stays, and the log says how many channels are held open so.

    The optimiser forgets what it knew of weights that go; where any are let in again it forgets everything, and they
    begin at zero. Every process prunes the same weights. A training that begins with zeros goes on from them.
    """

    readmits = False  # whether a change may let weights in again

    def __init__(self, scope: str = "backbone", distribution: str = "global") -> None:
        super().__init__()
        self.scope = one_of("scope", scope, "backbone", "all")
        self.distribution = one_of("distribution", distribution, "global", "uniform", "erk")

    @abstractmethod
    def events(self, epochs: int) -> Events:
        """Return when to prune to which sparsity in so many epochs; raises ConfigError where these do not fit."""

    def check(self, recipe: TrainConfig) -> None:
        """Raise a ConfigError for constants that do not fit the recipe."""
        if recipe.epochs is not None:
            self.events(recipe.epochs)

    def _weights(self, network: Network) -> dict[str, torch.Tensor]:
        return prunable(network) if self.scope == "all" else super()._weights(network)

    def _first(self, module: Classifier, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        full = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in weights.items()}
        return full if self.readmits else full | self._found(module.network, weights)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Look whether the phases fit the epochs, and go on with the masks of the checkpoint."""
        assert isinstance(pl_module, Classifier)
        assert trainer.max_epochs is not None
        self.changes = self.events(pl_module.epochs_done + trainer.max_epochs)
        super().on_fit_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prune, if this epoch begins with that."""
        assert isinstance(pl_module, Classifier)
        if (sparsity := self.changes.get(pl_module.epoch)) is not None:
            self._prune(trainer, pl_module, sparsity)

    def _prune(self, trainer: pl.Trainer, module: Classifier, sparsity: float) -> None:
        assert self.masks is not None
        weights, held_open = self._weights(module.network), 0
        scores = {name: self._scores(name, weight) for name, weight in weights.items()}
        for names, keep in self._groups(weights, sparsity):
            group = [scores[name] for name in names]
            if not self.readmits:
                keep = min(keep, sum(int((each >= 0).sum()) for each in group))
            masks, opened = kept_by_channel(group, keep)
            self.masks |= dict(zip(names, masks, strict=True))
            held_open += opened
        self._change(trainer, module)
        said = f"; {held_open} output channels held open by their largest weight" if held_open else ""
        found = 100 * self.sparsity(weights)
        log.info("epoch %d: %.2f %% of the weights that may go are held at zero%s", module.epoch, found, said)

    @torch.no_grad()
    def _scores(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """How large a weight is; -1 where it is held at zero already."""
        assert self.masks is not None
        return weight.detach().abs().float().masked_fill(~self.masks[name].to(weight.device), -1)

    def _groups(self, weights: dict[str, torch.Tensor], sparsity: float) -> Iterable[tuple[list[str], int]]:
        """Weights that are ranked together, and how many of them stay."""
        if self.distribution == "global" or sparsity == 0:
            return [([*weights], kept(sparsity, sum(w.numel() for w in weights.values())))]
        return [([name], kept(share, weights[name].numel())) for name, share in self._shares(weights, sparsity).items()]

    def _shares(self, weights: dict[str, torch.Tensor], sparsity: float) -> dict[str, float]:
        """The sparsity of each layer."""
        shapes = {name: tuple(w.shape) for name, w in weights.items()}
        if self.distribution == "erk":
            return {name: max(0.0, each) for name, each in erk(shapes, sparsity).items()}
        return uniform(shapes, sparsity, dense={next(iter(shapes)), "head.weight"})

    def _change(self, trainer: pl.Trainer, module: Classifier) -> None:
        """Hold the new masks; the optimiser forgets what goes. All processes must agree."""
        assert self.masks is not None
        weights = self._weights(module.network)
        back = any(bool((self.masks[name].to(gone.device) & gone).any()) for name, (_, gone) in self.held.items())
        self._hold(weights)
        self._apply()
        for optimizer in trainer.optimizers:
            if back and self.readmits:
                optimizer.state.clear()
            for weight, gone in self.held.values():
                for value in optimizer.state.get(weight, {}).values():
                    if isinstance(value, torch.Tensor) and value.shape == weight.shape:
                        value.masked_fill_(gone, 0)
        if ranks.place()[1] > 1 and len(set(ranks.told(self._checksum()))) > 1:
            raise RuntimeError("the processes have pruned different weights")

    def _checksum(self) -> tuple[int, ...]:
        """A number a layer that tells masks apart."""
        return tuple(int(gone.flatten().nonzero().pow(2).sum()) for _, gone in self.held.values())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Note the epoch's sparsity for its line of history."""
        super().on_train_epoch_end(trainer, pl_module)
        assert isinstance(pl_module, Classifier)
        pl_module.noted["sparsity"] = self.sparsity(self._weights(pl_module.network))

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Prune what an average of weights from before the last change has put in their place."""
        self._apply()
        super().on_fit_end(trainer, pl_module)

    def made(self, network: Network) -> dict[str, torch.Tensor]:
        """Return the masks of all weights that may have one, on the CPU."""
        masks = {name: torch.ones(w.shape, dtype=torch.bool) for name, w in prunable(network).items()}
        return masks | (self.state_dict()["masks"] or {})


class Gradual(Pruning):
    """Gradual magnitude pruning: a cubic ramp of the sparsity (Zhu & Gupta 2017).

    From `first` at the beginning of epoch `start` to `sparsity` at that of `end`, every `every` epochs; never less than
    before. ramp: `cubic`, or `str`, that of STR's code, which begins at 0 and has an event in each epoch (`first` and
    `every` are not used) up to the one after `end`. Raises ConfigError as `events`.
    """

    def __init__(
        self,
        sparsity: float,
        start: int = 1,
        end: int = 40,
        every: int = 5,
        first: float = 0.05,
        ramp: str = "cubic",
        scope: str = "backbone",
        distribution: str = "global",
    ) -> None:
        super().__init__(scope, distribution)
        self.target, self.first, self.ramp = share("sparsity", sparsity), share("first", first), ramp
        one_of("ramp", ramp, "cubic", "str")
        self.start = whole_number("start", start, 0)
        self.end = whole_number("end", end, self.start, None, f"not before start={start}")
        self.every = whole_number("every", every, 1)
        if self.first > self.target and ramp == "cubic":
            raise ConfigError("first", first, f"at most the sparsity={sparsity} at the end")

    def events(self, epochs: int) -> Events:
        """Return the ramp; it must reach its end before the last epoch begins."""
        if self.ramp == "str":
            whole_number("end", self.end, self.start, epochs - 2, f"the ramp ends an epoch later, of {epochs} from 0")
            return gradual_of_str(self.start, self.end, self.target)
        inside("end", self.end, epochs)
        return gradual(self.start, self.end, self.every, self.first, self.target)


class OneShot(Pruning):
    """Prune once, by magnitude, at the beginning of `epoch`; what is left of the training is the fine-tuning.

    Of a network that comes in (a transfer): epoch 0. Schedule `finetuned` has a rate of its own for what comes after.
    """

    def __init__(self, sparsity: float, epoch: int = 0, scope: str = "backbone", distribution: str = "global") -> None:
        super().__init__(scope, distribution)
        self.target, self.epoch = share("sparsity", sparsity), whole_number("epoch", epoch, 0)

    def events(self, epochs: int) -> Events:
        """Return the one epoch."""
        return {inside("epoch", self.epoch, epochs): self.target}


class Alternating(Pruning):
    """AC/DC: compressed and decompressed phases in turn (Peste et al. 2021); `events.alternating` has the phases.

    The defaults are the published phases of 100 epochs; they scale with the epochs (of 20: 2, 1, 2, 3). At each
    decompression all weights are let in again, at zero, and the optimiser begins anew. Published scope: all.
    """

    readmits = True

    def __init__(
        self,
        sparsity: float,
        warmup: int = 10,
        phase: int = 5,
        last_dense: int = 10,
        final_sparse: int = 15,
        scope: str = "backbone",
        distribution: str = "global",
    ) -> None:
        super().__init__(scope, distribution)
        self.target = share("sparsity", sparsity)
        self.warmup, self.phase = whole_number("warmup", warmup, 0), whole_number("phase", phase, 1)
        self.last_dense = whole_number("last_dense", last_dense, 1)
        self.final_sparse = whole_number("final_sparse", final_sparse, 1)

    def events(self, epochs: int) -> Events:
        """Return the phases."""
        return alternating(epochs, self.warmup, self.phase, self.last_dense, self.final_sparse, self.target)

"""RigL (Evci et al. 2020): sparse from the first step; weights move to where the gradient asks for them."""

import math

import pytorch_lightning as pl
import torch

from dataprune.errors import ConfigError, one_of, share, whole_number
from dataprune.models.sparsity import kept, kept_by_channel, kept_largest
from dataprune.streams import number
from dataprune.training.classifier import Classifier
from dataprune.training.events import Events
from dataprune.training.pruning import Pruning


class RigL(Pruning):
    """Begin with random masks, and move them every `every` steps until `until` (a share) of the training.

    Then drop / 2 (1 + cos(pi t / T)) of each layer's weights go, the smallest, and as many of those that were held at
    zero come in, at zero, where the gradient of the dense network is largest; t is the step, T the end of the moves. As
    many weights as before stay in each layer, one at least in each output channel. The step itself is taken too, with
    the new masks; momentum of what has come in is zero, the rest of it stays. A network that comes in sparse keeps its
    masks to begin with. distribution: erk | uniform. The masks are drawn from the training's seed.
    """

    def __init__(
        self,
        sparsity: float,
        every: int = 100,
        until: float = 0.75,
        drop: float = 0.3,
        scope: str = "backbone",
        distribution: str = "erk",
    ) -> None:
        super().__init__(scope, one_of("distribution", distribution, "erk", "uniform"))
        self.target, self.every = share("sparsity", sparsity), whole_number("every", every, 1)
        self.until, self.drop = until, drop
        for name, value in (("until", until), ("drop", drop)):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
                raise ConfigError(name, value, "a share above 0, 1 at most")

    def events(self, epochs: int) -> Events:
        """Return none: masks move at steps."""
        return {}

    def _first(self, module: Classifier, weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        if self._found(module.network, weights):
            return super()._first(module, weights)
        masks, draws = {}, torch.Generator().manual_seed(number(module.seed, "masks"))
        for name, sparsity in self._shares(weights, self.target).items():
            scores = torch.rand(weights[name].shape, generator=draws)
            (masks[name],), _ = kept_by_channel([scores], kept(sparsity, scores.numel()))
        return masks

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """Move the masks by the dense gradients, before these are masked; not by those of an overflow in float16."""
        assert isinstance(pl_module, Classifier)
        step, last = pl_module.step, self.until * pl_module.steps
        if step and step % self.every == 0 and step < last and self._finite():
            self._move(trainer, pl_module, self.drop / 2 * (1 + math.cos(math.pi * step / last)))
        super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def _finite(self) -> bool:
        gradients = [weight.grad for weight, _ in self.held.values() if weight.grad is not None]
        return all(bool(gradient.isfinite().all()) for gradient in gradients)

    def _move(self, trainer: pl.Trainer, module: Classifier, fraction: float) -> None:
        assert self.masks is not None
        for name, (weight, gone) in self.held.items():
            if weight.grad is None:
                continue
            active = int((~gone).sum())
            going = min(int(fraction * active), int(gone.sum()))
            (stays,), _ = kept_by_channel([self._scores(name, weight)], active - going)
            dropped = active - int(stays.sum())
            gradient = weight.grad.detach().abs().float().masked_fill(~gone, -1)
            (comes,) = kept_largest([gradient], dropped)
            self.masks[name] = stays | comes
        self._change(trainer, module)

"""The LightningModule: a network and how to fit it; everything that varies is passed in."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch.nn import functional as F

from dataprune.models.flops import Attack
from dataprune.models.networks import Network, laid_out
from dataprune.models.tally import ATTACK, FORWARD, STEP, Tally

# (ids, losses, p_true, real) of this process's share -> which of them to train on, bool (b,); how many in all processes
Choose = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, int]]

# (inputs, labels, epoch, step in it) -> the inputs to train on, and how much of each class each is, float (b, classes)
Mix = Callable[[dict[str, torch.Tensor], torch.Tensor, int, int], tuple[dict[str, torch.Tensor], torch.Tensor]]


class Classifier(pl.LightningModule):
    """Fits `network` by cross entropy.

    optimizer: makes the optimiser from parameter groups. schedule(at, lr) -> learning rate where the training stands,
    in steps of whole epochs; momentum(at) -> momentum, if it moves too. attack(network, inputs, y) -> the inputs to
    train on instead. mix: makes other inputs of each batch, and shares of classes instead of labels. choose: picks the
    examples of each batch that are trained on, after a forward pass of all without gradient. seed: the recipe's, and
    steps: of the whole training, for callbacks.

    `logits` (b, classes) and `losses` (b,), without weights, of the latest training batch are there for callbacks,
    detached (returning them from the step would make Lightning copy them). Losses are summed on the device; nothing is
    logged or moved each step. `tally` counts the real examples of steps, attacks and passes without gradient.
    """

    def __init__(
        self,
        network: Network,
        optimizer: Callable[..., torch.optim.Optimizer],
        schedule: Callable[[int, float], float],
        *,
        momentum: Callable[[int], float] | None = None,
        attack: Attack | None = None,
        choose: Choose | None = None,
        mix: Mix | None = None,
        smoothing: float = 0.0,
        decay_bias_and_norm: bool = True,
        channels_last: bool = True,
        seed: int = 0,
        steps: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.make_optimizer, self.schedule = network, optimizer, schedule
        self.momentum, self.attack, self.choose, self.mix = momentum, attack, choose, mix
        self.smoothing, self.decay_bias_and_norm = smoothing, decay_bias_and_norm
        self.seed, self.steps = seed, steps
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.logits: torch.Tensor | None = None
        self.losses: torch.Tensor | None = None
        self.tally = Tally()
        self.epochs_done = self.steps_done = 0  # by earlier attempts
        self.saved: dict[str, Any] | None = None
        self.stateful: dict[str, Any] = {}  # by name, what else has a state_dict that the training goes on from
        self.noted: dict[str, float] = {}  # what callbacks of a recipe add to each line of history

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimiser over all parameters that learn."""
        learning = {name: p for name, p in self.network.named_parameters() if p.requires_grad}
        skipped = set() if self.decay_bias_and_norm else learning.keys() & self.network.undecayed
        groups: list[dict[str, Any]] = [{"params": [p for name, p in learning.items() if name not in skipped]}]
        if not self.decay_bias_and_norm:
            groups.append({"params": [p for name, p in learning.items() if name in skipped], "weight_decay": 0.0})
        optimizer = self.make_optimizer(groups)
        for group in optimizer.param_groups:
            group["base_lr"] = group["lr"]
        if self.saved is not None:
            optimizer.load_state_dict(self.saved["optimizer"])
        return optimizer

    @property
    def epoch(self) -> int:
        """The epoch that runs, counted from the very first start."""
        return self.epochs_done + self.trainer.current_epoch

    @property
    def step(self) -> int:
        """Optimiser steps taken, counted from the very first start."""
        return self.steps_done + self.trainer.global_step

    def go_on_from(self, checkpoint: dict[str, Any]) -> None:
        """Take over what `state` gave; the trainer then fits the rest as if it were a new training.

        Lightning's own resume leaves out hooks of the first epoch and counts its batches on.
        """
        self.epochs_done, self.steps_done = checkpoint["epochs"], checkpoint["steps"]
        self.network.load_state_dict(checkpoint["network"])
        self.tally.take_over(checkpoint["tally"])
        for name, part in self.stateful.items():
            part.load_state_dict(checkpoint["stateful"][name])
        self.saved = checkpoint

    def state(self) -> dict[str, Any]:
        """Everything that the epochs to come depend on, at the end of an epoch."""
        return {
            "epochs": self.epoch + 1,
            "steps": self.step,
            "tally": self.tally.state(),
            "network": self.network.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "stateful": {name: part.state_dict() for name, part in self.stateful.items()},
            "precision": self.trainer.precision_plugin.state_dict(),  # the loss scale of float16
        }

    def on_fit_start(self) -> None:
        """Restore the loss scale."""
        if self.saved is not None:
            self.trainer.precision_plugin.load_state_dict(self.saved["precision"])

    def on_train_epoch_start(self) -> None:
        """Clear the epoch's sums."""
        self.sums = torch.zeros(3, device=self.device, dtype=torch.float64)  # loss, correct, examples

    def on_train_batch_start(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Set this step's learning rate and momentum."""
        optimizer = self.optimizers()
        for group in optimizer.param_groups:  # type: ignore[union-attr]
            group["lr"] = float(self.schedule(batch["at"], group["base_lr"]))  # a checkpoint holds no numpy numbers
            if self.momentum is not None:
                group["momentum"] = float(self.momentum(batch["at"]))

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> torch.Tensor:
        """Mean loss of the global batch (this process's part of it), or of what is chosen from it."""
        if self.choose is not None:
            batch = self._chosen(batch, self.choose)
        labels = batch["y"]
        if self.mix is not None:
            mixed, labels = self.mix(batch["inputs"], labels, self.epoch, batch_idx)
            batch = batch | {"inputs": mixed, "y": labels.argmax(1)}  # the larger share
        inputs: Mapping[str, torch.Tensor] = self._laid_out(batch["inputs"])
        if self.attack is not None:
            inputs = self.attack(lambda **moved: self._attacked(moved, batch["real"]), inputs, batch["y"])
        self.tally.add(STEP, inputs, batch["real"])
        logits = self.network(**inputs)  # (b, classes)
        losses = self.each_loss(logits, labels)
        if self.choose is None:
            self._note(batch, logits.detach(), losses.detach())
        return (losses if batch["weight"] is None else losses * batch["weight"]).sum() * batch["scale"]

    def each_loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The training's loss of each example, float32 (b,), without weights; of labels int64 (b,), or of shares of the
        classes, float (b, classes), which are smoothed already."""
        smoothing = 0.0 if labels.is_floating_point() else self.smoothing
        return F.cross_entropy(logits.float(), labels, reduction="none", label_smoothing=smoothing)

    def _note(self, batch: dict[str, Any], logits: torch.Tensor, losses: torch.Tensor) -> None:
        """Keep what callbacks look at, and the sums of the epoch: of the batch as it came, before any choice."""
        self.logits, self.losses = logits, losses
        right = logits.argmax(1) == batch["y"]
        counted = right.new_ones(len(right)) if batch["real"] is None else batch["real"]
        weighted = losses if batch["weight"] is None else losses * batch["weight"]
        self.sums += torch.stack([weighted.sum(), (right & counted).sum(), counted.sum()])

    def _chosen(self, batch: dict[str, Any], choose: Choose) -> dict[str, Any]:
        """The part of a batch that is trained on. Without any there is still a backward pass, of loss 0: the other
        processes wait for its gradients."""
        with torch.no_grad():
            self.tally.add(FORWARD, batch["inputs"], batch["real"])
            logits = self.network(**self._laid_out(batch["inputs"]))
            losses = self.each_loss(logits, batch["y"])
            self._note(batch, logits, losses)
            p_true = logits.float().softmax(1).gather(1, batch["y"][:, None])[:, 0]
        mine, total = choose(batch["id"], losses, p_true, batch["real"])
        part = dict(batch)
        if not mine.any():
            mine[:2] = True  # two: batch norm takes no single vector
            part["real"] = mine.new_zeros(len(mine))
            part["weight"] = part["real"].float()
        part["inputs"] = {name: values[mine] for name, values in batch["inputs"].items()}
        for name in ("y", "id", "real", "weight"):
            part[name] = part[name] if part[name] is None else part[name][mine]
        return part | {"scale": self.trainer.world_size / max(1, total)}

    def clean_pass(self, batches: Iterable[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], torch.Tensor]]:
        """Each batch with its logits float32 (b, classes), in eval mode and float32, in the middle of a training."""
        self.eval()
        with torch.no_grad():
            for batch in batches:
                self.tally.add(FORWARD, batch["inputs"], batch["real"])
                yield batch, self.network(**self._laid_out(batch["inputs"])).float()
        self.train()

    def _attacked(self, inputs: Mapping[str, torch.Tensor], real: torch.Tensor | None) -> torch.Tensor:
        """Logits for the attack, which goes backward through them."""
        self.tally.add(ATTACK, inputs, real)
        return self.network(**inputs)

    def _laid_out(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return laid_out(inputs, self.memory_format)

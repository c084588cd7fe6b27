"""A head on features that are there, fitted by the recipe's solver instead of the training loop; its history."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.callables import function_at
from dataprune.models.networks import FEATURES
from dataprune.models.tally import FORWARD, STEP
from dataprune.training.classifier import Classifier
from dataprune.training.linear import Task

EVAL_BATCH = 4096  # vectors of a matrix product


@dataclass(frozen=True)
class Vectors:
    """Features of a split, float32 (n, d), and its labels, int64 (n,), on one device."""

    split: str
    features: torch.Tensor
    labels: torch.Tensor

    def of(self, ids: np.ndarray) -> "Vectors":
        """Those of these ids, int64 (k,), alone."""
        there = torch.from_numpy(ids).to(self.labels.device)
        return Vectors(self.split, self.features[there], self.labels[there])


class Probe:
    """Fits the head of a module's network by a solver, and writes a line of history at the end of each epoch.

    heldout: on which history follows, every `every` epochs and after the last of `epochs`; None = on nothing.
    """

    def __init__(self, module: Classifier, path: Path, epochs: int, heldout: Vectors | None, every: int) -> None:
        self.module, self.path, self.epochs, self.heldout, self.every = module, path, epochs, heldout, every

    def solve(self, solver: dict[str, Any], **task: Any) -> dict[str, Any]:
        """Fit from the start, whatever an earlier attempt has left; task: the rest of a `Task`. Returns what the solver
        tells of what it chose."""
        head, constants = self.module.network.head, {k: v for k, v in solver.items() if k != "_target_"}
        self.path.write_text("")
        whole = Task(head, rate=self.module.schedule, told=self.tell, passed=self.count, epochs=self.epochs, **task)
        chosen = function_at(solver["_target_"])(whole, **constants)
        self.module.tally.settle()
        return chosen

    def count(self, vectors: torch.Tensor) -> None:
        """Count a pass of vectors (b, d) through the head, forward and backward."""
        self.module.tally.add(STEP, {FEATURES: vectors})

    def tell(self, epoch: int, done: int, loss: float, right: float, rate: float) -> None:
        """Append the line of an epoch, as the training loop does."""
        line: dict[str, Any] = {"epoch": epoch, "step": done, "train_loss": loss, "train_top1": right, "lr": rate}
        if self.heldout is not None and ((epoch + 1) % self.every == 0 or epoch + 1 == self.epochs):
            line[f"{self.heldout.split}_top1"] = self._accuracy(self.heldout)
        with open(self.path, "a") as file:
            file.write(json.dumps(line) + "\n")

    @torch.no_grad()
    def _accuracy(self, heldout: Vectors) -> float:
        right = 0.0
        for rows, labels in zip(heldout.features.split(EVAL_BATCH), heldout.labels.split(EVAL_BATCH), strict=True):
            self.module.tally.add(FORWARD, {FEATURES: rows})
            right += (self.module.network.head(rows).argmax(1) == labels).sum().item()
        return right / len(heldout.labels)

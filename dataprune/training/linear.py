"""Fit a linear head on features that are there: the same steps as the training loop, or L-BFGS on all at once.

A solver fits `task.head` in place. Both work on vectors that end in a one, so that the last column of the weights is
the bias, and on the gradient of the cross entropy in closed form: (softmax - one-hot)' x.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from dataprune.callables import instance
from dataprune.data.order import Order
from dataprune.data.shares import same_share
from dataprune.errors import ConfigError
from dataprune.streams import stream

# (epoch, steps done, loss, share of right predictions, learning rate) at the end of each epoch
Told = Callable[[int, int, float, float, float], None]


@dataclass(frozen=True)
class Task:
    """What a solver is given.

    head: to be fitted. vectors: float32 (n, d) on the head's device; labels: int64 (n,) there; weights: float32 (n,) of
    mean 1, or None. order: which of them each step of each epoch sees. rate(at, lr) -> learning rate, where `at` counts
    steps of whole epochs. optimizer: _target_ and constants. told: hears of each epoch; passed: of each pass of so many
    vectors through the head and back.
    """

    head: nn.Linear
    vectors: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor | None
    order: Order
    epochs: int
    steps: int
    rate: Callable[[int, float], float]
    optimizer: dict[str, Any]
    told: Told
    passed: Callable[[torch.Tensor], None]

    def extended(self, ids: np.ndarray | None = None) -> torch.Tensor:
        """The vectors (of these ids) with a one at the end, float32 (n, d + 1)."""
        chosen = self.vectors if ids is None else self.vectors[torch.from_numpy(ids).to(self.vectors.device)]
        return torch.cat([chosen, chosen.new_ones(len(chosen), 1)], 1)

    def put(self, weights: torch.Tensor) -> None:
        """Give the head these weights, (classes, d + 1) with the bias last."""
        with torch.no_grad():
            self.head.weight.copy_(weights[:, :-1])
            self.head.bias.copy_(weights[:, -1])


@torch.no_grad()
def sgd(task: Task) -> dict[str, Any]:
    """Take the steps of torch.optim.SGD (lr, momentum, weight_decay, which the bias has too), one after another.

    What the training loop does with the same order, without autograd and without fetching: two matrix products and
    three updates a step. Parameters differ by rounding. Raises ConfigError for other constants of the optimiser.
    """
    constants = {name: value for name, value in task.optimizer.items() if name != "_target_"}
    lr, momentum, decay = (constants.pop(name, default) for name, default in SGD.items())
    if constants:
        raise ConfigError("optimizer", constants, f"{', '.join(SGD)} alone: this solver knows no others")
    x, w = task.extended(), torch.cat([task.head.weight, task.head.bias[:, None]], 1)
    moving = torch.zeros_like(w)
    for epoch, done in ((epoch, epoch * task.order.steps) for epoch in range(task.epochs)):
        sums, rate = torch.zeros(3, dtype=torch.float64, device=x.device), lr
        for share in task.order.batches(epoch):
            if done == task.steps:
                break
            ids, rate = torch.from_numpy(share.ids).to(x.device), task.rate(share.at, lr)  # type: ignore[arg-type]
            rows, y = x[ids], task.labels[ids]
            error, found = errors(rows, y, w, None if task.weights is None else task.weights[ids])
            torch.addmm(moving, error.T, rows, beta=momentum, alpha=1 / share.total, out=moving)
            w.sub_(moving.add_(w, alpha=decay), alpha=rate)
            sums, done = sums + found, done + 1
            task.passed(rows[:, :-1])
        task.put(w)
        loss, right, count = sums.tolist()
        task.told(epoch, done, loss / count, right / count, rate)
    return {}


SGD = {"lr": 1e-3, "momentum": 0.0, "weight_decay": 0.0}  # constants of torch's that `sgd` knows, and its defaults


@torch.no_grad()
def full_batch(task: Task, l2: float | list[float] = 5e-4, validation: float = 0.1) -> dict[str, Any]:
    """Minimise mean cross entropy + l2 / 2 (|W|^2 + |b|^2) over all examples, from zero, by an optimiser with a closure
    (torch.optim.LBFGS) that takes up to task.steps iterations (its `max_iter`).

    l2: of several the one with the highest accuracy on the share `validation` of each class, fitted without it (of
    equal ones the largest), after which all examples count. Nothing is drawn for a single one. Returns l2.
    """
    x, y = task.extended(task.order.ids), task.labels[torch.from_numpy(task.order.ids).to(task.labels.device)]
    weights = None if task.weights is None else task.weights[torch.from_numpy(task.order.ids).to(x.device)]
    zero = x.new_zeros(task.head.out_features, x.shape[1])
    several = sorted(l2, reverse=True) if isinstance(l2, list) else [l2]
    best = several[0] if len(several) == 1 else _best(task, x, y, several, validation, zero, weights)
    w = _minimised(task, x, y, best, zero, weights)
    task.put(w)
    loss, right, count = errors(x, y, w, weights)[1].tolist()
    task.told(0, task.steps, loss / count, right / count, task.optimizer.get("lr", 1.0))
    return {"l2": best}


def errors(
    x: torch.Tensor, y: torch.Tensor, w: torch.Tensor, weights: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return softmax minus one-hot of each vector, times its weight, float32 (b, classes); and the sums of losses,
    right predictions and vectors, float64 (3,).

    x: (b, d); y: int64 (b,); w: (classes, d); weights: (b,) or None.
    """
    logits = torch.log_softmax(x @ w.T, 1)
    losses, right = -logits.gather(1, y[:, None])[:, 0], logits.argmax(1) == y
    error = logits.exp_()
    error[torch.arange(len(y), device=y.device), y] -= 1
    if weights is not None:
        losses, error = losses * weights, error * weights[:, None]
    return error, torch.stack([losses.double().sum(), right.double().sum(), losses.new_tensor(len(y)).double()])


def _best(
    task: Task,
    x: torch.Tensor,
    y: torch.Tensor,
    several: list[float],
    validation: float,
    start: torch.Tensor,
    weights: torch.Tensor | None,
) -> float:
    """The strength, of those from large to small, that is best on a part of each class which it has not seen."""
    labels = y.numpy(force=True)
    classes, n = len(np.unique(labels)), len(labels)
    count = max(classes, round((1 - validation) * n))
    if not 0 < validation < 1 or count >= n:
        raise ConfigError("solver.validation", validation, f"a share that leaves some of the {n} examples out")
    kept = torch.from_numpy(same_share(labels, count, stream(task.order.seed, "validation"))).to(y.device)
    seen = torch.zeros(n, dtype=torch.bool, device=y.device)
    seen[kept] = True
    part = None if weights is None else weights[seen]
    found: list[tuple[float, float]] = []
    for strength in several:  # each starts where the stronger one has ended
        start = _minimised(task, x[seen], y[seen], strength, start, part)
        right = ((x[~seen] @ start.T).argmax(1) == y[~seen]).double().mean().item()
        found.append((right, strength))
    return max(found)[1]


def _minimised(
    task: Task, x: torch.Tensor, y: torch.Tensor, l2: float, start: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    """The weights (classes, d + 1) at which the objective is least, as far as the optimiser comes from `start`."""
    w = start.clone().requires_grad_()
    optimizer = instance(task.optimizer, _partial_=True)([w], max_iter=task.steps)

    def closure() -> torch.Tensor:
        error, sums = errors(x, y, w.detach(), weights)
        w.grad = torch.addmm(w.detach(), error.T, x, beta=l2, alpha=1 / len(x))
        task.passed(x[:, :-1])
        return (sums[0] / len(x) + 0.5 * l2 * w.detach().double().square().sum()).float()

    optimizer.step(closure)
    return w.detach()

"""Seconds of a linear head: the plain loop over a DataLoader, the same steps fused, and L-BFGS.

    python benchmarks/linear_probe.py             # a few minutes on one core
    python benchmarks/linear_probe.py --loop 10   # half a minute

5,000 training and as many test features of 2,048 numbers (made up: overlapping classes behind a ReLU), 100 classes; the
recipe of sparse transfer: SGD 0.01, momentum 0.9, weight decay 5e-4, batch 64, 150 epochs, a tenth of the rate from
epochs 51 and 101 on. CPU seconds of this process and its children, one thread. --loop runs a few epochs of the plain
loop and extrapolates, which the line says; fused SGD takes the same number of steps of the same kind.
"""

import argparse
import resource
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from timing import machine
from torch.utils.data import DataLoader, TensorDataset

from dataprune.data.order import Order
from dataprune.training.linear import Task, full_batch, sgd
from dataprune.training.schedules import multistep

SGD = {"_target_": "torch.optim.SGD", "lr": 0.01, "momentum": 0.9, "weight_decay": 5e-4}
LBFGS = {"_target_": "torch.optim.LBFGS", "history_size": 20, "line_search_fn": "strong_wolfe"}
STEPS, BATCH, EPOCHS = [51, 101], 64, 150


def features(n: int, d: int, classes: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(n, d) as of a pooled ReLU, and labels (n,); classes overlap, so that no head is right everywhere."""
    of_classes, draws = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    means = 0.13 * torch.randn(classes, d, generator=of_classes)
    labels = torch.arange(n) % classes
    return torch.relu(torch.randn(n, d, generator=draws) + means[labels]) * 0.5, labels


def plain(x: torch.Tensor, y: torch.Tensor, classes: int, epochs: int, workers: int, run: int) -> torch.nn.Linear:
    """`run` of `epochs` epochs of the plain loop."""
    torch.manual_seed(21)
    head = torch.nn.Linear(x.shape[1], classes)
    optimizer = torch.optim.SGD(head.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [round(s * epochs / EPOCHS) for s in STEPS])
    loader = DataLoader(TensorDataset(x, y), BATCH, shuffle=True, num_workers=workers)
    for _ in range(run):
        for rows, labels in loader:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(head(rows), labels).backward()
            optimizer.step()
        schedule.step()
    return head


def solved(
    solver: Callable[[Task], object], optimizer: dict, x: torch.Tensor, y: torch.Tensor, classes: int, epochs: int
) -> torch.nn.Linear:
    """The head that a solver of ours fits."""
    torch.manual_seed(21)
    head, order = torch.nn.Linear(x.shape[1], classes), Order(np.arange(len(x)), BATCH, 21)
    steps = 40 if solver is not sgd else epochs * order.steps
    at = [round(s * epochs / EPOCHS) for s in STEPS]
    rate = lambda step, lr: multistep(step, steps, order.steps, lr, epochs=at)  # noqa: E731
    nothing = lambda *told: None  # noqa: E731
    solver(Task(head, x, y, None, order, epochs, steps, rate, optimizer, nothing, nothing))
    return head


def seconds(work: Callable[[], torch.nn.Linear]) -> tuple[float, torch.nn.Linear]:
    """CPU seconds of a function, its children's with them, and what it returns."""

    def spent() -> float:
        usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        return sum(usage.ru_utime + usage.ru_stime for usage in usages)

    before = spent()
    head = work()
    return spent() - before, head


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])  # type: ignore[union-attr]
    parser.add_argument("--small", action="store_true", help="1,000 examples, 20 epochs")
    parser.add_argument("--loop", type=int, help="epochs of the plain loop that are run; the rest is extrapolated")
    parser.add_argument("--workers", action="store_true", help="also with 4 worker processes, 2 epochs of them")
    args = parser.parse_args()
    torch.set_num_threads(1)
    n, d, classes, epochs = (1000, 256, 20, 20) if args.small else (5000, 2048, 100, EPOCHS)
    (x, y), (test, labels) = features(n, d, classes, 1), features(n, d, classes, 2)
    rows: list[tuple[str, float, torch.nn.Linear | None]] = []
    for workers, run in [(0, args.loop or epochs), *([(4, 2)] if args.workers else [])]:
        taken, head = seconds(partial(plain, x, y, classes, epochs, workers, run))
        said = "" if run == epochs else f", extrapolated from {run} epochs"
        rows.append((f"plain loop, {workers} workers{said}", taken * epochs / run, head if run == epochs else None))
    rows.append(("fused SGD, the same steps", *seconds(partial(solved, sgd, SGD, x, y, classes, epochs))))
    rows.append(
        ("L-BFGS, l2 5e-4, up to 40 iterations", *seconds(partial(solved, full_batch, LBFGS, x, y, classes, 1)))
    )
    print(machine())
    print(f"{n:,} x {d:,} features, {classes} classes, {epochs} epochs of {BATCH}")
    print(f"{'':64}{'CPU s':>8}{'faster than the plain loop':>28}{'test %':>9}")
    base = rows[0][1]
    for name, taken, head in rows:
        with torch.no_grad():
            right = "" if head is None else f"{(head(test).argmax(1) == labels).double().mean().item() * 100:.2f}"
        print(f"{name:64}{taken:8.1f}{base / taken:27.1f}x{right:>9}")


if __name__ == "__main__":
    main()

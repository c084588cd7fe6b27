"""Learning rate, momentum and resolution as functions of the step or epoch: nothing to save, nothing to resume.

Each schedule gives the learning rate used AT optimiser step `step` (from 0) of `steps`, with `per_epoch` steps an epoch
and `lr` the optimiser's own rate.
"""

import math

import numpy as np


def constant(step: int, steps: int, per_epoch: int, lr: float) -> float:
    """Always `lr`."""
    return lr


def cosine(
    step: int,
    steps: int,
    per_epoch: int,
    lr: float,
    *,
    end: float = 0.0,
    warmup_epochs: float = 0,
    warmup_start: float = 0.0,
) -> float:
    """Linear from `warmup_start` to `lr` over `warmup_epochs`, then half a cosine to `end` over the remaining steps.

    The two follow one another. (The DP4TL code chains two schedulers that both run from step 0, so that its rate rises
    again at the end.)
    """
    warmup = warmup_epochs * per_epoch
    if step < warmup:
        return warmup_start + (lr - warmup_start) * step / warmup
    return end + (lr - end) * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup))) / 2


def rewound(
    step: int,
    steps: int,
    per_epoch: int,
    lr: float,
    *,
    length: int,
    rewind: int = 0,
    end: float = 0.0,
    warmup_epochs: float = 0,
    warmup_start: float = 0.0,
) -> float:
    """The `cosine` of `length` epochs, and again from its epoch `rewind` on for each further round: the rate of lottery
    tickets (`training.lottery.Lottery`, of the same length and rewind)."""
    first, back = length * per_epoch, rewind * per_epoch
    at = step if step < first else back + (step - first) % max(1, first - back)
    return cosine(at, first, per_epoch, lr, end=end, warmup_epochs=warmup_epochs, warmup_start=warmup_start)


def finetuned(
    step: int,
    steps: int,
    per_epoch: int,
    lr: float,
    *,
    after: int,
    factor: float = 0.1,
    end: float = 0.0,
    warmup_epochs: float = 0,
    warmup_start: float = 0.0,
) -> float:
    """The `cosine` of the first `after` epochs, then one of the rest that begins at `factor` times `lr`, without
    warm-up: pruned at once and fine-tuned (`training.pruning.OneShot`, of epoch `after`)."""
    first = after * per_epoch
    if step < first:
        return cosine(step, first, per_epoch, lr, end=end, warmup_epochs=warmup_epochs, warmup_start=warmup_start)
    return cosine(step - first, steps - first, per_epoch, factor * lr, end=factor * end)


def cyclic(step: int, steps: int, per_epoch: int, lr: float, *, peak_epoch: float = 2, low: float = 0.0) -> float:
    """Linear `low` -> `lr` until `peak_epoch`, then linear back to `low`: one triangle.

    low = 0 is the schedule of data-transfer and FFCV, low = 1e-4 that of DP4TL.
    """
    return low + (lr - low) * _triangle(step, steps, peak_epoch * per_epoch)


def linear(step: int, steps: int, per_epoch: int, lr: float, *, warmup: float = 0.0) -> float:
    """Linear 0 -> `lr` over the first `warmup` (a share) of all steps, then linear to 0: the usual one for fine-tuning
    transformers."""
    return lr * _triangle(step, steps, math.ceil(warmup * steps))


def cyclic_momentum(
    step: int, steps: int, per_epoch: int, *, peak_epoch: float = 2, high: float = 0.9, low: float = 0.8
) -> float:
    """Momentum that falls from `high` to `low` while the rate rises, and comes back (DP4TL leaves this on)."""
    return high - (high - low) * _triangle(step, steps, peak_epoch * per_epoch)


def multistep(
    step: int,
    steps: int,
    per_epoch: int,
    lr: float,
    *,
    epochs: list[int] | None = None,
    gamma: float = 0.1,
    every: int | None = None,
) -> float:
    """`lr` times `gamma` for each of `epochs` that has passed; with `every`, also once each `every` epochs."""
    epoch = step // per_epoch
    passed = sum(epoch >= e for e in epochs or []) + (epoch // every if every else 0)
    return lr * gamma**passed


def resolution(epoch: int, *, low: int, high: int, start: int, end: int) -> int:
    """Training resolution of an epoch in pixels: `low` up to `start`, `high` from `end`, multiples of 32 between.

    Halves round to even, as the DP4TL and FFCV recipes do.
    """
    if epoch <= start:
        return low
    if epoch >= end:
        return high
    return int(np.round(np.interp(epoch, [start, end], [low, high]) / 32)) * 32


def _triangle(step: int, steps: int, peak: float) -> float:
    """0 at step 0, 1 at `peak`, 0 at `steps`."""
    return step / peak if step < peak else max(0.0, (steps - step) / (steps - peak)) if steps > peak else 1.0

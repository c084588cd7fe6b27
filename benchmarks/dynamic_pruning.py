"""What a policy adds to an epoch of 1.28 million examples: seconds beside torch's RandomSampler.

    OMP_NUM_THREADS=1 python benchmarks/dynamic_pruning.py           1.28 M examples, about a minute and 1 GB
    OMP_NUM_THREADS=1 python benchmarks/dynamic_pruning.py --small   a tenth of it

An epoch costs `set_epoch` with the choice (epoch), handing out the ids one by one as a DataLoader takes them (ids),
looking the weights of every batch up (weights) and observing every batch (observe) or all at once (once). Medians of
wall seconds over the epochs; losses are made up so that most examples get learnt. Batches of 256 tensors on the CPU.
"""

import argparse
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator

import numpy as np
import torch
from timing import machine
from torch.utils.data import RandomSampler

from dataprune.dynamic import IES, RS2, InfoBatch, OrderDP, Policy, SeTa

EPOCHS, BATCH = 8, 256
PARTS = ("epoch", "ids", "weights", "observe", "once")


def losses_of(n: int) -> Iterator[np.ndarray]:
    """Losses by id, epoch by epoch: they fall at each example's own rate."""
    rng = np.random.default_rng(0)
    start, rate = rng.gamma(2, 2, n), rng.gamma(0.5, 1, n)
    while True:
        start *= np.exp(-rate)
        yield (start + rng.gamma(0.2, 0.05, n)).astype(np.float32)


def timed(seconds: dict[str, list[float]], part: str, call: Callable[[], object]) -> object:
    begin = time.perf_counter()
    found = call()
    seconds[part].append(time.perf_counter() - begin)
    return found


def each(batches: list[tuple[torch.Tensor, ...]], call: Callable[..., object]) -> None:
    for batch in batches:
        call(*batch)


def epochs_of(policy: Policy, n: int) -> tuple[dict[str, list[float]], int]:
    """Seconds of the parts by epoch, and how many examples all epochs had."""
    seconds: dict[str, list[float]] = defaultdict(list)
    total = 0
    for epoch, losses in zip(range(EPOCHS), losses_of(n), strict=False):
        ids, _ = timed(seconds, "epoch", lambda e=epoch: policy.epoch(e))  # type: ignore[misc]
        timed(seconds, "ids", lambda: sum(1 for _ in policy))
        parts = torch.from_numpy(ids).split(BATCH)
        timed(seconds, "weights", lambda p=parts: each([(part,) for part in p], policy.weights))
        seen = np.concatenate([ids, policy.excluded(epoch)])
        batches = [(part, torch.from_numpy(losses)[part]) for part in torch.from_numpy(seen).split(BATCH)]
        timed(seconds, "observe", lambda b=batches: each(b, policy.observe))
        twin = type(policy.seen)(n)
        timed(seconds, "once", lambda t=twin, s=seen, x=losses: t.add(s, x[s]))
        total += len(ids)
    return seconds, total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="a tenth of the examples")
    n = 128_000 if parser.parse_args().small else 1_280_000
    print(f"{machine()}, torch {torch.__version__}; n = {n:,}, {EPOCHS} epochs, batches of {BATCH}")
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(3):
        timed(seconds, "ids", lambda: sum(1 for _ in RandomSampler(range(n))))
    plain = statistics.median(seconds["ids"])
    print(
        f"{'seconds an epoch':18s}" + "".join(f"{part:>10s}" for part in PARTS) + f"{'us a step':>12s}{'pruned':>10s}"
    )
    print(f"{'RandomSampler':18s}{'':10s}{plain:10.3f}{'':30s}{1e6 * plain / (n / BATCH):12.1f}")
    for policy in (
        Policy(n),
        InfoBatch(n, EPOCHS),
        SeTa(n, EPOCHS),
        RS2(n, ratio=0.5),
        OrderDP(n),
        IES(n, threshold=0.1),
    ):
        seconds, total = epochs_of(policy, n)
        medians = {part: statistics.median(seconds[part]) for part in PARTS}
        added = sum(medians[part] for part in ("epoch", "ids", "weights", "observe")) * EPOCHS / (total / BATCH)
        figures = "".join(f"{medians[part]:10.3f}" for part in PARTS)
        name = type(policy).__name__
        print(f"{name:18s}{figures}{1e6 * added:12.1f}{100 * (1 - total / (n * EPOCHS)):9.0f}%", flush=True)


if __name__ == "__main__":
    main()

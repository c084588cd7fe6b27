"""What the processes of one stage tell one another. In a stage of one process each of these gives back its own.

Only `launch.main` makes a process group: whether there is one says whether a stage has several processes.
"""

from collections.abc import Iterator
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

T = TypeVar("T")


def place() -> tuple[int, int]:
    """Return (rank, world) of this process among those of its stage."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)


def summed(sums: torch.Tensor) -> list[float]:
    """Return the sums (k,) over all processes."""
    total = sums.clone()
    if place()[1] > 1:
        dist.all_reduce(total)
    return total.tolist()


def told(mine: T) -> list[T]:
    """Return what each process has told, by rank. Plain values, and arrays and tensors in the CPU's memory."""
    everywhere: list[Any] = [mine] * (world := place()[1])
    if world > 1:
        dist.all_gather_object(everywhere, mine)
    return everywhere


def united(seen: set[T]) -> set[T]:
    """Return what any process has seen."""
    return set().union(*told(seen))


def part(ids: np.ndarray, batch_size: int) -> np.ndarray:
    """Return this process's ids of a clean pass: whole batches, every world-th one, from that of its rank on.

    Whole, so that each batch is the one that a single process would have: what comes out of it is the same to the bit
    (a kernel may sum in another order for another number of rows). ids: int64 (n,) in the order of the pass.
    """
    rank, world = place()
    return ids[np.arange(len(ids)) // batch_size % world == rank]


def in_order(mine: Iterator[T], batches: int, everywhere: bool = False) -> Iterator[T]:
    """Yield what all processes make of their batches (`part`) in the order of a single process's pass.

    mine: one value a batch of this process, as `told` takes them. Process 0 gets all of them, the others none, or all
    too (`everywhere`). Every process must run it to its end.
    """
    world = place()[1]
    if world == 1:
        yield from mine
        return
    for first in range(0, batches, world):
        values = _round(next(mine, None), everywhere)
        yield from values[: batches - first]


def _round(value: T | None, everywhere: bool) -> list[Any]:
    """One value of each process, here and in process 0 or in all."""
    if everywhere:
        return told(value)
    rank, world = place()
    values: list[Any] = [None] * world if rank == 0 else []
    dist.gather_object(value, values or None)
    return values

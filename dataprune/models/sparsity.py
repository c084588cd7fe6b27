"""Which weights of a network are kept: by size, over the whole network, by layer, or some of each few neighbours.

Scores are tensors of the weights' shapes, higher = kept first; below zero = a weight that is held at zero already.
Masks are bool, True = kept. Output channels are the first axis.
"""

from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from math import prod

import torch

Shapes = Mapping[str, Sequence[int]]


def kept(sparsity: float, n: int) -> int:
    """Return how many of n weights are left: n - floor(sparsity * n), the sparsity as it is written (0.29 of 100 takes
    29, though its binary neighbour is smaller)."""
    return n - int(Decimal(repr(float(sparsity))) * n)


def kept_largest(scores: Sequence[torch.Tensor], keep: int) -> list[torch.Tensor]:
    """Return masks of the `keep` highest scores of all tensors together; of equal ones the lowest index goes first, in
    the order of the tensors."""
    flat = torch.cat([each.flatten() for each in scores])
    mask = torch.ones_like(flat, dtype=torch.bool)
    mask[torch.argsort(flat, stable=True)[: max(0, len(flat) - keep)]] = False
    parts = mask.split([each.numel() for each in scores])
    return [part.view(each.shape) for part, each in zip(parts, scores, strict=True)]


def kept_by_channel(scores: Sequence[torch.Tensor], keep: int) -> tuple[list[torch.Tensor], int]:
    """Return the masks of `kept_largest`, but with the best weight of each output channel that has one, and how many
    channels would have been emptied without that.

    As many weights as asked for are kept, unless there are more channels than that.
    """
    masks = kept_largest(scores, keep)
    best = [_best(each) for each in scores]
    held_open = sum(int((one & ~mask).sum()) for one, mask in zip(best, masks, strict=True))
    if held_open == 0:
        return masks, 0
    first = [each.masked_fill(one, torch.inf) for each, one in zip(scores, best, strict=True)]
    return kept_largest(first, max(keep, sum(int(one.sum()) for one in best))), held_open


def _best(scores: torch.Tensor) -> torch.Tensor:
    """A mask of the highest score of each output channel, the last of equal ones; none of a channel without any."""
    rows = scores.flatten(1)
    highest = rows.flip(1).argmax(1, keepdim=True)
    place = rows.shape[1] - 1 - highest
    mask = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, place, rows.gather(1, place) >= 0)
    return mask.view(scores.shape)


def kept_of_groups(scores: torch.Tensor, n: int, m: int) -> torch.Tensor:
    """Return a mask of the n highest scores of each m consecutive input channels (the second axis, a multiple of m); of
    equal ones the lowest goes first."""
    rows = scores.movedim(1, -1)
    groups = rows.reshape(*rows.shape[:-1], rows.shape[-1] // m, m)
    place = torch.argsort(groups, dim=-1, stable=True)[..., : m - n]
    mask = torch.ones_like(groups, dtype=torch.bool).scatter_(-1, place, False)
    return mask.view(rows.shape).movedim(-1, 1).contiguous()


def uniform(shapes: Shapes, sparsity: float, dense: Collection[str] = ()) -> dict[str, float]:
    """Return the sparsity of each layer: the same, 0 of those in `dense`."""
    return {name: 0.0 if name in dense else sparsity for name in shapes}


def erk(shapes: Shapes, sparsity: float) -> dict[str, float]:
    """Return the sparsity of each layer where densities are proportional to sum(shape) / prod(shape) (Erdos-Renyi with
    kernels; Evci et al. 2020), so that all layers together have `sparsity`.

    A layer whose density would be above 1 is dense, and the others share what it takes.
    """
    sizes = {name: prod(shape) for name, shape in shapes.items()}
    share = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    total = sum(kept(sparsity, size) for size in sizes.values())
    dense: set[str] = set()
    while thinned := [name for name in shapes if name not in dense]:
        left = total - sum(map(sizes.__getitem__, dense))
        scale = left / sum(share[name] * sizes[name] for name in thinned)
        most = max(share[name] for name in thinned)
        if most * scale <= 1:
            return {name: 0.0 if name in dense else 1 - scale * share[name] for name in shapes}
        dense |= {name for name in thinned if share[name] == most}
    return dict.fromkeys(shapes, 0.0)

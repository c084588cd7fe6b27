"""Greedy selection with suppression of neighbours: the one engine under D2, in memory and for DataComp.

Given start values and a weighted graph, the engine repeats: pick the largest value among what is not yet
picked (ties: lower id), then lower each neighbour by weight * value of the pick. A tournament tree holds
the values, so a pick costs O(k log n) instead of a scan over n.
"""

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, finite, shaped, whole_number

WIDTH = 8  # children of a node; measured at 50k to 1.28M ids: 20-30 % faster than 2, a little faster than 16
GONE = np.float32(-np.inf)  # a picked id, or padding
LARGEST = np.finfo(np.float32).max


def greedy(
    values: np.ndarray,
    offsets: np.ndarray,
    targets: np.ndarray,
    weights: np.ndarray,
    budget: int,
    *,
    clamp_negative: bool = True,
) -> np.ndarray:
    """Pick `budget` ids by largest current value; each pick i does values[j] -= weight_ij * values[i].

    values: (n,) finite, start values, higher = picked first. The graph is in compressed rows: the
    neighbours of i are targets[offsets[i]:offsets[i+1]] with the weights at the same places; offsets int64
    (n + 1,), targets int32 or int64, weights float32. No id may be its own neighbour.
    clamp_negative: a pick whose value has fallen below 0 sends 0; if False it sends its negative value
    and so raises its neighbours, as the released D2 code does (Maharana et al., ICLR 2024).

    Returns int64 (budget,), ids in pick order. A smaller budget gives a prefix of it. All arithmetic is
    float32, one product and one difference, each rounded: the picks are those of the plain loop over argmax
    bit for bit. Values stay within the float32 range.
    """
    values = finite("values", shaped("values", values, "n")).astype(np.float32)
    n = len(values)
    budget = whole_number("budget", budget, 1, n)
    offsets = np.ascontiguousarray(shaped("offsets", offsets, n + 1), np.int64)
    targets = np.ascontiguousarray(shaped("targets", targets, "edges"))
    weights = finite("weights", np.ascontiguousarray(shaped("weights", weights, len(targets)), np.float32))
    if offsets[0] != 0 or offsets[-1] != len(targets) or (np.diff(offsets) < 0).any():
        raise ConfigError("offsets", Shown(f"{offsets[0]} to {offsets[-1]}"), f"rising from 0 to {len(targets)}")
    if len(targets) and (targets.min() < 0 or targets.max() >= n):
        raise ConfigError("targets", Shown(f"{targets.min()} to {targets.max()}"), f"ids from 0 to {n - 1}")
    return _pick(np.clip(values, -LARGEST, LARGEST), offsets, targets, weights, budget, clamp_negative)


@njit(cache=True)
def build_tree(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The tree as one array, leaves first, and where each level starts; the last level is one node's children."""
    starts = [0]
    size = (len(values) + WIDTH - 1) // WIDTH * WIDTH
    while True:
        starts.append(starts[-1] + size)
        if size == WIDTH:
            break
        size = (size // WIDTH + WIDTH - 1) // WIDTH * WIDTH
    tree = np.full(starts[-1], GONE, np.float32)
    tree[: len(values)] = values
    for level in range(1, len(starts) - 1):
        for node in range((starts[level] - starts[level - 1]) // WIDTH):
            tree[starts[level] + node] = _largest(tree, starts[level - 1] + node * WIDTH)
    return tree, np.array(starts)


@njit(cache=True)
def _largest(tree: np.ndarray, start: int) -> np.float32:
    top = tree[start]
    for child in range(start + 1, start + WIDTH):
        top = tree[child] if tree[child] > top else top
    return top


@njit(cache=True)
def set_leaf(tree: np.ndarray, starts: np.ndarray, leaf: int, value: np.float32) -> None:
    """Change one leaf and walk up until a parent stays as it is."""
    was, now, node = tree[leaf], value, leaf
    tree[leaf] = value
    for level in range(1, len(starts) - 1):
        parent = starts[level] + node // WIDTH
        top = tree[parent]
        if now > top:
            top = now
        elif was == top:  # the largest child fell
            top = _largest(tree, starts[level - 1] + node // WIDTH * WIDTH)
        if top == tree[parent]:
            return
        was, now, node = tree[parent], top, node // WIDTH
        tree[parent] = top


@njit(cache=True)
def top_leaf(tree: np.ndarray, starts: np.ndarray) -> int:
    """The leaf with the largest value; on equality the leftmost child at every level, so the lowest id."""
    node = 0
    top = _largest(tree, starts[-2])
    for level in range(len(starts) - 2, -1, -1):
        node = node * WIDTH
        while tree[starts[level] + node] != top:
            node += 1
    return node


@njit(cache=True)
def _pick(
    values: np.ndarray, offsets: np.ndarray, targets: np.ndarray, weights: np.ndarray, budget: int, clamp: bool
) -> np.ndarray:
    tree, starts = build_tree(values)
    picks = np.empty(budget, np.int64)
    for turn in range(budget):
        pick = top_leaf(tree, starts)
        message = tree[pick]
        picks[turn] = pick
        set_leaf(tree, starts, pick, GONE)
        if message == 0 or (clamp and message < 0):
            continue
        for edge in range(offsets[pick], offsets[pick + 1]):
            target = targets[edge]
            if tree[target] == GONE:
                continue
            value = tree[target] - weights[edge] * message
            # without the clamp values can grow without bound; an infinite leaf would look picked
            set_leaf(tree, starts, target, min(max(value, -LARGEST), LARGEST))
    return picks

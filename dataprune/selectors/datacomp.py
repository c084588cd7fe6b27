"""D2 for web-scale image-text pools (DataComp): squared distances, an index instead of a matrix."""

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, finite, generator, shaped, whole_number
from dataprune.neighbors import edges
from dataprune.neighbors.exact import knn
from dataprune.neighbors.greedy import GONE, build_tree, greedy, set_leaf, top_leaf
from dataprune.neighbors.points import blocks
from dataprune.selectors.budget import check_budget

EXACT_BELOW = 1_000_000  # rows; above, "auto" takes the compressed index
CELLS, PARTS, BITS = 100, 16, 8  # of the released index: IVF100, PQ16x8
TRAINED = 0.02  # share of the rows that trains it, and at least 39 for each of the 256 centres of a part


def datacomp(
    scores: np.ndarray,
    budget: int,
    *,
    features: np.ndarray | None = None,
    k: int = 1,
    squared_distances: np.ndarray | None = None,
    neighbors: np.ndarray | None = None,
    gamma: float = 1.0,
    offset: float = 0.115,
    threshold: float | None = None,
    order: str = "exact",
    index: str = "auto",
    nprobe: int = 8,
    rng: np.random.Generator | None = None,
) -> np.ndarray:
    """Select image-text pairs by D2 as released for DataComp (Maharana et al., ICLR 2024, section on DataComp).

    scores: (n,) CLIP similarities, higher = kept first; `offset` is added (0.115 makes the published ones positive).
    features: (n, d) any float type, a memory map too: image, text, or both side by side. Or the graph itself:
        squared_distances and neighbors (n, k), without the example, -1 = no neighbour (skipped).
    k, gamma: neighbours, and the decay of what a pick takes from them: exp(-gamma * squared distance).
    threshold: pairs whose score lies below it are dropped after the selection; fewer than `budget` then remain.
    order: "exact": the largest current value is picked each time. "lazy": the released loop, which looks only
        one ahead in the first ranking; it shares 0.5 to 0.8 of its picks with the exact order.
    index: "exact": all distances (`knn`). "ivfpq": faiss with 100 cells and 16 codes of 8 bits, trained on a
        random 2 % by `rng`, `nprobe` cells a search (the release leaves it at 1); its distances are approximate,
        less the example's own to its code. "auto": exact below 1M rows. The index is coarse: on round clusters
        (512 wide) its first hit was the true nearest for 3 % of the rows. While one float32 copy of the features
        fits in memory, give the graph of `approximate_knn` instead, distances squared.

    Returns int64, ids in pick order. The start value is max(s, 1e-7) plus the sum over the k neighbours j of
    exp(-squared distance) * max(s_j, 1e-7). The example is left out of its own list by its id; the release takes
    it to be the first hit, and reads the last row where a hit is missing. Unlike the release, a pick of negative
    value lowers nothing in the exact order.
    """
    scores = finite("scores", shaped("scores", scores, "n"))
    n = len(scores)
    budget = check_budget(budget, n)
    k = whole_number("k", k, 1)
    if order not in ("exact", "lazy"):
        raise ConfigError("order", order, '"exact" or "lazy"')
    if not 0 <= gamma < np.inf:
        raise ConfigError("gamma", gamma, "a number of 0 or more")
    if features is not None and squared_distances is None and neighbors is None:
        features = shaped("features", features, n, "d")
        squared_distances, neighbors = index_neighbors(features, min(k, n - 1), index, nprobe, rng)
    elif features is None and squared_distances is not None and neighbors is not None:
        squared_distances, neighbors = edges.checked_lists(
            squared_distances, neighbors, n, None, key="squared_distances"
        )
    else:
        expected = "features, or squared_distances and neighbors"
        raise edges.unclear(expected, features=features, squared_distances=squared_distances, neighbors=neighbors)
    shifted = np.maximum((scores.astype(np.float64) + offset).astype(np.float32), edges.LEAST)
    offsets, targets, lengths = edges.directed(squared_distances, neighbors)
    values = edges.density(shifted, shifted, offsets, targets, np.exp(-lengths), False)
    weights = np.exp(np.float32(-gamma) * lengths)
    picks = _picked(order, values, offsets, targets, weights, budget)
    return picks if threshold is None else picks[scores[picks] >= threshold]


def index_neighbors(
    features: np.ndarray, k: int, index: str, nprobe: int, rng: np.random.Generator | None
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances float32 (n, k) and neighbours int64 (n, k), -1 where the index found too few."""
    if index not in ("auto", "exact", "ivfpq"):
        raise ConfigError("index", index, '"auto", "exact" or "ivfpq"')
    if index == "exact" or (index == "auto" and len(features) < EXACT_BELOW) or k < 1:
        distances, neighbors = knn(features, max(k, 1))
        return np.square(distances), neighbors
    if rng is None:
        raise ConfigError("rng", rng, "a numpy Generator, which draws the rows that train the index")
    return _compressed_graph(features, k, whole_number("nprobe", nprobe, 1), generator("rng", rng))


def _compressed_graph(
    features: np.ndarray, k: int, nprobe: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    import faiss

    n, d = features.shape
    least = 39 << BITS
    if d % PARTS or n < least:
        expected = f"at least {least} rows, and columns in multiples of {PARTS}, for index='ivfpq'"
        raise ConfigError("features", features.shape, expected)
    searcher = faiss.IndexIVFPQ(faiss.IndexFlatL2(d), d, CELLS, PARTS, BITS)
    sample = np.sort(rng.choice(n, max(least, round(TRAINED * n)), replace=False))
    searcher.train(finite("features", np.ascontiguousarray(features[sample], np.float32)))
    for part in blocks(n, 50_000):
        searcher.add(finite("features", np.ascontiguousarray(features[part], np.float32)))
    searcher.nprobe = nprobe
    squared, neighbors = np.empty((n, k), np.float32), np.empty((n, k), np.int64)
    for part in blocks(n, 50_000):
        found, ids = searcher.search(np.ascontiguousarray(features[part], np.float32), k + 1)
        squared[part], neighbors[part] = _without_self(found, ids, np.arange(part.start, part.stop))
    return squared, neighbors


def _without_self(found: np.ndarray, ids: np.ndarray, own: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Drop each row's own id, or the last hit where it is missing, and take its distance off the others.

    An example is not at distance 0 from its own code; that offset, or the smallest distance where the example
    was not found, comes off the row. Missing hits get distance 0 beside their id of -1.
    """
    itself = ids == own[:, None]
    at = np.where(itself.any(1), itself.argmax(1), ids.shape[1] - 1)
    base = np.where(itself.any(1), found[np.arange(len(own)), at], found[:, 0])
    others = np.arange(ids.shape[1]) != at[:, None]
    left = ids[others].reshape(len(own), -1)
    squared = np.maximum(found - base[:, None], 0)[others].reshape(left.shape)
    return np.where(left < 0, np.float32(0), squared), left


def _picked(
    order: str, values: np.ndarray, offsets: np.ndarray, targets: np.ndarray, weights: np.ndarray, budget: int
) -> np.ndarray:
    """The picks, each the largest of its moment (exact), or as the released loop finds them (lazy)."""
    if order == "exact":
        return greedy(values, offsets, targets, weights, budget)
    ranking = np.argsort(-values, kind="stable")
    return _pick_lazily(values, ranking, offsets, targets, weights, budget)


@njit(cache=True)
def _pick_lazily(
    values: np.ndarray, ranking: np.ndarray, offsets: np.ndarray, targets: np.ndarray, weights: np.ndarray, budget: int
) -> np.ndarray:
    """The released loop. The head of the ranking is held back while the next in line is now larger; the best of
    those held back goes first as soon as it is not below the head."""
    held, starts = build_tree(np.full(len(values), GONE, np.float32))
    picks, head, count = np.empty(budget, np.int64), 0, 0
    while count < budget:
        back = top_leaf(held, starts)
        if held[back] != GONE and (head == len(ranking) or values[back] >= values[ranking[head]]):
            pick = back
            set_leaf(held, starts, back, GONE)
        else:
            pick = ranking[head]
            head += 1
            if head < len(ranking) and values[pick] < values[ranking[head]]:
                set_leaf(held, starts, pick, values[pick])
                continue
        picks[count] = pick
        count += 1
        for edge in range(offsets[pick], offsets[pick + 1]):
            target = targets[edge]
            values[target] -= weights[edge] * values[pick]
            if held[target] != GONE:
                set_leaf(held, starts, target, values[target])
    return picks

"""D2 pruning: message passing between difficulty and diversity (Maharana et al., ICLR 2024).

Each example starts from its difficulty plus what its nearest neighbours send (forward pass). Then the largest
is picked, again and again, and each pick lowers its neighbours (reverse pass), so that the subset is difficult
and spread out.
"""

import warnings
from dataclasses import dataclass

import numpy as np

from dataprune.errors import ConfigError, class_labels, finite, one_of, shaped
from dataprune.neighbors import edges
from dataprune.neighbors.cells import approximate_knn
from dataprune.neighbors.exact import knn
from dataprune.neighbors.greedy import greedy
from dataprune.selectors.budget import check_budget
from dataprune.selectors.datacomp import datacomp
from dataprune.selectors.strata import allocate

__all__ = ["approximate_knn", "datacomp", "knn", "message_passing", "message_passing_per_class"]

MANY = 50_000  # examples from which on a GPU is asked for
SAMPLED = 1_000_000  # edges that the median is taken over


def message_passing(
    scores: np.ndarray,
    budget: int,
    *,
    features: np.ndarray | None = None,
    k: int | None = None,
    distances: np.ndarray | None = None,
    neighbors: np.ndarray | None = None,
    ids: np.ndarray | None = None,
    search: str = "exact",
    gamma: float,
    graph: str = "union",
    combine: str = "sum",
    suppress: str = "weighted",
    clamp_negative: bool = True,
    forward_gamma: float = 1.0,
) -> np.ndarray:
    """Select by D2's graph: forward message passing once, then greedy picks with reverse message passing.

    scores: (n,), finite, higher = harder = kept first. They must work as difficulties of 0 or more: if any is
        negative, all are shifted by the smallest, difficulty = scores - min(scores). For a negated area under
        the margin that is max(AUM) - AUM, the easiest example at 0. Scores without a negative are used as they are.
    budget: 1 to n.
    features (n, d) and k: the graph is built here; k above n - 1 is clipped. Features are used as they are: their scale
        decides how far messages reach. search: "exact" (`knn`, on a GPU where there is one and many examples), or
        "approximate" (`approximate_knn`, the same for the same features), whose measured recall is warned of.
    distances, neighbors (n, columns): or it is given, Euclidean, not squared, without the example itself, from
        near to far, -1 = no neighbour. With k only the first k columns count.
    ids: int (n,), different: what `neighbors` calls each example, where these are not all that it lists (a cut came
        before): those that are not here are no neighbours. None: neighbours are positions, 0 to n - 1.
    graph: "union": i and j are neighbours if one lists the other, and a neighbour sends at least 1e-7 (D2 on
        features). "directed": each example hears and lowers those in its own list (D2 on precomputed files).
    combine: "sum": s_i + messages, or "product": s_i * messages. A message is exp(-forward_gamma * d_ij) s_j.
    suppress: a pick lowers each neighbour by exp(-gamma * d_ij) times its value ("weighted"; larger gamma =
        weaker), or by its full value ("absolute"; hubs then turn negative fast).
    gamma: 0 or more; D2 uses 0.1 to 1.0, by data set. (The released default, -1, amplifies.)
    clamp_negative: a pick of negative value lowers nothing. False, as in the released code, makes it raise its
        neighbours.

    Returns int64 (budget,), ids in pick order; a smaller budget gives a prefix. Ties go to the lower id. Warns
    when the median edge is so long that messages vanish and the result is a plain ranking.
    """
    difficulty = _difficulty(scores)
    budget = check_budget(budget, len(difficulty))
    rules = _Rules(gamma, graph, combine, suppress, clamp_negative, forward_gamma)
    if ids is not None and neighbors is not None:
        neighbors = edges.positions(neighbors, ids)
    distances, neighbors = _lists(len(difficulty), features, k, distances, neighbors, search)
    rules.warn_if_faint(_median(distances, neighbors))
    return _select(difficulty, budget, distances, neighbors, rules)


def message_passing_per_class(
    scores: np.ndarray,
    features: np.ndarray,
    labels: np.ndarray,
    budget: int,
    *,
    k: int,
    gamma: float,
    graph: str = "union",
    combine: str = "sum",
    suppress: str = "weighted",
    clamp_negative: bool = True,
    forward_gamma: float = 1.0,
) -> np.ndarray:
    """Select by D2 inside each class, on a graph of the class alone: the released CIFAR command ("class" mode).

    scores, features, labels (int, gaps allowed), k, gamma and the rest: as in `message_passing`; negative scores
    are shifted once for all classes. The mislabel cut comes before: give what survived it, and as budget the one
    counted before it. Budgets of the classes: `allocate`, as even as class sizes allow.

    Returns int64 (budget,), sorted; picks of different classes have no common order, and budgets do not nest.
    The release keeps a class of at most k whole and then trims all classes at random; here k is clipped to the
    class and each class keeps to its budget.
    """
    difficulty = _difficulty(scores)
    n = len(difficulty)
    features = shaped("features", features, n, "d")
    labels = class_labels("labels", labels, n)
    budget = check_budget(budget, n)
    rules = _Rules(gamma, graph, combine, suppress, clamp_negative, forward_gamma)
    sizes = np.bincount(labels)
    members = np.split(np.argsort(labels, kind="stable"), np.cumsum(sizes)[:-1])
    kept, medians = [], []
    for ids, share in zip(members, allocate(sizes, budget), strict=True):
        if share:
            distances, neighbors = knn(features[ids], k)
            medians.append(_median(distances, neighbors))
            kept.append(ids[_select(difficulty[ids], int(share), distances, neighbors, rules)])
    rules.warn_if_faint(float(np.median(medians)))
    return np.sort(np.concatenate(kept))


@dataclass(frozen=True)
class _Rules:
    """How messages travel; checked when made."""

    gamma: float
    graph: str
    combine: str
    suppress: str
    clamp_negative: bool
    forward_gamma: float

    def __post_init__(self) -> None:
        for key, values in (
            ("graph", ("union", "directed")),
            ("combine", ("sum", "product")),
            ("suppress", ("weighted", "absolute")),
        ):
            if getattr(self, key) not in values:
                raise ConfigError(key, getattr(self, key), " or ".join(f'"{value}"' for value in values))
        for key in ("gamma", "forward_gamma"):
            if not 0 <= getattr(self, key) < np.inf:
                raise ConfigError(key, getattr(self, key), "a number of 0 or more (a negative one amplifies messages)")

    def warn_if_faint(self, median: float) -> None:
        """Warn when a message over an edge of median length has vanished."""
        there, back = np.exp(-self.forward_gamma * median), np.exp(-self.gamma * median)
        text = f"the median edge of the graph is {median:.3g} long:"
        advice = "Scale the features (to unit length, say) or lower the gamma."
        if there < 1e-6:
            text += (
                f" a neighbour sends only {there:.1e} of its score, so the start values are hardly more than scores."
            )
        if self.suppress == "weighted" and back < 1e-3:
            text += f" a pick lowers a neighbour by only {back:.1e} of its value, so the picks are close to a ranking."
        if not text.endswith(":"):
            warnings.warn(f"{text} {advice}", stacklevel=3)


def _lists(
    n: int,
    features: np.ndarray | None,
    k: int | None,
    distances: np.ndarray | None,
    neighbors: np.ndarray | None,
    search: str,
) -> tuple[np.ndarray, np.ndarray]:
    """The neighbour lists, built from features or given."""
    one_of("search", search, "exact", "approximate")
    if features is not None and k is not None and distances is None and neighbors is None:
        features = shaped("features", features, n, "d")
        if search == "exact":
            return knn(features, k, device=_device(n))
        distances, neighbors, recall = approximate_knn(features, k, rng=np.random.default_rng(0))
        warnings.warn(f"approximate neighbours: {recall:.1%} of the true ones, measured on 500 rows", stacklevel=3)
        return distances, neighbors
    if features is None and distances is not None and neighbors is not None:
        return edges.checked_lists(distances, neighbors, n, k)
    expected = "features and k, or distances and neighbors"
    raise edges.unclear(expected, features=features, k=k, distances=distances, neighbors=neighbors)


def _device(n: int) -> str:
    """Where many neighbours are searched: exact, so the same wherever."""
    if n < MANY:
        return "cpu"
    import torch  # seconds of imports that few examples are not worth

    return "cuda" if torch.cuda.is_available() else "cpu"


def _difficulty(scores: np.ndarray) -> np.ndarray:
    """Scores as float32 of 0 or more; see `message_passing`."""
    scores = finite("scores", shaped("scores", scores, "n"))
    if not len(scores):
        raise ConfigError("scores", scores, "one score or more")
    lowest = min(0.0, float(scores.min()))
    return finite("scores", (scores.astype(np.float64) - lowest).astype(np.float32))


def _median(distances: np.ndarray, neighbors: np.ndarray) -> float:
    """Median edge length, over evenly spaced rows when there are many; 0 without edges."""
    step = -(-max(neighbors.size, 1) // SAMPLED)
    there = neighbors[::step] >= 0
    return float(np.median(distances[::step][there])) if there.any() else 0.0


def _select(
    difficulty: np.ndarray, budget: int, distances: np.ndarray, neighbors: np.ndarray, rules: _Rules
) -> np.ndarray:
    """The picks on one graph, positions in `difficulty` in pick order."""
    if rules.graph == "union":
        sent = np.maximum(difficulty, edges.LEAST)
        offsets, targets, lengths = edges.union(distances, neighbors)
    else:
        sent = difficulty
        offsets, targets, lengths = edges.directed(distances, neighbors)
    forward = np.exp(np.float32(-rules.forward_gamma) * lengths)
    values = edges.density(difficulty, sent, offsets, targets, forward, rules.combine == "product")
    del forward
    weighted = rules.suppress == "weighted"
    weights = np.exp(np.float32(-rules.gamma) * lengths) if weighted else np.ones(len(lengths), np.float32)
    if rules.graph == "union":
        # a message that is 0 even in float64 is no edge in D2's dense form, and then nothing goes back over it
        far = np.flatnonzero(rules.forward_gamma * lengths > 80)
        message = np.exp(-rules.forward_gamma * lengths[far].astype(np.float64)) * sent[targets[far]]
        weights[far[message == 0]] = 0
    return greedy(values, offsets, targets, weights, budget, clamp_negative=rules.clamp_negative)

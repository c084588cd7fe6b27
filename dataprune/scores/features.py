"""Scores from where examples lie in feature space.

Features are finite (n, d) arrays of any real type, from the deterministic view of each example (no random crop, no
flip); rows are read in blocks. All scores return float32 (n,).
"""

from collections.abc import Iterator

import numpy as np

from dataprune.blocks import spans
from dataprune.errors import ConfigError, Shown, class_labels, finite, first, one_of, shaped, whole_number
from dataprune.neighbors.prototypes import class_means, class_medians, feature_rows
from dataprune.neighbors.prototypes import clusters as k_means


def distance_to_center(features: np.ndarray, labels: np.ndarray, *, center: str = "median") -> np.ndarray:
    """Euclidean distance to the centre of the example's own class (moderate coreset, Xia et al., ICLR 2023).

    features: (n, d); labels: integers (n,), gaps allowed. center: "median", coordinate-wise, as in the released code,
    or "mean", as in the paper. High = far from its class = hard; not negated, so `top` keeps the furthest and `top`
    of the negated score the nearest. Moderate itself takes the central band (`selectors.ranked.middle`).
    The only example of a class lies at distance 0.
    """
    one_of("center", center, "median", "mean")
    present, classes = np.unique(class_labels("labels", labels), return_inverse=True)
    centers = (class_medians if center == "median" else class_means)(features, classes, len(present))
    scores = np.empty(len(classes), np.float32)
    for ids, rows in _blocks(np.asarray(features)):
        scores[ids] = np.linalg.norm(rows - centers[classes[ids]], axis=1)
    return scores


def prototypicality(features: np.ndarray, *, prototypes: int, seed: int = 0) -> np.ndarray:
    """One less the cosine to the nearest k-means centre (SSL prototypes, Sorscher et al., NeurIPS 2022).

    features: (n, d), self-supervised embeddings (SwAV, DINOv2); no labels. prototypes: number of centres, 1 to n; the
    paper takes the number of classes. High = far from every prototype = hard = kept first: right for large
    budgets; with few examples the paper keeps the low end (`top` of the negated score). From 0 to 2.

    Features are scaled to length 1 and clustered by spherical k-means (faiss, 25 rounds), on at most 256 examples a
    centre, drawn with `seed`; the same seed gives the same centres. A vector of zeros has no direction: ConfigError.
    """
    import faiss  # 0.2 s, and only this function wants it

    features = feature_rows("features", features)
    prototypes = whole_number("prototypes", prototypes, 1, len(features), "as many as examples at most")
    seed = whole_number("seed", seed, 0, 2**31 - 1)
    drawn = np.random.default_rng(seed).choice(len(features), min(len(features), 256 * prototypes), replace=False)
    drawn.sort()
    fit = faiss.Kmeans(
        features.shape[1],
        prototypes,
        niter=25,
        seed=seed,
        spherical=True,  # the nearest centre by distance is then the one of the largest cosine
        min_points_per_centroid=1,  # only a threshold for a warning on stderr
    )
    fit.train(_unit("features", features[drawn], drawn))
    centers = np.asarray(fit.centroids)
    scores = np.empty(len(features), np.float32)
    for ids, rows in _blocks(features):
        unit = _unit("features", rows, np.arange(ids.start, ids.stop))
        scores[ids] = 1 - (unit @ centers.T).max(axis=1)
    return scores


def distance_to_prototype(features: np.ndarray, centers: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """Return one less the cosine to the prototype of each example, float32 (n,): `prototypicality` on given centres.

    features: (n, d); centers: (k, d), of length 1 or not; assignment: integers (n,), the prototype that is nearest by
    cosine. High = hard = kept first.
    """
    features, centers = feature_rows("features", features), feature_rows("centers", centers)
    assignment = class_labels("assignment", assignment, len(features), len(centers))
    own, scores = _unit("centers", centers, np.arange(len(centers))), np.empty(len(features), np.float32)
    for ids, rows in _blocks(features):
        unit = _unit("features", rows, np.arange(ids.start, ids.stop))
        scores[ids] = 1 - np.einsum("nd,nd->n", unit, own[assignment[ids]])
    return scores


def semdedup(embeddings: np.ndarray, centers: np.ndarray, assignment: np.ndarray) -> np.ndarray:
    """NEGATED largest cosine to an example further from the centre of the same cluster (SemDeDup, Abbas et al., 2023).

    embeddings: (n, d), scaled to length 1 if they are not; centers: (k, d); assignment: integers (n,), the cluster of
    each example. In each cluster examples stand by Euclidean distance to its centre, furthest first (equal
    distances: lower id first), and each is compared with those before it. From -1 (an exact copy further out) to
    0 (nothing similar: negative cosines count as 0, and the furthest example has nothing before it).
    The paper's rule keeps scores >= -threshold (its 0.945 for LAION); `top` reaches a budget instead.
    O(sum of squared cluster sizes) time; memory for one cluster and a block of its products.
    """
    embeddings, centers = feature_rows("embeddings", embeddings), feature_rows("centers", centers)
    if centers.shape[1] != embeddings.shape[1]:
        raise ConfigError("centers", Shown(f"{centers.shape[1]} columns"), f"{embeddings.shape[1]}, as embeddings has")
    assignment = class_labels("assignment", assignment, len(embeddings), len(centers))
    scores = np.empty(len(embeddings), np.float32)
    by_cluster = np.argsort(assignment, kind="stable")
    for ids in np.split(by_cluster, np.flatnonzero(np.diff(assignment[by_cluster])) + 1):
        unit = _unit("embeddings", embeddings[ids], ids)
        # distances in float64: float32 ones tie or swap where an example moves the result
        distances = np.linalg.norm(unit.astype(np.float64) - centers[assignment[ids[0]]], axis=1)
        furthest_first = np.argsort(-distances, kind="stable")
        scores[ids[furthest_first]] = -_similarity_to_earlier(unit[furthest_first])
    return scores


def clustered_semdedup(embeddings: np.ndarray, *, clusters: int, seed: int = 0) -> np.ndarray:
    """`semdedup` after k-means on the embeddings scaled to length 1, as the paper clusters them.

    embeddings: (n, d). clusters: 1 to n. The same seed gives the same clusters. Returns float32 (n,), -1 to 0.
    """
    rows = feature_rows("embeddings", embeddings)
    unit = np.concatenate([_unit("embeddings", rows[ids], np.arange(ids.start, ids.stop)) for ids, _ in _blocks(rows)])
    clusters = whole_number("clusters", clusters, 1, len(unit), "one centre an example at most")
    centers, assignment = k_means(unit, clusters, np.random.default_rng(seed))
    return semdedup(unit, centers, assignment)


def dlc(
    features: np.ndarray, features_by_sparsity: np.ndarray, labels: np.ndarray, *, keep: str = "hardest"
) -> np.ndarray:
    """How badly examples are told from other classes by a network that is pruned more and more (DLC, ICLR 2025).

    features: (n, d) of the dense network, whose class means are the centres; features_by_sparsity: (n, levels, d) of
    the pruned ones (`signals.features_by_sparsity`); labels: integers (n,). At each level the loss is the cross entropy
    over the logits 1 / Euclidean distance to each centre; the score is its mean over the levels. keep, inside a class:
    "hardest", high loss = kept first; "easiest", low loss; "split", both ends of the class before its middle. With
    proportional quotas classes stay balanced. Returns float32 (n,).
    """
    one_of("keep", keep, "hardest", "easiest", "split")
    present, classes = np.unique(class_labels("labels", labels, len(features)), return_inverse=True)
    centers = class_means(features, classes, len(present))
    by_level = shaped("features_by_sparsity", features_by_sparsity, len(features), "levels", centers.shape[1])
    losses = np.zeros(len(classes))
    for ids in spans(len(classes), 8 * by_level.shape[1] * (by_level.shape[2] + len(present))):
        rows = finite("features_by_sparsity", by_level[ids].astype(np.float64))
        logits = 1 / np.maximum(_distances(rows, centers), 1e-12)  # on its centre: no other class is near
        highest = logits.max(axis=2)
        norm = highest + np.log(np.exp(logits - highest[:, :, None]).sum(axis=2))
        losses[ids] = (norm - np.take_along_axis(logits, classes[ids, None, None], 2)[:, :, 0]).mean(axis=1)
    if keep == "split":
        losses = np.abs(_places(losses, classes) - 0.5)
    return (-losses if keep == "easiest" else losses).astype(np.float32)


def _distances(rows: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Euclidean distances (b, levels, c) of rows (b, levels, d) to centres (c, d), from one matrix product."""
    shift = centers.mean(axis=0)  # cancellation is least around the centres
    rows, centers = rows - shift, centers - shift
    squares = (rows**2).sum(axis=2)[:, :, None] + (centers**2).sum(axis=1) - 2 * rows @ centers.T
    return np.sqrt(np.maximum(squares, 0))


def _places(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Where each value stands in its class, from 0, the lowest, to 1; equal ones by id; float64 (n,)."""
    places = np.full(len(values), 0.5)
    by_class = np.argsort(classes, kind="stable")
    for ids in np.split(by_class, np.flatnonzero(np.diff(classes[by_class])) + 1):
        if len(ids) > 1:
            places[ids[np.argsort(values[ids], kind="stable")]] = np.linspace(0, 1, len(ids))
    return places


def _similarity_to_earlier(unit: np.ndarray) -> np.ndarray:
    """Largest product of each row with a row before it, at least 0: float32 (m,)."""
    largest = np.zeros(len(unit), np.float32)
    for rows in spans(len(unit), 4 * len(unit)):
        products = unit[rows] @ unit[: rows.stop].T
        own = products[:, rows.start :]
        own[np.triu_indices(len(own))] = 0  # itself and the rows after it
        largest[rows] = np.maximum(products.max(axis=1), 0)
    return largest


def _blocks(features: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Ids and their rows as float64."""
    for ids in spans(len(features), 8 * features.shape[1]):
        yield ids, features[ids].astype(np.float64)


def _unit(name: str, rows: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Rows scaled to length 1, float32 in C order; a row of zeros raises ConfigError with its id."""
    rows = rows.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    zero = np.flatnonzero(lengths == 0)
    if len(zero):
        raise ConfigError(name, Shown(f"vectors of zeros at ids {first(ids[zero])}"), "vectors with a direction")
    return np.ascontiguousarray(rows / lengths, np.float32)

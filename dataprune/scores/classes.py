"""One number a source class: how much a target calls for it. Higher = kept first, as for examples.

Label and feature mapping (Zhang et al., NeurIPS 2023, "Selectivity drives productivity", DP4TL) count the target
examples that fall on each source class; `prototype_distance` is their class-level moderate coreset baseline.
`influence` (Jain et al., CVPR 2023) lives in `dataprune.influence.estimates`.
"""

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels, finite, one_of, shaped, whole_number
from dataprune.influence.estimates import influence, influence_error
from dataprune.neighbors.prototypes import (
    class_means,
    class_medians,
    clusters,
    coreset_means,
    nearest,
    same_width,
)

__all__ = [
    "class_means",
    "class_medians",
    "cluster_mapping",
    "clusters",
    "combine",
    "coreset_means",
    "feature_mapping",
    "frequency_analysis",
    "influence",
    "influence_error",
    "label_mapping",
    "nearest",
    "prototype_distance",
]


def label_mapping(target_predictions: np.ndarray, n_classes: int) -> np.ndarray:
    """LM: how many target examples the source surrogate takes for each source class.

    target_predictions: integers (n,), argmax of the surrogate's logits on the target's TRAINING split (lowest class
    on equal logits). Returns int32 (c,), summing to n. Most classes of a large source get 0:
    `top_classes(..., ties=...)` tells those apart. No target example, or a class outside 0..c-1, raises ConfigError.
    """
    n_classes = whole_number("n_classes", n_classes, 1)
    predictions = class_labels("target_predictions", target_predictions, n_classes=n_classes)
    if len(predictions) == 0:
        raise ConfigError("target_predictions", Shown("empty array"), "at least one target example")
    return np.bincount(predictions, minlength=n_classes).astype(np.int32)


def feature_mapping(
    source_features: np.ndarray,
    source_labels: np.ndarray,
    target_features: np.ndarray,
    n_classes: int,
    *,
    band: float | None = None,
) -> np.ndarray:
    """FM: how many target examples lie nearest to the mean feature of each source class.

    source_features: (n_s, d), source_labels: integers (n_s,), target_features: (n_t, d), of one layer of one model
    (the global average pool). Returns int32 (c,), summing to n_t. Equal distances count for the lower class, a class
    without source examples gets 0.

    The released script writes every distance to the wrong index and so gives nearly all votes to class 0; this is the
    paper's rule. For a surrogate without labels pass the clusters of `clusters` as source_labels: as in the paper
    the prototypes are then the members' means, not the centroids. `band` averages only each class's middle band
    (`coreset_means`), the variant named ffmm in the code.
    """
    means = _means(source_features, source_labels, n_classes, band, "source_")
    return np.bincount(nearest(target_features, means, prefix="target_"), minlength=n_classes).astype(np.int32)


def cluster_mapping(
    source_features: np.ndarray, target_features: np.ndarray, clusters: np.ndarray, n_clusters: int
) -> np.ndarray:
    """FM for a surrogate without labels: k-means clusters of the source stand for classes (DP4TL, section 3).

    source_features: (n, d), target_features: (t, d); clusters: integers (n,) below n_clusters, as from
    `neighbors.prototypes.clusters`. Each target example counts for the cluster whose members' mean is nearest. Returns
    float32 (n,): the place of an example's cluster when clusters are ordered by their counts, 0 = fewest and dropped
    first; equal counts are ordered by how near the target's examples are on average, so the clusters' places differ.
    For `selectors.classes.whole_groups`, which keeps or drops clusters whole.
    """
    assignment = class_labels("clusters", clusters, len(source_features), n_clusters)
    means = class_means(source_features, assignment, n_clusters, prefix="source_")
    counts = np.bincount(nearest(target_features, means, prefix="target_"), minlength=n_clusters)
    target = np.asarray(target_features, np.float64)
    # mean squared distance to the target = squared distance to its mean + a constant; of empty clusters unknown
    far = np.nan_to_num(((means - target.mean(axis=0)) ** 2).sum(axis=1), nan=np.inf)
    place = np.empty(n_clusters, np.float32)
    place[np.lexsort([np.arange(n_clusters)[::-1], -far, counts])] = np.arange(n_clusters)
    return place[assignment]


def prototype_distance(
    source_features: np.ndarray,
    source_labels: np.ndarray,
    target_features: np.ndarray,
    target_labels: np.ndarray,
    n_classes: int,
    *,
    center: str = "mean",
    band: float | None = None,
) -> np.ndarray:
    """NEGATED mean distance of each source class's mean feature to the target's class prototypes (moderate, by class).

    source_features (n_s, d), source_labels (n_s,), target_features (n_t, d), target_labels (n_t,) from 0, in any
    number; n_classes counts the source's. center="mean": the mean of each target class, or with `band` of its middle
    band (cmt of the released code: band=0.2, which it calls coreset_ratio 0.8); "median": the coordinate-wise median
    (cmt_median), which takes no band. Returns float32 (c,), higher = closer = kept first; -inf = class without
    source examples. Target classes without examples do not count.
    """
    if one_of("center", center, "mean", "median") == "median" and band is not None:
        raise ConfigError("band", band, "None with center='median': the median is that of the whole class")
    means = class_means(source_features, source_labels, n_classes, prefix="source_")
    target, target_labels = np.asarray(target_features), class_labels("target_labels", target_labels)
    n_target = int(target_labels.max(initial=0)) + 1
    if center == "median":
        prototypes = class_medians(target, target_labels, n_target, prefix="target_")
    else:
        prototypes = _means(target, target_labels, n_target, band, "target_")
    same_width("target_features", target, means)
    prototypes = prototypes[~np.isnan(prototypes).any(axis=1)]  # a class without examples has none
    distance = np.zeros(n_classes)
    for prototype in prototypes:
        distance += np.linalg.norm(means - prototype, axis=1)
    return np.where(np.isnan(distance), -np.inf, -distance / len(prototypes)).astype(np.float32)


def combine(scores: np.ndarray, *, how: str = "mean", ties: np.ndarray | None = None) -> np.ndarray:
    """One ranking of the source's classes for several targets, so that one subset serves all of them.

    scores: (t, c), a class score for each of t targets, higher = kept first; -inf = never. how: "mean" or "max" of the
    scores, each target's scaled to 0..1 first, so that a large target does not outvote a small one; "union": the
    targets take turns, a class's place is its best one over the targets. ties: (t, c), orders equal classes by its
    mean over targets, higher first; what is still equal goes to the lower id.

    Returns float32 (c,): places, c - 1 = kept first, without ties. Not in DP4TL, which prunes for one target at a time.
    """
    scores = shaped("scores", scores, "t", "c").astype(np.float64)
    if 0 in scores.shape or np.isnan(scores).any() or (scores == np.inf).any():
        raise ConfigError("scores", Shown(f"{scores.shape} array"), "a score of each class for one target or more")
    others = np.zeros_like(scores) if ties is None else finite("ties", shaped("ties", ties, *scores.shape))
    there = np.isfinite(scores)
    low = np.min(scores, axis=1, where=there, initial=np.inf, keepdims=True)
    high = np.max(scores, axis=1, where=there, initial=-np.inf, keepdims=True)
    span = np.where(high > low, high - low, 1.0)
    scaled = np.where(there, (scores - low) / span, -1.0)
    if one_of("how", how, "mean", "max", "union") == "union":
        ids = np.arange(scores.shape[1])
        order = np.array([np.lexsort([ids, -tie, -score]) for score, tie in zip(scaled, others, strict=True)])
        value = -np.argsort(order, axis=1).min(axis=0).astype(np.float64)  # minus the best place
    else:
        value = scaled.mean(axis=0) if how == "mean" else scaled.max(axis=0)
    places = np.empty(scores.shape[1], np.float32)
    places[np.lexsort([-others.mean(axis=0), -value])] = np.arange(scores.shape[1])[::-1]
    return places


def frequency_analysis(frequency: np.ndarray, percents: tuple[float, ...] = tuple(range(0, 101, 10))) -> dict:
    """How concentrated a mapping is.

    frequency: counts (c,) of `label_mapping` or `feature_mapping`. Returns a dict: `zero_classes` (int: classes that
    no target example falls on), `percent` (p,), `removed` int64 (p,): classes in the lowest x %, rounded half up,
    `removed_share` float64 (p,): the share of all counts that goes with them; `count`, `classes` int64: a histogram,
    `classes[i]` classes have exactly `count[i]` target examples.
    """
    frequency = finite("frequency", shaped("frequency", frequency, "c"))
    percent = np.asarray(percents, np.float64)
    if percent.ndim != 1 or (percent < 0).any() or (percent > 100).any():
        raise ConfigError("percents", percents, "numbers from 0 to 100")
    if frequency.sum() <= 0 or frequency.min() < 0:
        raise ConfigError("frequency", Shown("all zero or negative counts"), "counts with at least one target example")
    removed = np.floor(percent * len(frequency) / 100 + 0.5).astype(np.int64)
    lost = np.concatenate([[0], np.cumsum(np.sort(frequency))])
    count, classes = np.unique(frequency, return_counts=True)
    return {
        "zero_classes": int((frequency == 0).sum()),
        "percent": percent,
        "removed": removed,
        "removed_share": lost[removed] / lost[-1],
        "count": count,
        "classes": classes,
    }


def _means(features: np.ndarray, labels: np.ndarray, n_classes: int, band: float | None, prefix: str) -> np.ndarray:
    """Class means, of the middle band only if one is given."""
    if band is None:
        return class_means(features, labels, n_classes, prefix=prefix)
    return coreset_means(features, labels, n_classes, band, prefix=prefix)

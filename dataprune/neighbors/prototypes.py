"""Where classes lie in feature space: means, medians, middle-band means, k-means pseudo classes, the nearest of them.

Features are (n, d) in any float type; they are read in blocks (a memory map stays on disk) and every sum, median and
tie is taken in float64, so half-precision input costs nothing beyond its own rounding.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit

from dataprune.errors import ConfigError, Shown, class_labels, finite, first, generator, shaped, whole_number

_BLOCK = 4096  # rows read at once


def class_means(features: np.ndarray, labels: np.ndarray, n_classes: int, *, prefix: str = "") -> np.ndarray:
    """Mean feature vector of every class.

    features: (n, d); labels: integers (n,) below `n_classes`. Returns float64 (c, d); a class without examples is a
    row of NaN. prefix: put before the arguments' names in errors ("source_").
    """
    features, labels = _labelled(features, labels, n_classes, prefix)
    sums = np.zeros((n_classes, features.shape[1]))
    for start in range(0, len(features), _BLOCK):
        _add_rows(_rows(features, start, start + _BLOCK), labels[start : start + _BLOCK], sums)
    counts = np.bincount(labels, minlength=n_classes)
    sums[counts == 0] = np.nan
    return sums / np.maximum(counts, 1)[:, None]


def class_medians(features: np.ndarray, labels: np.ndarray, n_classes: int, *, prefix: str = "") -> np.ndarray:
    """Coordinate-wise median of every class; arguments as `class_means`."""
    features, labels = _labelled(features, labels, n_classes, prefix)
    medians = np.full((n_classes, features.shape[1]), np.nan)
    for c, ids in _members(labels):
        medians[c] = np.median(features[ids].astype(np.float64), axis=0)
    return medians


def coreset_means(
    features: np.ndarray, labels: np.ndarray, n_classes: int, band: float, *, prefix: str = ""
) -> np.ndarray:
    """Mean of every class's middle band: its examples at a middling distance to the class median.

    Moderate coreset (Xia et al., ICLR 2023) as DP4TL uses it for classes: of n examples sorted by distance, nearest
    first (equal distances by id), positions round(n (0.5 - band/2)) to round(n (0.5 + band/2)), halves to even.
    band: the share of each class that is averaged, above 0 to 1; DP4TL's `coreset_ratio` is 1 - band (its default
    0.8 averages the middle 20 %). The rest as `class_means`. A class too small for its band raises ConfigError.
    """
    if not 0 < band <= 1:
        raise ConfigError("band", band, "the share of a class in the middle band, above 0 to 1")
    features, labels = _labelled(features, labels, n_classes, prefix)
    means = np.full((n_classes, features.shape[1]), np.nan)
    too_small = []
    for c, ids in _members(labels):
        x = features[ids].astype(np.float64)
        nearest_first = np.argsort(np.linalg.norm(x - np.median(x, axis=0), axis=1), kind="stable")
        middle = nearest_first[round(len(x) * (0.5 - band / 2)) : round(len(x) * (0.5 + band / 2))]
        if len(middle) == 0:
            too_small.append(c)
        else:
            means[c] = x[middle].mean(axis=0)
    if too_small:
        raise ConfigError("band", band, f"a wider band: no example of classes {first(too_small)} lies in it")
    return means


def clusters(
    features: np.ndarray, n_clusters: int, rng: np.random.Generator, *, iterations: int = 25
) -> tuple[np.ndarray, np.ndarray]:
    """k-means pseudo classes for sources without labels (faiss; k-means++ start, Euclidean, float32).

    features: (n, d) with n >= n_clusters. Returns centroids float32 (k, d) and the cluster of every example int64
    (n,). Keep both: `nearest(other_features, centroids)` assigns further examples (a validation split) and nothing
    needs to be clustered again. The centroids are fitted on at most 256 examples a cluster.
    """
    import faiss  # 0.2 s, and only this function wants it

    features = feature_rows("features", features)
    n_clusters = whole_number("n_clusters", n_clusters, 1, len(features), "the number of examples")
    fit = faiss.Kmeans(
        features.shape[1],
        n_clusters,
        niter=iterations,
        seed=int(generator("rng", rng).integers(2**31)),
        min_points_per_centroid=1,  # only a threshold for a warning on stderr
        init_method=faiss.ClusteringInitMethod_KMEANS_PLUS_PLUS,
    )
    drawn = np.sort(generator("rng", rng).permutation(len(features))[: 256 * n_clusters])  # faiss would draw as many
    fit.train(np.ascontiguousarray(features[drawn], np.float32))
    centroids = np.asarray(fit.centroids)
    return centroids, nearest(features, centroids)


def nearest(features: np.ndarray, centers: np.ndarray, *, prefix: str = "") -> np.ndarray:
    """The nearest row of `centers` (c, d) for every row of `features` (n, d), Euclidean; int64 (n,).

    Equal distances go to the lower row; a row of NaN (class without examples) is never nearest. One float32 matrix
    product a block finds the answer wherever the two best differ by more than rounding can explain; the rest is
    decided by distances in float64, so the result is the float64 one.
    """
    features, centers = feature_rows(f"{prefix}features", features), shaped("centers", centers, "c", "d")
    same_width(f"{prefix}features", features, centers)
    there = np.flatnonzero(~np.isnan(centers).all(axis=1))
    if len(there) == 0:
        raise ConfigError("centers", Shown("only empty classes"), "a class with examples")
    exact = finite("centers", centers[there].astype(np.float64))
    # distances do not change when everything is shifted, and cancellation is least around the centers' mean
    shift = exact.mean(axis=0).astype(np.float32)
    near = (exact - shift).astype(np.float32)
    norms = np.einsum("cd,cd->c", near, near)
    furthest = float(np.sqrt(norms.max()))
    rounding = 2.0**-23  # two values, 2**-24 each
    found = np.empty(len(features), np.int64)
    block = int(np.clip(2**22 // len(near), 64, _BLOCK))
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is decided in float64
        for start in range(0, len(features), block):
            rows = _rows(features, start, start + block)
            shifted = (rows - shift).astype(np.float32, copy=False)
            lengths = np.sqrt(np.einsum("nd,nd->n", shifted, shifted)).astype(np.float64)
            # worst case of the product (d terms), of the rounded inputs and of the norms
            slack = rounding * ((2 * exact.shape[1] + 12) * lengths * furthest + 6 * furthest**2)
            _pick(shifted @ (-2 * near.T), norms, slack, rows, exact, found[start : start + block])
    return there[found]


def feature_rows(name: str, features: np.ndarray) -> np.ndarray:
    """Return `features` as an array (n, d) of finite real numbers with n and d at least 1, or raise ConfigError."""
    features = shaped(name, features, "n", "d")
    if features.dtype.kind not in "fiub" or 0 in features.shape:
        found = f"{features.dtype} array of shape {features.shape}"
        raise ConfigError(name, Shown(found), "real numbers, at least one row and one column")
    return finite(name, features)


def same_width(name: str, features: np.ndarray, centers: np.ndarray) -> None:
    """Raise ConfigError unless the features have as many columns as the class centers."""
    if features.shape[1] != centers.shape[1]:
        expected = f"{centers.shape[1]} as the class centers have: take both from the same layer of the same model"
        raise ConfigError(name, Shown(f"{features.shape[1]} columns"), expected)


def _labelled(features: np.ndarray, labels: np.ndarray, n_classes: int, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    """Return features (n, d) and labels int64 (n,), checked."""
    features = feature_rows(f"{prefix}features", features)
    n_classes = whole_number("n_classes", n_classes, 1)
    return features, class_labels(f"{prefix}labels", labels, len(features), n_classes)


def _members(labels: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Every class that has examples, with their ids ascending."""
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    yield from zip(present.tolist(), np.split(order, starts[1:]), strict=True)


def _rows(features: np.ndarray, start: int, stop: int) -> np.ndarray:
    """A block of rows in a type that the kernels know: float32 where that loses nothing, else float64."""
    block = features[start:stop]
    exact32 = np.result_type(block.dtype, np.float32) == np.float32
    return np.ascontiguousarray(block, np.float32 if exact32 else np.float64)


@njit(cache=True)
def _add_rows(rows, labels, sums):  # noqa: ANN001, ANN202
    """Add every row to the sum of its class; in one pass in file order, in float64."""
    for i in range(len(rows)):
        c = labels[i]
        for j in range(rows.shape[1]):
            sums[c, j] += rows[i, j]


@njit(cache=True)
def _pick(products, norms, slack, rows, centers, found):  # noqa: ANN001, ANN202
    """found[i] = argmin of products[i] + norms; where others come within `slack[i]`, of the float64 distances."""
    for i in range(len(products)):
        best, second = np.float32(np.inf), np.float32(np.inf)
        at = 0
        for c in range(len(norms)):
            value = products[i, c] + norms[c]
            if value < second:
                if value < best:
                    second, best, at = best, value, c
                else:
                    second = value
        limit = np.float64(best) + slack[i]
        if not second > limit:  # so that NaN and inf from overflow are looked at as well
            least = np.inf
            for c in range(len(norms)):
                if not np.float64(products[i, c] + norms[c]) > limit:
                    distance = 0.0
                    for j in range(rows.shape[1]):
                        distance += (np.float64(rows[i, j]) - centers[c, j]) ** 2
                    if distance < least:
                        least, at = distance, c
        found[i] = at

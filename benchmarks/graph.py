"""Speed, memory and correctness of the graph selectors: neighbours, D2, DataComp.

    OMP_NUM_THREADS=1 python benchmarks/graph.py [--small] [--large] [--only greedy,exact,...]

--small takes seconds; --large adds 1.28M x 512 (about 6 GB of memory). `reference` is a prototype's figure in CPU
seconds on a core with 95 GFLOP/s of float32 GEMM; compare it with the rate in this report's head. `floor` is the
least this machine could need: FLOPs at its GEMM rate, or bytes at its copy rate.
"""

import argparse
import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
from timing import copy_rate, gemm_rate, growth, machine, measure

from dataprune.neighbors import edges
from dataprune.neighbors.greedy import greedy
from dataprune.selectors.datacomp import index_neighbors
from dataprune.selectors.graph import approximate_knn, datacomp, knn, message_passing, message_passing_per_class

WIDTH, K = 512, 10
Known = tuple[float | None, float | None]  # CPU seconds of the reference and of the goal
NONE: Known = (None, None)


def mixture(n: int, rng: np.random.Generator) -> np.ndarray:
    """Round clusters of about 500, as wide as they are apart from each other."""
    centers = 2 * rng.standard_normal((max(10, n // 500), WIDTH), np.float32)
    features = rng.standard_normal((n, WIDTH), np.float32)
    return _add_in_blocks(features, centers, rng.integers(0, len(centers), n))


def subspaces(n: int, rng: np.random.Generator) -> np.ndarray:
    """Clusters of about 500 that each fill 8 dimensions of their own."""
    count = max(10, n // 500)
    features = 0.05 * rng.standard_normal((n, WIDTH), np.float32)
    for rows in np.array_split(rng.permutation(n), count):
        plane = rng.standard_normal((8, WIDTH), np.float32) / np.float32(np.sqrt(8))
        features[rows] += rng.standard_normal((len(rows), 8), np.float32) @ plane
        features[rows] += 2 * rng.standard_normal(WIDTH, np.float32)
    return features


def manifold(n: int, rng: np.random.Generator) -> np.ndarray:
    """One continuous sheet: 24 latent dimensions through two ReLU layers. No cell structure helps here."""
    first = rng.standard_normal((24, 256), np.float32) / np.float32(np.sqrt(24))
    second = rng.standard_normal((256, WIDTH), np.float32) / 16
    return np.maximum(np.maximum(rng.standard_normal((n, 24), np.float32) @ first, 0) @ second, 0)


def _add_in_blocks(features: np.ndarray, centers: np.ndarray, labels: np.ndarray) -> np.ndarray:
    for start in range(0, len(features), 10_000):
        features[start : start + 10_000] += centers[labels[start : start + 10_000]]
    return features


GENERATORS: list[Callable[[int, np.random.Generator], np.ndarray]] = [mixture, subspaces, manifold]


def random_graph(n: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, distances, neighbours; random neighbours are the worst case for the cache."""
    rng = np.random.default_rng(seed)
    ids = (np.arange(n)[:, None] + rng.integers(1, n // k, (n, k)).cumsum(1)) % n
    distances = np.sort(2 * rng.random((n, k), np.float32), axis=1)
    return 10 * rng.random(n, np.float32), distances, ids


def plain_loop(values: np.ndarray, offsets, targets, weights, budget: int, clamp: bool) -> list[int]:
    values, free, picks = values.copy(), np.ones(len(values), bool), []
    for _ in range(budget):
        pick = int(np.argmax(np.where(free, values, -np.inf)))
        message = max(values[pick], np.float32(0)) if clamp else values[pick]
        for edge in range(offsets[pick], offsets[pick + 1]):
            values[targets[edge]] = values[targets[edge]] - weights[edge] * message
        free[pick] = False
        picks.append(pick)
    return picks


def recall_of(features: np.ndarray, distances: np.ndarray, rows: np.ndarray) -> float:
    """Share of the k that are no farther than the true k-th, by brute force in float64."""
    found = []
    for row in rows:
        gaps = np.square(features - features[row]).sum(1, dtype=np.float64)
        gaps[row] = np.inf
        true = np.sqrt(np.partition(gaps, distances.shape[1] - 1)[distances.shape[1] - 1])
        found.append((distances[row] <= true * (1 + 1e-6)).mean())
    return float(np.mean(found))


def line(work: str, known: Known, seconds: float | None, rest: str) -> None:
    """One row: the reference and the goal in `known`, our seconds with their ratios to both, and the rest."""
    figures = ["-" if figure is None else f"{figure:g}" for figure in known]
    ours = "" if seconds is None else f"{seconds:.3g}"
    ratios = [f"{seconds / figure:.2f}" if seconds is not None and figure else "-" for figure in known]
    print(
        f"| {work:<50} | {figures[0]:>9} | {figures[1]:>7} | {ours:>7} | {' / '.join(ratios):>11} | {rest}", flush=True
    )


def bench_greedy(small: bool, large: bool, rates: tuple[float, float]) -> None:
    known: dict[tuple[int, int], Known] = {(50_000, 10): (0.002, 0.005), (50_000, 50): (0.010, 0.011)}
    known |= {(200_000, 50): (None, 0.1), (1_280_000, 10): (0.12, 0.25), (1_280_000, 50): (0.47, 0.5)}
    known |= {(1_280_000, 90): (0.86, 1.5)}
    sizes = [5_000, 20_000] if small else [5_000, 50_000, 200_000, 1_280_000]
    seconds = []
    for n in sizes:
        scores, distances, ids = random_graph(n, K)
        offsets, targets, lengths = edges.directed(distances, ids)
        values = edges.density(scores, scores, offsets, targets, np.exp(-lengths), False)
        weights = np.exp(np.float32(-0.1) * lengths)
        for percent in (10, 50, 90):
            call = partial(greedy, values, offsets, targets, weights, n * percent // 100)
            took, free = measure(call, 5), measure(partial(call, clamp_negative=False), 5)
            floor = (8 * len(targets) * percent / 100 + 4 * n) / rates[1]
            rest = f"{free.cpu_s:.3g} unclamped, +{took.peak_mb:.0f} MB, floor {floor:.2g}"
            line(f"D2 greedy n={n} keep {percent} %", known.get((n, percent), NONE), took.cpu_s, rest)
            seconds += [took.cpu_s] * (percent == 50)
        if n == 5_000:
            same = all(
                greedy(v, offsets, targets, w, 2500, clamp_negative=clamp).tolist()
                == plain_loop(v, offsets, targets, w, 2500, clamp)
                for v, w in [(values, weights), (np.round(values), np.ones_like(weights))]
                for clamp in (True, False)
            )
            line("  verdict", NONE, None, f"picks of the plain loop, 4 modes: {'equal' if same else 'DIFFERENT'}")
    start = 1 if len(sizes) > 2 else 0
    line("  exponent, keep 50 %", NONE, None, f"{growth(sizes[start:], seconds[start:]):.2f}; goal <= 1.25 from 50k")
    scores, distances, ids = random_graph(sizes[-1], K)
    for graph in ("directed", "union"):
        call = partial(message_passing, scores, sizes[-1] // 2, distances=distances, neighbors=ids, gamma=0.1)
        took = measure(partial(call, graph=graph), repeats=3)
        line(f"whole call, lists given, {graph}, n={sizes[-1]}", NONE, took.cpu_s, f"+{took.peak_mb:.0f} MB")


def bench_exact(small: bool, large: bool, rates: tuple[float, float]) -> None:
    known: dict[tuple[int, str], Known] = {(50_000, "float32"): (16.2, 16.0), (50_000, "bfloat16"): (10.9, 11.0)}
    sizes = [2_000, 5_000] if small else [5_000, 20_000, 50_000]
    for precision in ("float32", "bfloat16"):
        seconds = []
        for n in sizes:
            rng = np.random.default_rng(0)
            for make in GENERATORS if n == sizes[-1] else GENERATORS[:1]:
                features = make(n, rng)
                took = measure(partial(knn, features, K, precision=precision), repeats=3 if n < 50_000 else 1)
                recall = recall_of(features, took.result[0], rng.choice(n, 100, replace=False))
                floor = n * n * WIDTH / rates[0]
                rest = f"{took.cpu_s / floor:.2f} x float32 floor, +{took.peak_mb:.0f} MB, recall {recall:.4f}"
                line(f"exact kNN {precision} n={n} {make.__name__}", known.get((n, precision), NONE), took.cpu_s, rest)
                seconds += [took.cpu_s] * (make is mixture)
        line(f"  exponent {precision}", NONE, None, f"{growth(sizes, seconds):.2f}")


def bench_approximate(small: bool, large: bool, rates: tuple[float, float]) -> None:
    sizes = [10_000] if small else [50_000, 200_000] + [1_280_000] * large
    seconds = []
    for n in sizes:
        for make in GENERATORS if n < 1_000_000 else GENERATORS[:1]:
            rng = np.random.default_rng(0)
            features = make(n, rng)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of low recall: it is printed
                call = partial(approximate_knn, features, K, rng=rng, cell=100 if small else 600)
                took = measure(call, repeats=1)
            distances, _, recall = took.result
            true = recall_of(features, distances, rng.choice(n, 30 if n > 500_000 else 100, replace=False))
            rest = f"+{took.peak_mb:.0f} MB (features {features.nbytes >> 20}), recall {recall:.4f}"
            known = (127.0, 130.0) if n == 1_280_000 else NONE
            line(f"approximate kNN n={n} {make.__name__}", known, took.cpu_s, f"{rest}, by brute force {true:.4f}")
            seconds += [took.cpu_s] * (make is mixture)
            del features, took, distances, call
    if len(sizes) > 1:
        line("  exponent", NONE, None, f"{growth(sizes, seconds):.2f}")


def bench_d2(small: bool, large: bool, rates: tuple[float, float]) -> None:
    goal = {10_000: 1.0, 50_000: 17.0}
    for n in [2_000] if small else [10_000, 50_000]:
        rng = np.random.default_rng(0)
        features, scores = mixture(n, rng), rng.random(n, np.float32)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        took = measure(partial(message_passing, scores, n // 2, features=features, k=K, gamma=0.5), 1)
        rest = f"{took.cpu_s / (n * n * WIDTH / rates[0]):.2f} x floor, +{took.peak_mb:.0f} MB, goal 1200"
        line(f"D2 end to end n={n} keep 50 %", (None, goal.get(n)), took.cpu_s, rest)
    classes, size = (20, 100) if small else (200, 1281)
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(classes), size))
    features, scores = rng.standard_normal((len(labels), WIDTH), np.float32), rng.random(len(labels), np.float32)
    features /= 30
    call = partial(message_passing_per_class, scores, features, labels, len(labels) // 10, k=K, gamma=1.0)
    took = measure(call, 1)
    known = NONE if small else (2.7, 4.0)  # a fifth of ImageNet-1K; the reference is its graph alone
    line(f"D2 class mode, {classes} classes of {size}", known, took.cpu_s, f"+{took.peak_mb:.0f} MB")


def bench_datacomp(small: bool, large: bool, rates: tuple[float, float]) -> None:
    sizes = [5_000, 20_000] if small else [50_000, 200_000, 1_280_000]
    for order in ("exact", "lazy"):
        seconds = []
        for n in sizes:
            scores, distances, ids = random_graph(n, 1)
            call = partial(datacomp, scores / 50, int(0.3 * n), squared_distances=distances, neighbors=ids)
            took = measure(partial(call, order=order), repeats=3)
            line(f"DataComp {order}, graph given, n={n} k=1", NONE, took.cpu_s, f"+{took.peak_mb:.0f} MB")
            seconds.append(took.cpu_s)
        line("  exponent", NONE, None, f"{growth(sizes, seconds):.2f}")
    n = 10_500 if small else 50_000
    rng = np.random.default_rng(0)
    features, scores = mixture(n, rng), rng.random(n, np.float32)
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    features = features.astype(np.float16)
    for index in ("exact", "ivfpq"):
        call = partial(datacomp, scores, int(0.3 * n), features=features, index=index, rng=np.random.default_rng(0))
        took = measure(call, repeats=1)
        line(f"DataComp end to end, {index}, n={n} float16", NONE, took.cpu_s, f"+{took.peak_mb:.0f} MB")
    true = knn(features, 1)[1]
    for probes in (1, 8):
        right = (index_neighbors(features, 1, "ivfpq", probes, np.random.default_rng(0))[1] == true).mean()
        line(f"  nearest neighbour by ivfpq, nprobe {probes}", NONE, None, f"right for {right:.3f} of the rows")


SECTIONS = {
    "greedy": bench_greedy,
    "exact": bench_exact,
    "approximate": bench_approximate,
    "d2": bench_d2,
    "datacomp": bench_datacomp,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default=",".join(SECTIONS))
    options = parser.parse_args()
    print(machine(), flush=True)
    rates = gemm_rate(), copy_rate()
    tiny = np.random.default_rng(0).random((3000, 8), np.float32)  # compile before the clock runs
    for precision in ("float32", "bfloat16"):
        approximate_knn(tiny, 3, rng=np.random.default_rng(0), cell=100, probes=20, precision=precision)
        message_passing(
            tiny[:, 0], 9, distances=knn(tiny, 3, precision=precision)[0], neighbors=knn(tiny, 3)[1], gamma=1
        )
    message_passing_per_class(tiny[:, 0], tiny, np.arange(3000) % 3, 30, k=3, gamma=1.0)
    datacomp(tiny[:, 0], 9, features=tiny, order="lazy")
    datacomp(tiny[:, 0], 9, features=tiny.astype(np.float16))
    print(f"| {'work (k=10, 512 wide)':<50} | reference |    goal |   CPU s | ours / both | rest")
    for name in options.only.split(","):
        SECTIONS[name](options.small, options.large, rates)


if __name__ == "__main__":
    main()

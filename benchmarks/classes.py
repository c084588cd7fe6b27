"""Class-level scores and selection: seconds against the plain way to write them, the goal, and the machine's floor.

    OMP_NUM_THREADS=1 python benchmarks/classes.py           full sizes, about two minutes and 2 GB
    OMP_NUM_THREADS=1 python benchmarks/classes.py --small   seconds; the goals are for full sizes

`plain` is a loop or broadcast as the papers' programs have it, timed on a part and scaled up (~). CPU seconds.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np
from timing import copy_rate, gemm_rate, machine, measure

from dataprune.influence.estimates import influence, influence_columns, influence_error, mean_influence
from dataprune.neighbors.prototypes import class_means, clusters, nearest
from dataprune.selectors.classes import examples_of, top_classes

HEAD = ("what", "plain", "goal", "ours", "wall", "floor", "peak MB", "verdict")


def row(what: str, plain: float, goal: float | None, floor: float, call: Callable, right: Callable) -> None:
    """Time `call` and print a line; `right(result)` says whether the answer is correct."""
    cost = measure(call)
    verdict = "right" if right(cost.result) else "WRONG"
    if goal is not None:
        verdict += ", goal met" if cost.cpu_s <= goal else f", goal MISSED x{cost.cpu_s / goal:.1f}"
    goal_text = "-" if goal is None else f"{goal:.3g}"
    plain_text = f"~{plain:.3g}" if plain else "-"
    figures = [plain_text, goal_text, f"{cost.cpu_s:.3g}", f"{cost.wall_s:.3g}", f"{floor:.2g}", f"{cost.peak_mb:.0f}"]
    print(f"{what:52s}" + "".join(f"{figure:>10s}" for figure in figures) + f"  {verdict}", flush=True)


def influences(m: int, c: int, t: int, goal: float | None, flops: float) -> None:
    """Mean differences of m models: all of them, their errors, the mean over targets, and packed columns."""
    rng = np.random.default_rng(0)
    masks = rng.random((m, c)) < 0.5
    outputs = rng.random((m, t), np.float32).astype(np.float16)
    some = np.linspace(0, t - 1, 20).astype(int)

    def plain() -> np.ndarray:  # a matrix-vector product a target and side
        y = outputs[:, some].T.astype(np.float32)[:, :, None]
        there, away = masks.T.astype(np.float32), 1 - masks.T.astype(np.float32)
        return (there @ y)[..., 0] / there.sum(1) - (away @ y)[..., 0] / away.sum(1)

    slow = measure(plain, 1)
    exact = np.array([[outputs[masks[:, j], i].mean(dtype=float) - outputs[~masks[:, j], i].mean(dtype=float)
                       for j in range(0, c, max(1, c // 10))] for i in some])  # fmt: skip

    def right(found: np.ndarray) -> bool:
        return bool(np.abs(found[some][:, :: max(1, c // 10)] - exact).max() < 1e-6)

    size, floor = f"{m} models x {c} x {t}", 2 * m * c * t / flops
    row(f"influence, {size}", slow.cpu_s * t / len(some), goal, floor, lambda: influence(masks, outputs), right)
    row("  standard errors", 0, None, 2 * floor, lambda: influence_error(masks, outputs), lambda e: (e > 0).all())
    mean = influence(masks, outputs).mean(axis=0)
    row("  mean over targets with its error", 0, None, 0, lambda: mean_influence(masks, outputs),
        lambda found: np.abs(found[0] - mean).max() < 1e-6)  # fmt: skip
    packed = np.packbits(masks, axis=1)

    def in_chunks() -> np.ndarray:
        out = np.empty((t, c), np.float32)
        for start, stop, part in influence_columns(packed, outputs, c, columns=256):
            out[:, start:stop] = part
        return out

    row("  from packed masks, 256 columns at a time", 0, None, floor, in_chunks, right)


def feature_mapping(n: int, t: int, c: int, d: int, goal: float | None, flops: float, bytes_s: float) -> None:
    """Class means of n examples, then the nearest of them for t targets."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, c, n)
    features = rng.standard_normal((n, d), np.float32) + rng.standard_normal((c, d), np.float32)[labels]
    ids = rng.permutation(n)[: min(n, 5000)]

    def by_list() -> list:  # the programs' dictionary of lists
        groups: list[list] = [[] for _ in range(c)]
        for i in ids:
            groups[labels[i]].append(features[i])
        return [np.mean(group, axis=0) if group else None for group in groups]

    slow = measure(by_list, 1).cpu_s * n / len(ids)
    means = class_means(features, labels, c)
    row(f"class means, {n} x {d}, {c} classes", slow, None, features.nbytes / bytes_s,
        lambda: class_means(features, labels, c),
        lambda m: np.allclose(m[3], features[labels == 3].mean(axis=0, dtype=float), rtol=1e-9))  # fmt: skip

    targets = rng.standard_normal((t, d), np.float32) + means[rng.integers(0, c, t)].astype(np.float32)
    some = np.linspace(0, t - 1, 200).astype(int)
    exact = [np.argmin(((targets[i].astype(float) - means) ** 2).sum(axis=1)) for i in some]
    slow = measure(lambda: [[np.linalg.norm(targets[i] - mean) for mean in means] for i in some[:3]], 1).cpu_s * t / 3
    row(f"nearest class mean, {t} targets", slow, goal, 2 * t * c * d / flops, lambda: nearest(targets, means),
        lambda found: (found[some] == exact).all())  # fmt: skip
    few = features[: min(n, 20 * c)]
    row(f"k-means pseudo classes, {len(few)} x {d}, k={c // 10}", 0, None, 2 * 25 * len(few) * (c // 10) * d / flops,
        lambda: clusters(few, c // 10, np.random.default_rng(0)),
        lambda found: (nearest(few, found[0]) == found[1]).all())  # fmt: skip


def index_lists(n: int, c: int, k: int, goal: float | None, bytes_s: float) -> None:
    """The examples of the k best of c classes."""
    rng = np.random.default_rng(0)
    labels, frequency = rng.integers(0, c, n), rng.permutation(c)
    kept = top_classes(frequency, k)

    def plain() -> np.ndarray:
        return np.flatnonzero((labels[:, None] == kept).any(axis=1))

    slow = measure(plain, 1)
    row(f"examples of {k} of {c} classes, {n} labels", slow.cpu_s, goal, 2 * labels.nbytes / bytes_s,
        lambda: examples_of(kept, labels), lambda ids: np.array_equal(ids, slow.result))  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="small sizes, a few seconds")
    small = parser.parse_args().small
    warnings.filterwarnings("ignore", message=".*fewer than 30 models")
    print(machine())
    print(f"{HEAD[0]:52s}" + "".join(f"{name:>10s}" for name in HEAD[1:-1]) + f"  {HEAD[-1]}")
    flops, bytes_s = gemm_rate(), copy_rate()
    tiny = np.ones((2, 1), np.float32)
    nearest(tiny, class_means(tiny, np.array([0, 1]), 2))  # compile outside the timings
    if small:
        influences(400, 100, 500, None, flops)
        feature_mapping(5000, 2000, 100, 64, None, flops, bytes_s)
        index_lists(100_000, 100, 90, None, bytes_s)
    else:
        influences(7540, 1000, 10_000, 3.0, flops)
        feature_mapping(200_000, 50_000, 1000, 512, 0.02e-3 * 50_000, flops, bytes_s)
        index_lists(1_281_167, 1000, 900, 0.02, bytes_s)


if __name__ == "__main__":
    main()

"""K-center, herding, facility location, CCS and what shares out budgets: seconds against goals, plain forms and floors.

    OMP_NUM_THREADS=1 python benchmarks/coverage_selectors.py           full sizes, about a minute and 1 GB
    OMP_NUM_THREADS=1 python benchmarks/coverage_selectors.py --small   seconds; the goals are for full sizes
    OMP_NUM_THREADS=1 python benchmarks/coverage_selectors.py --large   also 200,000 x 512, 20,000 picks: a minute more

CPU seconds, median of the repeats. `reference` is the prototype's figure on a core of 95 GFLOP/s in float32; the floor
is the FLOPs (or bytes) that cannot be avoided over what this machine reaches in a plain product (or copy). Peak MB is
the growth of the process: memory that an earlier call freed and the process kept is not counted again. The verdict
compares with the one-by-one form, in float64, at the sizes where that takes seconds.

Not named coverage.py: numba imports the package `coverage` where it finds one, and would find this script.
"""

import argparse
from collections.abc import Callable
from typing import Any

import numpy as np
from timing import Timing, copy_rate, gemm_rate, growth, machine, measure

from dataprune.selectors.coverage import facility_location, herding, k_center
from dataprune.selectors.ranked import per_class, random_stratified, top
from dataprune.selectors.strata import allocate, beta, strata_of, stratified

HEAD = ("reference", "goal", "ours", "wall", "floor", "peak MB")


def row(
    what: str,
    call: Callable[[], Any],
    *,
    right: Callable[[Any], bool],
    floor: float,
    reference: float | None = None,
    goal: float | None = None,
    repeats: int = 3,
) -> Timing:
    """Time `call` and print a line; `right(result)` says whether the answer is correct."""
    cost = measure(call, repeats)
    verdict = "right" if right(cost.result) else "WRONG"
    if goal is not None:
        verdict += ", goal met" if cost.cpu_s <= goal else f", goal MISSED x{cost.cpu_s / goal:.1f}"
    figures = [reference, goal, cost.cpu_s, cost.wall_s, floor, cost.peak_mb]
    texts = ["-" if figure is None else f"{figure:.3g}" for figure in figures]
    print(f"{what:46s}" + "".join(f"{text:>10s}" for text in texts) + f"  {verdict}", flush=True)
    return cost


def manifold(n: int, d: int = 512) -> np.ndarray:
    """Features as a network has them: 24 latent dimensions through a rectified layer."""
    rng = np.random.default_rng(0)
    return np.maximum(rng.standard_normal((n, 24), np.float32) @ rng.standard_normal((24, d), np.float32), 0)


def greedy_k_center(x: np.ndarray, budget: int) -> np.ndarray:
    """One pass over the features a pick, float64."""
    x = x.astype(np.float64)
    norms = np.einsum("ij,ij->i", x, x)
    nearest, picks = np.full(len(x), np.inf), [0]
    while len(picks) < budget:
        np.minimum(nearest, norms + norms[picks[-1]] - 2 * (x @ x[picks[-1]]), out=nearest)
        nearest[picks[-1]] = -1
        picks.append(int(nearest.argmax()))
    return np.array(picks)


def is_farthest(x: np.ndarray, picks: np.ndarray, steps: tuple[int, ...]) -> bool:
    """Whether some of the picks are, within 1e-5, the farthest from all before them."""
    norms = np.einsum("ij,ij->i", x, x)
    for t in steps:
        nearest = np.full(len(x), np.inf)
        for k in range(0, t, 500):
            before = picks[k : min(k + 500, t)]
            nearest = np.minimum(nearest, (norms[:, None] + norms[before] - 2 * x @ x[before].T).min(1))
        if nearest[picks[t]] < nearest.max() * (1 - 1e-5):
            return False
    return len(np.unique(picks)) == len(picks)


def greedy_herding(x: np.ndarray, budget: int) -> np.ndarray:
    """A pass over the features a pick, float64."""
    x = x.astype(np.float64) - x.mean(0, dtype=np.float64)
    half, total, picks = np.einsum("ij,ij->i", x, x) / 2, np.zeros(x.shape[1]), []
    for _ in range(budget):
        picks.append(int((half + x @ total).argmin()))
        half[picks[-1]] = np.inf
        total += x[picks[-1]]
    return np.array(picks)


def naive_objective(x: np.ndarray, budget: int) -> float:
    """Sum of similarities to the nearest pick after a greedy that looks at every example for every pick."""
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = 0.5 + 0.5 * (unit @ unit.T)
    covered = np.zeros(len(x), np.float32)
    for _ in range(budget):
        gains = np.concatenate([
            np.maximum(similarity[k : k + 200] - covered, 0).sum(1) for k in range(0, len(x), 200)
        ])  # fmt: skip
        covered = np.maximum(covered, similarity[gains.argmax()])
    return float(covered.sum(dtype=np.float64))


def k_centers(sizes: list[tuple[int, int]], goals: dict[int, tuple[float, float]], flops: float) -> None:
    """Full runs; the small ones against the one-by-one greedy, the larger ones by their own definition."""
    works, seconds = [], []
    for n, budget in sizes:
        x = manifold(n)
        reference, goal = goals.get(n, (None, None))

        def right(picks: np.ndarray, x: np.ndarray = x, budget: int = budget) -> bool:
            if len(x) <= 20_000:
                return bool((picks == greedy_k_center(x, budget)).all())
            return is_farthest(x, picks, (10, 100, 1000))

        floor = 2 * n * budget * x.shape[1] / flops
        cost = row(
            f"k-center {n} x {x.shape[1]}, {budget} picks",
            lambda x=x, budget=budget: k_center(x, budget),
            right=right, floor=floor, reference=reference, goal=goal, repeats=3 if n <= 50_000 else 1,
        )  # fmt: skip
        works, seconds = [*works, n * budget], [*seconds, cost.cpu_s]
    print(f"    {floor / cost.cpu_s:.0%} of the GEMM rate; exponent over n x picks {growth(works, seconds):.2f}")


def herdings(sizes: list[int], goals: dict[int, tuple[float, float]], flops: float) -> None:
    """Half of a class."""
    seconds = []
    for n in sizes:
        x, (reference, goal) = manifold(n), goals.get(n, (None, None))
        cost = row(
            f"herding {n} x 512, {n // 2} picks", lambda x=x: herding(x, len(x) // 2),
            right=lambda picks, x=x: bool((picks == greedy_herding(x, len(x) // 2)).all()),
            floor=n * n * 512 / flops, reference=reference, goal=goal,
        )  # fmt: skip
        seconds.append(cost.cpu_s)
    print(f"    exponent over n (picks n / 2) {growth(sizes, seconds):.2f}")


def facility_locations(sizes: list[int], goals: dict[int, tuple[float, float]], flops: float) -> None:
    """A tenth of a class, all pairs; then a tenth of a large set on a given graph."""
    seconds = []
    for n in sizes:
        x, (reference, goal) = manifold(n), goals.get(n, (None, None))
        cost = row(
            f"facility location {n} x 512, {n // 10} picks", lambda x=x: facility_location(x, len(x) // 10),
            right=lambda found, x=x: abs(found[1].sum() / naive_objective(x, len(x) // 10) - 1) < 1e-5,
            floor=n * n * 512 / flops, reference=reference, goal=goal,
        )  # fmt: skip
        seconds.append(cost.cpu_s)
    print(f"    exponent over n (picks n / 10) {growth(sizes, seconds):.2f}")
    n, rng = 40 * sizes[-1], np.random.default_rng(0)
    x = rng.standard_normal((n, 8), np.float32)
    # any graph will do to time the greedy: neighbours in the order of one coordinate
    order = np.argsort(x[:, 0])
    ids = np.empty((n, 10), np.int64)
    for j, step in enumerate([1, 2, 3, 4, 5, -1, -2, -3, -4, -5]):
        ids[order, j] = np.roll(order, step)
    distances = rng.uniform(0.2, 1.4, (n, 10)).astype(np.float32)
    row(
        f"facility location on a graph, {n} x 10, {n // 10} picks",
        lambda: facility_location(x, n // 10, neighbors=(distances, ids)),
        right=lambda found: bool((np.diff(found[1]) <= 1e-9).all()) and len(np.unique(found[0])) == n // 10,
        floor=n * 11 * 20 / copy_rate(),
    )


def budgets(n: int, classes: int, goal: float | None, bytes_s: float) -> None:
    """CCS, DUAL's sampling, class quotas, plain ranking."""
    rng = np.random.default_rng(0)
    scores = rng.gamma(2, 1, n).astype(np.float32)
    p_mean = rng.random(n, np.float32)
    labels = rng.integers(0, classes, n)
    keep = n // 5
    sort_floor = 2 * 8 * n / bytes_s

    def right_strata(ids: np.ndarray) -> bool:
        bins = strata_of(scores, 50)
        expected = allocate(np.bincount(bins, minlength=50), keep)
        return bool((np.bincount(bins[ids], minlength=50) == expected).all()) and len(np.unique(ids)) == keep

    row(f"CCS, {n} examples, 50 strata", lambda: stratified(scores, keep, np.random.default_rng(0)),
        right=right_strata, floor=sort_floor, reference=0.28 if goal else None, goal=goal)  # fmt: skip
    row(f"DUAL's sampling, {n} examples", lambda: beta(scores, p_mean, keep, np.random.default_rng(0), c=4),
        right=lambda ids: len(np.unique(ids)) == keep, floor=sort_floor)  # fmt: skip
    row(f"top, {n} examples", lambda: top(scores, keep),
        right=lambda ids: bool((ids == np.argsort(-scores, kind="stable")[:keep]).all()), floor=sort_floor)  # fmt: skip
    sizes = np.bincount(labels)

    def proportional(ids: np.ndarray) -> bool:
        return bool((abs(np.bincount(labels[ids]) - sizes * keep / n) < 1).all()) and len(np.unique(ids)) == keep

    row(f"top in {classes} classes, {n} examples", lambda: per_class(scores, labels, keep),
        right=proportional, floor=sort_floor)  # fmt: skip
    row(f"random in {classes} classes, {n} examples", lambda: random_stratified(labels, keep, np.random.default_rng(0)),
        right=proportional, floor=sort_floor)  # fmt: skip
    bins = rng.integers(0, 500, 21_000)
    row("allocation over 21000 bins", lambda: allocate(bins, bins.sum() // 3),
        right=lambda shares: bool(shares.sum() == bins.sum() // 3 and (shares <= bins).all()),
        floor=3 * bins.nbytes / bytes_s)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--large", action="store_true")
    arguments = parser.parse_args()
    flops, bytes_s = gemm_rate(), copy_rate()
    print(machine())
    tiny = manifold(64, 8)  # load the compiled kernels
    for warm in (tiny, np.repeat(tiny, 80, axis=0)):
        k_center(warm, 9), herding(warm, 9), facility_location(warm, 9)
    facility_location(tiny, 9, neighbors=(np.ones((64, 1), np.float32), np.roll(np.arange(64), 1)[:, None]))
    print(f"{'':46s}" + "".join(f"{word:>10s}" for word in HEAD))
    if arguments.small:
        k_centers([(2000, 200), (4000, 400)], {}, flops)
        herdings([500, 1000], {}, flops)
        facility_locations([500, 1000], {}, flops)
        budgets(50_000, 100, None, bytes_s)
        return
    large = [(200_000, 20_000)] if arguments.large else []
    k_centers([(5000, 500), (20_000, 1000), (50_000, 5000), *large], {50_000: (3.1, 3.5), 200_000: (51.6, 65)}, flops)
    herdings([1250, 2500, 5000], {5000: (0.19, 0.2)}, flops)
    facility_locations([1300, 2500, 5000], {5000: (0.47, 0.5)}, flops)
    budgets(1_281_167, 1000, 0.3, bytes_s)


if __name__ == "__main__":
    main()

"""Record and score training dynamics of 1.28 million examples over 90 epochs: goals R1 to R4.

    python benchmarks/dynamics.py --small      seconds, 20,000 examples
    python benchmarks/dynamics.py              under a minute and 1.8 GB in --dir, removed at the end

Goals on one core with the files in the page cache: one epoch's row of four arrays written in 0.03 s; dynamic
uncertainty 0.3 s from float32, 0.6 s from float16; uncertainty, AUM, forgetting and EL2N together 1 s; below 100 MB of
own memory. Own memory is what numpy allocates (tracemalloc): resident memory would count the mapped files too. The
floor is the bytes of the arrays that a score needs over the machine's rate of copying.
"""

import argparse
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from timing import copy_rate, growth, machine, measure

from dataprune.scores.dynamics import (
    area_under_margin,
    dual,
    dynamic_uncertainty,
    el2n,
    eva,
    forgetting,
    tdds,
    variability,
)

QUANTITIES = {"p_true": np.float32, "margin": np.float32, "correct": np.bool_, "error": np.float32}
FOUR = {
    "uncertainty": (dynamic_uncertainty, "p_true"),
    "aum": (area_under_margin, "margin"),
    "forgetting": (forgetting, "correct"),
    "el2n": (el2n, "error"),
}


def logits_of(n: int, epochs: int, start: float = -4) -> Iterator[np.ndarray]:
    """One epoch after another the log odds of the true class, float64 (n,); a run that starts high saturates."""
    rng = np.random.default_rng(0)
    first, speed = rng.normal(start, 2, n), rng.gamma(2, 1.5, n)
    for t in range(epochs):
        yield first + speed * np.log1p(t) + rng.standard_normal(n)


def rows_of(logits: np.ndarray) -> dict[str, np.ndarray]:
    """What is recorded of an epoch: the rest of the mass lies on two other classes, 3 to 1."""
    p = 1 / (1 + np.exp(-logits))
    rest = 1 - p
    row = {"p_true": p, "margin": p - 0.75 * rest, "error": rest * np.sqrt(1 + 0.75**2 + 0.25**2)}
    row["correct"] = row["margin"] > 0
    return {key: row[key].astype(dtype) for key, dtype in QUANTITIES.items()}


def write(folder: Path, n: int, epochs: int) -> None:
    """Fill the four files as a recorder does, one row an epoch, and print what a row costs."""
    files = {key: open_memmap(folder / f"{key}.npy", "w+", dtype, (epochs, n)) for key, dtype in QUANTITIES.items()}
    half = open_memmap(folder / "half.npy", "w+", np.float16, (epochs, n))
    cpu, wall = [], []
    for t, logits in enumerate(logits_of(n, epochs)):
        row = rows_of(logits)
        cpu0, wall0 = time.process_time(), time.perf_counter()
        for key, file in files.items():
            file[t] = row[key]
        cpu.append(time.process_time() - cpu0)
        wall.append(time.perf_counter() - wall0)
        half[t] = row["p_true"]
    size = sum(file.nbytes for file in files.values())
    seconds = f"CPU {np.median(cpu):.4f} s, wall {np.median(wall):.4f} s"
    print(f"\nwrite one epoch, four arrays, {size / epochs / 1e6:.1f} MB: {seconds}")


def line(name: str, n: int, call: Callable[[], object], bytes_read: int, rate: float, verdict: str = "") -> float:
    """Measure a call, print its line, return its CPU seconds."""
    call()  # compiles, and brings the files into the page cache
    took = measure(call, repeats=5)
    tracemalloc.start()
    call()
    own = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    floor = bytes_read / rate
    seconds = f"{took.cpu_s:8.3f} {took.wall_s:8.3f}"
    print(f"{name:28} {n:>9} {seconds} {own:8.1f} {floor:8.3f} {took.cpu_s / floor:7.1f}  {verdict}")
    return took.cpu_s


def slow_uncertainty(p: np.ndarray, window: int = 10) -> np.ndarray:
    """The definition: two passes over every window in float64."""
    windows = np.lib.stride_tricks.sliding_window_view(p.astype(np.float64), window, axis=0)[:-1]
    return 10 * windows.std(-1, ddof=1).mean(0)


def verdicts(files: dict[str, np.ndarray]) -> dict[str, str]:
    """Each of the four scores against the obvious expression on the first ids."""
    part = {key: np.array(file[:, :2000]) for key, file in files.items()}
    right = part["correct"]
    falls = (right[:-1] & ~right[1:]).sum(0)
    slow = {
        "uncertainty": slow_uncertainty(part["p_true"]),
        "aum": -part["margin"].sum(0, dtype=np.float64),
        "forgetting": np.where(right.any(0), falls, len(right)),
        "el2n": part["error"][:10].sum(0, dtype=np.float64),
    }
    off = {name: np.abs(score(part[key]) - slow[name]).max() for name, (score, key) in FOUR.items()}
    return {name: f"{'ok' if gap < 1e-5 else 'WRONG'}, off by {gap:.0e}" for name, gap in off.items()}


def scores(folder: Path, n: int, epochs: int) -> None:
    rate = copy_rate()
    files = {key: np.load(folder / f"{key}.npy", mmap_mode="r") for key in QUANTITIES}
    half = np.load(folder / "half.npy", mmap_mode="r")
    size = {key: file.nbytes for key, file in files.items()}
    first_rows = size["error"] * min(10, epochs) // epochs
    found = verdicts(files)
    p, margin, correct, error = files.values()
    late = (epochs - 10, epochs)
    print(f"\n{'score':28} {'n':>9} {'CPU s':>8} {'wall s':>8} {'own MB':>8} {'floor s':>8} {'x floor':>7}  verdict")
    line("dynamic_uncertainty", n, lambda: dynamic_uncertainty(p), size["p_true"], rate, found["uncertainty"])
    line("dynamic_uncertainty float16", n, lambda: dynamic_uncertainty(half), half.nbytes, rate)
    line("dual, 30 epochs", n, lambda: dual(p, epochs=30), size["p_true"] * 30 // epochs, rate)
    line("variability", n, lambda: variability(p), size["p_true"], rate)
    line("area_under_margin", n, lambda: area_under_margin(margin), size["margin"], rate, found["aum"])
    line("forgetting", n, lambda: forgetting(correct), size["correct"], rate, found["forgetting"])
    line("el2n", n, lambda: el2n(error), first_rows, rate, found["el2n"])
    line("eva", n, lambda: eva(error, early=(0, 10), late=late), 2 * first_rows, rate)
    sizes = [n // 64, n // 8, n]
    took = [
        line("dynamic_uncertainty", m, partial(dynamic_uncertainty, p[:, :m]), p[:, :m].nbytes, rate) for m in sizes
    ]
    print(f"growth exponent of dynamic_uncertainty from {sizes[0]} to {n}: {growth(sizes, took):.2f}")
    gaps = np.array(p[:, : n // 8])
    gaps[np.random.default_rng(1).random(gaps.shape) < 0.001] = np.nan
    line("uncertainty, 0.1 % not seen", n // 8, lambda: dynamic_uncertainty(gaps), gaps.nbytes, rate)
    softmax = np.random.default_rng(2).dirichlet(np.ones(100), (30, n // 64)).astype(np.float16)
    labels = np.zeros(n // 64, np.int64)
    line("tdds, 30 epochs, 100 classes", n // 64, lambda: tdds(softmax, labels), softmax.nbytes, rate)


def storage(n: int, epochs: int) -> None:
    """Which examples are kept at 75 % when p is stored in fewer bits, against float64."""
    print(f"\nkept set at 75 % against float64, {n} examples: share in common")
    print(f"{'run':14} {'float32 p':>12} {'float16 p':>12} {'float16 logit(p)':>18}")
    for name, start in (("saturated", 4), ("unsaturated", -8)):
        logits = np.stack(list(logits_of(n, epochs, start)))
        p = 1 / (1 + np.exp(-logits))
        stored = logits.clip(-16, 16).astype(np.float16).astype(np.float64)
        variants = [p.astype(np.float32), p.astype(np.float16), 1 / (1 + np.exp(-stored))]
        best = _kept(slow_uncertainty(p))
        shares = [len(np.intersect1d(best, _kept(dynamic_uncertainty(v)))) / len(best) for v in variants]
        print(f"{name:14} {shares[0]:12.6f} {shares[1]:12.6f} {shares[2]:18.6f}")


def _kept(values: np.ndarray) -> np.ndarray:
    """Ids of the highest 75 %, ties to the lower id."""
    return np.argsort(-values, kind="stable")[: round(0.75 * len(values))]


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--small", action="store_true", help="20,000 examples; seconds")
    arguments.add_argument("--n", type=int, help="examples (default 1,281,167)")
    arguments.add_argument("--epochs", type=int, default=90, help="rows of every array, 30 or more")
    arguments.add_argument("--dir", help="folder for the temporary files (default: the system's)")
    given = arguments.parse_args()
    n = given.n or (20_000 if given.small else 1_281_167)
    print(f"python {sys.version.split()[0]}, {machine()}")
    with tempfile.TemporaryDirectory(dir=given.dir, prefix="dynamics-") as folder:
        write(Path(folder), n, given.epochs)
        scores(Path(folder), n, given.epochs)
    storage(min(n, 20_000 if given.small else 100_000), given.epochs)


if __name__ == "__main__":
    main()

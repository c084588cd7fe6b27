"""Seconds, peak memory and the floor of this machine, for the benchmark scripts in this folder.

A figure is the median over `repeats` of CPU seconds (user + system, all threads) and of wall seconds.
Peak memory is the growth of the resident set while the call runs, from Linux's own high-water mark.
"""

import os
import resource
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Timing:
    """What one benchmarked call cost."""

    cpu_s: float
    wall_s: float
    peak_mb: float
    result: Any


def measure(call: Callable[[], Any], repeats: int = 3) -> Timing:
    """Run `call` `repeats` times; medians of its seconds, the largest memory growth, the last result."""
    cpu, wall, peak, result = [], [], 0.0, None
    for _ in range(repeats):
        before = _reset_high_water()
        cpu0, wall0 = _cpu_seconds(), time.perf_counter()
        result = call()
        cpu.append(_cpu_seconds() - cpu0)
        wall.append(time.perf_counter() - wall0)
        peak = max(peak, _status("VmHWM") - before)
    return Timing(statistics.median(cpu), statistics.median(wall), peak, result)


def gemm_rate() -> float:
    """Float32 FLOP per CPU second of a 4096 x 512 by 512 x 8192 product on this machine."""
    rng = np.random.default_rng(0)
    a, b = rng.random((4096, 512), np.float32), rng.random((512, 8192), np.float32)
    return 2 * 4096 * 512 * 8192 / measure(lambda: a @ b, repeats=5).cpu_s


def copy_rate() -> float:
    """Bytes read and written per CPU second when a 256 MB array is copied."""
    source = np.ones(32_000_000)
    target = np.empty_like(source)
    return 2 * source.nbytes / measure(lambda: np.copyto(target, source), repeats=5).cpu_s


def growth(sizes: list[int], seconds: list[float]) -> float:
    """Exponent of the power law through the first and the last size: 1 = linear, 2 = quadratic."""
    return float(np.log(seconds[-1] / seconds[0]) / np.log(sizes[-1] / sizes[0]))


def machine() -> str:
    """One line for the head of a report: cores, threads and the measured peaks."""
    threads = os.environ.get("OMP_NUM_THREADS", "unset")
    return (
        f"{os.cpu_count()} cores, OMP_NUM_THREADS={threads}, numpy {np.__version__}, "
        f"float32 GEMM {gemm_rate() / 1e9:.0f} GFLOP per CPU s, copy {copy_rate() / 1e9:.1f} GB per CPU s"
    )


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _reset_high_water() -> float:
    Path("/proc/self/clear_refs").write_text("5")  # 5 = set the high-water mark back to the resident set
    return _status("VmRSS")


def _status(field: str) -> float:
    """A field of /proc/self/status in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) / 1024
    raise KeyError(field)

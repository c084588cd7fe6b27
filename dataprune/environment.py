"""With what a result was made: versions, device, threads, the state of the code's repository.

None of it is part of a key: an upgrade must not throw a store away. It stands in the manifest, so that a report can say
when it mixes versions or devices.
"""

import importlib.metadata
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from dataprune import __version__
from dataprune.config import RunConfig

DISTRIBUTIONS = ("torch", "torchvision", "pytorch-lightning", "timm", "numpy", "numba", "pillow", "faiss-cpu")


def environment(run: RunConfig) -> dict[str, Any]:
    """Return versions, CUDA version, device, threads and git commits of this process, as plain values.

    device and threads are torch's; where a stage has not imported it, the CPU and its cores.
    """
    torch = sys.modules.get("torch")
    on_gpu = torch is not None and run.accelerator != "cpu" and torch.cuda.is_available()
    return {
        "versions": _versions(),
        "cuda": torch.version.cuda if torch is not None and on_gpu else None,
        "device": torch.cuda.get_device_name() if torch is not None and on_gpu else f"CPU {platform.machine()}",
        "threads": torch.get_num_threads() if torch is not None else os.cpu_count(),
        "commits": {"dataprune": commit(Path(__file__).parent), "folder": commit(Path.cwd())},
    }


@cache
def _versions() -> dict[str, str]:
    versions = {"dataprune": __version__, "python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:  # faiss-gpu instead of faiss-cpu, say
            continue
    return versions


@cache
def commit(folder: Path) -> str | None:
    """Return the git commit that a folder stands at, with "-dirty" if tracked files have changed; None without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--abbrev=40", "--exclude=*", "--dirty"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return None
    return told.stdout.strip() or None

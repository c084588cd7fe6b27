"""The disk below a store: arrays whose room is taken before they are written, and what its failures mean."""

import errno
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, first_line

FULL = {errno.ENOSPC, errno.EDQUOT}
CLOSED = {errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
ALMOST_FULL = 2**20  # bytes: a short write leaves less; numpy and torch do not tell why they wrote less than all


def create_array(path: Path, kind: Any, shape: tuple[int, ...]) -> np.memmap:
    """Create a .npy file of zeros, its room taken, and return it memory-mapped; raise OSError if the disk is full.

    Without that a full disk is met when a page is written, and ends the process (SIGBUS) without a word.
    """
    array = np.lib.format.open_memmap(path, "w+", kind, shape)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def about_disk(error: Exception, store: str) -> ConfigError | None:
    """Return a failure as one of `run.store` if its disk is the cause: full, or not to be written. Else None."""
    number, name = getattr(error, "errno", None), str(getattr(error, "filename", None))
    root = Path(store).absolute()
    if number in FULL or (number is None and isinstance(error, OSError | RuntimeError) and _free(root) < ALMOST_FULL):
        expected = f"room on its disk and on that of the job's outputs; one is full ({first_line(error)})"
        return ConfigError("run.store", store, expected)
    if number in CLOSED and name.startswith(str(root)):
        return ConfigError("run.store", store, f"a folder that can be written ({first_line(error)})")
    return None


def _free(path: Path) -> int:
    """Bytes that are free on the disk of `path`, or of its first parent that exists."""
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    return shutil.disk_usage(there).free

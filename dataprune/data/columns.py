"""Columns of all examples of a split on disk, as stage decode keeps them for loaders that read them from memory.

<split>/<column>.npy             columns of one shape, stacked (n, ...)
<split>/<column>.bin, .ends.npy  one-dimensional columns of any length, one after the other; where each ends, int64 (n,)
"""

from pathlib import Path
from typing import Any

import numpy as np

from dataprune.data.codecs import Columns
from dataprune.store import create_array


class Keeping:
    """Writes the columns of n examples in id order."""

    def __init__(self, folder: Path, n: int) -> None:
        self.folder, self.n, self.at = folder, n, 0
        self.stacked: dict[str, np.memmap] = {}
        self.flat: dict[str, Any] = {}
        self.ends: dict[str, list[int]] = {}
        self.form: dict[str, dict[str, Any]] = {}  # dtype and shape of an example; shape None = any length

    def __enter__(self) -> "Keeping":
        return self

    def add(self, examples: list[Columns]) -> None:
        """Append the columns of the next examples; raises ValueError for one of another shape or dtype."""
        for columns in examples:
            for name, column in columns.items():
                form = {"dtype": str(column.dtype), "shape": list(column.shape) if column.ndim != 1 else None}
                if self.form.setdefault(name, form) != form:
                    raise ValueError(f"{name} of {form} after {self.form[name]}")
                self._write(name, column)
            self.at += 1

    def _write(self, name: str, column: np.ndarray) -> None:
        if column.ndim != 1:
            if name not in self.stacked:
                self.folder.mkdir(exist_ok=True)
                shape = (self.n, *column.shape)
                self.stacked[name] = create_array(self.folder / f"{name}.npy", column.dtype.type, shape)
            self.stacked[name][self.at] = column
            return
        if name not in self.flat:
            self.folder.mkdir(exist_ok=True)
            self.flat[name], self.ends[name] = open(self.folder / f"{name}.bin", "wb"), []  # noqa: SIM115 - see __exit__
        self.flat[name].write(np.ascontiguousarray(column))
        self.ends[name].append((self.ends[name] or [0])[-1] + len(column))

    def __exit__(self, *error: object) -> None:
        for array in self.stacked.values():
            array.flush()
        for name, file in self.flat.items():
            file.close()
            np.save(self.folder / f"{name}.ends.npy", np.array(self.ends[name], np.int64))


class Kept:
    """The columns of a split by id, memory-mapped; `form`: as `Keeping` leaves it."""

    def __init__(self, folder: Path, form: dict[str, dict[str, Any]]) -> None:
        self.folder = folder
        self.stacked = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in form if form[name]["shape"]}
        self.flat: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for name in form.keys() - self.stacked.keys():
            ends = np.load(folder / f"{name}.ends.npy")
            # what has no bytes cannot be mapped
            values = np.memmap(folder / f"{name}.bin", form[name]["dtype"], "r") if ends[-1] else np.empty(0, np.int32)
            self.flat[name] = values, ends

    def __getitem__(self, i: int) -> Columns:
        columns = {name: array[i] for name, array in self.stacked.items()}
        for name, (values, ends) in self.flat.items():
            columns[name] = np.asarray(values[ends[i - 1] if i else 0 : ends[i]])
        return columns

    def lengths(self, name: str) -> np.ndarray:
        """Return how long each example's column is, int64 (n,)."""
        ends = self.flat[name][1]
        return np.diff(ends, prepend=0)

"""The example table: what a reader returns, and what the pipeline reads back from an index result.

An `id` is the row number of an example in its split; every per-example array in the program has it as an axis.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

Image = np.ndarray | bytes | Path  # uint8 (h, w, c) | an encoded file's bytes | its path


@dataclass
class Split:
    """Part of a data set: images in id order, a label each.

    images: iterated once, in order; decoded arrays, encoded bytes or paths. names: a name each (file name, row), for
    messages and exports.
    """

    images: Iterable[Image]
    labels: np.ndarray  # int64 (n,)
    names: list[str] | None = None


@dataclass
class Dataset:
    """What a reader returns: `train`, `test` and perhaps `validation`; labels index `classes`."""

    classes: list[str]
    splits: dict[str, Split]
    maximum: int = 255  # the largest value a pixel can take
    root: Path | None = field(default=None)  # folder below which the names are files


@dataclass(frozen=True)
class Examples:
    """One split of an indexed data set, as the index stage wrote it."""

    folder: Path  # the index result
    split: str

    @cached_property
    def header(self) -> dict:
        """n and shape per split, channels, mean, std, maximum, storage."""
        return json.loads((self.folder / "header.json").read_text())

    @cached_property
    def classes(self) -> list[str]:
        """Class names; a label is a position in this list."""
        return json.loads((self.folder / "classes.json").read_text())

    @cached_property
    def labels(self) -> np.ndarray:
        """int64 (n,)."""
        return np.load(self.folder / self.split / "labels.npy")

    @cached_property
    def names(self) -> list[str]:
        """A name each."""
        return json.loads((self.folder / self.split / "names.json").read_text())

    @cached_property
    def images(self) -> np.ndarray:
        """uint8 (n, h, w, c), memory-mapped; only of a data set with storage=memory."""
        return np.load(self.folder / self.split / "images.npy", mmap_mode="r")

    @cached_property
    def fingerprint(self) -> str:
        """Digest of the indexed data set: equal for the same images, labels and names, wherever they lie."""
        return json.loads((self.folder / "manifest.json").read_text())["digest"]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that the data set has."""
        return list(self.header["splits"])

    def encoded(self) -> "Encoded":
        """Access to the encoded images; only of a data set with storage=files."""
        return Encoded(self.folder, self.split)


class Encoded:
    """Encoded images by id, from their own files or from one file that holds all. Cheap to pickle (loader workers)."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split = folder, split
        self._blob: np.ndarray | None = None

    @cached_property
    def _offsets(self) -> np.ndarray | None:
        path = self.folder / self.split / "offsets.npy"
        return np.load(path) if path.exists() else None

    @cached_property
    def _paths(self) -> list[Path]:
        root = Path((self.folder / "export" / "root.txt").read_text())
        return [root / name for name in json.loads((self.folder / self.split / "names.json").read_text())]

    def __getitem__(self, i: int) -> bytes:
        if self._offsets is None:
            return self._paths[i].read_bytes()
        if self._blob is None:
            self._blob = np.memmap(self.folder / self.split / "encoded.bin", np.uint8, "r")
        return self._blob[self._offsets[i] : self._offsets[i + 1]].tobytes()


def half_of(labels: np.ndarray, which: str, seed: int = 0) -> np.ndarray:
    """Ids of the "first" or "second" half of a split, int64 sorted: every class is halved, at random by `seed`.

    To estimate something on one half and report it on the other (influences and counterfactuals).
    """
    rng = np.random.default_rng(seed)
    first = np.concatenate([rng.permutation(ids)[: -(-len(ids) // 2)] for ids in _members(labels)])
    return np.sort(first) if which == "first" else np.setdiff1d(np.arange(len(labels)), first)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Ids of each class that occurs."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]

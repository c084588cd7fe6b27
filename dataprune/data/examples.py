"""The example table: what a reader returns, and what the pipeline reads back from index and decode results.

An `id` is the row number of an example in its split; every per-example array in the program has it as an axis.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from dataprune.streams import stream

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
    root: Path | None = field(default=None)  # folder below which the images are files; None = the config's path


CHUNK = 1024  # images looked at a time


def chunks(split: Split, kept: np.ndarray) -> Iterator[tuple[int, list[Image]]]:
    """(position in `kept` of the first, images) of up to CHUNK kept images of a reader's split at a time."""
    wanted = set(kept.tolist()) if len(kept) < len(split.labels) else None
    start, chunk = 0, []
    for i, image in enumerate(split.images):
        if wanted is None or i in wanted:
            chunk.append(image)
        if len(chunk) == CHUNK:
            yield start, chunk
            start, chunk = start + CHUNK, []
    if chunk:
        yield start, chunk


@dataclass(frozen=True)
class Examples:
    """One split of an indexed data set: its table, and its pixels for those who look at them."""

    folder: Path  # the index result
    split: str
    pixels: Path | None = None  # the decode result; None = only the table is asked for

    @classmethod
    def of(cls, inputs: dict[str, Path], split: str) -> "Examples":
        """A split with its pixels, from the inputs `examples` and `pixels` of a stage."""
        return cls(inputs["examples"], split, inputs["pixels"])

    @cached_property
    def header(self) -> dict:
        """maximum, n of each split; with pixels also size, shape, channels, mean, std, storage."""
        table = json.loads((self.folder / "header.json").read_text())
        return table if self.pixels is None else table | json.loads((self.pixels / "header.json").read_text())

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
        assert self.pixels is not None
        path = self.pixels / self.split / "images.npy"
        held = None if path.exists() else self.encoded().arrays()  # those that the reader gave, as they are
        return np.load(path, mmap_mode="r") if held is None else held

    @cached_property
    def fingerprint(self) -> str:
        """Hash of class names, labels and content of the split: the same for files, bytes and arrays of one content,
        wherever they lie; begins with "stat:" where the content is declared by names and sizes alone."""
        return json.loads((self.folder / "header.json").read_text())["fingerprints"][self.split]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def splits(self) -> list[str]:
        """Names of the splits that the data set has."""
        return list(self.header["splits"])

    def encoded(self) -> "Encoded":
        """Access to the images as the reader gave them."""
        return Encoded(self.folder, self.split)


class Encoded:
    """Images by id as their reader gave them, from their own files or from one that holds all. Cheap to pickle."""

    def __init__(self, folder: Path, split: str) -> None:
        self.folder, self.split, self.held = folder, split, folder / "held" / split
        self._blob: np.ndarray | None = None

    @cached_property
    def _offsets(self) -> np.ndarray | None:
        path = self.held / "offsets.npy"
        return np.load(path) if path.exists() else None

    @cached_property
    def _shapes(self) -> np.ndarray | None:
        path = self.held / "shapes.npy"
        return np.load(path) if path.exists() else None

    @cached_property
    def _paths(self) -> list[Path]:
        export = self.folder / "export"
        root = Path((export / "root.txt").read_text())
        return [root / name for name in json.loads((export / self.split / "files.json").read_text())]

    @property
    def are_arrays(self) -> bool:
        """Whether the reader gave arrays, not encoded bytes or files."""
        return self._shapes is not None

    def arrays(self) -> np.ndarray | None:
        """All images as uint8 (n, h, w, c), memory-mapped, where the reader gave arrays of one shape; else None."""
        if self._shapes is None or (self._shapes != self._shapes[0]).any():
            return None
        return np.memmap(self.held / "encoded.bin", np.uint8, "r").reshape(-1, *self._shapes[0])

    def __getitem__(self, i: int) -> bytes | np.ndarray:
        if self._offsets is None:
            return self._paths[i].read_bytes()
        if self._blob is None:
            self._blob = np.memmap(self.held / "encoded.bin", np.uint8, "r")
        image = self._blob[self._offsets[i] : self._offsets[i + 1]]
        return image.tobytes() if self._shapes is None else np.array(image).reshape(self._shapes[i])


def half_of(labels: np.ndarray, which: str, seed: int = 0) -> np.ndarray:
    """Ids of the "first" or "second" half of a split, int64 sorted: every class is halved, at random by `seed`.

    To estimate something on one half and report it on the other (influences and counterfactuals).
    """
    rng = stream(seed, "halves")
    first = np.concatenate([rng.permutation(ids)[: -(-len(ids) // 2)] for ids in _members(labels)])
    return np.sort(first) if which == "first" else np.setdiff1d(np.arange(len(labels)), first)


def _members(labels: np.ndarray) -> list[np.ndarray]:
    """Ids of each class that occurs."""
    return [np.flatnonzero(labels == label) for label in np.unique(labels)]

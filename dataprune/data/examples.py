"""The example table: what a reader returns, and what the pipeline reads back from index and decode results.

An `id` is the row number of an example in its split; every per-example array in the program has it as an axis.
"""

import json
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import codes_of
from dataprune.data.codecs import Codec, codec_of
from dataprune.data.columns import Kept
from dataprune.data.paths import Paths, Piece, file_of
from dataprune.errors import ConfigError
from dataprune.streams import stream

# of images: uint8 (h, w, c) | an encoded file's bytes | its path | a piece of a file; of texts: their fields
Item = np.ndarray | bytes | Path | Piece | tuple[str, ...]


class Split:
    """Part of a data set: examples in id order, a label each.

    examples: iterated once, in order; decoded arrays, encoded bytes or paths of images, or tuples of texts. labels:
    int64 (n,). names: a name each (file name, row), for messages and exports. images: another name of `examples`.
    """

    def __init__(
        self,
        examples: Iterable[Item] | None = None,
        labels: np.ndarray | None = None,
        names: list[str] | None = None,
        *,
        images: Iterable[Item] | None = None,
    ) -> None:
        given = examples if images is None else images
        if given is None or labels is None or (examples is not None and images is not None):
            raise ConfigError("examples", None, "examples (once) and their labels")
        self.examples, self.labels, self.names = given, labels, names


@dataclass
class Dataset:
    """What a reader returns: `train`, `test` and perhaps `validation`; labels index `classes`."""

    classes: list[str]
    splits: dict[str, Split]
    maximum: int = 255  # the largest value a pixel can take
    root: Path | None = field(default=None)  # folder below which the examples are files; None = the config's path
    sparse: bool = False  # a class may have no training example, and keeps its label


CHUNK = 1024  # examples looked at a time


def packed(fields: tuple[str, ...]) -> bytes:
    """Return the fields of a text as bytes: each in UTF-8 behind its length, so that ("ab", "c") is not ("a", "bc")."""
    encoded = [field.encode() for field in fields]
    return b"".join(struct.pack("<Q", len(part)) + part for part in encoded)


def unpacked(held: bytes) -> tuple[str, ...]:
    """Return the fields that `packed` was given."""
    fields, at = [], 0
    while at < len(held):
        (length,) = struct.unpack_from("<Q", held, at)
        fields.append(held[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return tuple(fields)


def chunks(split: Split, kept: np.ndarray) -> Iterator[tuple[int, list[Item]]]:
    """(position in `kept` of the first, examples) of up to CHUNK kept examples of a reader's split at a time."""
    wanted = set(kept.tolist()) if len(kept) < len(split.labels) else None
    start, chunk = 0, []
    for i, item in enumerate(split.examples):
        if wanted is None or i in wanted:
            chunk.append(item)
        if len(chunk) == CHUNK:
            yield start, chunk
            start, chunk = start + CHUNK, []
    if chunk:
        yield start, chunk


@dataclass(frozen=True)
class Examples:
    """One split of an indexed data set: its table, and its columns for those who look at them."""

    folder: Path  # the index result
    split: str
    pixels: Path | None = None  # the decode result; None = only the table is asked for

    @classmethod
    def of(cls, inputs: dict[str, Path], split: str) -> "Examples":
        """A split with its columns, from the inputs `examples` and `pixels` of a stage."""
        return cls(inputs["examples"], split, inputs["pixels"])

    @cached_property
    def header(self) -> dict:
        """kind, maximum, n of each split; with columns also codec, input and their shapes."""
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
    def codec(self) -> Codec:
        """What makes columns and inputs of the examples, with all its constants.

        Raises ConfigError if its code is no longer the one that the columns were decoded with.
        """
        spec = self.header["codec"]
        if codes_of(spec) != self.header.get("code", {}):
            expected = "the code that the data were decoded with; it has changed since: start the job again"
            raise ConfigError("codec._target_", spec["_target_"], expected)
        return codec_of(spec)

    @property
    def input(self) -> dict[str, Any]:
        """What a network must know of the examples: kind, and channels, height and width of images."""
        return self.header["input"]

    @cached_property
    def kept(self) -> Kept:
        """The columns that stage decode keeps, by id."""
        assert self.pixels is not None
        return Kept(self.pixels / self.split, self.header["columns"])

    def column(self, name: str) -> np.ndarray:
        """A kept column of all examples, (n, ...), memory-mapped: `image` is uint8 (n, h, w, c)."""
        assert self.pixels is not None
        path = self.pixels / self.split / f"{name}.npy"
        held = None if path.exists() else self.items.arrays()  # those that the reader gave, as they are
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

    @cached_property
    def items(self) -> "Encoded":
        """The examples as the reader gave them, by id."""
        return Encoded(self.folder, self.split)


class Encoded:
    """Examples by id as their reader gave them, from their own files or from one that holds all. Cheap to pickle."""

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
    def _are_texts(self) -> bool:
        return json.loads((self.folder / "header.json").read_text())["kind"] == "text"

    @cached_property
    def _paths(self) -> Paths:
        export = self.folder / "export"
        return Paths(export / self.split, Path((export / "root.txt").read_text()))

    @property
    def are_arrays(self) -> bool:
        """Whether the reader gave arrays, not encoded bytes or files."""
        return self._shapes is not None

    def arrays(self) -> np.ndarray | None:
        """All images as uint8 (n, h, w, c), memory-mapped, where the reader gave arrays of one shape; else None."""
        if self._shapes is None or (self._shapes != self._shapes[0]).any():
            return None
        return np.memmap(self.held / "encoded.bin", np.uint8, "r").reshape(-1, *self._shapes[0])

    def files(self, ids: np.ndarray) -> list[str] | None:
        """Paths of these examples, where each is a file of its own; else None (arrays, bytes, members of a tar)."""
        if self._offsets is not None:
            return None
        places = [self._paths[int(i)] for i in ids]
        return None if any(file_of(place) != place for place in places) else places

    def __getitem__(self, i: int) -> bytes | np.ndarray | tuple[str, ...]:
        if self._offsets is None:
            return self._paths.read(i)
        if self._blob is None:
            self._blob = np.memmap(self.held / "encoded.bin", np.uint8, "r")
        item = self._blob[self._offsets[i] : self._offsets[i + 1]]
        if self._shapes is not None:
            return np.array(item).reshape(self._shapes[i])
        return unpacked(item.tobytes()) if self._are_texts else item.tobytes()


def heldout_of(splits: Sequence[str]) -> str:
    """Return the split that the history of a training follows, of those there are: validation, else test."""
    return "validation" if "validation" in splits else "test"


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

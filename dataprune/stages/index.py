"""Stage index: read a data set once, check it, and write its example table.

An id is a row of what is left of the reader's split: of train after a share has become the validation split (config
`validation`), and of each split after its limit.

Input: none (the reader's files; `stamp` of them is in the recipe). Files: classes.json, header.json and for each split
labels.npy, names.json and content.npy: a hash an example of its encoded bytes, of the array where a reader gives none,
or of a text. These are what the data set is; what networks see of it (its codec) is the business of stage decode.

Images in files (and in tars) stay where they are (export/root.txt says where). Encoded bytes, arrays and texts that a
reader gives are kept in held/, which content.npy speaks for: it is checked for damage but does not count for the digest
a second time.
"""

import json
import math
import os
import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image as Pillow

from dataprune.config import IndexConfig, RunConfig
from dataprune.data.content import HASH, Known, fingerprint_of, hashed, read
from dataprune.data.examples import Dataset, Item, Split, chunks, packed
from dataprune.data.paths import Piece
from dataprune.data.pixels import TooDeep, check_readable
from dataprune.data.shares import same_share
from dataprune.errors import ConfigError, Shown, first
from dataprune.progress import Bar
from dataprune.streams import stream

CONFIG = IndexConfig
# what PIL raises for a broken file; all are counted and reported
BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, Pillow.DecompressionBombError)

UNREADABLE, TOO_DEEP, EMPTY = "unreadable image", "32-bit image", "empty text"


def run(config: IndexConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Read, check and write; returns counts. `label` is the config group (source or target), for messages."""
    dataset = read(config, label)
    header: dict[str, Any] = {"maximum": dataset.maximum, "content": config.content, "splits": {}, "fingerprints": {}}
    kinds: set[str] = set()
    for name, split, ids in _parts_of(dataset, config, label):
        folder = work / name
        folder.mkdir(exist_ok=True)
        labels = _checked_labels(split, name, dataset, config, label)
        limit = getattr(config.limit, name, None)
        kept = ids[_limited(labels[ids], limit, config.seed, f"{label}.limit.{name}")]
        names = split.names or [str(i) for i in range(len(labels))]
        table = Table(config, dataset, split, kept, [names[i] for i in kept], work, name, label)
        np.save(folder / "labels.npy", labels[kept])
        (folder / "names.json").write_text(json.dumps(table.names))
        content = table.write()
        kinds |= table.kinds
        np.save(folder / "content.npy", content)
        header["splits"][name] = {"n": len(kept)}
        header["fingerprints"][name] = fingerprint_of(dataset.classes, labels[kept], content, config.content)
    if len(kinds) > 1:
        raise ConfigError(f"{label}.reader", Shown("images and texts"), "one kind of examples in all splits")
    header["kind"] = kinds.pop()
    (work / "header.json").write_text(json.dumps(header, indent=1))
    (work / "classes.json").write_text(json.dumps(dataset.classes))
    facts = {"classes": len(dataset.classes), "fingerprints": header["fingerprints"]}
    return facts | {name: s["n"] for name, s in header["splits"].items()}


def _parts_of(dataset: Dataset, config: IndexConfig, label: str) -> Iterator[tuple[str, Split, np.ndarray]]:
    """Each split with the rows of what the reader gave that belong to it; a part of train becomes validation if the
    config says so."""
    if config.validation is not None and "validation" in dataset.splits:
        raise ConfigError(f"{label}.validation", config.validation, "null: the set has a validation split of its own")
    for name, split in dataset.splits.items():
        rows = np.arange(len(split.labels))
        if name != "train" or config.validation is None:
            yield name, split, rows
            continue
        if isinstance(split.examples, Iterator):  # which is read twice
            split = Split(list(split.examples), split.labels, split.names)
        carved = _carved(_checked_labels(split, name, dataset, config, label), config, label)
        yield name, split, np.setdiff1d(rows, carved)
        yield "validation", split, carved


def _carved(labels: np.ndarray, config: IndexConfig, label: str) -> np.ndarray:
    """Rows of train that become the validation split: of each class the same share, drawn by the data set's seed."""
    assert config.validation is not None
    count, n_classes = round(config.validation * len(labels)), len(np.unique(labels))
    key, each = f"{label}.validation", f"of each of the {n_classes} classes one on both sides"
    if count < n_classes:
        least = math.ceil(1e4 * n_classes / len(labels)) / 1e4
        raise ConfigError(key, config.validation, f"{least} or more, {n_classes} of the {len(labels)} examples: {each}")
    carved = same_share(labels, count, stream(config.seed, "validation", len(labels)))
    if len(np.unique(np.delete(labels, carved))) < n_classes:
        raise ConfigError(key, config.validation, f"a smaller share, or two examples of each class: {each}")
    return carved


class Looked(NamedTuple):
    """What one look at an example's bytes gave."""

    digest: bytes  # of HASH bytes
    item: bytes | np.ndarray | None  # to be held; None where it stays in its file
    problem: str = ""  # why nobody can use it: what is wrong with it, in a word or two


class Table:
    """The kept examples of one split on their way into the index: looked at once, hashed, and held if no file does."""

    def __init__(
        self,
        config: IndexConfig,
        dataset: Dataset,
        split: Split,
        kept: np.ndarray,
        names: list[str],
        work: Path,
        name: str,
        label: str,
    ) -> None:
        self.config, self.split, self.kept, self.names, self.label = config, split, kept, names, label
        self.folder, self.name = work, name
        root = dataset.root or (Path(config.path) if config.path is not None else None)
        self.root = None if root is None else root.absolute()
        self.files: list[str] = []  # relative to the root, of images that stay where they are
        self.kinds: set[str] = set()  # image, text

    def write(self) -> np.ndarray:
        """Look at every kept example and write what nobody else holds; returns the hashes, uint8 (n, HASH)."""
        content = np.zeros((len(self.kept), HASH), np.uint8)
        broken: dict[str, list[str]] = {}
        known = Known.of(self.folder, self.root, self.name)
        with (
            Bar(f"index {self.name}", len(self.kept)) as bar,
            ThreadPoolExecutor(os.cpu_count()) as pool,
            _Held(self.folder / "held" / self.name) as held,
        ):
            for start, chunk in chunks(self.split, self.kept):
                looks = pool.map(
                    lambda part: [self._look(item, name, known) for item, name in part], _parts(self._placed(chunk))
                )
                for i, one in enumerate(chain.from_iterable(looks), start):
                    content[i] = np.frombuffer(one.digest, np.uint8)
                    if one.problem:
                        broken.setdefault(one.problem, []).append(self.names[i])
                    if one.item is not None:
                        held.add(one.item, self.names[i], self.label)
                bar.advance(len(chunk))
        for problem, names in broken.items():
            count = f"{len(names)} {problem}{'s' if len(names) > 1 else ''}"
            where = Shown(f"{self.config.path!r} with {count} in {self.name} ({', '.join(names[:5])})")
            wanted = "texts with something in them" if problem == EMPTY else "images that can be decoded"
            raise ConfigError(f"{self.label}.path", where, f"{wanted}; remove or replace these")
        if self.files:
            known.write(self.folder / "export", self.root, self.name, self.files)
        return content

    def _placed(self, chunk: list[Item]) -> list[tuple[Item, str]]:
        """Each example with its name below the root if it is a file, noted in `files`.

        Raises ConfigError for a file elsewhere, whose state the stamp of `path` would not tell.
        """
        placed: list[tuple[Item, str]] = []
        above = f"{self.root}{os.sep}"
        self.kinds |= {"text" if isinstance(item, tuple) else "image" for item in chunk}
        for item in chunk:
            name = ""
            if isinstance(item, Path | Piece):
                whole = os.path.abspath(item)  # pathlib's own way costs ten times as much, a million times
                if self.root is None or not whole.startswith(above):
                    where = f"files below {self.label}.path, whose state is watched (root={self.root})"
                    raise ConfigError(f"{self.label}.path", str(item), where)
                name = whole[len(above) :] + (item.place if isinstance(item, Piece) else "")
                self.files.append(name)
            placed.append((item, name))
        return placed

    def _look(self, item: Item, name: str, known: Known) -> Looked:
        if isinstance(item, tuple):
            return Looked(hashed(item), packed(item), "" if any(field.strip() for field in item) else EMPTY)
        if isinstance(item, np.ndarray):
            return Looked(hashed(item), item)
        if isinstance(item, bytes):
            return Looked(hashed(item), item, _problem(item))
        try:
            if self.config.content == "stat":
                return Looked(known.by_size(item, name), None)
            if (digest := known.unchanged(item, name)) is not None:
                return Looked(digest, None)
            encoded = item.read_bytes()
        except OSError:
            return Looked(bytes(HASH), None, UNREADABLE)
        return Looked(hashed(encoded), None, _problem(encoded))


def _parts(placed: list[tuple[Item, str]], size: int = 64) -> list[list[tuple[Item, str]]]:
    """A chunk in parts, one a task: looking at one unchanged file takes less time than handing it to a thread."""
    return [placed[i : i + size] for i in range(0, len(placed), size)]


def _problem(encoded: bytes) -> str:
    """What is wrong with an encoded image; nothing: an empty text."""
    try:
        check_readable(encoded)
    except TooDeep:
        return TOO_DEEP
    except BROKEN:
        return UNREADABLE
    return ""


class _Held:
    """Writes what a reader gives into encoded.bin, one after the other, with offsets.npy and shapes.npy of arrays."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.offsets = folder, [0]
        self.shapes: list[tuple[int, ...]] = []
        self.blob: Any = None

    def __enter__(self) -> "_Held":
        return self

    def add(self, item: bytes | np.ndarray, name: str, label: str) -> None:
        """Append one example; arrays and encoded bytes do not mix."""
        if self.blob is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.blob = open(self.folder / "encoded.bin", "wb")  # noqa: SIM115 - closed by __exit__
        if isinstance(item, np.ndarray):
            if item.dtype != np.uint8 or item.ndim != 3:
                what = Shown(f"array of {item.dtype} {item.shape} for {name}")
                raise ConfigError(f"{label}.reader", what, "uint8 (height, width, channels)")
            self.shapes.append(item.shape)
        elif self.shapes:
            raise ConfigError(f"{label}.reader", Shown(f"bytes for {name} after arrays"), "one kind of images")
        self.blob.write(item if isinstance(item, bytes) else np.ascontiguousarray(item))
        self.offsets.append(self.blob.tell())

    def __exit__(self, *error: object) -> None:
        if self.blob is None:
            return
        self.blob.close()
        np.save(self.folder / "offsets.npy", np.array(self.offsets, np.int64))
        if self.shapes:
            np.save(self.folder / "shapes.npy", np.array(self.shapes, np.int64))


def _checked_labels(split: Split, name: str, dataset: Dataset, config: IndexConfig, label: str) -> np.ndarray:
    labels, classes = np.asarray(split.labels), dataset.classes
    if len(labels) == 0:
        raise ConfigError(f"{label}.path", Shown(f"{config.path!r} without {name} examples"), "at least one")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        where = Shown(f"{config.path!r} with label {labels[wrong[0]]} at rows {first(wrong)} of {name}")
        raise ConfigError(f"{label}.path", where, f"labels of 0 to {len(classes) - 1} ({len(classes)} classes)")
    counts = np.bincount(labels, minlength=len(classes))
    if name == "train" and (counts == 0).any() and not dataset.sparse:
        empty = ", ".join([classes[c] for c in np.flatnonzero(counts == 0)][:5])
        raise ConfigError(
            f"{label}.path", Shown(f"{config.path!r} without {name} examples of {empty}"), "some of every class"
        )
    return labels.astype(np.int64)


def _limited(labels: np.ndarray, limit: int | None, seed: int, key: str) -> np.ndarray:
    """Positions to keep: all, or `limit` with the same share of every class (at least one each), drawn by `seed`."""
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    n_classes = len(np.unique(labels))
    if limit < n_classes:
        raise ConfigError(key, limit, f"{n_classes} or more: one example of each class")
    return same_share(labels, limit, stream(seed, "limit", len(labels)))

"""WebDataset tars: an example is files of one name in a row, 0001.jpg and 0001.cls. Read by offset, not unpacked.

    source=webdataset source.path=DIR 'source.reader.splits={train: "train-{000000..000099}.tar", test: "val-*.tar"}'

The tars are looked through once, when the data set is indexed; after that each image is one read at a known place.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.data.flat_folder import SUFFIXES
from dataprune.data.folder import first_names
from dataprune.data.paths import Piece
from dataprune.data.shards import files_of_splits
from dataprune.errors import ConfigError, Shown, first_line


@dataclass(frozen=True)
class Member:
    """A file in a tar."""

    name: str  # with its folders
    offset: int  # of its content
    size: int

    @property
    def key(self) -> str:
        """Its name up to the first dot after the folders: what the files of one example have in common."""
        folder, slash, name = self.name.rpartition("/")
        return f"{folder}{slash}{name.partition('.')[0]}"

    @property
    def kind(self) -> str:
        """What stands behind its key: jpg, cls, json."""
        return self.name[len(self.key) + 1 :].lower()


def read(
    path: str, splits: dict[str, str] | None = None, label: str = "cls", classes: list[str] | None = None
) -> Dataset:
    """Read WebDataset tars below `path`; ids are in the order of tars by name, and of examples in them.

    splits: the tars of each split, {"train": "train-{000000..000099}.tar", "test": "val-*.tar"}; every one of a range
    must be there. None = folders train, val and test of tars, or tars with these words in their names. label: what
    holds the class number, `cls` or `json.<key>`. classes: their names; None = the numbers. Without a test split the
    validation split is the test split.
    """
    root = Path(path)
    if not root.is_dir():
        raise ConfigError("path", path, "a folder; this is a file")
    if re.fullmatch(r"\w+(\.\w+)?", label) is None:
        raise ConfigError("label", label, "cls, or json.<key>")
    files = files_of_splits(root, ".tar", splits or {})
    found = {split: _split(root, tars, label) for split, tars in files.items()}
    largest = max(int(split.labels.max(initial=0)) for split in found.values())
    return Dataset(classes or [str(i) for i in range(largest + 1)], found, root=root)


def _split(root: Path, tars: list[Path], label: str) -> Split:
    pieces: list[Piece] = []
    labels: list[int] = []
    names: list[str] = []
    for tar in tars:
        below = tar.relative_to(root).as_posix()
        with open(tar, "rb") as file:
            for example in _examples(tar):
                image = _image(tar, example)
                pieces.append(Piece(str(tar), image.offset, image.size))
                labels.append(_label(tar, example, label, file))
                names.append(f"{below}/{image.name}")
    if not names:
        raise ConfigError("path", str(root), f"examples in its tars; it has {first_names(root)}")
    return Split(pieces, np.array(labels, np.int64), names)


def _examples(tar: Path) -> Iterator[list[Member]]:
    """The files of each example of a tar. Raises ConfigError for one that breaks off, or is no plain tar."""
    for _, members in groupby(_members(tar), key=lambda member: member.key):
        yield list(members)


def _members(tar: Path) -> Iterator[Member]:
    try:
        with tarfile.open(tar, "r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # which would keep all that was seen
                if not info.isfile():
                    continue
                yield Member(info.name, info.offset_data, info.size)
    except tarfile.TarError as error:
        raise ConfigError("path", str(tar), f"a whole tar that is not compressed ({first_line(error)})") from None


def _image(tar: Path, example: list[Member]) -> Member:
    images = [member for member in example if f".{member.kind.rpartition('.')[2]}" in SUFFIXES]
    if len(images) != 1:
        kinds = ", ".join(member.kind for member in example)
        found = Shown(f"{str(tar)!r} with {example[0].key!r} of {kinds}")
        raise ConfigError("path", found, "one image in each example: jpg, jpeg, png, ...")
    return images[0]


def _label(tar: Path, example: list[Member], label: str, file: Any) -> int:
    kind, _, key = label.partition(".")
    member = next((member for member in example if member.kind == kind), None)
    content = None
    if member is not None:
        file.seek(member.offset)
        content = file.read(member.size)
    try:
        value = json.loads(content)[key] if key else int(content)  # type: ignore[arg-type]
    except (ValueError, KeyError, TypeError):
        value = None
    if not isinstance(value, int) or isinstance(value, bool):
        there = ", ".join(member.kind for member in example)
        found = Shown(f"{str(tar)!r} with {example[0].key!r} of {there}")
        raise ConfigError("label", found, f"a class number in {label} of each example")
    return value

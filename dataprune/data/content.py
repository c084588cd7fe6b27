"""What a data set contains, told apart by hashes: of each example, of a split, and of the state of its files.

content       one SHA-256 an example: of its encoded bytes, or of the array where a reader gives no bytes
fingerprint   of a split: class names, labels and content, wherever and under whatever names the files lie
stamp         of what is on disk now, without reading it: name, size and times of every file below a path
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import Parameters, function_at, parameters
from dataprune.config import IndexConfig
from dataprune.data.examples import Dataset, packed
from dataprune.data.paths import Paths, Piece
from dataprune.errors import ConfigError
from dataprune.store import DamagedResult, check_file, load

HASH = 32  # bytes of a SHA-256
UNKNOWN = (-1, 0, 0, 0)  # a status that no file has
SETTLED = 2_000_000_000  # ns: a file that changed less than this before it was read may have changed again unseen


def read(config: IndexConfig, label: str) -> Dataset:
    """Call the config's reader; it gets `path`, `columns` and `seed` if it has such parameters."""
    arguments = _arguments(config, label)
    try:
        dataset = function_at(config.reader["_target_"])(**arguments)
    except ConfigError as error:
        raise error.under(label) from None
    if config.path is not None and dataset.root is not None:
        _check_watched(dataset.root, config.path, label)
    for split in ("train", "test"):
        if split not in dataset.splits:
            raise ConfigError(f"{label}.reader", config.reader["_target_"], f"a reader that gives a {split} split")
    return dataset


def _arguments(config: IndexConfig, label: str) -> dict[str, Any]:
    """The constants of the reader, with `path`, `columns` and `seed` where it takes them.

    Raises ConfigError for a path or columns that the reader would not get, and for a path that it lacks.
    """
    constants = {k: v for k, v in config.reader.items() if k != "_target_"}
    takes = parameters(config.reader["_target_"])
    if config.path is not None and (why := _refused("path", constants, takes)):
        raise ConfigError(f"{label}.path", config.path, f"null: {why}, and this one's state would be watched instead")
    if config.columns is not None:
        if why := _refused("columns", constants, takes):
            raise ConfigError(f"{label}.columns", config.columns, f"null: {why}")
        constants["columns"] = config.columns
    for name, value in (("path", config.path), ("seed", config.seed)):
        if name in takes.names and name not in constants:
            if value is None:
                raise ConfigError(f"{label}.{name}", None, "a value; this data set is read from there")
            constants[name] = value
    return constants


def _refused(name: str, constants: dict[str, Any], takes: Parameters) -> str | None:
    """Why a value of the data set cannot be handed to its reader; None = it can."""
    if name in constants:
        return "it is a constant of the reader already"
    return None if takes.open or name in takes.names else f"the reader takes no {name}"


def _check_watched(root: str | Path, path: str, label: str) -> None:
    """Raise a ConfigError if the images lie outside `path`, the folder whose state is watched."""
    lies, watched = os.path.abspath(root), os.path.abspath(path)
    if lies != watched and not lies.startswith(watched + os.sep):
        expected = f"a folder that holds the images too: the reader takes them from {lies}, whose state is not watched"
        raise ConfigError(f"{label}.path", path, expected)


def hashed(item: bytes | np.ndarray | tuple[str, ...]) -> bytes:
    """Return the SHA-256 of encoded bytes, of an array with its dtype and shape, or of the fields of a text."""
    if isinstance(item, tuple):
        return hashlib.sha256(packed(item)).digest()
    if isinstance(item, bytes):
        return hashlib.sha256(item).digest()
    described = hashlib.sha256(f"{item.dtype} {item.shape} ".encode())
    described.update(np.ascontiguousarray(item).data)
    return described.digest()


def fingerprint_of(classes: list[str], labels: np.ndarray, content: np.ndarray, how: str = "full") -> str:
    """Return the fingerprint of a split with these class names, labels int64 (n,) and content uint8 (n, HASH).

    how: "stat" marks one that rests on names and sizes: it never equals that of a content that was read.
    """
    whole = hashlib.sha256(json.dumps(classes).encode())
    whole.update(np.ascontiguousarray(labels, np.int64).data)
    whole.update(np.ascontiguousarray(content).data)
    return ("stat:" if how == "stat" else "") + whole.hexdigest()


def stamp(config: IndexConfig, label: str) -> str:
    """Return a hash of the state of the data set: when it changes, the data set is indexed again.

    With a path: where it lies, and name, size, time of change of content and of status of every file below it, at any
    depth. (The status time moves also where a program sets the other one back.) A reader without a path is called, and
    what it gives is hashed.
    """
    if config.path is None:
        return _stamp_of_content(read(config, label))
    root = Path(config.path).absolute()
    state = hashlib.sha256(str(root).encode())
    for name, status in _files(root):
        line = f"{name}\0{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
        state.update(line.encode(errors="surrogateescape"))
    return state.hexdigest()


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(name relative to the root, status) of every file below it in a fixed order, links followed."""
    if not root.is_dir():
        yield "", root.stat()
        return
    queue: list[tuple[str, tuple[tuple[int, int], ...]]] = [("", ())]  # folders, each with those that it lies in
    while queue:
        below, above = queue.pop()
        at = (root / below).stat()
        here = at.st_dev, at.st_ino
        if here in above:  # a link to a folder above
            continue
        with os.scandir(root / below) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                name = f"{below}{entry.name}"
                if entry.is_dir():
                    queue.append((f"{name}/", (*above, here)))
                else:
                    yield name, entry.stat(follow_symlinks=entry.is_file())


def _stamp_of_content(dataset: Dataset) -> str:
    """A hash of everything that a reader gives; of files it gives, their state."""
    state = hashlib.sha256(json.dumps([dataset.classes, dataset.maximum, str(dataset.root)]).encode())
    for name, split in sorted(dataset.splits.items()):
        state.update(json.dumps([name, split.names]).encode())
        state.update(np.ascontiguousarray(split.labels, np.int64).data)
        for item in split.examples:
            if isinstance(item, Path | Piece):
                at, place = os.stat(item), item.place if isinstance(item, Piece) else ""
                state.update(
                    f"{os.path.abspath(item)}{place}\0{at.st_size} {at.st_mtime_ns} {at.st_ctime_ns}\n".encode()
                )
            else:
                state.update(hashed(item))
    return state.hexdigest()


def _check(home: Path, split: str) -> None:
    """Raise DamagedResult unless the records of an index, and what it knows of a split's files, are as written."""
    result = load(home)
    known = [f"export/{split}/{name}" for name in ("files.bin", "files.ends.npy", "status.npy")]
    for name in [*known, f"{split}/content.npy"]:
        check_file(result, name, result.manifest["files"][name])


class Known:
    """Hashes that an earlier index of the same folder made: a file that has not changed since keeps its own."""

    def __init__(self, root: Path | None, hashes: dict[str, tuple[tuple[int, ...], bytes]]) -> None:
        self.root, self.hashes = root, hashes
        self.status: dict[str, tuple[int, ...]] = {}

    @classmethod
    def of(cls, work: Path, root: Path | None, split: str) -> "Known":
        """What the indexes in the store that `work` belongs to know of the files below `root`."""
        hashes: dict[str, tuple[tuple[int, ...], bytes]] = {}
        for earlier in sorted(work.parent.parent.glob("index/*/export/root.txt")):
            folder = earlier.parent
            status, content = folder / split / "status.npy", folder.parent / split / "content.npy"
            if root is None or earlier.read_text() != str(root) or not (status.exists() and content.exists()):
                continue
            try:
                _check(folder.parent, split)
            except DamagedResult:
                continue  # what it knew is not to be believed: the files are read again
            files = Paths(folder / split, root).names()
            rows = zip(files, np.load(status).tolist(), np.load(content), strict=True)
            hashes |= {name: (tuple(row), digest.tobytes()) for name, row, digest in rows if row[0] >= 0}
        return cls(root, hashes)

    def unchanged(self, path: Path | Piece, name: str) -> bytes | None:
        """The hash of the file called `name` below the root, if it has the size and times of when that was made; None =
        it must be read."""
        status = self._look(path, name)
        there = self.hashes.get(name)
        return there[1] if there is not None and there[0] == status else None

    def by_size(self, path: Path | Piece, name: str) -> bytes:
        """A hash of the file's name and size, for data sets whose content is declared by them."""
        status = self._look(path, name)
        # a status that no file has: what was not read must not pass for a content hash later
        self.status[name] = UNKNOWN
        return hashlib.sha256(f"stat {name} {status[0]}".encode()).digest()

    def _look(self, path: Path | Piece, name: str) -> tuple[int, ...]:
        at = os.stat(path)
        status = (at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)
        # what changed just now may change again within one tick of the clock that its times come from
        settled = max(at.st_mtime_ns, at.st_ctime_ns) + SETTLED < time.time_ns()
        self.status[name] = status if settled else UNKNOWN
        return status

    def write(self, export: Path, root: Path | None, split: str, files: list[str]) -> None:
        """Leave in `export` where the files lie and the status that their hashes belong to."""
        (export / split).mkdir(parents=True, exist_ok=True)
        (export / "root.txt").write_text(str(root))
        Paths.write(export / split, files)
        np.save(export / split / "status.npy", np.array([self.status.get(name, UNKNOWN) for name in files], np.int64))

"""Names of a million files as two files: all names as bytes, and where each ends. Mapped, so that processes share them.

A list of Paths would cost every process that decodes hundreds of bytes a file, and seconds to make. An example may also
be a piece of a larger file (a tar): then its name is that of the file, a NUL, and where the piece lies in it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, slots=True)
class Piece(os.PathLike):
    """Bytes of a file that are one example."""

    file: str
    offset: int
    size: int

    def __fspath__(self) -> str:
        return self.file

    @property
    def place(self) -> str:
        """What follows the file's name where names are kept; no file name has a NUL."""
        return f"\0{self.offset} {self.size}"

    def read_bytes(self) -> bytes:
        """Return its content."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def file_of(name: str) -> str:
    """Return the file in which an example of this name lies: itself, or that of which it is a piece."""
    return name.partition("\0")[0]


class Paths:
    """File names below a folder by number. Cheap to pickle: the names are read where they are asked for."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.root = folder, root
        self._ends: np.ndarray | None = None
        self._names: np.ndarray | None = None

    @staticmethod
    def write(folder: Path, names: Sequence[str]) -> None:
        """Leave the names in `folder`."""
        encoded = [os.fsencode(name) for name in names]
        (folder / "files.bin").write_bytes(b"".join(encoded))
        np.save(folder / "files.ends.npy", np.cumsum([len(name) for name in encoded], dtype=np.int64))

    def __getstate__(self) -> dict:
        return {"folder": self.folder, "root": self.root, "_ends": None, "_names": None}

    def __len__(self) -> int:
        return len(self._mapped()[0])

    def name(self, i: int) -> str:
        """Return the name of file i below the root."""
        ends, names = self._mapped()
        return os.fsdecode(names[ends[i - 1] if i else 0 : ends[i]].tobytes())

    def __getitem__(self, i: int) -> str:
        return os.path.join(self.root, self.name(i))

    def read(self, i: int) -> bytes:
        """Return the content of file i, or of the piece of a file that example i is."""
        file, piece, place = self[i].partition("\0")
        if piece:
            offset, size = place.split()
            return Piece(file, int(offset), int(size)).read_bytes()
        with open(file, "rb") as whole:
            return whole.read()

    def names(self) -> list[str]:
        """Return all names."""
        whole = (self.folder / "files.bin").read_bytes()
        ends = np.load(self.folder / "files.ends.npy").tolist()
        return [os.fsdecode(whole[start:end]) for start, end in zip([0, *ends], ends, strict=False)]

    def _mapped(self) -> tuple[np.ndarray, np.ndarray]:
        if self._ends is None or self._names is None:
            self._ends = np.load(self.folder / "files.ends.npy", mmap_mode="r")
            empty = (self.folder / "files.bin").stat().st_size == 0  # nothing cannot be mapped
            self._names = np.empty(0, np.uint8) if empty else np.memmap(self.folder / "files.bin", np.uint8, "r")
        return self._ends, self._names

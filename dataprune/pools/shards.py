"""Shards of a pool: where rows lie, and how their embeddings, uids and columns are read and their kept rows written.

| file | embeddings | uids and columns |
|---|---|---|
| x.parquet | a column of (fixed-size) lists of float16 or float32 | columns |
| x.parquet beside x.npz (DataComp) | arrays of the npz: an array's name, or image, text, image\\|text | columns |
| x.npy | (n, d), float16 or float32 | x.uid.npy, x.<column>.npy (n,) beside it; without x.uid.npy the row numbers |

An example is known by its row number in the order of sorted file names; uids come in and go out.
"""

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprune.errors import ConfigError, Shown, first_line
from dataprune.formats.datacomp import COLUMNS
from dataprune.pools.lists import rows_of

KINDS = (np.float16, np.float32)


@dataclass(frozen=True)
class Fields:
    """Which columns mean what; part of every key."""

    uid: str = "uid"
    embedding: str | None = "embedding"  # None: this method looks at columns alone
    columns: tuple[str, ...] = ()  # numbers that the method goes by


@dataclass(frozen=True)
class Shard:
    """A Parquet file."""

    name: str  # relative to the folder that all shards share, with /
    path: str
    fields: Fields
    stamps: tuple[tuple[str, int, int], ...] = ()  # name, size and time of change of each file when it was found

    @property
    def files(self) -> list[Path]:
        """Return the files that make the shard."""
        return [Path(self.path)]

    def seen(self) -> tuple[tuple[str, int, int], ...]:
        """Return the stamps of the files as they are now."""
        return tuple((path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in self.files)

    def check_unchanged(self) -> None:
        """Raise a ConfigError if a file has changed since it was found: what was read is of neither content."""
        if self.seen() != self.stamps:
            raise ConfigError("--input", self.name, "a shard that nobody writes while it is read: start again")

    def rows(self) -> int:
        """Return the number of rows, from the metadata."""
        return self._file().metadata.num_rows

    def kind(self) -> tuple[int, np.dtype]:
        """Return width and type of the embeddings; raises ConfigError where there are none of a kind that we read."""
        column = self._column(str(self.fields.embedding))
        batch = next(self._file().iter_batches(1, columns=[column]), None)
        if batch is None:
            raise ConfigError("--input", self.name, "a row at least in each shard; it is empty")
        rows = rows_of(batch.column(0), self.name, column)
        return rows.shape[1], rows.dtype

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the embeddings (m, d) of blocks of at most `size` rows."""
        column, start = self._column(str(self.fields.embedding)), 0
        for batch in self._file().iter_batches(size, columns=[column]):
            yield start, rows_of(batch.column(0), self.name, column)
            start += len(batch)

    def uids(self) -> pa.ChunkedArray | None:
        """Return the column of uids; None = the row numbers are."""
        return pq.read_table(self.path, columns=[self._column(self.fields.uid)]).column(0)

    def numbers(self, column: str) -> np.ndarray:
        """Return a column of numbers (n,)."""
        values = pq.read_table(self.path, columns=[self._column(column)]).column(0)
        if values.null_count:
            raise ConfigError(f"column {column}", self.name, f"a number in each row; {values.null_count} have none")
        return self._numbers(column, values.to_numpy())

    def write(self, kept: np.ndarray, folder: Path) -> None:
        """Write the rows `kept` (bool, n) into files of the same names, schema and order in `folder`."""
        file, start = self._file(), 0
        with pq.ParquetWriter(folder / Path(self.path).name, file.schema_arrow) as writer:
            for group in range(file.num_row_groups):
                table = file.read_row_group(group)
                writer.write_table(table.filter(pa.array(kept[start : start + len(table)])))
                start += len(table)

    def _numbers(self, column: str, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind not in "fiub" or values.ndim != 1:
            found = Shown(f"{values.dtype} of shape {values.shape} in {self.name}")
            raise ConfigError(f"column {column}", found, "one number a row")
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ConfigError(f"column {column}", Shown(f"NaN or inf in row {row} of {self.name}"), "finite numbers")
        return values

    def _file(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowInvalid, OSError) as error:
            raise ConfigError("--input", self.name, f"a Parquet file ({first_line(error)})") from None

    def columns_there(self) -> list[str]:
        """Return the names of the columns."""
        return self._file().schema_arrow.names

    def _column(self, column: str) -> str:
        there = self.columns_there()
        if column not in there:
            raise ConfigError("--input", self.name, f"a column {column!r}; it has {', '.join(there)}")
        return column


@dataclass(frozen=True)
class CompShard(Shard):
    """A Parquet file of DataComp's metadata, its embeddings in an .npz beside it; they are read as a whole."""

    @property
    def files(self) -> list[Path]:
        """Return the files that make the shard."""
        return [Path(self.path), Path(self.path).with_suffix(".npz")]

    def kind(self) -> tuple[int, np.dtype]:
        """Return width and type of the embeddings."""
        rows = self._embeddings()
        return rows.shape[1], rows.dtype

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the embeddings (m, d) of blocks of at most `size` rows."""
        rows = self._embeddings()
        for start in range(0, len(rows), size):
            yield start, rows[start : start + size]

    def write(self, kept: np.ndarray, folder: Path) -> None:
        """Write the rows `kept` (bool, n) into files of the same names in `folder`."""
        super().write(kept, folder)
        with np.load(self.files[1]) as arrays:
            np.savez(folder / self.files[1].name, **{name: array[kept] for name, array in arrays.items()})

    def _embeddings(self) -> np.ndarray:
        wanted, n = COLUMNS.get(str(self.fields.embedding), [str(self.fields.embedding)]), self.rows()
        with np.load(self.files[1]) as arrays:
            for name in wanted:
                if name not in arrays:
                    there = ", ".join([*arrays.files, *COLUMNS])
                    raise ConfigError("--embedding", self.fields.embedding, f"an array of {self.name}'s npz: {there}")
            parts = [_checked(arrays[name], self.name, n) for name in wanted]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)


@dataclass(frozen=True)
class ArrayShard(Shard):
    """An .npy file of embeddings (n, d), what else is known of its rows in files beside it."""

    @property
    def files(self) -> list[Path]:
        """Return the files that make the shard: those that there are of the array, its uids and the wanted columns."""
        beside = [self._beside(name) for name in (self.fields.uid, *self.fields.columns)]
        return [Path(self.path), *(path for path in beside if path.exists())]

    def rows(self) -> int:
        """Return the number of rows."""
        return len(self._array())

    def kind(self) -> tuple[int, np.dtype]:
        """Return width and type of the embeddings."""
        array = self._array()
        return array.shape[1], array.dtype

    def batches(self, size: int) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first row and the embeddings (m, d) of blocks of at most `size` rows."""
        array = self._array()
        for start in range(0, len(array), size):
            yield start, np.array(array[start : start + size])

    def uids(self) -> pa.ChunkedArray | np.ndarray | None:
        """Return the uids beside the array, (n,) numbers, text or (u8, u8); None = the row numbers are."""
        path = self._beside(self.fields.uid)
        if not path.exists():
            return None
        uids = np.load(path, allow_pickle=False)
        if len(uids) != self.rows():
            raise ConfigError("--input", path.name, f"{self.rows()} uids, as its shard has rows; it has {len(uids)}")
        return uids

    def numbers(self, column: str) -> np.ndarray:
        """Return a column of numbers (n,)."""
        path = self._beside(column)
        if not path.exists():
            raise ConfigError("--input", self.name, f"{path.name} beside it, a number a row")
        values = self._numbers(column, np.load(path, allow_pickle=False))
        if len(values) != self.rows():
            raise ConfigError("--input", path.name, f"{self.rows()} numbers, as its shard has rows")
        return values

    def write(self, kept: np.ndarray, folder: Path) -> None:
        """Write the rows `kept` (bool, n) of every array of the shard into `folder`."""
        np.save(folder / Path(self.path).name, self._array()[kept])
        stem = Path(self.path).stem
        for path in sorted(Path(self.path).parent.glob(f"{glob.escape(stem)}.*.npy")):
            np.save(folder / path.name, np.load(path, allow_pickle=False)[kept])

    def _array(self) -> np.ndarray:
        try:
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            raise ConfigError("--input", self.name, "an .npy file of numbers, as numpy.save writes it") from None
        return _checked(array, self.name, len(array))

    def _beside(self, column: str) -> Path:
        path = Path(self.path)
        return path.with_name(f"{path.stem}.{column}.npy")


def _checked(array: np.ndarray, name: str, rows: int) -> np.ndarray:
    if array.ndim != 2 or array.dtype not in KINDS or len(array) != rows:
        found = f"{array.dtype} of shape {array.shape} in {name}"
        raise ConfigError("embeddings", Shown(found), f"float16 or float32 of shape ({rows}, d)")
    return array


def find(patterns: str | Sequence[str], fields: Fields) -> list[Shard]:
    """Return the shards that files, folders or patterns name, in the order of their names; none twice.

    Raises ConfigError where a pattern matches nothing.
    """
    given = [patterns] if isinstance(patterns, str) else patterns
    paths = set().union(*(_matched(os.fspath(pattern)) for pattern in given))
    stems = {path.with_suffix("") for path in paths}
    paths = {path for path in paths if path.with_name(path.stem.rpartition(".")[0] or path.name) not in stems}  # beside
    root = os.path.commonpath([path.parent for path in paths]) if paths else ""
    return [_shard(path, root, fields) for path in sorted(paths)]


def _matched(pattern: str) -> set[Path]:
    """The files that a file, folder or pattern names."""
    inside = [os.path.join(glob.escape(pattern), f"*{end}") for end in (".parquet", ".npy")]
    found = [path for one in (inside if os.path.isdir(pattern) else [pattern]) for path in glob.glob(one)]
    if not found:
        raise ConfigError("--input", pattern, "files .parquet or .npy, a folder or a pattern of them: 'in/*.parquet'")
    return {Path(path).resolve() for path in found if path.endswith((".parquet", ".npy"))}


def _shard(path: Path, root: str, fields: Fields) -> Shard:
    name = path.relative_to(root).as_posix()
    kind: type[Shard] = Shard
    if path.suffix == ".npy":
        kind = ArrayShard
    elif fields.embedding is not None and path.with_suffix(".npz").exists():
        there = Shard(name, str(path), fields).columns_there()
        kind = Shard if fields.embedding in there else CompShard
    shard = kind(name, str(path), fields)
    return replace(shard, stamps=shard.seen())

"""What a shard holds: rows, kind and content, its uids and the columns that a method goes by, read once.

A part that a shard's files made is taken again while their names, sizes and times of change are the same; everything
after it goes by content.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, first
from dataprune.pools.parts import facts_of, hash_of, key, part, write_facts
from dataprune.pools.shards import Shard
from dataprune.pools.uids import canonical, placed, twice

BLOCK = 8192  # rows that are read together


@dataclass(frozen=True)
class Scan:
    """The task to scan one shard."""

    shard: Shard
    unit: bool  # the method wants directions: a row of zeros is an error
    part: str = ""
    about: str = ""

    @classmethod
    def of(cls, shard: Shard, unit: bool, folder: Path) -> "Scan":
        """Return the task, its part named by the stamps of the shard's files."""
        named = key("scan", "dataprune.pools.scan.scan", shard=asdict(shard), unit=unit)
        return cls(shard, unit, str(folder / named), shard.name)


def scan(task: Scan) -> None:
    """Read and check a shard: facts.json, uids.npy (PLACED), and a file a column."""
    shard = task.shard
    facts = {"rows": shard.rows(), "content": _content(shard), "width": 0, "dtype": ""}
    if not facts["rows"]:
        raise ConfigError("--input", shard.name, "a row at least in each shard; it is empty")
    if shard.fields.embedding is not None:
        width, dtype = shard.kind()
        facts |= {"width": width, "dtype": str(dtype)}
        _check_embeddings(shard, task.unit)
    with part(task.part) as work:
        uids = shard.uids()
        facts |= {"uid": "", "uid_hash": "row numbers", "starts": []}
        if uids is not None:
            known = canonical(uids, shard.name)
            if len(known) != facts["rows"]:
                raise ConfigError("uid", Shown(f"{len(known)} in {shard.name}"), f"{facts['rows']}, one a row")
            ordered, starts = placed(known)
            np.save(work / "uids.npy", ordered)
            kind = str(uids.dtype if isinstance(uids, np.ndarray) else uids.type)
            facts |= {"uid": kind, "uid_hash": hash_of(known), "starts": starts}
        for column in shard.fields.columns:
            np.save(work / f"{column}.npy", shard.numbers(column))
        write_facts(work, facts)
        shard.check_unchanged()


def _content(shard: Shard) -> str:
    """A hash of all bytes of the shard's files."""
    hashed = hashlib.sha256()
    for path in shard.files:
        with open(path, "rb") as file:
            hashed.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()};".encode())
    return hashed.hexdigest()


def _check_embeddings(shard: Shard, unit: bool) -> None:
    for start, rows in shard.batches(BLOCK):
        lengths = np.abs(rows.astype(np.float32, copy=False)).sum(axis=1, dtype=np.float64)
        if not np.isfinite(lengths).all():
            wrong = start + np.flatnonzero(~np.isfinite(lengths))
            raise ConfigError(
                "embeddings", Shown(f"NaN or inf in rows {first(wrong)} of {shard.name}"), "finite numbers"
            )
        if unit and not lengths.all():
            wrong = start + np.flatnonzero(lengths == 0)
            raise ConfigError("embeddings", Shown(f"zeros in rows {first(wrong)} of {shard.name}"), "directions")


@dataclass(frozen=True)
class Pool:
    """All shards with what their scans say, in file order."""

    shards: list[Shard]
    scans: list[str]  # their parts
    facts: list[dict]

    @classmethod
    def of(cls, tasks: Sequence[Scan]) -> "Pool":
        """Read the scans; raises ConfigError where shards differ in width, type or kind of uid."""
        facts = [facts_of(task.part) for task in tasks]
        for name, option in (("width", "--embedding"), ("dtype", "--embedding"), ("uid", "--uid")):
            for task, its in zip(tasks, facts, strict=True):
                if its[name] != facts[0][name]:
                    found = Shown(f"{name} {its[name] or 'row number'} in {task.shard.name}")
                    expected = f"{facts[0][name] or 'row numbers'}, as {tasks[0].shard.name} has"
                    raise ConfigError(option, found, expected)
        return cls([task.shard for task in tasks], [task.part for task in tasks], facts)

    @property
    def starts(self) -> np.ndarray:
        """Return the row number at which each shard begins, and that after the last: int64 (shards + 1,)."""
        return np.concatenate([[0], np.cumsum([its["rows"] for its in self.facts])]).astype(np.int64)

    @property
    def n(self) -> int:
        """Return the number of rows."""
        return int(self.starts[-1])

    @property
    def width(self) -> int:
        """Return the width of the embeddings."""
        return int(self.facts[0]["width"])

    @property
    def itemsize(self) -> int:
        """Return the bytes of one number of an embedding."""
        return np.dtype(self.facts[0]["dtype"]).itemsize

    @property
    def contents(self) -> list[str]:
        """Return the hash of each shard's content."""
        return [its["content"] for its in self.facts]

    def column(self, name: str) -> np.ndarray:
        """Return a column of all rows."""
        return np.concatenate([np.load(Path(scan) / f"{name}.npy") for scan in self.scans])

    def fingerprint(self) -> str:
        """Return a SHA-256 over name, rows and hash of the uids of each shard, in file order."""
        hashed = hashlib.sha256()
        for shard, its in zip(self.shards, self.facts, strict=True):
            hashed.update(f"{shard.name} {its['rows']} {its['uid_hash']}\n".encode())
        return hashed.hexdigest()


@dataclass(frozen=True)
class Compare:
    """The task to look for uids that stand twice, among those of some prefixes."""

    scans: list[str]
    prefixes: tuple[int, int]
    part: str
    about: str


def compare(task: Compare) -> None:
    """Write the first pairs of equal uids: (shard, row, shard, row)."""
    low, high = task.prefixes
    slices = []
    for scanned in task.scans:
        starts = facts_of(scanned)["starts"]
        slices.append(np.array(np.load(Path(scanned) / "uids.npy", mmap_mode="r")[starts[low] : starts[high]]))
    with part(task.part) as work:
        write_facts(work, {"twice": twice(slices)})


def refuse_twice(pool: Pool, pairs: Sequence[Sequence[int]]) -> None:
    """Raise a ConfigError that names the uid and the files of the first pair."""
    if pairs:
        one, row, other, again = min(map(tuple, pairs))
        uids = pool.shards[one].uids()
        assert uids is not None
        uid = uids[row] if isinstance(uids, np.ndarray) else uids[row].as_py()
        where = f"{pool.shards[one].name} (row {row}) and {pool.shards[other].name} (row {again})"
        raise ConfigError("uid", Shown(f"{uid} in {where}"), "each uid once")

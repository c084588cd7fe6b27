"""What a selection leaves: uids, a subset file, filtered shards, and what made it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from dataprune.errors import ConfigError
from dataprune.formats.datacomp import UID, parse_uids
from dataprune.formats.datacomp import write_uids as write_sorted
from dataprune.pools.crew import Crew
from dataprune.pools.parts import facts_of, key, part, write_facts
from dataprune.pools.scan import Pool
from dataprune.pools.shards import Shard
from dataprune.pools.uids import HEX
from dataprune.store import whole_file


def write_uids(pool: Pool, ids: np.ndarray, folder: Path) -> list[Path]:
    """Write the uids of the rows `ids` (ascending): uids.parquet in the pool's order, or for 128 bits uids.npy.

    uids.npy is sorted, (u8, u8): what DataComp's resharder reads; text of 32 hexadecimal digits gives both files.
    Returns the files.
    """
    for name in ("uids.parquet", "uids.npy"):
        (folder / name).unlink(missing_ok=True)  # of an earlier selection
    wide = [halves for column in _kept(pool, ids) if (halves := _halves(column)) is not None]
    files = []
    if pool.facts[0]["uid"] != str(UID):
        files.append(folder / "uids.parquet")
        kind = next(_kept(pool, ids)).type
        with whole_file(files[0]) as file, pq.ParquetWriter(file, pa.schema({"uid": kind})) as writer:
            for column in _kept(pool, ids):
                writer.write_table(pa.table({"uid": column}))
    if sum(map(len, wide)) == len(ids):
        files.append(folder / "uids.npy")
        write_sorted(files[-1], np.concatenate(wide))
    return files


def _kept(pool: Pool, ids: np.ndarray) -> Iterator[Any]:
    """The kept uids of each shard, an Arrow array, or UID."""
    edges = np.searchsorted(ids, pool.starts)
    for i, shard in enumerate(pool.shards):
        inside = ids[edges[i] : edges[i + 1]]
        uids = shard.uids() if pool.facts[i]["uid"] else None
        if uids is None:
            yield pa.array(inside)
        elif isinstance(uids, np.ndarray):
            yield uids[inside - pool.starts[i]] if uids.dtype == UID else pa.array(uids[inside - pool.starts[i]])
        else:
            yield uids.take(pa.array(inside - pool.starts[i]))


def _halves(column: Any) -> np.ndarray | None:
    """Uids as UID if they are that, or text of 32 hexadecimal digits."""
    if isinstance(column, np.ndarray):
        return column
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        return None
    if pc.all(pc.match_substring_regex(column, HEX)).as_py() is False:
        return None
    return parse_uids(column.to_pylist())


@dataclass(frozen=True)
class Filter:
    """The task to write the kept rows of a shard."""

    shard: Shard
    kept: np.ndarray  # int64, rows of the shard
    folder: str  # that gets the shard
    part: str
    about: str


def filtered(task: Filter) -> None:
    """Write the shard's files with the kept rows alone, each under its own name when it is complete."""
    folder = Path(task.folder)
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(task.shard.rows(), bool)
    mask[task.kept] = True
    named = f".{Path(task.part).name}."
    for left in folder.glob(f"{named}*"):
        shutil.rmtree(left)  # of a worker that was killed
    with part(task.part) as work, tempfile.TemporaryDirectory(prefix=named, dir=folder) as made:
        task.shard.write(mask, Path(made))
        task.shard.check_unchanged()
        stamps = []
        for path in sorted(Path(made).iterdir()):
            os.replace(path, folder / path.name)
            stamps.append(_stamp(folder / path.name))
        write_facts(work, {"stamps": stamps})


def _stamp(path: Path) -> list[Any]:
    stat = path.stat()
    return [str(path), stat.st_size, stat.st_mtime_ns]


def write_shards(pool: Pool, ids: np.ndarray, folder: Path, crew: Crew, parts: Path, selection: str) -> None:
    """Write the shards with the rows `ids` (ascending) alone below `folder`; those that keep nothing are left out."""
    edges, tasks = np.searchsorted(ids, pool.starts), []
    for i, shard in enumerate(pool.shards):
        target = (folder / shard.name).parent
        if target.resolve() == Path(shard.path).parent:
            raise ConfigError("--write", str(folder), "another folder than that of the shards")
        kept = ids[edges[i] : edges[i + 1]] - pool.starts[i]
        if not len(kept):
            for path in shard.files:
                (target / path.name).unlink(missing_ok=True)  # of an earlier selection
            continue
        about = {"selection": selection, "content": pool.contents[i], "target": str(target.resolve()), "shard": i}
        done = parts / key("filtered", "dataprune.pools.output.filtered", **about)
        if done.is_dir() and not all(Path(s[0]).exists() and _stamp(Path(s[0])) == s for s in facts_of(done)["stamps"]):
            shutil.rmtree(done)  # another selection was written there since
        tasks.append(Filter(shard, kept, str(target), str(done), shard.name))
    crew.run(filtered, tasks)

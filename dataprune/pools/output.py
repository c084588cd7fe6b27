"""What a selection leaves: uids, a subset file, filtered shards, and what made it."""

import os
import shutil
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
    edges, wide = np.searchsorted(ids, pool.starts), []
    writer, target = None, folder / "uids.parquet"
    with whole_file(target) as file:
        for i, shard in enumerate(pool.shards):
            inside = ids[edges[i] : edges[i + 1]]
            uids = shard.uids() if pool.facts[i]["uid"] else None
            if isinstance(uids, np.ndarray) and uids.dtype == UID:
                wide.append(uids[inside - pool.starts[i]])
                continue
            kept = pa.array(inside) if uids is None else pa.chunked_array([pa.array(uids)] if isinstance(
                uids, np.ndarray) else uids).take(pa.array(inside - pool.starts[i]))
            table = pa.table({"uid": kept})
            writer = writer or pq.ParquetWriter(file, table.schema)
            writer.write_table(table)
            if pa.types.is_string(table.schema.field("uid").type) and wide is not None:
                hexed = pc.all(pc.match_substring_regex(table["uid"], HEX)).as_py() is not False
                wide = [*wide, parse_uids(table["uid"].to_pylist())] if hexed else None
        if writer is not None:
            writer.close()
    files = [target]
    if writer is None:
        target.unlink()
        files = []
    if wide:
        write_sorted(folder / "uids.npy", np.concatenate(wide))
        files.append(folder / "uids.npy")
    return files


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
    with part(task.part) as work:
        with part(folder / f"{Path(task.part).name}.new") as made:
            task.shard.write(mask, made)
        made = folder / f"{Path(task.part).name}.new"
        stamps = []
        for path in sorted(made.iterdir()):
            os.replace(path, folder / path.name)
            stamps.append(_stamp(folder / path.name))
        made.rmdir()
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

"""A selection from a pool, from the request to the files."""

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from filelock import FileLock, Timeout
from hydra.utils import get_method

from dataprune import __version__
from dataprune.callables import parameters
from dataprune.errors import ConfigError
from dataprune.pools import engines
from dataprune.pools.crew import Crew
from dataprune.pools.output import write_shards, write_uids
from dataprune.pools.parts import facts_of, hash_of, key, part, sweep
from dataprune.pools.request import Request
from dataprune.pools.steps import Steps
from dataprune.pools.tiers import chosen
from dataprune.store import write_json
from dataprune.subset import Subset

LARGE = ("spread-*", "gather-*")  # parts as large as the pool; of no use once a selection is made


@dataclass(frozen=True)
class Selection:
    """What was kept, and where it is written."""

    ids: np.ndarray  # int64, ascending row numbers
    files: list[Path]  # selection.json, subset.npz, uids.parquet or uids.npy
    stats: dict[str, Any]  # seconds, memory, cells, recall
    digest: str  # of the kept rows

    @property
    def uids(self) -> np.ndarray:
        """Return the uids of what is kept, from their file: (u8, u8), or as they are in the pool."""
        path = next(path for path in self.files if path.name.startswith("uids."))
        return np.load(path) if path.suffix == ".npy" else pq.read_table(path)["uid"].to_numpy()


def run(request: Request) -> Selection:
    """Select, write and return; what an earlier run has finished is taken as it is."""
    request.check()
    request.output.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    with ExitStack() as stack:
        try:
            stack.enter_context(FileLock(request.output / ".lock", timeout=0))
        except Timeout:
            raise ConfigError(
                "--output", str(request.output), "a folder that no other selection is at work in"
            ) from None
        sweep(request.output / "parts")
        executor = stack.enter_context(engine_of(request.engine)(request.workers, request.address))
        steps = Steps(request, Crew(executor, request.workers))
        return _made(steps, began)


def engine_of(name: str) -> Any:
    """Return the factory of executors called `name` in `pools.engines`, or at a dotted path."""
    path = name if "." in name else f"{engines.__name__}.{name}"
    if "." not in name and name not in ("local", "ray", "dask", "slurm"):
        raise ConfigError("--engine", name, "local | ray | dask | slurm, or the dotted path of a factory of executors")
    try:
        parameters(path)
    except LookupError as error:
        raise ConfigError("--engine", name, f"a factory of executors ({error.args[0]})") from None
    return get_method(path)


def _made(steps: Steps, began: float) -> Selection:
    request, pool = steps.request, steps.pool
    facts = request.facts(pool.n)
    names = [shard.name for shard in pool.shards]
    name = key("selection", "dataprune.pools.tiers.chosen", pool=[names, pool.contents], **facts)
    folder = steps.folder / name
    if not folder.is_dir():
        ids, ordered = chosen(steps)
        with part(folder) as work:
            np.save(work / "ids.npy", np.sort(ids))
            np.save(work / "order.npy", ids if ordered else ids[:0])
            write_json(work / "facts.json", steps.facts)
        for pattern in LARGE:
            for path in steps.folder.glob(pattern):
                shutil.rmtree(path)
    ids, order = np.load(folder / "ids.npy"), np.load(folder / "order.npy")
    files = _write(steps, ids, order, facts)
    if request.write is not None:
        write_shards(pool, ids, request.write, steps.crew, steps.folder, name)
    stats = facts_of(folder) | {"seconds": time.perf_counter() - began, "stages": steps.used()}
    stats |= {"engine": request.engine, "workers": request.workers, "rows": pool.n, "shards": len(pool.shards)}
    write_json(request.output / "run.json", stats)
    return Selection(ids, files, stats, hash_of(ids))


def _write(steps: Steps, ids: np.ndarray, order: np.ndarray, facts: dict[str, Any]) -> list[Path]:
    """Write the files that say what is kept."""
    request, pool = steps.request, steps.pool
    fingerprint, ratio = pool.fingerprint(), round(1 - len(ids) / pool.n, 12)
    header = {"method": request.method.name, "prune_ratio": ratio, "seed": request.seed}
    subset = Subset(ids, pool.n, fingerprint, order=order if len(order) else None, header=header)
    subset.save(request.output / "subset.npz")
    counts = np.diff(np.searchsorted(ids, pool.starts)).tolist()
    shards = [
        {"name": shard.name, "rows": its["rows"], "kept": kept, "content": its["content"]}
        for shard, its, kept in zip(pool.shards, pool.facts, counts, strict=True)
    ]
    made = {"fingerprint": fingerprint, "n": pool.n, "kept": len(ids), "made_by": facts, "version": __version__}
    write_json(request.output / "selection.json", made | {"rows": hash_of(ids), "shards": shards})
    named = write_uids(pool, ids, request.output)
    return [request.output / "selection.json", request.output / "subset.npz", *named]

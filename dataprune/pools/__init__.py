"""Selection from pools of any size: pure functions from file to file, on any engine."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataprune.pools.selection import Selection

__all__ = ["select"]

OPTIONS = ("address", "cells", "cut", "embedding", "probes", "quota", "seed", "threshold", "uid")


def select(
    dataset: Any,
    *,
    method: str,
    budget: int | float | None = None,
    engine: str = "local",
    workers: int | None = None,
    memory: int | str | None = None,
    output: str | Path | None = None,
    write: str | Path | None = None,
    columns: dict[str, str] | None = None,
    **constants: Any,
) -> "Selection":
    """Select from a data set too large for this process's memory, as `python -m dataprune.pools` does.

    dataset: files (a list, a folder, a pattern), or a Ray Dataset, Dask DataFrame or Hugging Face Dataset, which is
        written to <output>/input as Parquet first. budget: rows to keep, or their share as a fraction. engine: local,
        ray, dask, slurm, or the dotted path of a factory of executors. workers: all cores if None. memory: of a worker,
        "4G". output: a folder, temporary (and left there) if None. write: a folder for the shards with the kept rows.
    columns: which columns the method goes by, {"scores": "quality"}; constants: other options of the command line
        (seed, embedding, cells, ...) and constants of the method (gamma=0.1).

    Returns a Selection: ids, uids, files, stats. Raises ConfigError for what cannot work, before anything is computed.
    As workers are started afresh, a script needs `if __name__ == "__main__":` around the call.
    """
    from dataprune.pools.inputs import as_files  # pyarrow and numba load when something is to be selected
    from dataprune.pools.method import method_of
    from dataprune.pools.request import Request
    from dataprune.pools.selection import run

    folder = Path(output or tempfile.mkdtemp(prefix="pool-"))
    options = {name: constants.pop(name) for name in OPTIONS if name in constants}
    options |= {} if memory is None else {"memory": memory}
    chosen = method_of(method, [f"{name}={value}" for name, value in constants.items()])
    request = Request(
        input=as_files(dataset, folder / "input"),
        method=chosen,
        budget=budget,
        output=folder,
        engine=engine,
        workers=workers or os.cpu_count() or 1,
        columns=columns or {},
        write=None if write is None else Path(write),
        **options,
    )
    return run(request)

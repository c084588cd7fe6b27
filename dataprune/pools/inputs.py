"""Data sets of other libraries as shards: written to Parquet once, block by block, in their order."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from dataprune.errors import ConfigError
from dataprune.pools.parts import part

ROWS = 100_000  # of a Hugging Face data set in a shard


def as_files(dataset: Any, folder: Path) -> list[str]:
    """Return files: those given, or shards written to `folder` of a Ray Dataset, Dask DataFrame, Hugging Face Dataset.

    The folder holds these shards alone; those of an earlier call are replaced once the new ones are complete.
    """
    if isinstance(dataset, str | Path):
        return [str(dataset)]
    if isinstance(dataset, Sequence) and all(isinstance(path, str | Path) for path in dataset):
        return [str(path) for path in dataset]
    tables = _tables(dataset)
    if folder.is_dir():
        shutil.rmtree(folder)
    with part(folder) as work:
        for i, table in enumerate(table for table in tables if len(table)):
            pq.write_table(table, work / f"{i:06d}.parquet")
    return [str(folder)]


def _tables(dataset: Any) -> Iterator[pa.Table]:
    """The blocks of a data set, known by the library that it is of."""
    library = type(dataset).__module__.partition(".")[0]
    if library == "ray" and hasattr(dataset, "to_arrow_refs"):
        return _of_ray(dataset)
    if library in ("dask", "dask_expr") and hasattr(dataset, "partitions"):
        frames = (dataset.partitions[i].compute() for i in range(dataset.npartitions))
        return (pa.Table.from_pandas(frame, preserve_index=False) for frame in frames)
    if library == "datasets" and hasattr(dataset, "with_format"):
        plain = dataset.with_format("arrow")
        return (plain[start : start + ROWS] for start in range(0, len(plain), ROWS))
    expected = "files, a Ray Dataset, a Dask DataFrame or a Hugging Face Dataset"
    raise ConfigError("dataset", type(dataset).__name__, expected)


def _of_ray(dataset: Any) -> Iterator[pa.Table]:
    import ray

    options = dataset.context.execution_options  # a copy of those there were when it was made
    before, options.preserve_order = options.preserve_order, True  # blocks come as they are done, otherwise
    try:
        refs = dataset.to_arrow_refs()
    finally:
        options.preserve_order = before
    return (ray.get(ref) for ref in refs)

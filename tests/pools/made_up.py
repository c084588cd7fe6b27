"""Small pools for the tests."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprune.pools import select
from dataprune.pools.shards import Fields, find

THREADS = "concurrent.futures.ThreadPoolExecutor"  # a factory of executors that starts at once


class Made:
    """Rows, and shards of them."""

    def __init__(self, n=600, width=8, seed=0):
        rng = np.random.default_rng(seed)
        centers = 4 * rng.normal(size=(6, width))
        self.labels = rng.integers(0, 6, n)
        rows = centers[self.labels] + rng.normal(size=(n, width))
        rows[1::10] = rows[0::10][: len(rows[1::10])] + 0.01
        self.rows = rows.astype(np.float16)
        self.scores = rng.random(n).astype(np.float32)
        self.uids = np.array([f"{i:032x}" for i in rng.permutation(n)])

    @property
    def wide(self):
        """The rows as float32."""
        return self.rows.astype(np.float32)

    @property
    def unit(self):
        """The rows scaled to length 1."""
        wide = self.rows.astype(np.float64)
        return (wide / np.linalg.norm(wide, axis=1, keepdims=True)).astype(np.float32)

    def table(self, rows=slice(None), **columns):
        """Some rows as a table; columns replace its own."""
        embeddings = pa.FixedSizeListArray.from_arrays(pa.array(self.rows[rows].ravel()), self.rows.shape[1])
        own = {"uid": self.uids[rows], "embedding": embeddings, "score": self.scores[rows], "label": self.labels[rows]}
        return pa.table(own | columns)

    def parquet(self, folder, shards=3):
        """Write shards; returns the folder."""
        folder.mkdir(exist_ok=True)
        for i, rows in enumerate(np.array_split(np.arange(len(self.rows)), shards)):
            pq.write_table(self.table(rows), folder / f"s{i}.parquet", row_group_size=64)
        return folder


def chosen(pool, output, **options):
    """What is kept of a pool."""
    return select(pool, **({"engine": THREADS, "workers": 2, "output": output} | options))


def shards(folder, **fields):
    return find(str(folder), Fields(**fields))


# a module whose score kills its worker, once
KILLER = """
import os, signal
from pathlib import Path

def score(features, flag):
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return features.sum(1)
"""

"""The steps of a selection, each a list of tasks whose parts lie in one folder."""

from dataclasses import asdict
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import code_of
from dataprune.errors import ConfigError
from dataprune.pools.budget import bytes_of, shown
from dataprune.pools.cells import Fit, Label, Pieces, Sample, Spread, fit, label, sample, spread, wanted_sample
from dataprune.pools.crew import Crew
from dataprune.pools.decide import Decide, decide
from dataprune.pools.layout import BASE, Room
from dataprune.pools.parts import facts_of, hash_of, key, part
from dataprune.pools.request import Request, drawn
from dataprune.pools.scan import Compare, Pool, Scan, compare, refuse_twice, scan
from dataprune.selectors.ranked import quotas
from dataprune.streams import number, stream

MODULE = "dataprune.pools"


class Steps:
    """A request on its way: pool, cells, buckets; each is made when it is first asked for."""

    def __init__(self, request: Request, crew: Crew) -> None:
        self.request, self.crew = request, crew
        self.folder = request.output / "parts"
        self.facts: dict[str, Any] = {}  # what a person wants to know

    @cached_property
    def pool(self) -> Pool:
        """Return the scanned shards; raises where uids stand twice."""
        request = self.request
        tasks = [Scan.of(shard, request.method.unit, self.folder) for shard in request.shards]
        self.crew.run(scan, tasks)
        pool = Pool.of(tasks)
        if pool.facts[0]["uid"]:
            self._refuse_twice(pool)
        return pool

    def _refuse_twice(self, pool: Pool) -> None:
        free = bytes_of(self.request.memory) - BASE
        number = int(np.clip(max(pool.n // 500_000, pool.n * 160 // max(free, 2**24)) + 1, 1, 256))
        edges = np.linspace(0, 256, number + 1).astype(int).tolist()
        hashes = [its["uid_hash"] for its in pool.facts]
        tasks = []
        for prefixes in pairwise(edges):
            named = key("compare", f"{MODULE}.scan.compare", uids=hashes, prefixes=prefixes)
            tasks.append(Compare(pool.scans, prefixes, str(self.folder / named), f"uids {prefixes[0]}"))
        self.crew.run(compare, tasks)
        refuse_twice(pool, [pair for task in tasks for pair in facts_of(task.part)["twice"]])

    @cached_property
    def room(self) -> Room:
        """Return what fits into a worker."""
        return Room(bytes_of(self.request.memory), self.pool.width, self.pool.itemsize)

    def sampled(self, rows: np.ndarray) -> list[str]:
        """Return parts with the embeddings of these rows (ascending), one of each shard."""
        pool, tasks = self.pool, []
        edges = np.searchsorted(rows, pool.starts)
        for i, shard in enumerate(pool.shards):
            inside = rows[edges[i] : edges[i + 1]] - pool.starts[i]
            about = {"embedding": self.request.embedding, "content": pool.contents[i], "rows": hash_of(inside)}
            named = key("sample", f"{MODULE}.cells.sample", **about)
            tasks.append(Sample(shard, inside, str(self.folder / named), shard.name))
        self.crew.run(sample, tasks)
        return [task.part for task in tasks]

    @cached_property
    def centers(self) -> str:
        """Return the part with the centres of the cells."""
        request, n = self.request, self.pool.n
        cells = request.cells_of(n)
        count = wanted_sample(n, cells)
        if (needed := count * self.pool.width * 24) > self.room.free:
            expected = f"{shown(BASE + needed)} or more for k-means on {count} rows, or fewer --cells"
            raise ConfigError("--memory", shown(self.room.memory), expected)
        samples = self.sampled(drawn(stream(request.seed, "sample of cells"), n, count))
        seed = number(request.seed, "cells")
        about = {"samples": [Path(path).name for path in samples], "cells": cells, "unit": request.method.unit}
        named = key("fit", f"{MODULE}.cells.fit", seed=seed, **about)
        self.crew.run(fit, [Fit(samples, cells, request.method.unit, seed, str(self.folder / named))])
        return str(self.folder / named)

    @cached_property
    def labels(self) -> list[str]:
        """Return the parts with the cell of each row, one a shard."""
        pool, unit, tasks = self.pool, self.request.method.unit, []
        for shard, content in zip(pool.shards, pool.contents, strict=True):
            about = {"embedding": self.request.embedding, "content": content, "centers": Path(self.centers).name}
            named = key("label", f"{MODULE}.cells.label", unit=unit, **about)
            tasks.append(Label(shard, self.centers, unit, str(self.folder / named), shard.name))
        self.crew.run(label, tasks)
        return [task.part for task in tasks]

    @cached_property
    def pieces(self) -> Pieces:
        """Return the cells, large ones cut."""
        counts = np.sum([np.load(Path(path) / "counts.npy") for path in self.labels], axis=0)
        pieces = Pieces.of(counts, self.pool.n / self.request.cells_of(self.pool.n))
        self.facts |= {
            "cells": len(pieces.first),
            "cut_cells": len(pieces.cut_cells),
            "largest_cell": int(pieces.sizes.max()),
        }
        return pieces

    @cached_property
    def plan(self) -> str:
        """Return the part with the pieces and the bucket of each."""
        pair_bytes = self.request.method.pair_bytes
        bucket = self.room.buckets(self.pieces.sizes, pair_bytes)
        self.facts |= {
            "buckets": int(bucket.max()) + 1,
            "largest_bucket": int(np.bincount(bucket, self.pieces.sizes).max()),
        }
        named = key(
            "plan",
            f"{MODULE}.cells.Pieces",
            cells=hash_of(self.pieces.sizes),
            bucket=hash_of(bucket),
            labels=[Path(path).name for path in self.labels],
        )
        if not (self.folder / named).is_dir():
            with part(self.folder / named) as work:
                self.pieces.save(work)
                np.save(work / "bucket.npy", bucket)
        return str(self.folder / named)

    @cached_property
    def buckets(self) -> np.ndarray:
        """Return the bucket of each piece."""
        return np.load(Path(self.plan) / "bucket.npy")

    @cached_property
    def spreads(self) -> list[str]:
        """Return where the rows of each shard lie bucket by bucket; they may not be there yet (`spread`)."""
        return [task.part for task in self._spread_tasks]

    @cached_property
    def _spread_tasks(self) -> list[Spread]:
        pool, tasks, cut = self.pool, [], self.pieces.cut_cells
        earlier = np.zeros(len(cut), np.int64)
        for i, shard in enumerate(pool.shards):
            start = int(pool.starts[i])
            about = {"content": pool.contents[i], "plan": Path(self.plan).name, "start": start, "rows": self.room.rows}
            named = key("spread", f"{MODULE}.cells.spread", embedding=self.request.embedding, shard=i, **about)
            path = str(self.folder / named)
            tasks.append(Spread(shard, self.labels[i], earlier, start, self.plan, self.room.rows, path, shard.name))
            earlier = earlier + np.load(Path(self.labels[i]) / "counts.npy")[cut]
        return tasks

    def spread(self) -> None:
        """Write the rows of each shard bucket by bucket, unless they are there."""
        self.crew.run(spread, self._spread_tasks)

    def decided(self) -> list[Path]:
        """Return the parts of the local decisions, one a bucket."""
        request = self.request
        assert request.method.function is not None
        name, function = request.method.function
        shares = None if name == "score" else self._shares()
        code = {function["_target_"]: code_of(function["_target_"], ours=True)}
        tasks = []
        for bucket in range(int(self.buckets.max()) + 1):
            own = None if shares is None else {i: shares[i] for i in np.flatnonzero(self.buckets == bucket).tolist()}
            about = {"plan": Path(self.plan).name, "bucket": bucket, "function": dict(function), "code_of": code}
            about |= {"shares": own and sorted(own.items()), "unit": request.method.unit, "pool": self.pool.contents}
            named = key("decide", f"{MODULE}.decide.decide", seed=request.seed if own else 0, **about)
            given = (self.spreads, bucket, self.plan, self.centers, function, name, own, request.method.unit)
            tasks.append(Decide(*given, request.seed, str(self.folder / named), f"bucket {bucket}"))
        if not all(Path(task.part).is_dir() for task in tasks):
            self.spread()
        self.crew.run(decide, tasks)
        return [Path(task.part) for task in tasks]

    def _shares(self) -> list[int]:
        """How many of each piece are kept."""
        sizes = self.pieces.sizes
        weights = sizes if self.request.quota == "proportional" else np.ones(len(sizes))
        return quotas(sizes, self.request.count(self.pool.n), weights).tolist()

    def used(self) -> dict[str, Any]:
        """Return what the stages have cost."""
        return {name: asdict(costs) for name, costs in self.crew.costs.items()}

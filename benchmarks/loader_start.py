"""What worker processes cost before the first batch, at the number of files that ImageNet has: seconds and memory.

    python benchmarks/loader_start.py [--small] [--workers 2]

1,281,167 names of ImageNet's length lead to a thousand small JPEGs. Two ways to know them: the mapped table that all
workers share, with workers that stay (ours), and a list of paths in each worker, with new workers for every epoch and
pass. Private memory is what a worker adds to the machine; the rest of what it holds it shares with the process that
started it. On two busy cores: 1.3 s, 0.2 s in later epochs and 16 MB, against 17 s in every epoch and 386 MB.
"""

import argparse
import json
import multiprocessing
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from timing import machine
from torch.utils.data import DataLoader

from dataprune.data.codecs import Columns
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.data.images import Images
from dataprune.data.order import Order
from dataprune.data.paths import Paths

N, CLASSES, BATCH, SIDE = 1_281_167, 1000, 64, 64


def table(folder: Path, n: int) -> Examples:
    """A data set of n files as index and decode leave it."""
    root = folder / "images"
    rng = np.random.default_rng(0)
    for c in range(CLASSES):
        (root / f"n{c:08}").mkdir(parents=True)
        noise = rng.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        Image.fromarray(noise).save(root / f"n{c:08}" / "picture.JPEG")
    # each a name of its own for one of the files: as long as n01440764/n01440764_10026.JPEG
    names = [f"n{i % CLASSES:08}/{'./' * (1 + i % 4)}{'/' * (1 + i % 3)}picture.JPEG" for i in range(n)]
    export = folder / "export" / "train"
    export.mkdir(parents=True)
    Paths.write(export, names)
    (folder / "export" / "root.txt").write_text(str(root))
    (folder / "train").mkdir()
    np.save(folder / "train" / "labels.npy", np.arange(n) % CLASSES)
    codec = {"_target_": "dataprune.data.images.Images", "size": SIDE, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "header.json").write_text(json.dumps({"kind": "image", "kept": False, "codec": codec}))
    return Examples(folder, "train", folder)


class Listed:
    """The way without a table: every process makes a list of paths for itself."""

    def __init__(self, examples: Examples) -> None:
        self.folder, self.codec = examples.folder, Images(size=SIDE)
        self.paths: list[Path] | None = None

    def __getitem__(self, i: int) -> Columns:
        if self.paths is None:
            root = Path((self.folder / "export" / "root.txt").read_text())
            self.paths = [root / name for name in Paths(self.folder / "export" / "train", root).names()]
        return self.codec.decode(self.paths[i].read_bytes())


def listed(examples: Examples, order: Order, workers: int) -> Iterator[object]:
    """An epoch with new workers, each with its list."""
    ids = [share.ids.tolist() for share in order.batches(0)]
    data = Listed(examples)
    return iter(DataLoader(data, batch_sampler=ids, num_workers=workers, collate_fn=data.codec.stack))  # type: ignore[arg-type]


def private() -> list[float]:
    """MB that each worker process has for itself."""
    found = []
    for child in multiprocessing.active_children():
        lines = Path(f"/proc/{child.pid}/smaps_rollup").read_text().splitlines()[1:]
        sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        found.append((sizes["Private_Clean"] + sizes["Private_Dirty"]) / 1e3)
    return found


def said(name: str, seconds: list[float], memory: list[float]) -> None:
    """Print a line of the table."""
    times = "".join(f"{s:12.2f}" for s in seconds)
    print(f"{name:44}{times}{np.mean(memory):14.0f}", flush=True)


def ours(examples: Examples, workers: int) -> None:
    """First batches of two epochs and of a clean pass between them, and the end."""
    order, took = Order(np.arange(len(examples)), BATCH), []
    with Feed(torch.device("cpu"), workers) as feed:
        training, clean = (
            feed.loader(examples, order, area=[0.08, 1.0], flip=True),
            feed.clean(examples, order.ids, BATCH),
        )
        for epoch, loader in enumerate((training, training, clean)):
            loader.set_epoch(epoch)
            start, batches = time.perf_counter(), iter(loader)
            next(batches)
            took.append(time.perf_counter() - start)
            for _ in range(20):
                next(batches)
            memory = private()
            batches.close()  # type: ignore[attr-defined]
        start = time.perf_counter()
    said("a mapped table, workers that stay", [*took, time.perf_counter() - start], memory)


def in_lists(examples: Examples, workers: int) -> None:
    """The same with lists and new workers."""
    order, took = Order(np.arange(len(examples)), BATCH), []
    for _ in range(3):
        start, batches = time.perf_counter(), listed(examples, order, workers)
        next(batches)
        took.append(time.perf_counter() - start)
        for _ in range(20):
            next(batches)
        memory = private()
        start = time.perf_counter()
        del batches
        end = time.perf_counter() - start
    said("a list of paths in each, new each pass", [*took, end], memory)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="100,000 names")
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    n = 100_000 if given.small else N
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        examples = table(Path(folder), n)
        print(f"{n:,} files, {given.workers} workers; seconds to the first batch of {BATCH}, private MB a worker")
        print(f"{'':44}{'epoch 0':>12}{'epoch 1':>12}{'clean pass':>12}{'end':>12}{'MB':>14}")
        ours(examples, given.workers)
        in_lists(examples, given.workers)


if __name__ == "__main__":
    main()

"""Images that a CPU second decodes for a training, by each loader, on JPEGs of yours.

    python benchmarks/input.py FOLDER [--images 2000] [--workers 2] [--repeats 3]

FOLDER holds JPEGs, at any depth; they are taken again and again until there are enough. Each is randomly cropped,
resized to 224, mirrored and normalised, in batches of 64; `and the clean view` gives each not augmented besides, as a
recording of dynamics wants it. A CPU second is user and system time of all threads and processes; the best of the
repeats, which take turns. What is not installed, or needs a GPU that is not there, has no line. FFCV reads a file of
its own, which keeps the JPEGs as they are.

What is compared with is how it is usually done: torchvision's ImageFolder and transforms of Pillow's images.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timing import machine

from dataprune.config import DataConfig, RunConfig
from dataprune.data.codecs import decoding
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.data.order import Order
from dataprune.stages import decode, index

SIDE, BATCH, AREA = 224, 64, [0.08, 1.0]
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
Pass = Callable[[], int]  # runs through all images; returns how many there were


def tree(folder: Path, photos: list[Path], n: int) -> Path:
    """An ImageFolder of n links to the photographs, of ten classes."""
    for split, count in (("train", n), ("test", 10)):
        for i in range(count):
            link = folder / split / f"class{i % 10}" / f"{i:06}.jpg"
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(photos[i % len(photos)].absolute())
    return folder


def examples_of(root: Path, folder: Path, decoder: str) -> Examples:
    """The images as the stages index and decode leave them."""
    reader = {"_target_": "dataprune.data.folder.read"}
    words: dict[str, Any] = {"resize": 256, "crop": SIDE, "channels": 3, "mean": MEAN, "std": STD, "content": "stat"}
    config = DataConfig("photos", reader, str(root), **words)
    inputs = {"examples": folder / decoder / "index", "pixels": folder / decoder / "decode"}
    for part in inputs.values():
        part.mkdir(parents=True)
    index.run(config.table, {}, inputs["examples"], RunConfig(), "source")
    how = decoding(config, "source", kept=False, decoder=decoder)
    decode.run(how, inputs, inputs["pixels"], RunConfig(progress=False), "source_pixels")
    return Examples.of(inputs, "train")


def ours(examples: Examples, feed: Feed, clean: bool) -> int:
    """An epoch of ours, perhaps with the clean views beside it."""
    loader = feed.loader(examples, Order(np.arange(len(examples)), BATCH), area=AREA, flip=True)
    views, n = feed.views(loader) if clean else None, 0
    beside = None
    for batch in loader:
        if views is not None:
            beside = beside or iter(views)
            next(beside)
        n += len(batch["id"])
    if feed.device.type == "cuda":
        torch.cuda.synchronize()
    return n


def usual(root: Path, workers: int) -> Pass:
    """An epoch of torchvision's data set with Pillow's images."""
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    steps = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]
    changes = v2.Compose([v2.RandomResizedCrop(SIDE, tuple(AREA)), v2.RandomHorizontalFlip(), *steps])
    photos = ImageFolder(str(root / "train"), changes)
    loader = DataLoader(photos, BATCH, shuffle=True, num_workers=workers, persistent_workers=workers > 0)
    return lambda: sum(len(y) for _, y in loader)


def ffcv(root: Path, folder: Path, workers: int) -> Pass:
    """An epoch of FFCV's loader."""
    from ffcv.fields import IntField, RGBImageField
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import NormalizeImage, RandomHorizontalFlip, ToTensor, ToTorchImage
    from ffcv.writer import DatasetWriter
    from torchvision.datasets import ImageFolder

    file = str(folder / "photos.beton")
    fields = {"image": RGBImageField(write_mode="jpg"), "label": IntField()}
    DatasetWriter(file, fields, num_workers=workers).from_indexed_dataset(ImageFolder(str(root / "train")))
    table = [255 * np.array(values) for values in (MEAN, STD)]
    steps = [RandomResizedCropRGBImageDecoder((SIDE, SIDE), tuple(AREA)), RandomHorizontalFlip(), ToTensor()]
    steps += [ToTorchImage(), NormalizeImage(*table, np.dtype(np.float32))]
    words = {"batch_size": BATCH, "num_workers": workers, "order": OrderOption.RANDOM, "drop_last": False}
    loader = Loader(file, **words, pipelines={"image": steps, "label": None})
    return lambda: sum(len(batch[0]) for batch in loader)


def cpu_seconds() -> float:
    """User and system time of this process and of its workers that run."""
    own, ticks = resource.getrusage(resource.RUSAGE_SELF), 0
    for child in multiprocessing.active_children():
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return own.ru_utime + own.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def rates(passes: dict[str, Pass], repeats: int) -> dict[str, tuple[float, float]]:
    """Images a CPU second and a second of each, the best of the repeats; a first pass warms up."""
    found = dict.fromkeys(passes, (0.0, 0.0))
    for each in passes.values():
        each()
    for _ in range(repeats):
        for name, each in passes.items():
            cpu, wall = cpu_seconds(), time.perf_counter()
            n = each()
            now = n / (cpu_seconds() - cpu), n / (time.perf_counter() - wall)
            found[name] = max(found[name][0], now[0]), max(found[name][1], now[1])
    return found


def loaders(root: Path, folder: Path, feeds: dict[str, Feed]) -> dict[str, Pass]:
    """Our loaders that can run here."""
    decoders = {"pillow": "workers", "torchvision": "workers, torchvision decodes"}
    if importlib.util.find_spec("nvidia") and importlib.util.find_spec("nvidia.dali"):
        decoders["dali-cpu"] = "dali on the CPU"
        if "gpu" in feeds:
            decoders["dali-gpu"] = "dali on the GPU"
    passes: dict[str, Pass] = {}
    for decoder, name in decoders.items():
        examples, feed = examples_of(root, folder, decoder), feeds["gpu" if decoder == "dali-gpu" else "cpu"]
        passes[name] = partial(ours, examples, feed, False)
        if decoder != "torchvision":
            passes[f"{name}, and the clean view"] = partial(ours, examples, feed, True)
    return passes


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    photos = sorted(p for p in given.folder.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg"))
    if not photos:
        parser.error(f"no JPEGs in {given.folder}")
    print(machine())
    print(f"{len(photos)} photographs, {given.images} images, {given.workers} workers, batches of {BATCH}")
    devices = {"cpu": "cpu"} | ({"gpu": "cuda"} if torch.cuda.is_available() else {})
    feeds = {name: Feed(torch.device(device), given.workers) for name, device in devices.items()}
    with tempfile.TemporaryDirectory() as folder, feeds["cpu"]:
        root = tree(Path(folder) / "photos", photos, given.images)
        passes = {"ImageFolder, transforms of Pillow's images": usual(root, given.workers)}
        passes |= loaders(root, Path(folder), feeds)
        if importlib.util.find_spec("ffcv"):
            passes["FFCV, of JPEGs"] = ffcv(root, Path(folder), given.workers)
        found = rates(passes, given.repeats)
    first = next(iter(found.values()))[0]
    print(f"{'':48}{'images/CPU s':>14}{'of the first':>14}{'images/s':>12}")
    for name, (cpu, wall) in found.items():
        print(f"{name:48}{cpu:14.0f}{cpu / first:14.2f}{wall:12.0f}")


if __name__ == "__main__":
    main()

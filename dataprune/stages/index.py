"""Stage index: read a data set once, check it, and write its example table.

Input: none (the reader's files; their state is in the recipe). Files: classes.json, header.json and for each split
labels.npy, names.json and, with storage=memory, images.npy: decoded uint8 (n, h, w, c). With storage=files the images
stay where they are (export/root.txt says where); those inside a Parquet file are copied into encoded.bin.
"""

import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from hydra.utils import get_method

from dataprune.config import DataConfig, RunConfig
from dataprune.data.examples import Dataset, Image, Split
from dataprune.data.images import decode
from dataprune.errors import ConfigError, Shown, first
from dataprune.progress import Bar
from dataprune.targets import parameters

CONFIG = DataConfig
CHUNK = 1024  # images decoded at a time


def run(config: DataConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Read, check and write; returns counts. `label` is the config group (source or target), for messages."""
    dataset = read(config, label)
    header: dict[str, Any] = {"storage": config.storage, "maximum": dataset.maximum, "splits": {}, "size": config.size}
    for name, split in dataset.splits.items():
        folder = work / name
        folder.mkdir(exist_ok=True)
        labels = _checked_labels(split, name, dataset.classes, config, label)
        kept = _limited(labels, getattr(config.limit, name, None), config.seed, f"{label}.limit.{name}")
        np.save(folder / "labels.npy", labels[kept])
        names = split.names or [str(i) for i in range(len(labels))]
        (folder / "names.json").write_text(json.dumps([names[i] for i in kept]))
        if config.storage == "memory":
            shape = _decoded(config, split, kept, names, folder, label)
        else:
            shape = _encoded(config, dataset, split, kept, names, work, folder, label)
        header["splits"][name] = {"n": len(kept), "shape": shape}
    shapes = {tuple(s["shape"]) for s in header["splits"].values()}
    if len(shapes) > 1:
        raise ConfigError(f"{label}.size", config.size, f"one size for all splits; they have {sorted(shapes)}")
    header["channels"] = shapes.pop()[-1]
    header["mean"], header["std"] = _statistics(config, work, header)
    (work / "header.json").write_text(json.dumps(header, indent=1))
    (work / "classes.json").write_text(json.dumps(dataset.classes))
    facts = {"classes": len(dataset.classes), "channels": header["channels"]}
    return facts | {name: s["n"] for name, s in header["splits"].items()}


def read(config: DataConfig, label: str) -> Dataset:
    """Call the config's reader; it gets `path` and `seed` if it has such parameters."""
    constants = {k: v for k, v in config.reader.items() if k != "_target_"}
    takes = parameters(config.reader["_target_"])
    for name, value in (("path", config.path), ("seed", config.seed)):
        if name in takes.names and name not in constants:
            if value is None:
                raise ConfigError(f"{label}.{name}", None, f"a value; {config.name} data are read from there")
            constants[name] = value
    try:
        dataset = get_method(config.reader["_target_"])(**constants)
    except ConfigError as error:
        raise error.under(label) from None
    for split in ("train", "test"):
        if split not in dataset.splits:
            raise ConfigError(f"{label}.reader", config.reader["_target_"], f"a reader that gives a {split} split")
    return dataset


def stamp(config: DataConfig) -> str | None:
    """State of the files below `path`, without reading them: names, times, sizes of the top-level files.

    Folders count with their time of change, which moves when a file is added or removed; so a million images cost a
    thousand looks. (An image rewritten in place goes unnoticed: remove the index result then.)
    """
    if config.path is None:
        return None
    root = Path(config.path)
    seen = [[str(root), root.stat().st_mtime_ns]]
    for entry in sorted(root.iterdir()) if root.is_dir() else []:
        seen.append([entry.name, entry.stat().st_mtime_ns, 0 if entry.is_dir() else entry.stat().st_size])
        if entry.is_dir():
            seen += [[e.path, e.stat().st_mtime_ns] for e in os.scandir(entry) if e.is_dir()]
    from dataprune.store import fingerprint

    return fingerprint(sorted(seen, key=str))


def _checked_labels(split: Split, name: str, classes: list[str], config: DataConfig, label: str) -> np.ndarray:
    labels = np.asarray(split.labels)
    if len(labels) == 0:
        raise ConfigError(f"{label}.path", Shown(f"{config.path!r} without {name} images"), "at least one")
    wrong = np.flatnonzero((labels < 0) | (labels >= len(classes)))
    if len(wrong):
        where = Shown(f"{config.path!r} with label {labels[wrong[0]]} at rows {first(wrong)} of {name}")
        raise ConfigError(f"{label}.path", where, f"labels of 0 to {len(classes) - 1} ({len(classes)} classes)")
    counts = np.bincount(labels, minlength=len(classes))
    if name == "train" and (counts == 0).any():
        empty = ", ".join([classes[c] for c in np.flatnonzero(counts == 0)][:5])
        raise ConfigError(
            f"{label}.path", Shown(f"{config.path!r} without {name} images of {empty}"), "some of every class"
        )
    return labels.astype(np.int64)


def _limited(labels: np.ndarray, limit: int | None, seed: int, key: str) -> np.ndarray:
    """Positions to keep: all, or `limit` with the same share of every class (at least one each), drawn by `seed`."""
    if limit is None or limit >= len(labels):
        return np.arange(len(labels))
    n_classes = len(np.unique(labels))
    if limit < n_classes:
        raise ConfigError(key, limit, f"{n_classes} or more: one image of each class")
    order = np.random.default_rng([seed, len(labels)]).permutation(len(labels))
    by_class = order[np.argsort(labels[order], kind="stable")]
    counts = np.unique(labels, return_counts=True)[1]
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    # an example's rank inside its class, as a fraction: taking the smallest keeps the same share of each class
    place = (np.arange(len(labels)) - starts + 0.5) / np.repeat(counts, counts)
    place[np.unique(starts)] = 0
    return np.sort(by_class[np.argsort(place, kind="stable")[:limit]])


def _decoded(
    config: DataConfig, split: Split, kept: np.ndarray, names: list[str], folder: Path, label: str
) -> list[int]:
    """Decode the kept images into images.npy; returns the shape of one."""
    images: np.memmap | None = None
    broken: list[str] = []
    with Bar(f"index {folder.name}", len(kept)) as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start, chunk in _chunks(split, kept):
            pixels = list(pool.map(lambda image: _try(image, config), chunk))
            broken += [names[kept[start + i]] for i, p in enumerate(pixels) if p is None]
            good = [p for p in pixels if p is not None]
            shapes = {p.shape for p in good} | ({images.shape[1:]} if images is not None else set())
            if len(shapes) > 1:
                expected = f"a side in pixels ({label}.size=64): the images differ, {sorted(shapes)[:3]}"
                raise ConfigError(f"{label}.size", config.size, expected)
            if images is None and good:
                _fits_in_memory(len(kept) * good[0].size, f"{label}.storage")
                images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (len(kept), *good[0].shape))
            if images is not None and not broken:
                images[start : start + len(chunk)] = good
            bar.advance(len(chunk))
    if broken:
        count = f"{len(broken)} unreadable image{'s' if len(broken) > 1 else ''}"
        where = Shown(f"{config.path!r} with {count} in {folder.name} ({', '.join(broken[:5])})")
        raise ConfigError(f"{label}.path", where, "images that can be decoded; remove or replace these")
    assert images is not None
    images.flush()
    return list(images.shape[1:])


def _fits_in_memory(size: int, key: str) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > there / 2:
        raise ConfigError(
            key, "memory", f"files: {size / 1e9:.1f} GB of pixels are over half of {there / 1e9:.1f} GB RAM"
        )


def _try(image: Image, config: DataConfig) -> np.ndarray | None:
    try:
        return decode(image, config.channels, config.size)
    except (OSError, SyntaxError, ValueError):  # what PIL raises for a broken file; all are counted and reported
        return None


def _encoded(
    config: DataConfig,
    dataset: Dataset,
    split: Split,
    kept: np.ndarray,
    names: list[str],
    work: Path,
    folder: Path,
    label: str,
) -> list[int]:
    """Leave files where they are, or copy encoded bytes into encoded.bin; returns the shape of a decoded image."""
    if config.size is None:
        raise ConfigError(f"{label}.size", None, "a side in pixels: storage=files decodes to one size")
    if dataset.root is not None:
        (work / "export").mkdir(exist_ok=True)
        (work / "export" / "root.txt").write_text(str(dataset.root.absolute()))
        sample = _try(dataset.root / names[kept[0]], config)
    else:
        offsets = np.zeros(len(kept) + 1, np.int64)
        with open(folder / "encoded.bin", "wb") as blob:
            for start, chunk in _chunks(split, kept):
                for i, image in enumerate(chunk):
                    if not isinstance(image, bytes):
                        raise ConfigError(f"{label}.storage", "files", "memory: the reader gives decoded images")
                    blob.write(image)
                    offsets[start + i + 1] = offsets[start + i] + len(image)
                    sample = _try(image, config) if start + i == 0 else sample
        np.save(folder / "offsets.npy", offsets)
    if sample is None:
        raise ConfigError(f"{label}.path", Shown(f"unreadable image {names[kept[0]]}"), "images that can be decoded")
    return [config.size, config.size, config.channels or sample.shape[-1]]


def _chunks(split: Split, kept: np.ndarray) -> Iterator[tuple[int, list[Image]]]:
    """(position in `kept` of the first, images) of up to CHUNK kept images at a time."""
    wanted = set(kept.tolist()) if len(kept) < len(split.labels) else None
    start, chunk = 0, []
    for i, image in enumerate(split.images):
        if wanted is None or i in wanted:
            chunk.append(image)
        if len(chunk) == CHUNK:
            yield start, chunk
            start, chunk = start + CHUNK, []
    if chunk:
        yield start, chunk


def _statistics(config: DataConfig, work: Path, header: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of the train split (of pixel / 255), unless the config gives them."""
    if config.mean is not None and config.std is not None:
        if len(config.mean) != header["channels"] or len(config.std) != header["channels"]:
            raise ConfigError("mean", config.mean, f"{header['channels']} numbers: one a channel, as in std")
        return config.mean, config.std
    if config.storage == "files":
        return [0.485, 0.456, 0.406][: header["channels"]], [0.229, 0.224, 0.225][: header["channels"]]  # ImageNet's
    images = np.load(work / "train" / "images.npy", mmap_mode="r")
    # exact counts of the 256 values: the same result whatever the chunks and the machine
    counts = np.zeros((images.shape[-1], 256), np.int64)
    for i in range(0, len(images), CHUNK):
        for c, count in enumerate(counts):
            count += np.bincount(images[i : i + CHUNK, ..., c].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = [float((n * values).sum() / n.sum()) for n in counts]
    std = [float(np.sqrt((n * (values - m) ** 2).sum() / n.sum())) or 1.0 for n, m in zip(counts, mean, strict=True)]
    return mean, std

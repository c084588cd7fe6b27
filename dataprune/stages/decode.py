"""Stage decode: the pixels of an indexed data set, as networks see them.

Input: `examples` (index). Files: header.json (size, channels, mean, std, shape of each split, storage) and, with
storage=memory, <split>/images.npy: uint8 (n, h, w, c). Arrays that the index holds in the wanted form are not copied.
With storage=files workers decode at every epoch; here only the form is laid down.
"""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import DecodeConfig, RunConfig
from dataprune.data.examples import CHUNK, Examples
from dataprune.data.images import decode
from dataprune.errors import ConfigError, Shown
from dataprune.progress import Bar
from dataprune.store import create_array

CONFIG = DecodeConfig
IMAGENET = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]  # mean and std


def run(config: DecodeConfig, inputs: dict[str, Path], work: Path, run: RunConfig, label: str) -> dict[str, Any]:
    """Decode and measure; returns the number of channels. `label` is the config group (source or target)."""
    label = label.replace("_pixels", "")
    splits = json.loads((inputs["examples"] / "header.json").read_text())["splits"]
    shapes = {}
    for name in splits:
        examples = Examples(inputs["examples"], name, work)
        write = _decoded if config.storage == "memory" else _described
        shapes[name] = write(config, examples, work / name, label)
    if len({tuple(shape) for shape in shapes.values()}) > 1:
        expected = f"one size for all splits; they have {sorted(map(tuple, shapes.values()))}"
        raise ConfigError(f"{label}.size", config.size, expected)
    header: dict[str, Any] = {"storage": config.storage, "size": config.size, "channels": shapes["train"][-1]}
    header["splits"] = {name: {"n": s["n"], "shape": shapes[name]} for name, s in splits.items()}
    (work / "header.json").write_text(json.dumps(header))  # the statistics look at the pixels through it
    header["mean"], header["std"] = _statistics(config, Examples(inputs["examples"], "train", work), label)
    (work / "header.json").write_text(json.dumps(header, indent=1))
    return {"channels": header["channels"], "shape": shapes["train"]}


def _decoded(config: DecodeConfig, examples: Examples, folder: Path, label: str) -> list[int]:
    """Decode a split into images.npy unless the index holds it in this form; returns the shape of one image."""
    encoded, n = examples.encoded(), len(examples)
    held = encoded.arrays()
    if held is not None and _as_wanted(config, held.shape):
        return list(held.shape[1:])
    images: np.memmap | None = None
    with Bar(f"decode {folder.name}", n) as bar, ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, n, CHUNK):
            ids = range(start, min(start + CHUNK, n))
            pixels = list(pool.map(lambda i: decode(encoded[i], config.channels, config.size), ids))
            shapes = {p.shape for p in pixels} | ({images.shape[1:]} if images is not None else set())
            if len(shapes) > 1:
                expected = f"a side in pixels ({label}.size=64): the images differ, {sorted(shapes)[:3]}"
                raise ConfigError(f"{label}.size", config.size, expected)
            if images is None:
                _fits_in_memory(n * pixels[0].size, f"{label}.storage")
                folder.mkdir(exist_ok=True)
                images = create_array(folder / "images.npy", np.uint8, (n, *pixels[0].shape))
            images[start : start + len(pixels)] = pixels
            bar.advance(len(pixels))
    assert images is not None
    images.flush()
    return list(images.shape[1:])


def _as_wanted(config: DecodeConfig, shape: tuple[int, ...]) -> bool:
    """Whether arrays of this shape are what decoding them would give."""
    fits = config.size is None or shape[1:3] == (config.size, config.size)
    return fits and shape[3] in ((1, 3) if config.channels is None else (config.channels,))


def _described(config: DecodeConfig, examples: Examples, folder: Path, label: str) -> list[int]:
    """The shape that a split's images will be decoded to, at every epoch anew."""
    if config.size is None:
        raise ConfigError(f"{label}.size", None, "a side in pixels: storage=files decodes to one size")
    if examples.encoded().are_arrays:
        raise ConfigError(f"{label}.storage", "files", "memory: the reader gives decoded images")
    try:
        sample = decode(examples.encoded()[0], config.channels, config.size)
    except (OSError, SyntaxError, ValueError) as error:  # content=stat reads nothing earlier
        raise ConfigError(f"{label}.path", Shown(f"unreadable image {examples.names[0]}"), str(error)) from None
    return [config.size, config.size, config.channels or sample.shape[-1]]


def _fits_in_memory(size: int, key: str) -> None:
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if size > there / 2:
        raise ConfigError(
            key, "memory", f"files: {size / 1e9:.1f} GB of pixels are over half of {there / 1e9:.1f} GB RAM"
        )


def _statistics(config: DecodeConfig, examples: Examples, label: str) -> tuple[list[float], list[float]]:
    """Mean and standard deviation per channel of the train split (of pixel / 255), unless the config gives them."""
    channels = examples.header["channels"]
    if config.mean is not None and config.std is not None:
        if len(config.mean) != channels or len(config.std) != channels:
            raise ConfigError(f"{label}.mean", config.mean, f"{channels} numbers: one a channel, as in std")
        return config.mean, config.std
    if config.storage == "files":
        return IMAGENET[0][:channels], IMAGENET[1][:channels]
    images = examples.images
    # exact counts of the 256 values: the same result whatever the chunks and the machine
    counts = np.zeros((channels, 256), np.int64)
    for i in range(0, len(images), CHUNK):
        for c, count in enumerate(counts):
            count += np.bincount(images[i : i + CHUNK, ..., c].ravel(), minlength=256)
    values = np.arange(256) / 255
    mean = [float((n * values).sum() / n.sum()) for n in counts]
    std = [float(np.sqrt((n * (values - m) ** 2).sum() / n.sum())) or 1.0 for n, m in zip(counts, mean, strict=True)]
    return mean, std

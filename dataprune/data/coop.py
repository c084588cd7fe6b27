"""Split files of transfer targets: CoOp's split_zhou_<Name>.json and Waterbirds' JSON lines, beside folders of images.

    target=folder target.path=DIR/oxford_pets +target.reader.split=split_zhou_OxfordPets.json \
        +target.reader.images=images target.reader._target_=dataprune.data.coop.read
"""

import json
import os
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.errors import ConfigError, Shown

SPLITS = {"train": "train", "val": "validation", "test": "test"}


def read(path: str, split: str, images: str = "") -> Dataset:
    """The data set of a CoOp split file: {"train" | "val" | "test": [[image, label, class name], ...]}.

    path: folder of the data set; split: the split file in it; images: the folder below it that image paths start from.
    Raises ConfigError for labels that are not 0 to classes - 1, a label with two names, an image in two splits, and
    images that are missing or not below `path` (how many, and the first five). Training takes
    `train` alone, as DP4TL's does.
    """
    root, file = Path(path), Path(path) / split
    found = _json(file)
    if not isinstance(found, dict) or not {"train", "test"} <= found.keys():
        raise ConfigError("split", str(file), 'an object with the lists "train", "val" and "test"')
    entries = {name: [_entry(file, e) for e in found.get(key, [])] for key, name in SPLITS.items()}
    classes = _class_names(file, chain.from_iterable(entries.values()))
    splits = {
        name: split_of(root, images, [e[0] for e in rows], [e[1] for e in rows])
        for name, rows in entries.items()
        if rows
    }
    disjoint(file, splits)
    return Dataset(classes, splits, root=root)


def _class_names(file: Path, entries: Iterable[tuple[str, int, str]]) -> list[str]:
    """The names of classes 0, 1, ...; raises ConfigError for a label with two names, and where one is left out."""
    names: dict[int, str] = {}
    for _, label, name in entries:
        if names.setdefault(label, name) != name:
            raise ConfigError("split", str(file), f"one name for label {label}, not {names[label]!r} and {name!r}")
    if sorted(names) != list(range(len(names))):
        raise ConfigError("split", str(file), f"labels 0 to {len(names) - 1}; it has {sorted(names)[:8]} ...")
    return [names[i] for i in range(len(names))]


def read_lines(path: str, train: str = "train.json", test: str = "test.json", images: str = "") -> Dataset:
    """Waterbirds: one JSON object a line, {"x": image, "y": label}; arguments as `read`. Classes are named 0, 1, ..."""
    root = Path(path)
    splits = {}
    for name, file in (("train", train), ("test", test)):
        lines = [json.loads(line) for line in text_of(root / file).splitlines() if line.strip()]
        if not all(isinstance(line, dict) and {"x", "y"} <= line.keys() for line in lines):
            raise ConfigError(name, str(root / file), 'a JSON object with "x" (image) and "y" (label) a line')
        splits[name] = split_of(root, images, [line["x"] for line in lines], [int(line["y"]) for line in lines])
    disjoint(root / train, splits)
    n_classes = 1 + max(int(split.labels.max(initial=0)) for split in splits.values())
    return Dataset([str(c) for c in range(n_classes)], splits, root=root)


def split_of(root: Path, images: str, names: list[str], labels: list[int]) -> Split:
    """Return a split of images below root/images. Raises ConfigError for those that lie elsewhere or are not there."""
    paths = [root / images / name for name in names]
    # by the text of the path: a link inside the folder is the user's own
    outside = [name for name, p in zip(names, paths, strict=True) if not _below(p, root)]
    if outside:
        shown = Shown(f"{len(outside)} of {len(names)} images lie elsewhere: {', '.join(outside[:5])}")
        raise ConfigError("images", shown, f"files below {root}")
    missing = [name for name, p in zip(names, paths, strict=True) if not p.is_file()]
    if missing:
        shown = Shown(f"{len(missing)} of {len(names)} images are not there: {', '.join(missing[:5])}")
        raise ConfigError("images", shown, f"files below {root / images}")
    return Split(paths, np.array(labels, np.int64), [p.relative_to(root).as_posix() for p in paths])


def _below(path: Path, root: Path) -> bool:
    return Path(os.path.normpath(path.absolute())).is_relative_to(os.path.normpath(root.absolute()))


def disjoint(file: Path, splits: dict[str, Split]) -> None:
    """Raise a ConfigError about a list if an image is in two splits."""
    seen: dict[str, str] = {}
    for name, split in splits.items():
        for image in split.names or []:
            if seen.setdefault(image, name) != name:
                raise ConfigError(
                    "split", str(file), f"each image in one split; {image} is in {seen[image]} and {name}"
                )


def _entry(file: Path, entry: Any) -> tuple[str, int, str]:
    match entry:
        case [str(image), int(label), str(name)]:
            return image, label, name
    raise ConfigError("split", str(file), f"entries [image, label, class name], not {entry!r}")


def _json(file: Path) -> Any:
    try:
        return json.loads(text_of(file))
    except json.JSONDecodeError as error:
        raise ConfigError("split", str(file), f"a JSON file ({error})") from None


def text_of(file: Path) -> str:
    """Return the text of a list. Raises ConfigError where there is no such file."""
    if not file.is_file():
        raise ConfigError("split", str(file), "an existing file")
    return file.read_text()

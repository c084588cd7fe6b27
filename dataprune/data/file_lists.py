"""Data sets by file lists, as Dyn-Unc and DALI's file reader take them: `/<class folder>/<file> <label>` a line.

    source=file_list source.path=IMAGENET source.reader.train=train/file_list.txt source.reader.test=val/file_list.txt

A path is joined to the split's folder of images as it stands. Labels are ranks of that folder's class folders, an empty
one included: 21K's n04399382 has a label and no image. A coreset's list is a data set of its own, whose ids are its
lines; to train on it as a part of the whole one: method=subset_file.
"""

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.data.folder import class_folders
from dataprune.errors import ConfigError, Shown
from dataprune.formats.subsets import parsed


def read(
    path: str,
    train: str = "train/file_list.txt",
    test: str = "val/file_list.txt",
    validation: str | None = None,
    images: dict[str, str] | None = None,
    begins: str = "n",
) -> Dataset:
    """Read the images that file lists name; ids are their lines.

    train, test, validation: the lists, below `path`. images: the folder that a split's paths start from, where it is
    not the one that the list lies in: {"train": "train"}. begins: only class folders that begin so have a label.
    Classes are the class folders of train's images. Labels of test may be ranks of its own folders (21K is validated on
    the 1,000 classes of ImageNet-1K): it is the folder that tells the class. Raises ConfigError for files that are
    missing or whose label is not their folder's (how many, and the first five).
    """
    root = Path(path)
    lists = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    places = _places(path, lists, images or {})
    classes = class_folders(root / places["train"], begins)
    splits = {split: _split(root, file, places[split], classes, begins) for split, file in lists.items()}
    return Dataset(classes, splits, root=root, sparse=True)


def _places(path: str, lists: Mapping[str, str], images: Mapping[str, str]) -> dict[str, str]:
    """The folder below `path` that each split's paths start from. Raises ConfigError for lists and folders that are
    not there."""
    root = Path(path)
    if unknown := sorted(images.keys() - lists.keys()):
        raise ConfigError("images", unknown[0], " | ".join(lists))
    for split, file in lists.items():
        if not (root / file).is_file():
            raise ConfigError(split, file, f"an existing file list below {path}")
    places = {split: images.get(split, os.path.dirname(file)) for split, file in lists.items()}
    for place in places.values():
        if not (root / place).is_dir():
            raise ConfigError("images", place, f"an existing folder below {path}")
    return places


def _split(root: Path, file: str, place: str, classes: list[str], begins: str) -> Split:
    names, labels = parsed(root / file)
    folders = [name.partition("/")[0] for name in names]
    own = {name: rank for rank, name in enumerate(class_folders(root / place, begins))}
    wrong = [
        f"{name} {label}"
        for name, folder, label in zip(names, folders, labels, strict=True)
        if own.get(folder) != label
    ]
    if wrong:
        shown = Shown(f"{file!r} with {len(wrong)} labels that are not their folders': {', '.join(wrong[:5])}")
        expected = f"ranks among the {len(own)} folders of {root / place} that begin with {begins!r}"
        raise ConfigError("path", shown, expected)
    below = [f"{place}/{name}" if place else name for name in names]
    _check_there(root, file, below)
    ids = _ids(file, classes, folders)
    return Split([root / name for name in below], ids, below)


def _check_there(root: Path, file: str, below: list[str]) -> None:
    """Raise a ConfigError for images of a list that are not there."""
    if missing := [name for name in below if not os.path.isfile(os.path.join(root, name))]:
        shown = Shown(
            f"{file!r} with {len(missing)} of {len(below)} files that are not there: {', '.join(missing[:5])}"
        )
        raise ConfigError("path", shown, f"files below {root}")


def _ids(file: str, classes: list[str], folders: list[str]) -> np.ndarray:
    """The classes int64 (n,) of images in these folders. Raises ConfigError for a folder that is none of them."""
    ids = {name: i for i, name in enumerate(classes)}
    if strange := sorted({folder for folder in folders if folder not in ids}):
        raise ConfigError("path", Shown(f"{file!r} with {', '.join(strange[:5])}"), "class folders that train has too")
    return np.array([ids[folder] for folder in folders], np.int64)

"""Folders of images: <path>/train/<class>/**/*.jpg and <path>/val|valid|validation|test beside train.

Class folders may be as deep as torchvision's ImageFolder takes them (raw Tiny-ImageNet: train/<wnid>/images/*.JPEG). A
split may also be one flat folder of images, whose labels stand in a list or in the file names (data.flat_folder).
"""

import logging
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.data.flat_folder import Flat, class_in_name, flat_labels, images_in
from dataprune.errors import ConfigError, Shown

SPLITS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
log = logging.getLogger(__name__)


def read(
    path: str,
    splits: dict[str, str] | None = None,
    labels: str | None = None,
    begins: str = "",
    allow_empty: bool = False,
) -> Dataset:
    """Read folders of images; classes are the sorted folder names of `train`, as torchvision's.

    splits: the folders below `path` where they have other names, {"train": "CLS-LOC/train", "test": "CLS-LOC/val"}.
    labels: the list of a flat folder of images, below `path`, where it is none of the usual ones. begins: only class
    folders that begin so (`n`: WordNet ids). allow_empty: a class folder without images keeps its label, as
    ImageNet-21K's n04399382; without it that is an error.

    Without a `test` folder the validation folder is the test split, also where `test` is a flat folder that nothing
    labels (raw ImageNet and Tiny-ImageNet). Every split has the classes of `train`.
    """
    root = Path(path)
    if not root.is_dir():
        raise ConfigError("path", path, "a folder; this is a file")
    folders = _folders(root, splits or {})
    classes = class_folders(folders["train"], begins) or _classes_in_names(folders["train"])
    if not classes:
        raise ConfigError("path", path, "class folders below train/")
    found = {split: _split(root, folder, classes, labels, begins) for split, folder in folders.items()}
    _choose_test(found, folders)
    given = {name: _labelled(split, folders.get(name) or folders["validation"]) for name, split in found.items()}
    return Dataset(classes, given, root=root, sparse=allow_empty)


def _folders(root: Path, named: Mapping[str, str]) -> dict[str, Path]:
    """The folder of each split that is there: train, and validation or test or both."""
    if unknown := sorted(named.keys() - SPLITS.keys()):
        raise ConfigError("splits", unknown[0], " | ".join(SPLITS))
    folders: dict[str, Path] = {}
    for split, usual in SPLITS.items():
        names = (named[split],) if split in named else () if named else usual
        there = next((root / name for name in names if (root / name).is_dir()), None)
        if there is not None:
            folders[split] = there
        elif split in named:
            raise ConfigError("splits", dict(named), f"folders that are there; {root} has {first_names(root)}")
    if "train" not in folders:
        raise ConfigError("path", str(root), f"a folder with train/<class>/ inside; it has {first_names(root)}")
    if len(folders) < 2:
        expected = f"a folder test/, val/ or valid/ beside train/; it has {first_names(root)}"
        raise ConfigError("path", str(root), expected)
    return folders


def class_folders(folder: Path, begins: str = "") -> list[str]:
    """Return the names of the class folders in a folder, sorted."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and entry.name.startswith(begins))


def _classes_in_names(folder: Path) -> list[str]:
    """The classes of a flat folder of <class>_*.jpg, sorted."""
    return sorted({name for file in images_in(folder) if (name := class_in_name(file.name)) is not None})


def _split(root: Path, folder: Path, classes: list[str], listed: str | None, begins: str) -> Split | None:
    """The images of a split with their labels; None = a flat folder of images that nothing labels."""
    below, known = class_folders(folder, begins), set(classes)
    if not known.intersection(below) and (flat := Flat.of(root, folder)) is not None:
        labels = flat_labels(flat, classes, listed)
        return None if labels is None else _made(root, flat.files, labels)
    if unknown := [name for name in below if name not in known]:
        raise ConfigError("path", str(folder), f"only classes that train/ has; not {', '.join(unknown[:5])}")
    paths: list[Path] = []
    counts = []
    for name in classes:
        of_class = images_in(folder / name, deep=True)
        paths += of_class
        counts.append(len(of_class))
    return _made(root, paths, np.repeat(np.arange(len(classes)), counts))


def _choose_test(found: dict[str, Split | None], folders: Mapping[str, Path]) -> None:
    """Make validation the test split where there is no other, or none with labels."""
    if found.get("test", True) is None and "validation" in found:
        log.info("%s: no labels for these images; validation is the test split", folders["test"])
        del found["test"]
    if "test" not in found:
        found["test"] = found.pop("validation")


def _made(root: Path, paths: list[Path], labels: np.ndarray) -> Split:
    start = len(os.path.join(root, ""))  # pathlib's own way takes seconds for a million files
    return Split(paths, labels.astype(np.int64), [str(path)[start:] for path in paths])


def _labelled(split: Split | None, folder: Path) -> Split:
    if split is None:
        lists = "val_annotations.txt, LOC_val_solution.csv, val.txt (a name and its class a line), the development kit"
        expected = f"<class>/*.jpg, <class>_*.jpg, or a list of labels: {lists}, or reader.labels=FILE"
        raise ConfigError("path", Shown(f"{str(folder)!r} of images without labels"), expected)
    return split


def first_names(folder: Path) -> str:
    """A few names in a folder, for a message."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:5]) or "nothing"

"""ImageFolder layout: <path>/train/<class>/*.jpg and <path>/val|valid|validation|test/<class>/*.jpg."""

from pathlib import Path

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.errors import ConfigError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
SPLITS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}


def read(path: str) -> Dataset:
    """Read an ImageFolder tree; classes are the sorted folder names of `train`, files sorted inside a class.

    Without a `test` folder the validation folder is the test split. Every split has the classes of `train`; a class
    folder without images is an error.
    """
    root = Path(path)
    if not root.is_dir():
        raise ConfigError("path", path, "a folder; this is a file")
    folders = {split: next((root / n for n in names if (root / n).is_dir()), None) for split, names in SPLITS.items()}
    if folders["train"] is None:
        raise ConfigError("path", path, f"a folder with train/<class>/ inside; it has {first_names(root)}")
    if folders["test"] is None:
        folders["test"], folders["validation"] = folders["validation"], None
    if folders["test"] is None:
        raise ConfigError("path", path, f"a folder test/, val/ or valid/ beside train/; it has {first_names(root)}")
    classes = sorted(p.name for p in folders["train"].iterdir() if p.is_dir())
    if not classes:
        raise ConfigError("path", path, "class folders below train/")
    splits = {split: _split(root, folder, classes) for split, folder in folders.items() if folder is not None}
    return Dataset(classes, splits, root=root)


def _split(root: Path, folder: Path, classes: list[str]) -> Split:
    unknown = sorted({p.name for p in folder.iterdir() if p.is_dir()} - set(classes))
    if unknown:
        raise ConfigError("path", str(folder), f"only classes that train/ has; not {', '.join(unknown[:5])}")
    paths, labels = [], []
    for label, name in enumerate(classes):
        files = sorted(p for p in (folder / name).glob("*") if p.suffix.lower() in SUFFIXES)
        paths += files
        labels += [label] * len(files)
    return Split(paths, np.array(labels, np.int64), [p.relative_to(root).as_posix() for p in paths])


def first_names(folder: Path) -> str:
    """A few names in a folder, for a message."""
    names = sorted(p.name for p in folder.iterdir())
    return ", ".join(names[:5]) or "nothing"

"""Folders of images that text files share out over the splits, one image a line.

| set | a line | images |
|---|---|---|
| FGVC-Aircraft, images_variant_trainval.txt | `1025794 707-320`: image and class | data/images/1025794.jpg |
| DTD, train1.txt | `banded/banded_0002.jpg`: the class is the folder | images/banded/banded_0002.jpg |

And sets that have no such files: the first so many images of every class are for training (Caltech-101 and 256).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from dataprune.data.coop import disjoint, split_of, text_of
from dataprune.data.examples import Dataset, Split
from dataprune.data.flat_folder import images_in
from dataprune.data.folder import class_folders
from dataprune.errors import ConfigError, Shown


def read(
    path: str, images: str, train: list[str], test: list[str], validation: list[str] | None = None, suffix: str = ""
) -> Dataset:
    """Read the splits that lists name; classes are the sorted names in train's.

    images: the folder below `path` that image paths start from. train, test, validation: lists below `path`, of which
    one split may have several. suffix: of the images, where the lists leave it out (`.jpg`). Raises ConfigError for
    lists and images that are missing, a class that train has not, and an image in two splits.
    """
    root = Path(path)
    lists = {"train": train, "test": test} | ({} if validation is None else {"validation": validation})
    rows = {split: [row for file in files for row in _rows(root / file)] for split, files in lists.items()}
    ids = _class_ids(rows)
    splits = {
        split: split_of(root, images, [image + suffix for image, _ in those], [ids[name] for _, name in those])
        for split, those in rows.items()
    }
    disjoint(root / train[0], splits)
    return Dataset(list(ids), splits, root=root)


def _rows(file: Path) -> list[tuple[str, str]]:
    """(image, class) of each line of a list."""
    rows = []
    for line in filter(None, map(str.strip, text_of(file).splitlines())):
        image, _, name = line.partition(" ")
        rows.append((image, name or image.rpartition("/")[0]))
    if wrong := [image for image, name in rows if not name]:
        raise ConfigError("path", Shown(f"{str(file)!r} with {wrong[0]!r}"), "`image class`, or `class/image`, a line")
    return rows


def _class_ids(rows: Mapping[str, list[tuple[str, str]]]) -> dict[str, int]:
    """The label of each class that train names, sorted by name. Raises ConfigError where a split names another."""
    ids = {name: i for i, name in enumerate(sorted({name for _, name in rows["train"]}))}
    if strange := sorted({name for split in rows.values() for _, name in split if name not in ids}):
        raise ConfigError("test", Shown(f"classes {', '.join(strange[:5])}"), "classes that train has too")
    return ids


def read_first(path: str, images: str, first: int, without: list[str] | None = None) -> Dataset:
    """Read class folders whose first images, in the order of their names, are for training, the rest for testing.

    images: the folder of class folders below `path`. first: how many of each class train has. without: class folders
    that are left out. Raises ConfigError for a class of so few images that none is left for testing.
    """
    root = Path(path)
    if not (root / images).is_dir():
        raise ConfigError("images", images, f"an existing folder below {path}")
    classes = [name for name in class_folders(root / images) if name not in (without or [])]
    of_class = [images_in(root / images / name) for name in classes]
    if few := [name for name, files in zip(classes, of_class, strict=True) if len(files) <= first]:
        raise ConfigError("first", first, f"fewer than the images of each class; of {', '.join(few[:5])} none is left")
    parts = {"train": [files[:first] for files in of_class], "test": [files[first:] for files in of_class]}
    return Dataset(classes, {name: _split(root, files) for name, files in parts.items()}, root=root)


def _split(root: Path, of_class: list[list[Path]]) -> Split:
    paths = [path for files in of_class for path in files]
    labels = np.repeat(np.arange(len(of_class)), [len(files) for files in of_class])
    return Split(paths, labels.astype(np.int64), [path.relative_to(root).as_posix() for path in paths])

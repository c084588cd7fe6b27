"""Flat folders of images, whose labels stand in a list beside them or in their names.

| list | whose | a line |
|---|---|---|
| val_annotations.txt | Tiny-ImageNet | val_0.JPEG, its class and a box, between tabs |
| LOC_val_solution.csv | ImageNet at Kaggle | ILSVRC2012_val_00000001,n01751748 111 108 230 366 |
| val.txt, or any other | Caffe's, one's own | a file name and its class: folder name, or number in sorted order |
| ILSVRC2012_validation_ground_truth.txt | ImageNet's development kit | a number; meta.mat beside it tells its class |
"""

import os
import re
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown

WORDNET = re.compile(r"n\d{8}(?=_)")
SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm"}
TRUTH = "ILSVRC2012_validation_ground_truth.txt"
LISTS = ("val_annotations.txt", "LOC_val_solution.csv", "val.txt", TRUTH, f"ILSVRC2012_devkit_t12/data/{TRUTH}")


@dataclass(frozen=True)
class Flat:
    """A folder whose images lie side by side."""

    root: Path  # of the data set
    folder: Path  # of the split
    files: list[Path]  # sorted by name

    @classmethod
    def of(cls, root: Path, folder: Path) -> "Flat | None":
        """The images in `folder`, or in the folder `images` in it; None = there are none."""
        for place in (folder, folder / "images"):
            if place.is_dir() and (files := images_in(place)):
                return cls(root, folder, files)
        return None


def images_in(folder: Path, *, deep: bool = False) -> list[Path]:
    """Return the images in a folder, sorted by name; deep: those of the folders below it too, in torchvision's order,
    links followed. Nothing of a folder that is not there."""
    if not deep:
        names = sorted(entry.name for entry in os.scandir(folder) if entry.is_file()) if folder.is_dir() else []
        return [folder / name for name in names if _is_image(name)]
    found: list[Path] = []
    for place, names in sorted(_walk(str(folder))):
        found += [Path(os.path.join(place, name)) for name in sorted(names) if _is_image(name)]
    return found


def _walk(folder: str) -> Iterator[tuple[str, list[str]]]:
    """Every folder below one with the names of its files; links are followed unless they lead to a folder above."""
    for place, below, names in os.walk(folder, followlinks=True):
        below[:] = [name for name in below if not _leads_up(place, name)]
        yield place, names


def _leads_up(place: str, name: str) -> bool:
    path = os.path.join(place, name)
    return os.path.islink(path) and f"{os.path.realpath(place)}/".startswith(f"{os.path.realpath(path)}/")


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in SUFFIXES


def class_in_name(name: str, known: Container[str] | None = None) -> str | None:
    """Return the class of <class>_*.jpg; None = there is none.

    The longest beginning before a `_` that is one of the known classes. Where none are known: a WordNet id, as in
    n01440764_tench.JPEG, else what stands before the last `_`, as in great_pyrenees_12.jpg.
    """
    stem = os.path.splitext(name)[0]
    if known is None:
        wordnet = WORDNET.match(stem)
        return wordnet[0] if wordnet else stem.rpartition("_")[0] or None
    while stem := stem.rpartition("_")[0]:
        if stem in known:
            return stem
    return None


def flat_labels(flat: Flat, classes: list[str], listed: str | None = None) -> np.ndarray | None:
    """Return labels int64 (files,), of the list that is there, else of the file names; None = nothing tells them.

    listed: the list, below the root. Raises ConfigError for a list that lacks images or names classes that train lacks.
    """
    file = _list_of(flat, listed)
    names = [path.name for path in flat.files]
    ids = {name: i for i, name in enumerate(classes)}
    if file is None:
        found = [class_in_name(name, ids) for name in names]
        labels = [ids[name] for name in found if name is not None]
        return np.array(labels, np.int64) if len(labels) == len(names) else None
    words = _ground_truth(file, names) if _is_truth(file) else _by_name(file, names)
    return np.array([_class_of(word, ids, file) for word in words], np.int64)


def _list_of(flat: Flat, listed: str | None) -> Path | None:
    """The list of labels: in the split's folder, or in the data set's."""
    if listed is not None:
        if not (flat.root / listed).is_file():
            raise ConfigError("labels", listed, f"an existing file below {flat.root}")
        return flat.root / listed
    places = [flat.folder / name for name in LISTS]
    if flat.folder.name.startswith("val"):  # those of the data set are about its validation images
        places += [flat.root / name for name in LISTS]
    return next((place for place in places if place.is_file()), None)


def _is_truth(file: Path) -> bool:
    """Whether a list has numbers alone, as that of the development kit."""
    with open(file) as lines:
        return next(lines, "").strip().isdecimal()


def _by_name(file: Path, names: list[str]) -> list[str]:
    """The class word of each image, from lines that begin with its name, with or without a suffix."""
    words: dict[str, str] = {}
    for line in file.read_text().splitlines():
        parts = line.replace(",", " ").replace("\t", " ").split()
        if len(parts) >= 2:
            words[os.path.basename(parts[0])] = parts[1]
    found = [words.get(name) or words.get(os.path.splitext(name)[0]) for name in names]
    if missing := [name for name, word in zip(names, found, strict=True) if word is None]:
        shown = Shown(f"{str(file)!r} without {len(missing)} of {len(names)} images: {', '.join(missing[:5])}")
        raise ConfigError("labels", shown, "a line of name and class for each")
    return [word for word in found if word is not None]


def _ground_truth(file: Path, names: list[str]) -> list[str]:
    """The class word of each image, from one number a line in the order of the names."""
    numbers = file.read_text().split()
    if len(numbers) != len(names):
        shown = Shown(f"{str(file)!r} with {len(numbers)} lines for {len(names)} images")
        raise ConfigError("labels", shown, "a line for each, in the order of their names")
    synsets = _synsets(file.parent / "meta.mat")
    if unknown := sorted(set(numbers) - synsets.keys()):
        raise ConfigError("labels", Shown(f"{str(file)!r} with {unknown[0]!r}"), "numbers that meta.mat has")
    return [synsets[number] for number in numbers]


def _synsets(file: Path) -> Mapping[str, str]:
    """WordNet id by the number that the development kit gives it (not the rank of the id)."""
    if not file.is_file():
        expected = "the development kit's meta.mat beside the list of numbers: it says which classes they are"
        raise ConfigError("labels", str(file), expected)
    from scipy.io import loadmat  # a quarter of a second that other data sets do not need

    table = loadmat(file, squeeze_me=True)["synsets"]
    return {str(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in table if int(row["num_children"]) == 0}


def _class_of(word: str, ids: Mapping[str, int], file: Path) -> int:
    """A class by its name, or by its number in the sorted order."""
    if word in ids:
        return ids[word]
    if word.isdecimal() and int(word) < len(ids):
        return int(word)
    expected = f"classes that train/ has, such as {next(iter(ids))}, or their numbers 0 to {len(ids) - 1}"
    raise ConfigError("labels", Shown(f"{str(file)!r} with {word!r}"), expected)

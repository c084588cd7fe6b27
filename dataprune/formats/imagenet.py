"""Labels of ImageNet that others made: ReaL's label sets, and which of 21K's classes are the 1,000.

`real.json` (Beyer et al. 2020): a list of label lists, entry j for validation image number j + 1, from none to ten
labels, in the sorted order of the 1,000 classes. Dyn-Unc's code takes entry j for line j of its file list, which its
own instructions sort by class; here the number in the file name tells.

`mapping_dict.txt` (Dyn-Unc): line j is the column of sorted class j of ImageNet-1K among the sorted classes of 21K.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, first_line
from dataprune.store import whole_file

NUMBER = re.compile(r"val_(\d+)")  # ILSVRC2012_val_00000293.JPEG

Sets = list[list[int]]


def read_real(path: str | Path) -> Sets:
    """Return ReaL's label sets, one an image of the validation set in the order of the images' numbers."""
    try:
        found = json.loads(Path(path).read_text())
    except (ValueError, OSError) as error:
        raise ConfigError("real", str(path), f"a JSON file ({first_line(error)})") from None
    if not isinstance(found, list) or not all(_is_set(labels) for labels in found):
        raise ConfigError("real", str(path), "a list of lists of class numbers, one an image")
    return found


def _is_set(labels: object) -> bool:
    return isinstance(labels, list) and all(isinstance(label, int) and label >= 0 for label in labels)


def real_metrics(best: np.ndarray, names: Sequence[str], sets: Sets) -> dict[str, float]:
    """Return real_top1, real_top5 and real_n: the share of images one of whose predictions is among their labels.

    best: int (n, k), the k classes of the highest logits, best first. names: of the n images, which tell their numbers.
    Images without labels do not count (real_n: those that do, 46,837 of 50,000). Raises ConfigError for a name without
    a number, and for a set of images none of which has labels.
    """
    right = np.zeros(2)
    count = 0
    for row, name in zip(best.tolist(), names, strict=True):
        if labels := sets[number_of(name, len(sets)) - 1]:
            right += (row[0] in labels, not set(labels).isdisjoint(row))
            count += 1
    if count == 0:
        raise ConfigError("real", Shown(f"no labels for any of {len(names)} images"), "labels for some")
    return {"real_top1": right[0] / count, "real_top5": right[1] / count, "real_n": count}


def number_of(name: str, n: int) -> int:
    """Return the number of a validation image of n, 1 to n, by its file name. Raises ConfigError where it has none."""
    found = NUMBER.search(name.rpartition("/")[2])
    if found is None or not 1 <= int(found[1]) <= n:
        raise ConfigError("real", Shown(f"image {name!r}"), f"names with a number of 1 to {n}: ILSVRC2012_val_00000001")
    return int(found[1])


def read_mapping(path: str | Path, outputs: int) -> np.ndarray:
    """Return the columns of the mapped classes among `outputs`, int64 (classes,). Raises ConfigError unless these are
    distinct whole numbers below `outputs`."""
    try:
        numbers = np.array(Path(path).read_text().split(), np.float64)
    except (ValueError, OSError) as error:
        raise ConfigError("classes_file", str(path), f"a number a line ({first_line(error)})") from None
    columns = numbers.astype(np.int64)
    fits = (columns == numbers).all() and len(set(columns.tolist())) == len(columns) > 0
    if not fits or columns.min() < 0 or columns.max() >= outputs:
        expected = f"distinct columns of 0 to {outputs - 1}, one a line: those of a model with {outputs} outputs"
        raise ConfigError("classes_file", str(path), expected)
    return columns


def positions(labels: np.ndarray, columns: np.ndarray, names: Sequence[str], split: str) -> np.ndarray:
    """Return labels int (n,) of classes with these names as positions among the mapped columns.

    Labels of a data set of as many classes are such positions already. Raises ConfigError for a label elsewhere.
    """
    if len(names) == len(columns):
        return labels
    places = np.full(max(int(columns.max()) + 1, len(names)), -1)
    places[columns] = np.arange(len(columns))
    if len(lost := labels[places[labels] < 0]):
        expected = f"columns of all classes of {split}; {names[int(lost[0])]} has none"
        raise ConfigError("classes_file", Shown(f"{len(columns)} columns"), expected)
    return places[labels]


def write_mapping(path: str | Path, large: Sequence[str], small: Sequence[str]) -> None:
    """Write the column of each class of `small` among those of `large`, both in sorted order, as Dyn-Unc reads it.

    large: also the empty folder n04399382, which only ImageNet-1K has images of. Raises ConfigError for classes that
    it lacks.
    """
    columns = {name: column for column, name in enumerate(sorted(large))}
    if missing := [name for name in sorted(small) if name not in columns]:
        shown = Shown(f"{len(missing)} classes that are not there: {', '.join(missing[:5])}")
        raise ConfigError("small", shown, "classes that the large set has, an empty folder too")
    with whole_file(path) as file:
        np.savetxt(file, [columns[name] for name in sorted(small)], fmt="%.18e")

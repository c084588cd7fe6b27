"""Class lists that people made: a file of ids or names, or everything below some WordNet synsets.

Score functions of the methods `handpicked_file` and `handpicked_wordnet`: 1 = listed, 0 = not. The lists that
data-transfer ships for eleven targets (Jain et al. 2023) are read by the first, or made again by the second.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, class_labels


def listed(path: str | Path, class_names: Sequence[str]) -> np.ndarray:
    """float32 (classes,): 1 for the classes in a file.

    A .npy file holds integer ids (data-transfer's <NAME>_keep.npy); any other file one class a line, by id or by name
    (an ImageNet folder such as n01440764, or whatever the source's classes are called). Raises ConfigError for classes
    that the source does not have, and for an empty list.
    """
    file, n = Path(path), len(class_names)
    if file.suffix == ".npy":
        return _marked(class_labels("path", np.load(file, allow_pickle=False), n_classes=n), n)
    words = [line.strip() for line in file.read_text().splitlines() if line.strip()]
    ids = _ids(words, class_names)
    unknown = [word for word in words if word not in ids]
    if unknown or not words:
        found = f"{len(unknown)} unknown classes, such as {', '.join(unknown[:5])}" if unknown else "an empty list"
        raise ConfigError("path", Shown(f"{str(path)!r} with {found}"), f"names such as {class_names[0]}, or ids")
    return _marked(np.array([ids[word] for word in words]), n)


def _ids(words: Sequence[str], class_names: Sequence[str]) -> dict[str, int]:
    """Ids by name, and by those words that are ids. Names come first: the classes of digits are called 0 to 9."""
    ids = {name: i for i, name in enumerate(class_names)}
    others = [word for word in words if word not in ids and word.isdigit()]
    return ids | {word: int(word) for word in others if int(word) < len(class_names)}


def rows_of(names: Sequence[str], among: Sequence[str]) -> list[int]:
    """Return where each class name stands among others: the outputs of a model of 21,000 classes that mean these 1,000
    (Dyn-Unc's mapping_dict.txt holds the same numbers).

    Raises ConfigError for names that are not there, or that stand there twice.
    """
    unknown = sorted(set(names) - set(among))
    if unknown:
        found = Shown(f"{len(unknown)} classes that the source has not, such as {', '.join(unknown[:5])}")
        raise ConfigError("transfer.head", found, "fresh, or a target whose classes are called as some of the source's")
    if twice := sorted({name for name, count in Counter(among).items() if count > 1} & set(names)):
        raise ConfigError("transfer.head", Shown(f"classes of one name: {', '.join(twice[:5])}"), "names that differ")
    places = {name: i for i, name in enumerate(among)}
    return [places[name] for name in names]


def masked(path: str | Path, *, model: int) -> np.ndarray:
    """float32 (c,): 1 for what model number `model` was trained on, by row of a .npy file of masks (m, c), bool or 0/1.

    For ready models of an influence experiment; c counts classes, or examples of a method about examples.
    """
    masks = np.load(path, mmap_mode="r", allow_pickle=False)
    if masks.ndim != 2 or masks.dtype.kind not in "biu":
        raise ConfigError("path", Shown(f"{str(path)!r} with {masks.dtype} {masks.shape}"), "masks (models, units)")
    if not 0 <= model < len(masks):
        raise ConfigError("model", model, f"0 to {len(masks) - 1}, a row of {path}")
    return (masks[model] > 0).astype(np.float32)


def below(path: str | Path, class_names: Sequence[str], *, synsets: Sequence[str]) -> np.ndarray:
    """float32 (classes,): 1 for the classes that are one of `synsets` or below one in WordNet.

    path: lines `parent child` of synset ids, as ImageNet's wordnet.is_a.txt; class_names must be such ids. Animals:
    n00015388, birds: n01503061, vehicles: n04524313, food: n00021265.
    """
    children = _children(Path(path))
    known = children.keys() | {child for some in children.values() for child in some}
    unknown = [s for s in synsets if s not in known]
    if unknown or not synsets:
        raise ConfigError("synsets", list(synsets), f"synset ids that {path} has; not there: {', '.join(unknown)}")
    found, open_ends = set(synsets), list(synsets)
    while open_ends:
        new = [child for child in children.get(open_ends.pop(), []) if child not in found]
        found.update(new)
        open_ends += new
    marked = np.array([name in found for name in class_names], np.float32)
    if not marked.any():
        raise ConfigError("synsets", list(synsets), f"synsets above the source's classes ({class_names[0]} ...)")
    return marked


def _children(file: Path) -> dict[str, list[str]]:
    """Synset -> those right below it, from lines `parent child`."""
    children: dict[str, list[str]] = {}
    for number, line in enumerate(file.read_text().splitlines(), 1):
        words = line.split()
        if len(words) != 2:
            raise ConfigError("path", Shown(f"{str(file)!r} with {line!r} in line {number}"), "parent child")
        children.setdefault(words[0], []).append(words[1])
    return children


def _marked(ids: np.ndarray, n: int) -> np.ndarray:
    if len(ids) == 0:
        raise ConfigError("path", Shown("an empty list"), "at least one class")
    marked = np.zeros(n, np.float32)
    marked[ids] = 1
    return marked

"""A subset of the source that came from outside, as method `subset_file` trains on it.

| file | how it is checked |
|---|---|
| subset.npz of ours | its fingerprint is that of the data set |
| file list of Dyn-Unc: `/<class>/<file> <label>` a line | every path is one of the data set's, with this label |
| ids: .npy, .txt, DP4TL's .indices | each once, in range; nothing tells of which data set they are: `is_bare` |
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError
from dataprune.formats.subsets import file_list_lines, lines_of, parse, read_file_list, read_ids
from dataprune.subset import Subset

NOT_KEPT = -1.0


def marks(path: str | Path, names: Sequence[str], labels: np.ndarray, fingerprint: str) -> np.ndarray:
    """Return float32 (n,): the weight of each example that the file keeps, 1 where it has no weights; -1 of all others.

    names, labels int (n,), fingerprint: of the data set. Raises ConfigError named `path` for a file of another one.
    """
    try:
        subset = read_subset(path, names, labels, fingerprint)
    except ConfigError as error:  # of ids it names the file
        raise ConfigError("path", error.value, error.expected) from None
    marked = np.full(len(labels), NOT_KEPT, np.float32)
    marked[subset.ids] = 1 if subset.weights is None else subset.weights
    return marked


def read_subset(path: str | Path, names: Sequence[str], labels: np.ndarray, fingerprint: str) -> Subset:
    """Return the subset of a data set that a file of any of these forms holds; errors as of `marks`."""
    file = Path(path)
    if file.suffix == ".npz":
        subset = Subset.load(file, fingerprint)
        if subset.n != len(labels):
            raise ConfigError("path", str(path), f"a subset of {len(labels)} examples, not of {subset.n}")
        return subset
    if is_bare(file):
        return read_ids(file, len(labels), fingerprint)
    return read_file_list(file, lines_of(names, labels, _common_folder(file, names)), fingerprint)


def is_bare(path: str | Path) -> bool:
    """Return whether a file holds ids alone, which name neither their data set nor its files."""
    file = Path(path)
    if file.suffix != ".txt":
        return file.suffix != ".npz"
    with open(file, "rb") as lines:
        return next(file_list_lines(lines), b"").strip().removeprefix(b"-").isdigit()


def _common_folder(file: Path, names: Sequence[str]) -> str:
    """The folder below which the data set's names are those of the list: `train` of train/n01/a.JPEG for /n01/a.JPEG.

    Told by the first file of the list that the data set has.
    """
    with open(file, "rb") as lines:
        listed = [parse(line, file)[0].decode(errors="surrogateescape").lstrip("/") for line in file_list_lines(lines)]
    ends = {name.rpartition("/")[2]: name for name in reversed(listed)}
    for name in names:
        wanted = ends.get(name.rpartition("/")[2])
        if wanted is not None and name.endswith(f"/{wanted}"):
            return name.removesuffix(wanted).rstrip("/")
    return ""

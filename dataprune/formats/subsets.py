"""Subsets in the files of other programs.

| file | who reads it | functions |
|---|---|---|
| file_list.txt: `/<class>/<file> <label>` a line | DALI's file reader, Dyn-Unc | write_file_list, read_file_list |
| list of relative paths, one a line | loaders of ImageFolder trees | write_image_list |
| .indices: int64 tensor | DP4TL | write_ids, read_ids |
| .npy or .txt of ids | anything | write_ids, read_ids |
| .npy of uids | DataComp's resharder | write_uids, read_uids |
| .csv: id, name, class, weight | a person, a spreadsheet | write_csv |

Hugging Face data sets and torch need no file: `dataset.select(Subset.load("subset.npz").ids)`,
`torch.utils.data.Subset(dataset, Subset.load("subset.npz").ids)`.

What is written keeps the order of the data set, and is complete or not there. What is read is taken as a set: these
files know neither their data set nor how they were picked, so the reader is told the data set (its fingerprint; its
number of examples, lines or uids) and refuses ids outside it and ids that stand twice.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from dataprune.errors import ConfigError, Shown, first, shaped
from dataprune.formats.legacy import read_indices, write_indices
from dataprune.store import whole_file
from dataprune.subset import Subset

TENSORS = (".indices", ".pth", ".pt")


def write_ids(subset: Subset, path: str | Path) -> None:
    """Write the ids, sorted: `.npy` int64 (k,), `.txt` one a line, or `.indices`, DP4TL's tensor (needs torch)."""
    suffix = Path(path).suffix
    if suffix in TENSORS:
        return write_indices(path, subset.ids)
    if suffix not in (".npy", ".txt"):
        raise ConfigError("path", str(path), "a name that ends in .npy, .txt or .indices")
    with whole_file(path) as file:
        if suffix == ".npy":
            np.save(file, subset.ids.astype(np.int64, copy=False))
        else:
            file.writelines(b"%d\n" % i for i in subset.ids.tolist())


def read_ids(path: str | Path, n: int, fingerprint: str, *, allow_pickle: bool = False) -> Subset:
    """The subset whose ids stand in a `.npy`, `.txt` or `.indices` file, in any order, of a data set of `n` examples.

    allow_pickle: for tensor files that hold Python objects (`formats.legacy`); they can run code when loaded.
    """
    suffix = Path(path).suffix
    if suffix in TENSORS:
        return _subset(path, read_indices(path, allow_pickle=allow_pickle), n, fingerprint)
    if suffix == ".txt":
        lines = Path(path).read_text(errors="replace").split()
        wrong = next((word for word in lines if not word.removeprefix("-").isdecimal()), None)
        if wrong is not None:
            raise ConfigError(str(path), wrong, "one id a line: whole numbers (a list of files is a file list)")
        return _subset(path, np.array(lines, np.int64), n, fingerprint)
    if suffix != ".npy":
        raise ConfigError("path", str(path), "a name that ends in .npy, .txt or .indices")
    try:
        ids = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(str(path), Shown("no array"), "an .npy file, as numpy.save writes it") from error
    return _subset(path, ids, n, fingerprint)


def write_file_list(subset: Subset, path: str | Path, lines: Iterable[bytes]) -> None:
    """Write those of `lines` that are kept, in order and byte by byte.

    lines: one an example of the whole data set: `open("train/file_list.txt", "rb")`, or `lines_of(names, labels)`.
    Labels stay as they are, also when a class is gone.
    """
    kept = np.zeros(subset.n, bool)
    kept[subset.ids] = True
    count = 0
    with whole_file(path) as file:
        for line in file_list_lines(lines):
            if count < subset.n and kept[count]:
                file.write(line)
            count += 1
        if count != subset.n:
            raise ConfigError("lines", Shown(f"{count} lines"), f"{subset.n}, one an example of the subset's data set")


def read_file_list(path: str | Path, lines: Iterable[bytes], fingerprint: str) -> Subset:
    """The subset whose lines stand in the file list `path`; `lines` are those of the whole data set.

    An example is known by its path, so the order does not matter; a label that differs is an error, and so are files
    that the data set has not (how many, and the first five).
    """
    wanted = _entries(path)
    ids, n = [], 0
    for line in file_list_lines(lines):
        name, label = parse(line, "lines")
        if name in wanted:
            if (there := wanted.pop(name)) != label:
                shown = Shown(f"label {there} for {_text(name)}")
                raise ConfigError(str(path), shown, f"{label}, as in the list of the whole data set")
            ids.append(n)
        n += 1
    if wanted:
        shown = Shown(f"{len(wanted)} unknown files: {', '.join(_text(name) for name in list(wanted)[:5])}")
        raise ConfigError(str(path), shown, f"files of the data set's {n}")
    return _subset(path, np.array(ids, np.int64), n, fingerprint)


def _entries(path: str | Path) -> dict[bytes, int]:
    """Label by path, of a file list that has every file once."""
    with open(path, "rb") as file:
        entries = [parse(line, path) for line in file_list_lines(file)]
    found = dict(entries)
    if len(found) < len(entries):
        names, counts = np.unique([name for name, _ in entries], return_counts=True)
        raise ConfigError(str(path), Shown(f"{_text(names[counts > 1].tolist()[0])} more than once"), "every file once")
    return found


def lines_of(names: Sequence[str], labels: np.ndarray, below: str = "") -> Iterator[bytes]:
    """File list lines of examples known by relative path: `/<name> <label>`, the name taken from the folder `below`."""
    for name, label in zip(names, labels, strict=True):
        yield f"/{relative(name, below)} {label}\n".encode(errors="surrogateescape")


def parse(line: bytes, source: str | Path) -> tuple[bytes, int]:
    """Path and label of a file list line; it is split from the right, so the path may hold spaces."""
    name, _, label = line.rstrip(b"\r\n").rpartition(b" ")
    if not name or not label.isdigit():
        raise ConfigError(str(source), Shown(f"a line {_text(line.strip())!r}"), "/<class folder>/<file> <label>")
    return name, int(label)


def parsed(path: str | Path) -> tuple[list[str], np.ndarray]:
    """Names (paths without the leading slash) and labels int64 (n,) of a file list."""
    entries = _entries(path)
    names = [name.removeprefix(b"/").decode(errors="surrogateescape") for name in entries]
    return names, np.array(list(entries.values()), np.int64)


def write_image_list(subset: Subset, path: str | Path, names: Sequence[str], *, below: str = "") -> None:
    """Write the relative paths of the examples that are kept, one a line, taken from the folder `below`.

    names: one an example of the whole data set, such as `train/cat/1.jpg`; below="train" makes it `cat/1.jpg`.
    """
    with whole_file(path) as file:
        for name in _kept(subset, names):
            file.write(f"{relative(name, below)}\n".encode(errors="surrogateescape"))


def relative(name: str, below: str) -> str:
    """`name` as seen from the folder `below`: `train/cat/1.jpg` below `train` is `cat/1.jpg`."""
    prefix = f"{below.strip('/')}/" if below.strip("/") else ""
    inside = name.removeprefix("/")
    if not inside.startswith(prefix):
        raise ConfigError("below", below, f"a folder that all names lie in; {name} does not")
    if "\n" in inside:
        raise ConfigError("names", name, "a name of one line")
    return inside[len(prefix) :]


def write_uids(subset: Subset, path: str | Path, uids: np.ndarray) -> None:
    """Write the uids of what is kept, sorted, for DataComp's resharder; uids: `formats.datacomp.UID` (n,)."""
    from dataprune.formats import datacomp  # with pyarrow, 0.3 s that other formats do not need

    datacomp.write_uids(path, shaped("uids", uids, subset.n)[subset.ids])


def read_uids(path: str | Path, uids: np.ndarray, fingerprint: str) -> Subset:
    """The subset whose uids stand in a uid file; uids: those of the whole data set."""
    from dataprune.formats import datacomp

    there = datacomp.read_uids(path)
    kept = np.flatnonzero(np.isin(uids, there))
    if len(kept) != len(there):
        expected = f"distinct uids of the data set's {len(uids)}"
        raise ConfigError(str(path), Shown(f"{len(there)} uids for {len(kept)} examples"), expected)
    return _subset(path, kept, len(uids), fingerprint)


def write_csv(
    subset: Subset,
    path: str | Path,
    *,
    names: Sequence[str] | None = None,
    labels: np.ndarray | None = None,
    classes: Sequence[str] | None = None,
) -> None:
    """Write a table: id, and as far as they are known name, class (its name, or its number) and weight."""
    columns: dict[str, Iterable] = {"id": subset.ids.tolist()}
    if names is not None:
        columns["name"] = _kept(subset, names)
    if labels is not None:
        kept = shaped("labels", labels, subset.n)[subset.ids].tolist()
        columns["class"] = kept if classes is None else [classes[c] for c in kept]
    if subset.weights is not None:
        columns["weight"] = subset.weights.tolist()
    with whole_file(path) as file:
        text = io.TextIOWrapper(file, "utf-8", "surrogateescape", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerows(chain([columns], zip(*columns.values(), strict=True)))
        text.detach()


def _subset(path: str | Path, ids: np.ndarray, n: int, fingerprint: str) -> Subset:
    """A subset from ids in any order, or an error that names the file."""
    ids = shaped(str(path), ids, "k")
    if ids.dtype.kind not in "iu":
        raise ConfigError(str(path), Shown(f"array of {ids.dtype}"), "ids: whole numbers (of a mask: its flatnonzero)")
    distinct, counts = np.unique(ids.astype(np.int64), return_counts=True)
    if len(distinct) < len(ids):
        raise ConfigError(str(path), Shown(f"{first(distinct[counts > 1])} more than once"), "every id once")
    header = {"method": "imported", "prune_ratio": round(1 - len(ids) / n, 6), "file": Path(path).name}
    try:
        return Subset(distinct, n, fingerprint, header=header)
    except ConfigError as error:
        raise ConfigError(str(path), error.value, error.expected) from None


def file_list_lines(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Return the lines of a file list; blank ones may only follow the last: elsewhere they would shift all ids."""
    blank = None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            blank = blank or number
        elif blank:
            raise ConfigError("lines", Shown(f"blank line {blank}"), "one line an example")
        else:
            yield line


def _kept(subset: Subset, names: Sequence[str]) -> Iterator[str]:
    if len(names) != subset.n:
        raise ConfigError("names", Shown(f"{len(names)} names"), f"{subset.n}, one an example of the subset's data set")
    return (names[i] for i in subset.ids.tolist())


def _text(name: bytes) -> str:
    return name.decode(errors="replace")

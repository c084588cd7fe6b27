"""Training dynamics that other programs recorded, one epoch at a time.

| layout | is | written by |
|---|---|---|
| recorder | a folder with dynamics.json | dataprune's Recorder, from any loop |
| text | a folder with prob_{e}.txt: n lines, p of the true class, 0 = not seen | Dyn-Unc |
| batches | a pickle {training_dynamics: [{epoch, idx, output}, ...]}, or a folder with one an epoch | CCS, D2, DUAL |
| outputs | a folder with {e}_Output.npy (m, c) and {e}_Index.npy (m,) | TDDS, DUAL |
| arrays | a folder with one .npy an epoch: p of the true class (n,), or outputs (n, c) | |
| array | one .npy of all epochs: p of the true class (e, n), or outputs (e, n, c) | DUAL |

Where several files are the epochs, their names differ in one number, which counts from 0 or 1. Outputs are
probabilities or, as TDDS and DUAL save them, logits: `_kind` tells which.
"""

import json
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, first
from dataprune.formats.pickles import load
from dataprune.store import describe, fingerprint

KEY = "dynamics"  # of every ConfigError here
QUANTITIES = ("p_true", "margin", "error", "correct", "logit_gap")
EVERYTHING = (*QUANTITIES, "probabilities")
FOLDERS = {  # layout -> names of the files that are its epochs
    "text": r"prob_\d+\.txt",
    "batches": r".+\.(pickle|pkl)",
    "outputs": r".+_Output\.npy",
    "arrays": r".+\.npy",
}
INSIDE = "a folder with dynamics.json, prob_0.txt, *.pickle, 0_Output.npy or *.npy, or a file .pickle or .npy"


@dataclass(frozen=True)
class Found:
    """What lies at a path, told by names and headers alone."""

    path: Path
    layout: str
    files: tuple[Path, ...]  # in the order of the epochs, where they are the epochs
    quantities: tuple[str, ...]
    epochs: int | None  # None = only the whole file tells

    @property
    def read(self) -> tuple[Path, ...]:
        """All files that reading opens."""
        return self.files + tuple(map(_index_of, self.files)) if self.layout == "outputs" else self.files


@dataclass(frozen=True)
class Epoch:
    """What is known of one epoch. Which `kind` the values are: p_true (m,), NaN = not seen; probabilities, logits (no
    softmax taken) or log_probabilities (m, c)."""

    file: Path
    kind: str
    values: np.ndarray
    ids: np.ndarray | None = None  # int64 (m,); None = all examples in order


def look(path: str | Path) -> Found:
    """Which of the layouts lies at `path`, how many epochs, and which quantities it has."""
    root = Path(path)
    if root.is_file():
        return _look_at_array(root) if root.suffix == ".npy" else Found(root, "batches", (root,), EVERYTHING, None)
    if not root.is_dir():
        raise ConfigError(KEY, str(path), f"an existing folder or file (looked in {Path.cwd()})")
    return _look_at_recorder(root) if (root / "dynamics.json").exists() else _look_at_epochs(root)


def _look_at_array(file: Path) -> Found:
    array = _array(file)
    if array.ndim not in (2, 3):
        raise _wrong(file, f"an array of shape {array.shape}", "(epochs, n) or (epochs, n, classes)")
    return Found(file, "array", (file,), EVERYTHING if array.ndim == 3 else ("p_true",), len(array))


def _look_at_recorder(root: Path) -> Found:
    there = tuple(name for name in EVERYTHING if (root / f"{name}.npy").exists())
    if "p_true" not in there:
        raise _wrong(root, "no p_true.npy", "what dataprune's Recorder writes")
    files = (root / "dynamics.json", *(root / f"{name}.npy" for name in there))
    return Found(root, "recorder", files, there, _epochs_done(root))


def _look_at_epochs(root: Path) -> Found:
    """Which of FOLDERS a folder with a file an epoch is: the first whose files it has."""
    names = sorted(entry.name for entry in root.iterdir())
    for layout, pattern in FOLDERS.items():
        if matching := [root / name for name in names if re.fullmatch(pattern, name)]:
            files = _numbered(root, matching)
            if layout == "outputs":
                _check_indices(files)
            one = layout == "text" or (layout == "arrays" and _array(files[0]).ndim == 1)
            return Found(root, layout, files, ("p_true",) if one else EVERYTHING, len(files))
    raise _wrong(root, f"{', '.join(names[:5]) or 'nothing'} inside", INSIDE)


def digest(files: Sequence[Path]) -> str:
    """SHA-256 over the content of files; of several also their names. Read once a process and state of a file."""
    stats = [os.stat(file) for file in files]
    found = [_sha256(file.absolute(), s.st_size, s.st_mtime_ns) for file, s in zip(files, stats, strict=True)]
    return found[0] if len(files) == 1 else fingerprint([[f.name, x] for f, x in zip(files, found, strict=True)])


def epochs(found: Found) -> tuple[int, Iterator[Epoch]]:
    """How many epochs there are, and each of them in order; of every layout but recorder."""
    if found.layout == "batches" and found.epochs is None:
        (file,) = found.files
        by_epoch = _batches(file)
        _consecutive(file, list(by_epoch))
        return len(by_epoch), (_joined(file, items) for items in by_epoch.values())
    if found.layout == "array":
        array = _array(found.path)
        kind = _kind(array[0])
        return len(array), (_epoch(found.path, kind, row) for row in array)
    reader = {"text": _text_epochs, "batches": _pickled_epochs}.get(found.layout, _array_epochs)
    return len(found.files), reader(found.files)


def placed(epoch: Epoch, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The ids that the epoch has, sorted, and the row of each; of one that is there twice, the first."""
    if epoch.ids is None:
        if len(epoch.values) != n:
            raise _wrong(epoch.file, f"{len(epoch.values)} values", f"{n}, one an example of the source")
        return np.arange(n), np.arange(n)
    ids = epoch.ids
    if ids.shape != epoch.values.shape[:1] or ids.dtype.kind not in "iu":
        found = f"ids {ids.dtype} {ids.shape} of values {epoch.values.shape}"
        raise _wrong(epoch.file, found, "one whole number a row")
    if len(wrong := ids[(ids < 0) | (ids >= n)]):
        raise _wrong(epoch.file, f"ids {first(np.unique(wrong))}", f"0 to {n - 1}, as the source has")
    return np.unique(ids, return_index=True)


def in_unit(file: Path, p: np.ndarray, ids: np.ndarray | None = None) -> np.ndarray:
    """Probabilities (m,) or (m, c) clipped to 0 and 1, or an error: NaN, or out by more than rounding."""
    bad = ~((p >= -1e-6) & (p <= 1 + 1e-6))
    if len(rows := np.flatnonzero(bad if bad.ndim == 1 else bad.any(1))):
        where = first(rows if ids is None else ids[rows])
        raise _wrong(file, f"{p[bad][0]:g} at ids {where}", "probabilities: 0 to 1, not NaN")
    return np.clip(p, 0, 1)


def check_recorder(found: Found, n: int, made_for: str) -> None:
    """Raise a ConfigError unless a Recorder's folder is of the data set with fingerprint `made_for` and n examples."""
    header = _header(found.path)
    if header["n"] != n:
        raise _wrong(found.path, f"dynamics of {header['n']} examples", f"{n}, as the source has")
    if header["fingerprint"] not in (None, made_for):
        other = f"dynamics of data set {header['fingerprint'][:8]}"
        raise _wrong(found.path, other, f"those of the source, {made_for[:8]}")


def _header(folder: Path) -> dict[str, Any]:
    try:
        header = json.loads((folder / "dynamics.json").read_bytes())
    except ValueError as error:
        raise _wrong(folder / "dynamics.json", f"no JSON ({error})", "what dataprune's Recorder writes") from None
    if missing := {"n", "fingerprint", "unseen"} - header.keys():
        raise _wrong(folder / "dynamics.json", f"no {', '.join(sorted(missing))}", "what dataprune's Recorder writes")
    return header


def _epochs_done(folder: Path) -> int:
    """Epochs that a Recorder has finished; they must be the first ones."""
    done = sorted(int(epoch) for epoch in _header(folder)["unseen"])
    if not done or done != list(range(len(done))):
        raise _wrong(folder, f"epochs {first(done)} recorded" if done else "no epoch recorded", "0, 1, 2 and so on")
    return len(done)


def _numbered(root: Path, files: Sequence[Path]) -> tuple[Path, ...]:
    """The files in the order of the one number in which their names differ; 9 comes before 10."""
    numbers = [tuple(map(int, re.findall(r"\d+", file.stem))) for file in files]
    such = f"files such as {files[0].name} and {files[-1].name}"
    if len(set(map(len, numbers))) != 1 or not numbers[0]:
        raise _wrong(root, such, "names with the number of the epoch")
    columns = list(zip(*numbers, strict=True))  # the first number of all names, the second of all names, ...
    differing = [column for column in columns if len(set(column)) > 1]
    if len(differing) > 1:
        raise _wrong(root, such, "names that differ in one number")
    counted, ordered = zip(*sorted(zip((differing or columns)[-1], files, strict=True)), strict=True)
    _consecutive(root, list(counted))
    return ordered


def _check_indices(files: Sequence[Path]) -> None:
    for file in files:
        if not (index := _index_of(file)).exists():
            raise _wrong(file, "no ids", f"{index.name} beside it: the rows are in the order of a shuffled loader")


def _consecutive(path: Path, found: list[int]) -> None:
    """Raise unless epochs count from 0 or 1 without a gap: a window must not span one unseen."""
    start = found[0] if found else 0
    # TDDS's trainer loses epoch 0 when it has to make its folder first; CCS numbers its files from 1
    if start not in (0, 1) or found != list(range(start, start + len(found))):
        gaps = sorted(set(range(found[-1] + 1)) - set(found) - {0})
        missing = f"without epochs {first(gaps)}" if gaps else f"with epochs {first(found)}, in this order"
        raise _wrong(path, missing, "all epochs, from 0 or 1")


def _text_epochs(files: Sequence[Path]) -> Iterator[Epoch]:
    import pyarrow as pa
    from pyarrow import csv

    for file in files:
        try:
            table = csv.read_csv(
                file,
                read_options=csv.ReadOptions(column_names=["p"], use_threads=False),
                parse_options=csv.ParseOptions(ignore_empty_lines=False),
                convert_options=csv.ConvertOptions(column_types={"p": pa.float64()}, null_values=[]),
            )
        except pa.ArrowInvalid as error:
            raise _wrong(file, f"no number in a line ({error})", "one number a line") from None
        p = in_unit(file, table["p"].to_numpy())
        # what an epoch did not see is 0 there; a probability that half precision has rounded to 0 looks the same
        yield Epoch(file, "p_true", np.where(p == 0, np.nan, p))


def _array_epochs(files: Sequence[Path]) -> Iterator[Epoch]:
    kind = None
    for file in files:
        values, index = _array(file), _index_of(file)
        kind = kind or _kind(values)
        yield _epoch(file, kind, values, _array(index) if index != file else None)


def _epoch(file: Path, kind: str, values: np.ndarray, ids: np.ndarray | None = None) -> Epoch:
    """An epoch of an array; probabilities of whole outputs are checked where they are read."""
    return Epoch(file, kind, in_unit(file, values) if values.ndim == 1 else values, ids)


def _pickled_epochs(files: Sequence[Path]) -> Iterator[Epoch]:
    start = None
    for row, file in enumerate(files):
        by_epoch = _batches(file)
        start = next(iter(by_epoch)) if start is None else start
        if list(by_epoch) != [start + row]:
            raise _wrong(file, f"epochs {first(list(by_epoch))}", f"epoch {start + row} alone: one file an epoch")
        yield _joined(file, by_epoch[start + row])


def _batches(file: Path) -> dict[int, list[dict[str, Any]]]:
    """The batches of a pickle by their epoch, in the order in which they were trained on."""
    found = load(file, KEY)
    if isinstance(found, dict):
        if "training_dynamics" not in found:
            raise _wrong(file, f"{', '.join(map(str, found)) or 'nothing'} inside", "training_dynamics: a list")
        found = found["training_dynamics"]
    if not isinstance(found, list) or not found:
        raise _wrong(file, f"a {type(found).__name__} inside", "a list of batches: epoch, idx, output")
    by_epoch: dict[int, list[dict[str, Any]]] = {}
    for at, item in enumerate(found):
        by_epoch.setdefault(_epoch_of(file, at, item), []).append(_batch(file, at, item))
    return by_epoch


def _epoch_of(file: Path, at: int, item: Any) -> int:
    if not isinstance(item, dict) or not {"epoch", "idx", "output"} <= item.keys():
        there = ", ".join(map(str, item)) if isinstance(item, dict) else type(item).__name__
        raise _wrong(file, f"{there} in batch {at}", "epoch, idx and output")
    return int(item["epoch"])


def _batch(file: Path, at: int, item: dict[str, Any]) -> dict[str, np.ndarray]:
    ids, values = np.asarray(item["idx"]), np.asarray(item["output"])
    if ids.ndim != 1 or values.ndim != 2 or len(ids) != len(values):
        raise _wrong(file, f"idx {ids.shape} and output {values.shape} in batch {at}", "(b,) and (b, classes)")
    return {"idx": ids, "output": values}


def _joined(file: Path, items: list[dict[str, Any]]) -> Epoch:
    if len({item["output"].shape[1] for item in items}) > 1:
        raise _wrong(file, "batches of different numbers of classes", "one number of classes")
    ids = np.concatenate([item["idx"] for item in items])
    return Epoch(file, "log_probabilities", np.concatenate([item["output"] for item in items]), ids)


def _kind(values: np.ndarray) -> str:
    """Logits have values below 0, and no row of them sums to 1 but by design: what is not so is meant as softmax."""
    if values.ndim == 1:
        return "p_true"
    rows = np.asarray(values[:4096], np.float64)
    softmax = (rows >= 0).all(1) & (np.abs(rows.sum(1) - 1) < 1e-3)
    return "logits" if (rows < 0).any() and not softmax.any() else "probabilities"


def _index_of(file: Path) -> Path:
    """Where TDDS keeps the ids of an epoch's rows; of other files the file itself."""
    return file.with_name(re.sub(r"_Output\.npy$", "_Index.npy", file.name))


def _array(file: Path) -> np.ndarray:
    try:
        array = np.load(file, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise _wrong(file, f"no array ({error})", "an array of numbers as numpy.save writes it") from None
    if array.dtype.kind not in "fiu":
        raise _wrong(file, f"an array of {array.dtype}", "numbers")
    return array


def _wrong(path: Path, found: str, expected: str) -> ConfigError:
    return ConfigError(KEY, Shown(f"{str(path)!r} with {found}"), expected)


@cache
def _sha256(file: Path, size: int, changed: int) -> str:
    return describe(file)["sha256"]

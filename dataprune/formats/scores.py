"""Scores that other programs computed: a file with one number an example, read as a score function of the pipeline.

    python -m dataprune method=external method.path=scores.csv

Read are tables (.csv .tsv .txt .parquet), arrays (.npy .npz), dictionaries (.json, and pickles such as CCS's and D2's
data-score files or what torch.save wrote, in any other file). Numbers belong to an id, the example's row in the
source, or to a file name, as in the published tables for ImageNet; a bare array is in id order.
"""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, Shown, first, first_line, shaped
from dataprune.formats.pickles import load

TEXT = (".csv", ".tsv", ".txt")
A_TABLE = "a line of headers, or two columns: id or name, score"
TARGETS = "targets"  # the labels beside the scores in the files of CCS and D2
NO_SCORES = (TARGETS, "label", "labels", "class")

Table = dict[str, np.ndarray]  # columns by name, all of one length


def read_scores(
    path: str | Path,
    names: Sequence[str],
    labels: np.ndarray,
    *,
    column: str | None = None,
    id_column: str = "id",
    name_column: str = "name",
    higher_is_kept: bool = True,
) -> np.ndarray:
    """The scores in a file, float32 (n,) in id order, higher = kept first; negated with `higher_is_kept=False`.

    names: of the n examples; those in the file are compared without their folders, unless examples of several folders
    share a name. labels: int (n,), compared with `targets` where the file has them. column: header, key or array name
    of the scores; None = `score`, or the only one there is. id_column, name_column: what numbers and names are called;
    where both are there, both must fit. A table of two columns without headers holds ids or names, then scores.

    Raises ConfigError unless every example gets exactly one finite score: ids and names that are missing, doubled or
    unknown are named.
    """
    file, n = Path(path), len(labels)
    found = _content(file, id_column, name_column)
    if isinstance(found, np.ndarray):
        scores = shaped("path", found, n)
    else:
        columns = _columns(found, name_column)
        values = _chosen(columns, column, (id_column, name_column))
        place = _places(file, columns, names, id_column, name_column)
        if len(values) != len(place):
            raise ConfigError(
                "path", Shown(f"{str(path)!r} with {len(values)} scores"), f"{len(place)}, one an example"
            )
        _same_labels(file, columns, labels[place])
        scores = np.empty(n, values.dtype)
        scores[place] = values
    if scores.dtype.kind not in "fiub":
        raise ConfigError("path", Shown(f"{str(path)!r} with {scores.dtype}"), "numbers")
    with np.errstate(over="ignore"):
        kept = scores.astype(np.float32)
    if len(wrong := np.flatnonzero(~np.isfinite(kept))):
        raise ConfigError("path", Shown(f"{str(path)!r} with NaN or inf at ids {first(wrong)}"), "finite scores")
    return kept if higher_is_kept else -kept


def read_class_scores(path: str | Path, n_classes: int) -> np.ndarray:
    """One number a source class from a .npy file, float32 (n_classes,), higher = kept first.

    The file holds (c,), e.g. `mean_influence.npy` of `python -m dataprune.influence estimate`, or (t, c), of which the
    mean over the t targets is taken. NaN (an influence that the models cannot tell) counts as 0, neither helpful nor
    harmful.
    """
    return _influences(path, n_classes, "class")


def read_example_influences(path: str | Path, labels: np.ndarray, *, higher_is_kept: bool = True) -> np.ndarray:
    """The same of examples: one number each of the n examples with these labels (n,), in id order; float32 (n,).

    higher_is_kept=False keeps the most harmful, the control of the removal of harmful ones.
    """
    influences = _influences(path, len(labels), "example")
    return influences if higher_is_kept else -influences


def _influences(path: str | Path, n: int, unit: str) -> np.ndarray:
    file = Path(path)
    if file.suffix != ".npy":
        raise ConfigError("path", str(path), f"a .npy file with one number a {unit}")
    scores = _read_arrays(file)
    if not isinstance(scores, np.ndarray):
        raise ConfigError("path", str(path), "one array, not several")
    if scores.dtype.kind not in "fiu" or scores.ndim not in (1, 2) or scores.shape[-1] != n:
        found = f"{str(path)!r} with {scores.dtype} of shape {scores.shape}"
        raise ConfigError("path", Shown(found), f"numbers of shape ({n},) or (targets, {n})")
    return np.nan_to_num(scores, nan=0.0).reshape(-1, n).mean(axis=0, dtype=np.float64).astype(np.float32)


def _content(file: Path, id_column: str, name_column: str) -> np.ndarray | Mapping[Any, Any]:
    """What the file holds, by its suffix: an array in id order, or columns by name."""
    if file.suffix in TEXT:
        return _read_text(file, id_column, name_column)
    if file.suffix == ".parquet":
        import pandas as pd

        try:
            table = pd.read_parquet(file)
        except (ValueError, OSError) as error:  # pyarrow's errors are ValueErrors
            raise ConfigError("path", str(file), f"a Parquet file ({first_line(error)})") from None
        return {name: values.to_numpy() for name, values in table.items()}
    if file.suffix in (".npy", ".npz"):
        return _read_arrays(file)
    found = _read_json(file) if file.suffix == ".json" else load(file, "path")
    if isinstance(found, list):
        found = np.asarray(found)
    if not isinstance(found, Mapping | np.ndarray):
        expected = "an array of scores, or a dictionary with some"
        raise ConfigError("path", Shown(f"{str(file)!r} with a {type(found).__name__}"), expected)
    return found


def _read_json(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except ValueError as error:
        raise ConfigError("path", str(file), f"a file of JSON ({first_line(error)})") from None


def _columns(found: Mapping[Any, Any], name_column: str) -> Table:
    """The one-dimensional entries of a dictionary; one of numbers is a table of names and scores."""
    if found and all(isinstance(value, int | float) for value in found.values()):
        return {name_column: np.array([str(name) for name in found]), "score": np.array(list(found.values()))}
    arrays = {str(name): _as_array(values) for name, values in found.items()}
    return {name: values for name, values in arrays.items() if values is not None and values.ndim == 1}


def _as_array(values: Any) -> np.ndarray | None:
    """An array, or a list of numbers or texts as one; None for anything else."""
    if isinstance(values, list) and all(isinstance(value, int | float | str) for value in values):
        return np.array(values)
    return values if isinstance(values, np.ndarray) else None


def _read_text(file: Path, id_column: str, name_column: str) -> Table:
    """Columns of a text table; whether it has headers is seen in its first line."""
    rows = _words(file)
    if any(_is_number(word) for word in rows[0]):
        header = _names_of_two(file, rows, id_column, name_column)
    else:
        header = [word.strip() for word in rows.pop(0)]
    columns = [np.array(words, object) for words in zip(*rows, strict=True)] or [np.empty(0)] * len(header)
    named = dict(zip(header, columns, strict=True))
    return {name: words if name == name_column else _numbers(words) for name, words in named.items()}


def _names_of_two(file: Path, rows: list[list[str]], id_column: str, name_column: str) -> list[str]:
    """What the two columns of a table without headers are: ids or names, then scores."""
    if len(rows[0]) != 2:
        raise ConfigError("path", Shown(f"{str(file)!r} that begins with {','.join(rows[0])[:60]!r}"), A_TABLE)
    return [id_column if all(row[0].isdecimal() for row in rows) else name_column, "score"]


def _words(file: Path) -> list[list[str]]:
    """The words of every line, equally many; what stands between them is seen in the first line."""
    with open(file, newline="") as text:
        top = text.readline().strip()
        text.seek(0)
        mark = next((mark for mark in ",\t;" if mark in top), None)
        lines = map(str.split, text) if mark is None else csv.reader(text, delimiter=mark, skipinitialspace=True)
        rows = [row for row in lines if row]
    if not rows:
        raise ConfigError("path", Shown(f"{str(file)!r} without a line"), A_TABLE)
    if wrong := [i for i, row in enumerate(rows) if len(row) != len(rows[0])]:
        found = Shown(f"{str(file)!r} with {len(rows[wrong[0]])} columns in row {wrong[0]}")
        raise ConfigError("path", found, f"{len(rows[0])} columns, as in the first row")
    return rows


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _numbers(words: np.ndarray) -> np.ndarray:
    """A column of texts as whole numbers or numbers where all of them are, else as it is."""
    for kind in (np.int64, np.float64):
        try:
            return words.astype(kind)
        except (ValueError, OverflowError):
            continue
    return words


def _read_arrays(file: Path) -> np.ndarray | Table:
    try:
        found = np.load(file, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ConfigError("path", str(file), f"an array of numbers as numpy.save writes it ({error})") from None
    if not isinstance(found, np.ndarray):
        with found:
            return {name: found[name] for name in found.files}
    if file.name.startswith("score_win") and found.ndim == 1 and len(found) > 1 and (np.diff(found) >= 0).all():
        mask = file.name.replace("score_win", "data_mask_win")
        expected = f"scores in id order; TDDS sorts them: fixed = numpy.empty_like(s); fixed[numpy.load({mask!r})] = s"
        raise ConfigError("path", Shown(f"{str(file)!r} in ascending order"), expected)
    return found


def _chosen(columns: Table, column: str | None, keys: tuple[str, ...]) -> np.ndarray:
    """The column of the scores: that which is asked for, `score`, or the only one."""
    options = [name for name in columns if name not in (*keys, *NO_SCORES)]
    if column is None:
        column = "score" if "score" in columns else options[0] if len(options) == 1 else None
    if column not in columns:
        raise ConfigError("column", column, f"one of {', '.join(options) or 'the scores, but there are none'}")
    values = shaped(column, columns[column], "n")
    if values.dtype.kind in "OUS":
        wrong = [f"{word!r} in row {row}" for row, word in enumerate(values) if not _is_number(word)]
        raise ConfigError("column", Shown(f"{column!r} with {_some(wrong)}"), "numbers")
    return values


def _places(file: Path, columns: Table, names: Sequence[str], id_column: str, name_column: str) -> np.ndarray:
    """The id of every row of the file: each of 0 to n-1 once."""
    given = [_base(name) for name in columns[name_column].tolist()] if name_column in columns else []
    if id_column in columns:
        place = _by_id(file, columns[id_column], len(names), id_column)
        wrong = [i for name, i in zip(given, place.tolist(), strict=False) if name != _base(names[i])]
        if wrong:
            found = Shown(f"{str(file)!r} with other names at ids {first(sorted(wrong))}")
            raise ConfigError("path", found, "the names of this data set; is it a file of another one?")
        return place
    if name_column in columns:
        return _by_name(file, columns[name_column], given, names)
    if file.suffix in (*TEXT, ".parquet"):
        expected = f"a column {id_column!r} or {name_column!r} (id_column=, name_column=); it has "
        raise ConfigError("path", str(file), expected + ", ".join(columns))
    return np.arange(len(names))


def _by_id(file: Path, ids: np.ndarray, n: int, column: str) -> np.ndarray:
    whole = ids.dtype.kind in "iu" or (ids.dtype.kind == "f" and (ids == np.floor(ids)).all())
    if not whole:
        wrong = [repr(value) for value in ids.tolist() if not _is_number(str(value)) or float(value) % 1 != 0]
        raise ConfigError("path", Shown(f"{str(file)!r} with {column} {_some(wrong)}"), f"ids of 0 to {n - 1}")
    inside = (ids >= 0) & (ids < n)
    _each_once(file, "ids", ids[~inside].astype(np.int64).tolist(), ids[inside].astype(np.int64), list(range(n)))
    return ids.astype(np.int64)


def _by_name(file: Path, whole: np.ndarray, given: list[str], names: Sequence[str]) -> np.ndarray:
    import pandas as pd

    wanted = [_base(name) for name in names]
    if len(set(wanted)) < len(wanted):  # the same file name in several folders: only the whole names tell
        wanted, given = list(names), [str(name) for name in whole.tolist()]
    index = pd.Index(wanted)
    if not index.is_unique:
        twice = index[index.duplicated()].unique().tolist()
        raise ConfigError("names", Shown(f"{_some(twice)} of several examples"), "a table by id: names do not tell")
    place = index.get_indexer(pd.Index(given))
    _each_once(file, "names", [g for g, p in zip(given, place, strict=True) if p < 0], place[place >= 0], wanted)
    return place


def _base(name: object) -> str:
    return str(name).rpartition("/")[2]


def _each_once(file: Path, what: str, unknown: Sequence, place: np.ndarray, wanted: list) -> None:
    """Raise unless nothing is unknown and every example stands in `place` once."""
    counts = np.bincount(place, minlength=len(wanted))
    troubles = [
        (which, rows)
        for which, rows in (
            ("unknown", list(unknown)),
            ("doubled", [wanted[i] for i in np.flatnonzero(counts > 1)]),
            ("missing", [wanted[i] for i in np.flatnonzero(counts == 0)]),
        )
        if rows
    ]
    if troubles:
        found = "; ".join(f"{which} {what} {_some(rows)}" for which, rows in troubles)
        raise ConfigError("path", Shown(f"{str(file)!r} with {found}"), "one score for each example of the source")


def _same_labels(file: Path, columns: Table, labels: np.ndarray) -> None:
    """The files of CCS and D2 say which labels their data had; they are in id order."""
    if TARGETS in columns:
        wrong = np.flatnonzero(shaped(TARGETS, columns[TARGETS], len(labels)) != labels)
        if len(wrong):
            found = Shown(f"{str(file)!r} with other {TARGETS} at ids {first(wrong)}")
            raise ConfigError("path", found, "the labels of this data set; is it a file of another one?")


def _some(words: Sequence, shown: int = 5) -> str:
    """The first few for a message."""
    text = ", ".join(str(word) for word in words[:shown])
    return text if len(words) <= shown else f"{text} and {len(words) - shown} more"

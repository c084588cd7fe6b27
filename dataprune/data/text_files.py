"""Text data sets in tables: Parquet, CSV, TSV or JSONL files with one column of text, or two for pairs of sentences.

    source=text source.path=DIR source.columns=[premise,hypothesis]

What DIR holds: dataprune.data.tables. Labels are integers, or the names of classes.
"""

from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.data.examples import Dataset, Split
from dataprune.data.parquet import class_names, schema_of
from dataprune.data.shares import same_share
from dataprune.data.tables import Columns, files_of_splits, table
from dataprune.errors import ConfigError, Shown, first
from dataprune.streams import stream

EXPECTED = "integers, or class names (reader.classes=[a,b] lists them)"


def read(
    path: str,
    columns: list[str] | None = None,
    label: str = "label",
    classes: list[str] | None = None,
    splits: dict[str, str] | None = None,
    carve: int = 0,
    seed: int = 0,
) -> Dataset:
    """Read text files below `path`.

    columns: one or two columns of text; None = `text`. label: the column of labels, integers or class names. classes:
    the names in order; None = those that a Parquet file of Hugging Face gives, else the numbers, else the names of
    `train`, sorted. splits: the names of files or folders that do not begin as above, {"train": "train_r3"}. carve:
    so many examples of train become the validation split, the same share of each class, drawn by `seed`. Without a
    test split the validation split is the test split.
    """
    wanted = _text_columns(columns)
    files = files_of_splits(Path(path), splits or {})
    tables = {name: [(file, table(file, [*wanted, label])) for file in those] for name, those in files.items()}
    labels = list(chain.from_iterable(columns_of[label] for _, columns_of in tables["train"]))
    names, ids = _classes(labels, None if classes is None else list(map(str, classes)), _stated(files["train"], label))
    found = {name: _split(those, wanted, label, ids) for name, those in tables.items()}
    if carve:
        if found.keys() != {"train", "test"}:
            raise ConfigError("reader.carve", carve, "0: there is a validation split")
        found["train"], found["validation"] = _carved(found["train"], carve, seed)
    if "test" not in found:
        found["test"] = found.pop("validation")
    return Dataset(names, found)


def _text_columns(columns: list[str] | str | None) -> list[str]:
    """The one or two columns of text; None = `text`."""
    wanted = ["text"] if columns is None else [columns] if isinstance(columns, str) else list(columns)
    if not 1 <= len(wanted) <= 2:
        raise ConfigError("columns", wanted, "one column of text, or two for pairs")
    return wanted


def _stated(files: list[Path], label: str) -> list[str] | None:
    """The class names in the first Parquet file that gives some."""
    schemas = (schema_of(file) for file in files if file.suffix.lower() == ".parquet")
    return next((names for schema in schemas if (names := class_names(schema, label))), None)


def _is_number(value: Any) -> bool:
    """Whether a label is an integer, also where a CSV file spells it."""
    if isinstance(value, str):
        return value.removeprefix("-").isdecimal()
    return isinstance(value, int) and not isinstance(value, bool)


def _classes(
    values: list[Any], listed: list[str] | None, stated: list[str] | None
) -> tuple[list[str], dict[str, int] | None]:
    """The class names, and which number each has; None = the labels of train are the numbers.

    listed: names that the config gives; stated: names that the file gives.
    """
    values = [value for value in values if value not in (None, "")]  # these are named with their rows later
    words = {str(value) for value in values}
    if listed is not None and words <= set(listed):  # also [1,2,3,4,5]: stars, which do not begin at 0
        return listed, _numbered(listed)
    known = listed or stated
    if _are_numbers(values):
        return known or _numbers(values), None
    names = known or _sorted_words(words)
    return names, _numbered(names)


def _are_numbers(values: list[Any]) -> bool:
    """Whether labels stand for themselves: all are integers, or some are no text (wrong ones are named later)."""
    return all(map(_is_number, values)) or not all(isinstance(value, str) for value in values)


def _numbered(names: list[str]) -> dict[str, int]:
    return {name: i for i, name in enumerate(names)}


def _sorted_words(words: set[str]) -> list[str]:
    """Class names that nothing states; a number between words is a slip."""
    if numbers := sorted(filter(_is_number, words)):
        raise ConfigError("reader.label", Shown(f"{numbers[0]!r} beside other words"), EXPECTED)
    return sorted(words)


def _numbers(values: list[Any]) -> list[str]:
    return [str(i) for i in range(max((int(v) for v in values if _is_number(v)), default=-1) + 1)]


def _split(files: list[tuple[Path, Columns]], columns: list[str], label: str, ids: dict[str, int] | None) -> Split:
    texts: list[tuple[str, ...]] = []
    labels: list[int] = []
    names: list[str] = []
    for file, values in files:
        for column in columns:
            _check_text(file, column, values[column])
        texts += list(zip(*(values[column] for column in columns), strict=True))
        labels += _labels(file, values[label], ids)
        names += [f"{file.name}:{row}" for row in range(len(values[label]))]
    return Split(texts, np.array(labels, np.int64), names)


def _check_text(file: Path, column: str, values: list[Any]) -> None:
    wrong = [row for row, text in enumerate(values) if not isinstance(text, str)]
    if wrong:
        found = values[wrong[0]]
        what = "NULL" if found is None else f"{type(found).__name__} {str(found)[:40]}"
        raise ConfigError("columns", Shown(f"{column!r} with {what} at rows {first(wrong)} of {file.name}"), "text")


def _labels(file: Path, values: list[Any], ids: dict[str, int] | None) -> list[int]:
    """Numbers of classes; ids: of class names, None = the values are the numbers."""
    if ids is None:
        wrong = [row for row, value in enumerate(values) if not _is_number(value)]
        expected = EXPECTED
    else:
        wrong = [row for row, value in enumerate(values) if isinstance(value, bool) or str(value) not in ids]
        expected = " | ".join(list(ids)[:9]) + ", or integers (reader.classes=[a,b] lists names)"
    if wrong:
        found = "NULL" if values[wrong[0]] in (None, "") else repr(values[wrong[0]])
        raise ConfigError("reader.label", Shown(f"{found} at rows {first(wrong)} of {file.name}"), expected)
    return [int(value) if ids is None else ids[str(value)] for value in values]


def _carved(train: Split, count: int, seed: int) -> tuple[Split, Split]:
    """What is left of a train split, and `count` examples of it."""
    n_classes = len(np.unique(train.labels))
    if not n_classes <= count <= len(train.labels) - n_classes:
        expected = f"{n_classes} to {len(train.labels) - n_classes}: of each class one, of {len(train.labels)} examples"
        raise ConfigError("reader.carve", count, expected)
    taken = same_share(train.labels, count, stream(seed, "carve"))
    left = np.setdiff1d(np.arange(len(train.labels)), taken)
    return _part(train, left), _part(train, taken)


def _part(split: Split, ids: np.ndarray) -> Split:
    texts, names = list(split.examples), split.names or []
    return Split([texts[i] for i in ids], split.labels[ids], [names[i] for i in ids])

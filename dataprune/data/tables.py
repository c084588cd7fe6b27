"""The files of a data set's splits as columns: Parquet, CSV, TSV and JSONL.

A folder holds train, test and perhaps validation (or valid, val, dev), each as a file (train.csv), as numbered files
(train-00000-of-00002.parquet) or as a folder of files, which are read in name order.
"""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from dataprune.data.folder import first_names
from dataprune.data.parquet import schema_of
from dataprune.errors import ConfigError, first_line

WORDS = {"train": ("train",), "validation": ("validation", "valid", "val", "dev"), "test": ("test",)}
Columns = dict[str, list[Any]]  # of one file, by name


def files_of_splits(root: Path, named: dict[str, str]) -> dict[str, list[Path]]:
    """Return the files of each split that is there: train, and validation or test or both.

    named: how the files or folders of a split begin where that is none of the usual words, {"train": "train_r3"}.
    """
    if not root.is_dir():
        raise ConfigError("path", str(root), "a folder with train and test files inside; this is a file")
    if unknown := sorted(named.keys() - WORDS.keys()):
        raise ConfigError("reader.splits", unknown[0], " | ".join(WORDS))
    found: dict[str, list[Path]] = {}
    for split, words in (WORDS | {split: (word,) for split, word in named.items()}).items():
        if files := _called_first(root, words):
            found[split] = files
        elif split in named:
            raise ConfigError("reader.splits", dict(named), f"files that are there; there are {first_names(root)}")
    if "train" not in found or len(found) < 2:
        missing = "train" if "train" not in found else "test"
        kinds = ", ".join(READERS)
        raise ConfigError("path", str(root), f"a folder with {missing} in {kinds} inside; it has {first_names(root)}")
    return found


def _called_first(root: Path, words: tuple[str, ...]) -> list[Path]:
    """The files of the first of these words that has some."""
    for word in words:
        if files := _called(root, word):
            return files
    return []


def _called(root: Path, word: str) -> list[Path]:
    """The files of a split in name order: those of the folder `word`, or word.csv, or word-00000-of-00002.csv."""
    inside = sorted((root / word).iterdir()) if (root / word).is_dir() else sorted(root.iterdir())
    files = [p for p in inside if p.is_file() and p.suffix.lower() in READERS]
    if not (root / word).is_dir():
        files = [p for p in files if p.stem == word or p.stem.startswith(f"{word}-")]
    if len({p.suffix.lower() for p in files}) > 1:
        shown = ", ".join(p.name for p in files[:5])
        raise ConfigError("path", str(root), f"files of one kind for {word}; it has {shown}")
    return files


def table(file: Path, columns: list[str]) -> Columns:
    """Return these columns of a file as Python values; the last one is the column of labels.

    Raises ConfigError for a column that is missing and for a file that cannot be read.
    """
    try:
        return READERS[file.suffix.lower()](file, columns)
    except (pa.ArrowInvalid, UnicodeDecodeError, OSError) as error:
        kind = file.suffix.lower()[1:]
        raise ConfigError("path", str(file), f"a readable {kind} file in UTF-8 ({first_line(error)})") from None


def _parquet(file: Path, columns: list[str]) -> Columns:
    _check_columns(file, columns, schema_of(file).names)
    found = pq.read_table(file, columns=columns)
    return {name: found[name].to_pylist() for name in columns}


def _csv(file: Path, columns: list[str]) -> Columns:
    delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
    with open(file, encoding="utf-8-sig", newline="") as lines:
        _check_columns(file, columns, next(csv.reader(lines, delimiter=delimiter), []))
    found = pyarrow.csv.read_csv(
        file,
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        # words as they stand: "NA" and "null" are text
        convert_options=pyarrow.csv.ConvertOptions(
            include_columns=columns, column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
        ),
    )
    return {name: found[name].to_pylist() for name in columns}


def _jsonl(file: Path, columns: list[str]) -> Columns:
    found: Columns = {name: [] for name in columns}
    with open(file, encoding="utf-8-sig") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ConfigError("path", f"{file}:{number}", f"a JSON object a line ({error})") from None
            if not isinstance(row, dict):
                raise ConfigError("path", f"{file}:{number}", "a JSON object a line")
            _check_columns(f"{file}:{number}", columns, list(row))
            for name in columns:
                found[name].append(row[name])
    return found


READERS: dict[str, Callable[[Path, list[str]], Columns]] = {
    ".parquet": _parquet,
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _jsonl,
}


def _check_columns(file: Path | str, columns: list[str], there: list[str]) -> None:
    """Raise unless each of the text columns and the label column (the last) is there once."""
    for i, column in enumerate(columns):
        if there.count(column) != 1:
            key = "reader.label" if i == len(columns) - 1 else "columns"
            often = "two of that name" if column in there else ", ".join(there) or "none"
            raise ConfigError(key, column, f"a column of {file}; it has {often}")

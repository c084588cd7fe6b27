"""Hugging Face image layout: <path>/train.parquet, test.parquet, perhaps validation.parquet.

Columns `image` (struct of `bytes` and `path`, or plain bytes) and `label` (integers). Several files of a split
(`train-00000-of-00004.parquet`) are read in name order, from `data` or folders called as the splits too. The index
keeps one copy of the encoded images: their place in a compressed table cannot be read alone.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from dataprune.data.examples import Dataset, Split
from dataprune.data.shards import files_of_splits
from dataprune.errors import ConfigError, first_line


def read(path: str, image: str = "image", label: str = "label", splits: dict[str, str] | None = None) -> Dataset:
    """Read image Parquet files; `image` and `label` name the columns.

    splits: the files of each split below `path` where other words than these name them, {"train": "data/tr-*.parquet"}
    (data.shards). A test split whose labels are all -1 has none, as that of ImageNet: it is left out.

    Class names come from the metadata (`class_names`, or Hugging Face's own feature description), else the label
    numbers are the names. Without a test file the validation file is the test split.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ConfigError("path", path, "a folder; this is a file")
    files = files_of_splits(folder, ".parquet", splits or {})
    found = {split: _split(parts, image, label) for split, parts in files.items()}
    if "validation" in found and len(found["test"].labels) and (found["test"].labels == -1).all():
        found["test"] = found.pop("validation")
    classes = class_names(pq.read_schema(files["train"][0]), label)
    if any(len(split.labels) == 0 for split in found.values()):
        raise ConfigError("path", path, "a row at least in the files of each split")
    if classes is None:
        classes = _numbers(found.values())
    return Dataset(classes, found)


def _numbers(splits: Iterable[Split]) -> list[str]:
    """The numbers of 0 to the largest label, as names of the classes."""
    return [str(i) for i in range(int(max(split.labels.max() for split in splits)) + 1)]


def _split(files: list[Path], image: str, label: str) -> Split:
    for file in files:
        there = schema_of(file).names
        for column in (image, label):
            if column not in there:
                raise ConfigError("path", str(file), f"a column {column!r}; it has {', '.join(there)}")
        kind = _bytes_type(pq.read_schema(file).field(image).type)
        if not (pa.types.is_binary(kind) or pa.types.is_large_binary(kind)):
            raise ConfigError("path", str(file), f"encoded images in column {image!r}, not {kind}")
    labels = np.concatenate([pq.read_table(file, columns=[label])[label].to_numpy() for file in files])
    if labels.dtype.kind not in "iu":
        raise ConfigError("path", str(files[0]), f"integer labels in column {label!r}, not {labels.dtype}")
    return Split(_Column(files, image), labels.astype(np.int64), _names(files, image))


def schema_of(file: Path) -> pa.Schema:
    """Return the schema of a Parquet file, or raise a ConfigError that says why it has none."""
    try:
        return pq.read_schema(file)
    except pa.ArrowInvalid as error:
        raise ConfigError("path", str(file), f"a Parquet file ({first_line(error)})") from None


class _Column:
    """The encoded images of some Parquet files, one row group in memory at a time."""

    def __init__(self, files: list[Path], column: str) -> None:
        self.files, self.column = files, column

    def __iter__(self) -> Iterator[bytes]:
        for file in self.files:
            for row, image in enumerate(self._values(file)):
                if image is None:  # Hugging Face keeps the path alone of a set that was saved without its files
                    raise ConfigError("path", str(file), f"an image in each row; row {row} has none")
                yield image

    def _values(self, file: Path) -> Iterator[bytes | None]:
        for batch in pq.ParquetFile(file).iter_batches(256, columns=[self.column]):
            values: Any = batch.column(self.column)
            if pa.types.is_struct(values.type):
                values = values.field("bytes")
            yield from values.to_pylist()


def _bytes_type(kind: pa.DataType) -> pa.DataType:
    """The type of a column, or of the field `bytes` in it."""
    at = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
    return kind.field(at).type if at >= 0 else kind


def _names(files: list[Path], column: str) -> list[str]:
    """The `path` of each image if the struct has one, else file:row."""
    names: list[str] = []
    for file in files:
        parquet = pq.ParquetFile(file)
        kind = parquet.schema_arrow.field(column).type
        paths: list[str | None] = [None] * parquet.metadata.num_rows
        if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0:
            batches = parquet.iter_batches(columns=[f"{column}.path"])
            paths = [path for batch in batches for path in batch.column(column).field("path").to_pylist()]
        names += [path or f"{file.name}:{row}" for row, path in enumerate(paths)]
    return names


def class_names(schema: pa.Schema, label: str) -> list[str] | None:
    """Return the class names that a file's metadata lists for the column `label`; None = it lists none."""
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        return metadata[b"class_names"].decode().split(",")
    if b"huggingface" in metadata:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        return features.get(label, {}).get("names")
    return None

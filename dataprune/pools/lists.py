"""Columns of lists as rows of numbers."""

import numpy as np
import pyarrow as pa

from dataprune.errors import ConfigError, Shown


def rows_of(column: pa.Array, name: str, key: str) -> np.ndarray:
    """Return a column of lists of equal length as (n, d), float16 or float32; `name` of the shard, for errors."""
    kind = column.type
    listed = pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not listed or not (pa.types.is_float16(kind.value_type) or pa.types.is_float32(kind.value_type)):
        expected = "lists of float16 or float32, all of one length"
        raise ConfigError(f"column {key}", Shown(f"{kind} in {name}"), expected)
    values = column.flatten()
    if column.null_count or values.null_count:
        raise ConfigError(f"column {key}", Shown(f"missing values in {name}"), "an embedding in each row")
    width = kind.list_size if pa.types.is_fixed_size_list(kind) else _length(column, name, key)
    return values.to_numpy(zero_copy_only=False).reshape(len(column), width)


def _length(column: pa.Array, name: str, key: str) -> int:
    """The length of all lists."""
    lengths = np.diff(column.offsets.to_numpy())
    width = int(lengths[0]) if len(lengths) else 0
    if (lengths != width).any():
        row = int(np.flatnonzero(lengths != width)[0])
        found = Shown(f"{lengths[row]} numbers after {width} in {name}")
        raise ConfigError(f"column {key}", found, "embeddings of one length")
    return width


def listed(rows: np.ndarray) -> pa.FixedSizeListArray:
    """Return rows (n, d) as a column of fixed-size lists."""
    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(rows).ravel()), rows.shape[1])

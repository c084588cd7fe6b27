"""Uids of any kind as 128 bits: to compare them, to find those that stand twice, to name what is kept.

Whole numbers stand for themselves, 32 hexadecimal digits (DataComp) and (u8, u8) for their two halves, other text for
its BLAKE2b hash of 128 bits.
"""

import hashlib
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from dataprune.errors import ConfigError, Shown
from dataprune.formats.datacomp import UID, parse_uids

HEX = "^[0-9a-f]{32}$"
SLICE = 2**16  # uids that are Python text at a time
PREFIXES = 256  # parts into which the uids of a shard are sorted, so that a task may compare one part of all shards
PLACED = np.dtype([("key", "<u8"), ("f0", "<u8"), ("f1", "<u8"), ("row", "<i8")])


def canonical(uids: pa.ChunkedArray | np.ndarray, name: str) -> np.ndarray:
    """Return uids as UID (n,); `name` of the shard, for errors."""
    if isinstance(uids, np.ndarray) and uids.dtype == UID:
        return uids
    column = uids if isinstance(uids, pa.ChunkedArray) else pa.chunked_array([pa.array(uids)])
    if column.null_count:
        raise ConfigError("uid", Shown(f"{column.null_count} missing in {name}"), "a uid in each row")
    if pa.types.is_integer(column.type):
        return _of_numbers(column.to_numpy())
    if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        raise ConfigError("uid", Shown(f"{column.type} in {name}"), "whole numbers, text or (u8, u8)")
    slices = [column.slice(start, SLICE) for start in range(0, len(column), SLICE)]
    return np.concatenate([_of_texts(part) for part in slices]) if slices else np.zeros(0, UID)


def _of_numbers(values: np.ndarray) -> np.ndarray:
    out = np.zeros(len(values), UID)
    out["f1"] = values.astype(np.int64).view(np.uint64) if values.dtype.kind == "i" else values
    return out


def _of_texts(column: pa.ChunkedArray) -> np.ndarray:
    texts = column.to_pylist()
    if pc.all(pc.match_substring_regex(column, HEX)).as_py():
        return parse_uids(texts)
    digests = [bytes.fromhex(text) if re.match(HEX, text) else _digest(text) for text in texts]
    halves = np.frombuffer(b"".join(digests), ">u8").reshape(-1, 2)
    out = np.empty(len(texts), UID)
    out["f0"], out["f1"] = halves[:, 0], halves[:, 1]
    return out


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=16).digest()


def mixed(uids: np.ndarray) -> np.ndarray:
    """Return 64 well mixed bits of each uid (n,), by which equal parts are made (splitmix64 of both halves)."""
    return _mix(uids["f0"] ^ _mix(uids["f1"]))


def _mix(x: np.ndarray) -> np.ndarray:
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def placed(uids: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Return uids with their rows, PLACED (n,), in the order of their mixed bits, and where each prefix begins."""
    out = np.empty(len(uids), PLACED)
    out["key"], out["f0"], out["f1"], out["row"] = mixed(uids), uids["f0"], uids["f1"], np.arange(len(uids))
    out = out[np.argsort(out["key"], kind="stable")]
    edges = np.arange(1, PREFIXES, dtype=np.uint64) << np.uint64(56)
    return out, [0, *np.searchsorted(out["key"], edges).tolist(), len(out)]


def twice(parts: list[np.ndarray]) -> list[tuple[int, int, int, int]]:
    """Return the first uids of `parts` (PLACED, one of each shard) that stand twice: (part, row, part, row) each."""
    together = np.concatenate(parts)
    shard = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = np.lexsort([together["row"], shard, together["f1"], together["f0"], together["key"]])
    uids = together[order]
    same = (uids["f0"][1:] == uids["f0"][:-1]) & (uids["f1"][1:] == uids["f1"][:-1])
    found = [(order[i], order[i + 1]) for i in np.flatnonzero(same)[:5].tolist()]
    return [(int(shard[a]), int(together["row"][a]), int(shard[b]), int(together["row"][b])) for a, b in found]

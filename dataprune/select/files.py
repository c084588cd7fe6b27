"""A user's arrays on disk: read, checked, and told apart by a fingerprint."""

import argparse
import csv
import hashlib

import numpy as np

from dataprune.errors import ConfigError, Shown, finite, first

BLOCK = 1 << 24  # bytes hashed at a time

Arrays = dict[str, np.ndarray]


def read_arrays(args: argparse.Namespace) -> Arrays:
    """The files by what they are: scores, features, labels, cut, and those that --array names."""
    arrays: Arrays = {}
    for path in args.files:
        array = read_array(path)
        if array.ndim not in (1, 2):
            raise ConfigError(path, Shown(f"array of shape {array.shape}"), "scores (n,) or features (n, d)")
        name = ("scores", "features")[array.ndim - 1]
        if name in arrays:
            raise ConfigError(path, Shown(f"a second file of {name}"), "one with scores (n,), one with features (n, d)")
        arrays[name] = array
    if "scores" in arrays:
        finite("scores", arrays["scores"])
    for name, path in (("labels", args.labels), ("cut", args.cut_scores)):
        if path:
            arrays[name] = read_array(path)
    for text in args.array:
        name, equals, path = text.partition("=")
        if not equals or name in arrays:
            raise ConfigError("--array", text, "parameter=file.npy, every parameter once: --array p_mean=p_mean.npy")
        arrays[name] = read_array(path)
    return arrays


def read_array(path: str) -> np.ndarray:
    """An .npy file, memory-mapped; or scores from a .csv file."""
    if path.endswith(".csv"):
        return read_scores(path)
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(path, Shown("no array"), "an .npy file of numbers, as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        raise ConfigError(path, Shown("several arrays"), "an .npy file of one array: numpy.save(path, file[name])")
    if array.dtype.kind not in "fiub":
        raise ConfigError(path, Shown(f"array of {array.dtype}"), "numbers")
    return array


def read_scores(path: str) -> np.ndarray:
    """Scores (n,) from a table whose first column is the id, 0 to n-1 in any order, and whose third is the score.

    These columns are those of DP4TL's external scores; a first line of words is skipped.
    """
    with open(path, newline="") as file:
        rows = [row for row in csv.reader(file) if row]
    if rows and not rows[0][0].strip().isdecimal():
        rows = rows[1:]
    try:
        ids, values = np.array([int(row[0]) for row in rows]), np.array([float(row[2]) for row in rows])
    except (ValueError, IndexError) as error:
        raise ConfigError(path, Shown(str(error)), "lines of id, anything, score") from error
    if not len(ids) or len(missing := np.setdiff1d(np.arange(len(ids)), ids)):
        found = f"{len(ids)} lines without id {first(missing)}" if len(ids) else "no lines"
        raise ConfigError(path, Shown(found), "every id from 0 once")
    return values[np.argsort(ids)]


def fingerprint(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of each array: which data a subset belongs to."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        rows = max(1, BLOCK * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).data)
    return digest.hexdigest()

"""A user's arrays on disk: read, checked, and told apart by a fingerprint."""

import argparse
import hashlib

import numpy as np

from dataprune.errors import ConfigError, Shown, finite
from dataprune.formats.neighbor_lists import by_example

BLOCK = 1 << 24  # bytes hashed at a time

Arrays = dict[str, np.ndarray]


def read_arrays(args: argparse.Namespace) -> Arrays:
    """The files by what they are: scores, features, labels, cut, and those that --array names."""
    arrays = _by_shape(args.files)
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
    return arrays | _neighbors(arrays) if arrays.keys() >= {"neighbors", "distances"} else arrays


def _by_shape(paths: list[str]) -> Arrays:
    """The files that are given without a name: scores if they have one axis, features if they have two."""
    arrays: Arrays = {}
    for path in paths:
        array = read_array(path)
        if array.ndim not in (1, 2):
            raise ConfigError(path, Shown(f"array of shape {array.shape}"), "scores (n,) or features (n, d)")
        name = ("scores", "features")[array.ndim - 1]
        if name in arrays:
            raise ConfigError(path, Shown(f"a second file of {name}"), "one with scores (n,), one with features (n, d)")
        arrays[name] = array
    return arrays


def _neighbors(arrays: Arrays) -> Arrays:
    """The lists of neighbours among the arrays, one list an example in the examples' order."""
    n = len(next((arrays[name] for name in ("scores", "labels") if name in arrays), arrays["neighbors"]))
    words = {name: arrays[name] for name in ("neighbors", "distances", "ids") if name in arrays}
    distances, neighbors = by_example(n=n, **words)
    return {"distances": distances, "neighbors": neighbors, "ids": np.arange(n)}


def read_array(path: str) -> np.ndarray:
    """An .npy file, memory-mapped."""
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ConfigError(path, Shown("no array"), "an .npy file of numbers, as numpy.save writes it") from error
    if not isinstance(array, np.ndarray):
        raise ConfigError(path, Shown("several arrays"), "an .npy file of one array: numpy.save(path, file[name])")
    if array.dtype.kind not in "fiub":
        raise ConfigError(path, Shown(f"array of {array.dtype}"), "numbers")
    return array


def fingerprint(arrays: Arrays) -> str:
    """SHA-256 over name, type, shape and bytes of each array: which data a subset belongs to."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        array = np.atleast_1d(array)
        digest.update(f"{name} {array.dtype.str} {array.shape};".encode())
        rows = max(1, BLOCK * len(array) // max(1, array.nbytes))
        for start in range(0, len(array), rows):
            digest.update(np.ascontiguousarray(array[start : start + rows]).data)
    return digest.hexdigest()

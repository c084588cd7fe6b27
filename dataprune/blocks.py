"""Reading arrays of examples block by block, so that memory depends neither on their number nor on the epochs.

A recorded quantity is a memory-mapped (e, n) array of which a block of ids, all epochs, fits a core's cache.
Every score of `dynamics` is a function of each example's own column, so it can be taken on the blocks.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from dataprune.errors import ConfigError, Shown, whole_number

BLOCK = 8192  # ids
BLOCK_BYTES = 2 * 2**20  # what a core's own cache holds: 90 epochs in float64 make blocks of 2912 ids


def spans(n: int, bytes_per_id: int, block: int = BLOCK) -> Iterator[slice]:
    """Cut ids 0..n-1 into slices of at most `block` ids and about `BLOCK_BYTES` bytes, one id at least."""
    size = max(1, min(block, BLOCK_BYTES // max(1, bytes_per_id)))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


def in_blocks(
    functions: Mapping[str, Callable[..., np.ndarray]],
    arrays: Mapping[str, np.ndarray],
    block: int = BLOCK,
    *,
    progress: Callable[[int, int], object] | None = None,
) -> dict[str, np.ndarray]:
    """Take several scores in one pass over the arrays: each block of ids is read once and stays in the cache.

    functions: name of a score -> function of named arrays, such as those of `dynamics`. As everywhere, the names of
    its parameters say which arrays it gets; keywords are set with `functools.partial`, or left at their defaults.
    arrays: name -> (e, n), (e, n, c) or (n,), memory maps welcome; those that no function wants are not read.
    block: ids a block. progress: called as `progress(ids done, n)` after each block.

    Returns name -> float32 (n,), equal to what the functions return for the whole arrays. Right only for functions
    that treat each example by itself: all of `dynamics`, none that compares examples. Raises ConfigError when an
    array is missing, when two disagree on n, when a function does not return one number an id, and whatever the
    functions raise, with the ids of the whole arrays.
    """
    block = whole_number("block", block, 1)
    wanted = {name: _wanted(function, arrays) for name, function in functions.items()}
    used = {key: np.asarray(arrays[key]) for keys in wanted.values() for key in keys}
    n = _common_length(used)
    scores = {name: np.empty(n, np.float32) for name in functions}
    for ids in spans(n, 0, block):  # only views are cut here: the functions bound the bytes that they read at once
        parts = {key: _part(array, ids) for key, array in used.items()}
        for name, function in functions.items():
            try:
                found = np.asarray(function(**{key: parts[key] for key in wanted[name]}))
            except ConfigError:
                # its message counts ids from the start of the block: the whole arrays give the same error with the
                # right ones, and the same memory, because the functions read in blocks themselves
                function(**{key: used[key] for key in wanted[name]})
                raise
            if found.shape != (ids.stop - ids.start,):
                shape = Shown(f"array of shape {found.shape}")
                raise ConfigError(name, shape, f"one score an id, ({ids.stop - ids.start},) for this block")
            scores[name][ids] = found
        if progress is not None:
            progress(ids.stop, n)
    return scores


def _wanted(function: Callable[..., np.ndarray], arrays: Mapping[str, np.ndarray]) -> list[str]:
    """Names of the arrays that a function takes: its parameters that are such a name or have no default."""
    keys = []
    for key, parameter in inspect.signature(function).parameters.items():
        collects = parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if key in arrays:
            keys.append(key)
        elif parameter.default is parameter.empty and not collects:
            raise ConfigError("arrays", Shown(", ".join(arrays) or "none"), f"`{key}`, which {function} takes")
    return keys


def _part(array: np.ndarray, ids: slice) -> np.ndarray:
    """The ids of a block: the first axis of (n,), the second where epochs come first. A view, nothing is read."""
    return array[ids] if array.ndim == 1 else array[:, ids]


def _common_length(arrays: Mapping[str, np.ndarray]) -> int:
    """The number of examples, which all arrays must agree on."""
    lengths = {}
    for key, array in arrays.items():
        if array.ndim not in (1, 2, 3):
            raise ConfigError(key, Shown(f"array of shape {array.shape}"), "shape (n,), (e, n) or (e, n, c)")
        lengths[key] = array.shape[0 if array.ndim == 1 else 1]
    if len(set(lengths.values())) > 1:
        raise ConfigError("arrays", Shown(f"numbers of examples {lengths}"), "the same ids along the second axis")
    return next(iter(lengths.values()), 0)

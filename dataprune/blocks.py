"""Reading arrays of examples block by block, so that memory depends neither on their number nor on the epochs.

A recorded quantity is a memory-mapped (e, n) array of which a block of ids, all epochs, fits a core's cache.
"""

from collections.abc import Iterator

BLOCK = 8192  # ids
BLOCK_BYTES = 2 * 2**20  # what a core's own cache holds: 90 epochs in float64 make blocks of 2912 ids


def spans(n: int, bytes_per_id: int, block: int = BLOCK) -> Iterator[slice]:
    """Cut ids 0..n-1 into slices of at most `block` ids and about `BLOCK_BYTES` bytes, one id at least."""
    size = max(1, min(block, BLOCK_BYTES // max(1, bytes_per_id)))
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))

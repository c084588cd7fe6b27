"""Random streams by name: what is drawn for one purpose never coincides with what is drawn for another.

`numpy.random.default_rng(s)` and `default_rng([s, 0])` are the same generator (seeds are padded with zeros), so lists
of counters do not separate streams. Here the name and the counters are spawn keys of the seed's SeedSequence.

    select     of a selector            order      of the examples of an epoch     augment   of an epoch's images
    prune      of what an epoch leaves out             masks      with which a sparse training begins
    network    fresh weights            dropout    what torch draws in an epoch    limit, halves, carve   of data sets
    validation of a solver's strengths      cells, sample of cells, rows of the recall   of a pool
"""

import hashlib

import numpy as np


def sequence(seed: int, name: str, *counters: int) -> np.random.SeedSequence:
    """Return the seed sequence of the stream `name` of `seed`; `counters` (epoch, rank, ...) separate its parts."""
    named = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
    return np.random.SeedSequence(seed, spawn_key=(named, *counters))


def stream(seed: int, name: str, *counters: int) -> np.random.Generator:
    """Return the numpy generator of the stream `name` of `seed`; `counters` separate its parts."""
    return np.random.default_rng(sequence(seed, name, *counters))


def number(seed: int, name: str, *counters: int) -> int:
    """Return a whole number of 63 bits from the stream: the seed of another program, or of a child experiment."""
    return int(sequence(seed, name, *counters).generate_state(1, np.uint64)[0] >> 1)

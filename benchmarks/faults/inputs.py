"""Bad input: each case must end with exit code 1, one line that names the key, before any training, leaving nothing."""

import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.faults.bad import Bad, attempt
from benchmarks.faults.bad_config import CONFIG
from benchmarks.faults.bad_data import DATA
from benchmarks.faults.bad_files import FILES
from benchmarks.faults.jobs import Forks, Line, run

TABLE: list[Bad] = [*CONFIG, *DATA, *FILES]
SHORT = TABLE[::4]  # of every kind: cases of a kind stand together


def campaign(folder: Path, forks: Forks, fresh: int, table: Sequence[Bad] = TABLE, seed: int = 0) -> Line:
    """Try each case, `fresh` of them in a process of its own as a user does, the others in forked ones."""
    line = Line("bad input: one line, before any training")
    in_fresh = set(random.Random(seed).sample(range(len(table)), min(fresh, len(table))))
    with ThreadPoolExecutor(2) as pool:
        tried = [
            pool.submit(attempt, bad, folder / str(i), run if i in in_fresh else forks.run)
            for i, bad in enumerate(table)
        ]
        for bad, troubles in zip(table, tried, strict=True):
            line.case(bad.name, troubles.result())
    return line

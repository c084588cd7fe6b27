"""DP4TL's files of one scoring of the source's classes: counts, and an index list for every number of kept classes.

    {target}_lm.frequency                       int32 (c,), target examples that fall on each class
    {target}_lm_{train,val}_{top,bottom}{k}.indices   int64 (n,), sample ids of the k highest (lowest) classes
    {target}_lm.json                            what made them, and how much each list keeps

All are torch tensors. A label table (n, 2) of label and sample id, `imagenet_{train,val}.label`, says which sample is
of which class; `dataprune.formats.legacy` reads and writes each single file.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError, whole_number
from dataprune.formats.legacy import write_indices
from dataprune.selectors.classes import examples_of

SHARES = 20  # the table of the paper: every twentieth of the classes


def grid(n_classes: int, wanted: Sequence[int] | None = None) -> list[int]:
    """Return how many classes the lists keep, descending: those wanted, else 950, 900, ... 50 of 1,000 and the same
    shares of other numbers. Raises ConfigError for a number outside 1 to n_classes."""
    if wanted is None:
        wanted = [max(1, (n_classes * share + SHARES // 2) // SHARES) for share in range(1, SHARES)]
    inside = {whole_number("--classes", k, 1, n_classes, "the number of classes") for k in wanted}
    return sorted(inside, reverse=True)


def index_list(classes: np.ndarray, table: np.ndarray, *, by_class: bool) -> np.ndarray:
    """Return the sample ids int64 (n,) of the rows of a label table (label, sample id) that are of one of `classes`.

    In the table's order, as DP4TL writes LM's lists; by_class: classes ascending, inside one in the table's order, as
    it writes FM's.
    """
    rows = table[examples_of(classes, table[:, 0])]
    return rows[np.argsort(rows[:, 0], kind="stable"), 1] if by_class else rows[:, 1]


def write_lists(
    folder: Path,
    prefix: str,
    rankings: Mapping[str, np.ndarray],
    sizes: Sequence[int],
    tables: Mapping[str, np.ndarray],
    *,
    by_class: bool,
) -> list[dict[str, Any]]:
    """Write `{prefix}_{split}_{end}{k}.indices` for each split's table, end's ranking and size k.

    rankings: by end ("top", "bottom") class ids in rank order, of which the first k are kept; tables: by split label
    tables (n, 2). Returns for each end and k the kept classes in rank order, and by split how many samples they have
    and which share of all that is.
    """
    folder.mkdir(parents=True, exist_ok=True)
    facts = []
    for end, ranking in rankings.items():
        for k in sizes:
            fact: dict[str, Any] = {"end": end, "k": k, "classes": ranking[:k].tolist()}
            for split, table in tables.items():
                ids = index_list(ranking[:k], table, by_class=by_class)
                write_indices(folder / f"{prefix}_{split}_{end}{k}.indices", ids)
                fact |= {split: len(ids), f"{split}_share": len(ids) / len(table) if len(table) else None}
            facts.append(fact)
    return facts


def check_table(path: str | Path, table: np.ndarray, n_classes: int) -> np.ndarray:
    """Return a label table (n, 2), or raise ConfigError unless its labels are below n_classes and no sample id stands
    twice."""
    if len(table) == 0 or table[:, 0].max() >= n_classes or len(np.unique(table[:, 1])) < len(table):
        raise ConfigError("--tables", str(path), f"rows of a label below {n_classes} and a sample id, each id once")
    return table

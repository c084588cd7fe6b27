"""Read rows: every experiment once, whatever order or folder its rows come from, and say what was left out."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Experiment = tuple[str, float, tuple[tuple[str, int], ...]]  # identity, prune ratio, seeds
NAMES = ("source", "target", "model", "transfer", "method", "level", "trains_on")  # what a row is called, per identity
METHOD = NAMES.index("method")
RANDOM = {"example": "random", "class": "random_classes"}  # level -> what a method is compared with
BASELINES = ("full", "scratch")  # of no prune ratio
NEEDED = ("identity", "config", "seeds")  # version 0.1 wrote rows without them
ROUNDED = 9  # decimals of a prune ratio: 1 - 0.85 is 0.15


def read_rows(folder: Path) -> tuple[list[Row], list[str]]:
    """Return the rows of all jobs below an output folder, each experiment once, and notes on what was left out."""
    return usable([row for path in sorted(folder.rglob("rows.json")) for row in json.loads(path.read_text())])


def usable(rows: Iterable[Row]) -> tuple[list[Row], list[str]]:
    """Return those of `rows` that a report may show, each experiment once and sorted, and notes on the others.

    The result does not depend on the order of `rows`.
    """
    rows = list(rows)
    whole = [row for row in rows if all(key in row for key in NEEDED)]
    notes = []
    if len(whole) < len(rows):
        left = f"{len(rows) - len(whole)} of {len(rows)} rows"
        notes.append(f"{left} were written by version 0.1 and do not say what they rest on: left out; run them again.")
    named, renamed = _called_alike(sorted(whole, key=_text))
    single, disputed = _once(named)
    return single, [*notes, *renamed, *disputed]


def experiment(row: Row) -> Experiment:
    """Return what a row measures: two rows with the same identity, prune ratio and seeds are one experiment."""
    return row["identity"], round(row["prune_ratio"], ROUNDED), seeds_of(row)


def seeds_of(row: Row) -> tuple[tuple[str, int], ...]:
    """Return the seeds that the row really used as sorted (name, value) pairs."""
    return tuple(sorted(row["seeds"].items()))


def _text(row: Row) -> str:
    """Return the row as canonical text, by which equal sets of rows are sorted equally."""
    return json.dumps([experiment(row), row], sort_keys=True)


def _called_alike(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Give all rows of an identity the names of the first in the alphabet: a copied YAML is no other experiment."""
    called: dict[str, set[tuple]] = defaultdict(set)
    for row in rows:
        called[row["identity"]].add(tuple(row[name] for name in NAMES))
    known = {
        *RANDOM.values(),
        *BASELINES,
    }  # what others are compared with stays what it is, also beside a copy of its YAML
    chosen = {
        identity: min(names, key=lambda name: (name[METHOD] not in known, str(name)))
        for identity, names in called.items()
    }
    notes = []
    for identity in sorted(identity for identity, names in called.items() if len(names) > 1):
        words = [sorted({str(names[i]) for names in called[identity]}) for i in range(len(NAMES))]
        several = "; ".join(f"{name} {' or '.join(w)}" for name, w in zip(NAMES, words, strict=True) if len(w) > 1)
        notes.append(f"Experiment {identity} goes by several names ({several}); the first one is shown.")
    return [row | dict(zip(NAMES, chosen[row["identity"]], strict=True)) for row in rows], notes


def _once(rows: list[Row]) -> tuple[list[Row], list[str]]:
    """Keep one row of each experiment; where rows of one disagree, keep none of them: no number is better known."""
    groups: dict[Experiment, list[Row]] = defaultdict(list)
    for row in rows:
        groups[experiment(row)].append(row)
    kept, notes = [], []
    for group in groups.values():
        if len({json.dumps(row["metrics"], sort_keys=True) for row in group}) == 1:
            kept.append(group[0])
        else:
            notes.append(_dispute(group))
    return kept, notes


def _dispute(group: list[Row]) -> str:
    """Say which rows of one experiment disagree, and in what."""
    names = " and ".join(sorted({str(row.get("row", "without a name")) for row in group}))
    metrics = sorted({name for row in group for name in row["metrics"]})
    values = {name: sorted({str(row["metrics"].get(name)) for row in group}) for name in metrics}
    differ = ", ".join(f"{name} {' or '.join(v)}" for name, v in values.items() if len(v) > 1)
    row = group[0]
    what = f"{row['method']} at {row['prune_ratio']:g}, " + ", ".join(f"{k}={v}" for k, v in seeds_of(row))
    return f"Rows {names} are the same experiment ({what}) but differ in {differ}: all left out; remove the wrong ones."

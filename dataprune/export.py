"""Write what a store holds as a table for pandas, a spreadsheet or another program.

    python -m dataprune.export scores --store store -o scores.parquet
    python -m dataprune.export scores -o scores.csv --where source=glyphs --where seed=0
    python -m dataprune.export classes -o lists --where method=label_mapping   # DP4TL's files, every k
    python -m dataprune.export labels -o lists --name imagenet                 # and its label tables

scores: one line an example of the source: id, label, class, name, and a column of each score that the store's rows rest
on (higher = kept first). The rows must be about one data set. A column is called after its method; where scores of one
method differ (another surrogate, other constants) all of them end in the first digits of their results' keys.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.commands.class_files import add_classes, add_labels
from dataprune.commands.stored import result_of, rows_where
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.store import load, whole_file

ROLES = ("scores", "cut")  # in a row's keys: what the method ranks by, and what it cuts by
DIGITS = 6  # of a result's key, where names alone do not tell

Table = dict[str, Any]  # columns, all of one length


def main(words: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    add_scores(commands)
    add_classes(commands)
    add_labels(commands)
    args = parser.parse_args(words)
    try:
        args.run(args)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def add_scores(commands: Any) -> None:
    """Add the command `scores` to the parsers of commands."""
    scores = commands.add_parser("scores", help="every example of a source with all its scores")
    scores.add_argument("--store", default="store", help="default: ./store")
    scores.add_argument("-o", "--output", default="scores.parquet", help="a .parquet or .csv file")
    scores.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only rows with this value")
    scores.set_defaults(run=run_scores)


def run_scores(args: argparse.Namespace) -> None:
    """Write the table of scores, and say what is in it."""
    output = Path(args.output)
    if output.suffix not in (".parquet", ".csv"):
        raise ConfigError("--output", args.output, "a name that ends in .parquet or .csv")
    table, about = scores_of(Path(args.store), args.where)
    write(output, table, about)
    for column, result in about["scores"].items():
        print(f"{column:28} {result['key']}  {', '.join(result['methods'])}")
    print(f"{output}: {len(table['id'])} examples of {about['source']}, {len(about['scores'])} scores")


def scores_of(store: Path, where: Sequence[str] = ()) -> tuple[Table, dict[str, Any]]:
    """The table of a source's examples and scores, and what its columns are: source, fingerprint, score results.

    where: `key=value` pairs that the rows must have. Raises ConfigError when no row is left or several sources are.
    """
    rows = _rows(store, where)
    sources = {row["keys"]["source"]: row["source"] for row in rows}
    if len(sources) > 1:
        found = ", ".join(f"{name} (index/{key})" for key, name in sorted(sources.items()))
        raise ConfigError("--where", Shown(f"rows of {found}"), "those of one data set: --where source=NAME")
    ((key, source),) = sources.items()
    examples = Examples(result_of(store, "index", key), "train")
    table: Table = {
        "id": np.arange(len(examples)),
        "label": examples.labels,
        "class": [examples.classes[label] for label in examples.labels],
        "name": examples.names,
    }
    about = {}
    for column, (folder, methods) in _columns(store, rows).items():
        table[column] = np.load(folder / "scores.npy")
        about[column] = {"key": folder.name, "methods": methods}
    return table, {"source": source, "fingerprint": examples.fingerprint, "scores": about}


def write(output: Path, table: Table, about: dict[str, Any]) -> None:
    """Write the table, whole or not at all; Parquet keeps `about` under the metadata key `dataprune`."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    content = pa.table(table)
    with whole_file(output) as file:
        if output.suffix == ".parquet":
            parquet.write_table(content.replace_schema_metadata({"dataprune": json.dumps(about)}), file)
        else:
            csv.write_csv(content, file)


def _rows(store: Path, where: Sequence[str]) -> list[dict[str, Any]]:
    """The rows about scores of examples that have these values."""
    rows = [row for row in rows_where(store, where) if row["level"] == "example" and set(ROLES) & row["keys"].keys()]
    if not rows:
        found = f"no row with scores of examples in {str(store)!r}" + (f" where {', '.join(where)}" if where else "")
        raise ConfigError("--where" if where else "--store", Shown(found), "a store in which a method has scored")
    return rows


def _columns(store: Path, rows: list[dict[str, Any]]) -> dict[str, tuple[Path, list[str]]]:
    """Column -> its score result, and the methods that rest on it; columns sorted by name."""
    methods: dict[str, set[str]] = {}
    for row in rows:
        for role in ROLES:
            if role in row["keys"]:
                called = row["method"] if role == "scores" else f"{row['method']}_cut"
                methods.setdefault(row["keys"][role], set()).add(called)
    folders = {key: result_of(store, "score", key) for key in methods}
    names = {key: _named(folders[key], called) for key, called in methods.items()}
    often = Counter(names.values())
    full = {name if often[name] == 1 else f"{name}_{key[:DIGITS]}": key for key, name in names.items()}
    return {column: (folders[full[column]], sorted(methods[full[column]])) for column in sorted(full)}


def _named(folder: Path, methods: set[str]) -> str:
    """The method that is called as the score function, or the one with the shortest name."""
    function = load(folder).recipe["config"]["function"]["_target_"].rpartition(".")[2]
    return function if function in methods else min(methods, key=lambda name: (len(name), name))


if __name__ == "__main__":
    sys.exit(main())

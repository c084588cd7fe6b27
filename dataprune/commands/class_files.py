"""`python -m dataprune.export classes` and `labels`: DP4TL's files from rows of a store.

One scoring serves every number of classes: the score that a row rests on is ranked once, from both ends.
"""

import argparse
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dataprune import __version__
from dataprune.arrays import entry, load
from dataprune.commands.stored import Row, result_of, rows_where
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.formats.class_files import check_table, grid, write_lists
from dataprune.formats.legacy import read_label_table, write_frequency, write_label_table
from dataprune.selectors.classes import top_classes
from dataprune.store import load as described
from dataprune.store import write_json

RANKED, GROUPS = "dataprune.selectors.classes.top_classes", "dataprune.selectors.classes.whole_groups"
# in file names, as in the release
CALLED = {"label_mapping": "lm", "feature_mapping": "fm", "cluster_mapping": "fm_clusters"}
COUNTS = ("label_mapping", "feature_mapping")
BY_CLASS = ("feature_mapping", "cluster_mapping")  # their lists go by class, those of other methods by the label table


def add_classes(commands: Any) -> None:
    """Add the command `classes` to the parsers of commands."""
    parser = commands.add_parser("classes", help="index lists of kept classes for every number of classes, as DP4TL's")
    _add_common(parser)
    parser.add_argument("--classes", metavar="K,K,...", help="how many to keep; default: 950,900,...,50 of 1,000")
    parser.add_argument(
        "--tables", nargs=2, metavar=("TRAIN", "VAL"), help="label tables of the release, whose ids and order count"
    )
    parser.set_defaults(run=run_classes)


def add_labels(commands: Any) -> None:
    """Add the command `labels` to the parsers of commands."""
    parser = commands.add_parser("labels", help="label tables of a source: label and sample id of every example")
    _add_common(parser)
    parser.add_argument("--name", help="what the files begin with; default: the source's name")
    parser.set_defaults(run=run_labels)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--store", default="store", help="default: ./store")
    parser.add_argument("-o", "--output", default="lists", help="a folder")
    parser.add_argument("--where", action="append", default=[], metavar="KEY=VALUE", help="only rows with this value")


@dataclass(frozen=True)
class Scored:
    """A scoring of the source's classes, or of the clusters that stand for them, and what a row says of it."""

    row: Row
    function: str  # what gave the scores, without its module
    scores: np.ndarray  # (classes,)
    ties: np.ndarray | None
    tie_break: str
    source: Path
    clusters: Path | None = None

    @classmethod
    def of_row(cls, store: Path, row: Row) -> "Scored":
        """Read the scores and what breaks their ties, as the row's own selection had them."""
        keys = row["keys"]
        chosen = described(result_of(store, "select", keys["subset"])).recipe["config"]["steps"][-1]
        if "clusters" in keys and chosen["function"]["_target_"] == GROUPS:
            return cls.of_clusters(store, row)
        if chosen["function"]["_target_"] != RANKED:
            raise ConfigError("--where", Shown(f"a row of {row['method']}"), "methods that rank classes (top_classes)")
        scored = result_of(store, "combine" if "combined" in keys else "score", keys.get("combined", keys["scores"]))
        arrays = {name: array for name, array in chosen.get("arrays", {}).items() if name == "ties"}
        role = entry(arrays["ties"]).role if arrays else ""
        inputs = {role: result_of(store, "signals", keys[role])} if arrays else {}
        config = described(result_of(store, "score", keys["scores"])).recipe["config"]
        return cls(
            row,
            config["function"]["_target_"].rpartition(".")[2],
            np.load(scored / "scores.npy"),
            load(arrays, inputs, "--where").get("ties"),
            arrays.get("ties", "class id"),
            result_of(store, "index", keys["source"]),
        )

    @classmethod
    def of_clusters(cls, store: Path, row: Row) -> "Scored":
        """Read the places of clusters, which are those of their members; of clusters without members the lowest."""
        keys = row["keys"]
        clusters = result_of(store, "cluster", keys["clusters"])
        places = np.full(int(np.load(clusters / "count.npy")), -np.inf, np.float32)
        places[np.load(clusters / "train.npy")] = np.load(result_of(store, "score", keys["scores"]) / "scores.npy")
        source = result_of(store, "index", keys["source"])
        return cls(row, "cluster_mapping", places, None, "distance to the target", source, clusters)

    @property
    def counts(self) -> np.ndarray | None:
        """The scores as counts of target examples, if they are: int32 (classes,)."""
        whole = self.function in COUNTS and "combined" not in self.row["keys"]
        return self.scores.astype(np.int32) if whole else None

    @property
    def prefix(self) -> str:
        """What its files begin with: target (all of those whose scores are combined) and method."""
        others = self.row["config"].get("others", {}) if "combined" in self.row["keys"] else {}
        return f"{'_'.join(sorted({self.row['target'], *others}))}_{CALLED.get(self.function, self.function)}"

    def rankings(self) -> dict[str, np.ndarray]:
        """Class ids in rank order from the highest (top) and from the lowest (bottom)."""
        n = len(self.scores)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # all are ranked here; where the cut falls is in the manifest
            ends = {"top": False, "bottom": True}
            return {end: top_classes(self.scores, n, reverse=low, ties=self.ties) for end, low in ends.items()}


def run_classes(args: argparse.Namespace) -> None:
    """Write the files of every scoring of classes that the rows rest on."""
    store, folder = Path(args.store), Path(args.output)
    wanted = None if args.classes is None else _numbers(args.classes)
    for scored in _scorings(store, args.where):
        manifest = _write(scored, folder, wanted, args.tables)
        lists = sum(split in fact for fact in manifest["lists"] for split in manifest["splits"])
        zero = "" if scored.counts is None else f", {manifest['zero_classes']} of {len(scored.scores)} classes count 0"
        print(f"{folder / scored.prefix}: {lists} index lists{zero}")


def _scorings(store: Path, where: list[str]) -> list[Scored]:
    """The scorings of classes that rows rest on, each once; raises a ConfigError unless their files differ in name."""
    found: dict[str, Scored] = {}
    for row in rows_where(store, where):
        keys = row["keys"]
        if {"scores", "subset"} <= keys.keys() and (row["level"] == "class" or "clusters" in keys):
            found.setdefault(keys.get("combined", keys["scores"]), Scored.of_row(store, row))
    if not found:
        raise ConfigError("--where", where, "rows of a method that scores classes: method=label_mapping, say")
    prefixes = [scored.prefix for scored in found.values()]
    if twice := sorted({prefix for prefix in prefixes if prefixes.count(prefix) > 1}):
        what = "--where key=value that tells them apart (surrogate, source, seed)"
        raise ConfigError("--where", Shown(f"several scorings for {', '.join(twice)}"), what)
    return list(found.values())


def _numbers(text: str) -> list[int]:
    words = text.split(",")
    if not all(word.isdigit() for word in words):
        raise ConfigError("--classes", text, "whole numbers: 900,800,700")
    return [int(word) for word in words]


def _write(scored: Scored, folder: Path, wanted: list[int] | None, given: list[str] | None) -> dict[str, Any]:
    """Write counts, lists and what made them; returns the latter."""
    counts, n = scored.counts, len(scored.scores)
    tables, splits = _tables(scored, given)
    sizes, by_class = grid(n, wanted), scored.function in BY_CLASS
    lists = write_lists(folder, scored.prefix, scored.rankings(), sizes, tables, by_class=by_class)
    if counts is not None:
        write_frequency(folder / f"{scored.prefix}.frequency", counts)
    row = scored.row
    manifest = {
        "method": row["method"],
        "target": row["target"],
        "target_split": "train",
        "source": row["source"],
        "splits": splits,
        "surrogate": {"name": row["surrogate"], "key": row["keys"].get("surrogate")},
        "scores": row["keys"]["scores"],
        "classes": n,
        "tie_break": f"{scored.tie_break}, then the lower class id",
        "target_examples": None if counts is None else int(counts.sum()),
        "zero_classes": None if counts is None else int((counts == 0).sum()),
        "seeds": row["seeds"],
        "version": __version__,
        "lists": lists,
    }
    write_json(folder / f"{scored.prefix}.json", manifest)
    return manifest


def _tables(scored: Scored, given: list[str] | None) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Label tables (n, 2) of train and val, and where they come from: our split, or the file given."""
    if given is not None and scored.clusters is not None:
        raise ConfigError("--tables", given, "nothing for clusters, whose assignments are known")
    if given is not None:
        files, n = dict(zip(("train", "val"), given, strict=True)), len(scored.scores)
        return {part: check_table(path, read_label_table(path), n) for part, path in files.items()}, files
    splits = _splits(scored.source)
    if scored.clusters is None:
        labels = {part: Examples(scored.source, split).labels for part, split in splits.items()}
    else:  # read from files, the assignment of val may be missing
        kept = {part: scored.clusters / f"{part}.npy" for part in splits}
        labels = {part: np.load(path) for part, path in kept.items() if path.exists()}
    return {part: np.column_stack([of, np.arange(len(of))]) for part, of in labels.items()}, splits


def _splits(source: Path) -> dict[str, str]:
    """Our name of the splits that the release calls train and val: ImageNet's validation images are a test split."""
    there = Examples(source, "train").splits
    return {"train": "train", "val": "validation" if "validation" in there else "test"}


def run_labels(args: argparse.Namespace) -> None:
    """Write the label tables of the rows' source."""
    store, folder = Path(args.store), Path(args.output)
    sources = {row["keys"]["source"]: row["source"] for row in rows_where(store, args.where)}
    if len(sources) != 1:
        found = ", ".join(sorted(set(sources.values()))) or "no source"
        raise ConfigError("--where", Shown(f"rows of {found}"), "rows of one source: --where source=NAME")
    ((key, name),) = sources.items()
    source = result_of(store, "index", key)
    folder.mkdir(parents=True, exist_ok=True)
    for part, split in _splits(source).items():
        path, labels = folder / f"{args.name or name}_{part}.label", Examples(source, split).labels
        write_label_table(path, labels)
        print(f"{path}: {len(labels)} examples, our split {split}")

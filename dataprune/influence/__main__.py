"""Questions to an influence store.

estimate       influences with standard errors, the order file, plots, how many models are enough
target-class   source classes that help and hurt one target class
example        source classes that help and hurt one target example; for a mistake, the job to train without the worst
change         how an example fares with the model that was trained without them
sub-population target examples that one source class helps most
pairs          the strongest single influences (example level: near duplicates, misleading sources), with pictures
rank           where classes that a person listed stand in the order
datamodel      linear datamodels: ridge, or lasso along a path of penalties
extrapolate    predicted against measured outcomes of unseen subsets
import         a store out of data-transfer's summaries, or results of single models
register       a store out of ready models: a checkpoint each, and which classes or examples each was trained on

Units are classes, or examples where the models were trained on random halves of the examples.
"""

import argparse
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.errors import ConfigError
from dataprune.influence import answers
from dataprune.influence.analysis import OUTCOMES, Experiment

Option = tuple[str, dict[str, Any]]
Answer = Callable[[Experiment, argparse.Namespace], int]
ID: Option = ("id", {"type": int, "help": "row in the target's test split"})
RESULTS: Option = ("--results", {"metavar": "STORE", "help": "the jobs' run.store, where it has moved"})
QUESTIONS: tuple[tuple[str, Answer, list[Option]], ...] = (
    (
        "estimate",
        answers.estimate,
        [
            ("--out", {"type": Path, "default": Path("influence")}),
            ("--columns", {"type": int, "help": "of examples: so many columns a file"}),
        ],
    ),
    ("target-class", answers.target_class, [("name", {"help": "name or number of a target class"})]),
    (
        "example",
        answers.example,
        [
            ID,
            ("--without", {"type": int, "default": 1, "help": "how many of the most harmful to train without"}),
            ("--out", {"type": Path, "default": Path("retrain"), "help": "folder of the job's config"}),
        ],
    ),
    ("change", answers.change, [ID, ("method", {"help": "without_..., as the row is called"}), RESULTS]),
    ("sub-population", answers.sub_population, [("name", {"help": "name or number of a source class"})]),
    (
        "pairs",
        answers.pairs,
        [
            ("--out", {"type": Path, "default": Path("pairs.csv")}),
            ("--pictures", {"type": Path, "metavar": "FOLDER", "help": "draw them into report.html there"}),
            RESULTS,
        ],
    ),
    ("rank", answers.rank, [("file", {"help": "classes by id or name: .npy, or one a line"})]),
    (
        "datamodel",
        answers.datamodel,
        [
            ("--how", {"choices": ("lasso", "ridge"), "default": "lasso"}),
            ("--out", {"type": Path, "default": Path("datamodel")}),
            ("--steps", {"type": int, "default": 50, "help": "penalties along lasso's path"}),
            ("--span", {"type": float, "default": 1e-5, "help": "the last penalty, of the first one"}),
            ("--held-out", {"type": float, "default": 0.2, "help": "share of the models that choose the penalty"}),
            ("--alpha", {"type": float, "default": 1.0, "help": "ridge penalty"}),
        ],
    ),
    ("extrapolate", answers.extrapolate, [("--alpha", {"type": float, "default": 1.0, "help": "ridge penalty"})]),
)


def main(words: list[str] | None = None) -> int:
    """Parse, open the store, answer; exit code 1 with one line for what cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.influence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, answer, options in QUESTIONS:
        command = commands.add_parser(name)
        command.add_argument("store", help="folder of the store (run.influence.store)")
        for option, about in options:
            command.add_argument(*(["-o"] if option == "--out" else []), option, **about)
        command.add_argument("--outcome", choices=OUTCOMES, default="p_true")
        command.add_argument("--half", choices=("first", "second", "all"), default="first", help="of the targets")
        command.add_argument("--most", type=int, default=8, help="how many to show from each end")
        command.set_defaults(run=answer)
    add_imports(commands)
    args = parser.parse_args(words)
    try:
        if args.command in ("import", "register"):
            return args.run(args)
        with warnings.catch_warnings(record=True) as caught:
            code = args.run(Experiment.open(args.store, args.outcome, args.half), args)
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            print(f"note: {text}", file=sys.stderr)
        return code
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1


def add_imports(commands: Any) -> None:
    """Add the commands that make stores."""
    files = commands.add_parser("import", help="a store out of data-transfer's files")
    files.add_argument("files", nargs="+", help="summaries <TARGET>.pt, results of models, or folders of them")
    files.add_argument("--target", required=True, help="its name in the files: PETS")
    files.add_argument("-o", "--out", type=Path, default=Path("influence_store"), help="folder of the store")
    files.add_argument("--transfer", choices=("fixed", "full"), default="fixed", help="which of the two transfers")
    files.add_argument("--labels", metavar="FILE.npy", help="true classes of the targets; default: from the models")
    files.add_argument("--classes", metavar="FILE", help="names of the source classes, one a line")
    files.add_argument("--allow-pickle", action="store_true", help="read files that could run code: trusted ones")
    files.set_defaults(run=import_files)
    ready = commands.add_parser("register", help="a store out of ready models, transferred and measured here")
    ready.add_argument("checkpoints", nargs="+", help="a file of weights a model, in the order of the masks' rows")
    ready.add_argument("--masks", required=True, metavar="FILE.npy", help="(models, classes), or (models, examples)")
    ready.add_argument("-o", "--out", type=Path, default=Path("influence_store"), help="folder of the store")
    ready.add_argument("--job", nargs="+", default=[], metavar="KEY=VALUE", help="source, target, model, transfer")
    ready.set_defaults(run=register)


def import_files(args: argparse.Namespace) -> int:
    """Make a store of published files."""
    from dataprune.influence import imports  # with the pipeline, which no question needs

    labels = None if args.labels is None else np.load(args.labels, allow_pickle=False)
    classes = None if args.classes is None else Path(args.classes).read_text().split("\n")[:-1]
    files = imports.files_of(args.files, args.target)
    options = {"way": args.transfer, "labels": labels, "classes": classes, "allow_pickle": args.allow_pickle}
    store = imports.published(args.out, files, args.target, **options)
    print(f"{args.out}: {len(store.models())} models, {len(store.names['units'])} units, {len(store.labels)} targets")
    return 0


def register(args: argparse.Namespace) -> int:
    """Make a store of ready models."""
    from dataprune.influence import imports

    store = imports.ready(args.out, args.checkpoints, args.masks, args.job)
    print(f"{args.out}: {len(store.models())} ready models, claimed; what they took is not known")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Between subset.npz and the files of other programs (formats/subsets.py): export and import."""

import argparse
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown, class_labels, one_of
from dataprune.formats import subsets
from dataprune.subset import Subset

BY_SUFFIX = {".npy": "ids", ".txt": "ids", ".indices": "ids", ".pth": "ids", ".pt": "ids", ".csv": "csv"}
FORMS = ("ids", "file-list", "images", "uids", "csv")
TABLE = """
forms (--as; without it .npy, .txt, .indices are ids, .csv is a table, and *file_list*.txt is a file list):
  ids         .npy int64, .txt one a line, .indices DP4TL's tensor
  file-list   `/<class folder>/<file> <label>` a line, for DALI and Dyn-Unc; original lines with --list
  images      relative paths, one a line, for loaders of ImageFolder trees             (export only)
  uids        .npy for DataComp's resharder; the data set's names are its uids
  csv         id, and as far as known name, class and weight                           (export only)
"""
EXPORTS = """
examples:
  python -m dataprune.select export subset.npz kept.npy
  python -m dataprune.select export subset.npz kept_file_list.txt --list train/file_list.txt
  python -m dataprune.select export subset.npz kept.txt --as images --index store/index/<key> --below train
  python -m dataprune.select export subset.npz kept.csv --names names.txt --labels labels.npy
"""
IMPORTS = """
examples:
  python -m dataprune.select import coreset_file_list.txt -o subset.npz --list train/file_list.txt
  python -m dataprune.select import top600.indices -o subset.npz --n 1281167 --fingerprint imagenet-train
  python -m dataprune.select import kept.npy -o subset.npz --index store/index/<key>
"""


@dataclass
class Known:
    """What the options tell of the data set; None = not told."""

    n: int | None = None
    fingerprint: str | None = None
    names: list[str] | None = None
    labels: np.ndarray | None = None
    classes: list[str] | None = None


def run_export(words: list[str]) -> None:
    """Write a subset in the form of another program."""
    parser = _parser("export", "Write a subset as a file that other programs read.", TABLE + EXPORTS)
    parser.add_argument("subset", help="subset.npz")
    parser.add_argument("to", help="the file to write")
    args = parser.parse_args(words)
    form = _form(args.form, args.to)
    known = _known(args, parse_list=form in ("images", "uids", "csv"))
    subset = Subset.load(args.subset, known.fingerprint)
    if known.n is not None and known.n != subset.n:
        raise ConfigError("subset", args.subset, f"a subset of {known.n} examples, not of {subset.n}")
    if form == "ids":
        subsets.write_ids(subset, args.to)
    elif form == "file-list" and args.list:
        with open(args.list, "rb") as lines:
            subsets.write_file_list(subset, args.to, lines)
    elif form == "file-list":
        subsets.write_file_list(subset, args.to, _lines(known, args.below))
    elif form == "images":
        subsets.write_image_list(subset, args.to, _names(known), below=args.below)
    elif form == "uids":
        subsets.write_uids(subset, args.to, _uids(known))
    else:
        subsets.write_csv(subset, args.to, names=known.names, labels=known.labels, classes=known.classes)
    print(f"{len(subset.ids)} of {subset.n} examples: {args.to} ({form})")


def run_import(words: list[str]) -> None:
    """Make a subset of another program's file."""
    parser = _parser("import", "Make a subset.npz of another program's file.", TABLE + IMPORTS)
    parser.add_argument("file", help="the file to read")
    parser.add_argument("-o", "--output", default="subset.npz", help="default: subset.npz")
    parser.add_argument("--n", type=int, help="examples of the whole data set, where no other option tells it")
    parser.add_argument(
        "--allow-pickle", action="store_true", help="read tensor files that could run code: trusted ones"
    )
    args = parser.parse_args(words)
    form = _form(args.form, args.file)
    known = _known(args, parse_list=form != "file-list")
    made_for = known.fingerprint
    if made_for is None and args.list:
        made_for = hashlib.sha256(Path(args.list).read_bytes()).hexdigest()
    if made_for is None:
        what = "--index, --list or --fingerprint: ids mean nothing without their data set"
        raise ConfigError("--fingerprint", None, what)
    subset = _imported(args, form, known, made_for)
    subset.save(args.output)
    print(f"{len(subset.ids)} of {subset.n} examples: {args.output}, made for data set {subset.fingerprint[:8]}")


def _imported(args: argparse.Namespace, form: str, known: Known, made_for: str) -> Subset:
    if form == "ids":
        return subsets.read_ids(args.file, _number(known, args.n), made_for, allow_pickle=args.allow_pickle)
    if form == "file-list" and args.list:
        with open(args.list, "rb") as lines:
            return subsets.read_file_list(args.file, lines, made_for)
    if form == "file-list":
        return subsets.read_file_list(args.file, _lines(known, args.below), made_for)
    if form == "uids":
        return subsets.read_uids(args.file, _uids(known), made_for)
    raise ConfigError("--as", form, "ids, file-list or uids; names and tables are for other programs")


def _number(known: Known, asked: int | None) -> int:
    """The number of examples of the whole data set, by --n or by what is known of it."""
    number = known.n if asked is None else asked
    if number is None:
        raise ConfigError("--n", None, "the number of examples of the whole data set (or --index, --list, --names)")
    if known.n not in (None, number):
        raise ConfigError("--n", asked, f"{known.n}, as the data set has")
    return number


def _form(asked: str | None, path: str) -> str:
    name = Path(path)
    if asked is None and name.suffix == ".txt" and "file_list" in name.name:
        return "file-list"
    if asked is None and name.suffix not in BY_SUFFIX:
        raise ConfigError("--as", None, f"one of {', '.join(FORMS)}: {name.name} does not tell")
    return one_of("--as", asked or BY_SUFFIX[name.suffix], *FORMS)


def _known(args: argparse.Namespace, parse_list: bool) -> Known:
    """What --index, --list, --names, --labels and --fingerprint tell.

    parse_list: whether names and labels of --list are wanted; its lines alone can be copied as they come.
    """
    known = Known()
    if args.index:
        examples = Examples(Path(args.index), "train")
        known = Known(None, examples.fingerprint, examples.names, examples.labels, examples.classes)
    elif args.list and parse_list:
        known.names, known.labels = subsets.parsed(args.list)
    if args.names:
        known.names = Path(args.names).read_text(errors="surrogateescape").removesuffix("\n").split("\n")
    if args.labels:
        known.labels = class_labels(args.labels, np.load(args.labels, allow_pickle=False))
    counts = [len(part) for part in (known.names, known.labels) if part is not None]
    if len(set(counts)) > 1:
        raise ConfigError("--names", Shown(f"{counts[0]} names"), f"{counts[1]}, as there are labels")
    known.n = counts[0] if counts else None
    known.fingerprint = args.fingerprint or known.fingerprint
    return known


def _lines(known: Known, below: str) -> Iterator[bytes]:
    if known.names is None or known.labels is None:
        raise ConfigError("--list", None, "the file list of the whole data set (or --index, or --names and --labels)")
    return subsets.lines_of(known.names, known.labels, below)


def _names(known: Known) -> list[str]:
    if known.names is None:
        raise ConfigError("--names", None, "a file with the name of each example a line (or --index, --list)")
    return known.names


def _uids(known: Known) -> np.ndarray:
    from dataprune.formats.datacomp import parse_uids  # with pyarrow, which other forms do not need

    return parse_uids(_names(known), "names")


def _parser(command: str, about: str, epilog: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m dataprune.select {command}",
        description=about,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--as", dest="form", metavar="FORM", help="see below")
    add("--list", metavar="FILE", help="the file list of the whole data set")
    add("--index", metavar="FOLDER", help="store/index/<key>, a data set that a job has read; it must be the subset's")
    add("--names", metavar="FILE", help="a name for each example of the whole data set, one a line")
    add("--labels", metavar="FILE.npy", help="its classes (n,)")
    add("--below", default="", metavar="FOLDER", help="folder that paths are taken from: `train`")
    add("--fingerprint", metavar="TEXT", help="of the data set; a subset of another is refused")
    return parser

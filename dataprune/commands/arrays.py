"""Select examples from arrays on disk, by any method that has a selector; your files take the place of the pipeline.

A file with one axis holds scores (n,), higher = kept first; one with two axes holds features (n, d). Which are needed
depends on the method. Arrays are memory-mapped. The subset file holds sorted ids, the order of the picks, and which
method, prune ratio, seed and data made it.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from dataprune.arrays import ARRAYS
from dataprune.callables import parameters
from dataprune.checks.config import check_ranges
from dataprune.commands.conf import options, read
from dataprune.commands.files import Arrays, fingerprint, read_arrays
from dataprune.config import MethodConfig, SelectConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown, class_labels, shaped
from dataprune.plan import CUT, FILLED, PER_CLASS, SCORES, Call, Plan, compiled
from dataprune.ratios import as_typed, fraction_at
from dataprune.selectors.budget import budget
from dataprune.stages.select import select, subset_of

EXAMPLES = """
examples:
  python -m dataprune.select features.npy scores.npy --method d2 --prune-ratio 0.7 -o subset.npz --labels labels.npy
  python -m dataprune.select features.npy --method k_center --prune-ratio 0.9 --fingerprint my-data-v1
  python -m dataprune.select scores.npy --method ccs --prune-ratio 0.9 --set strata=25 --cut 0.4 --seed 3

other commands (each has its own --help):
  python -m dataprune.select export     write a subset as file list, ImageFolder list, .indices, uids, .npy, .txt, .csv
  python -m dataprune.select import     make a subset.npz of such a file
  python -m dataprune.select datacomp   D2 on a DataComp metadata folder: uid file out
"""


def run(words: list[str]) -> None:
    """Read the arrays, select, write the subset and say what was done."""
    args = _parser().parse_args(words)
    if Path(args.output).suffix != ".npz":
        raise ConfigError("--output", args.output, "a name that ends in .npz")
    method = method_named(args.method, args.set)
    arrays, index = read_arrays(args), None
    if args.index:
        index = Examples(Path(args.index), "train")
        arrays.setdefault("labels", index.labels)
    n, labels = sizes(method, arrays)
    budget(args.prune_ratio, n)  # a wrong ratio is said before anything else is
    plan, by = plan_of(method, args, arrays)
    given = selector_arrays(plan, arrays, labels)
    config = config_of(plan, given, args.seed)
    wanted = {name: array for those in given for name, array in those.items()}
    print(f"{method.name}: {_call(config.steps[-1].function)}")
    if "labels" in wanted.keys() - arrays.keys():
        print(f"labels: no --labels, so all {n} examples are one class")
    scores = {name: arrays[given] for name, given in (("scores", "scores"), ("cut", by)) if given in arrays}
    began = time.perf_counter()
    picks = select(config, n, wanted, scores)
    seconds = time.perf_counter() - began
    made_for = args.fingerprint or (index.fingerprint if index else fingerprint(arrays))
    subset = subset_of(config, picks, labels, made_for)
    subset.save(args.output)
    classes = f" ({len(picks[0])} of {n} classes)" if config.level == "class" else ""
    print(
        f"kept {len(subset.ids)} of {subset.n}{classes} at prune_ratio {config.prune_ratio:g} in {seconds:.2f} s: "
        f"{args.output}, made for data set {made_for[:8]}"
    )


def method_named(name: str, overrides: list[str]) -> MethodConfig:
    """The method conf/method/<name>.yaml, or of a YAML file, its selector's constants replaced by `overrides`."""
    method = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(MethodConfig), read("method", name)))
    assert isinstance(method, MethodConfig)
    check_ranges(method, "method.")
    if method.select is None:
        those = ", ".join(option for option in options("method") if read("method", option).get("select"))
        raise ConfigError("--method", name, f"a method with a selector: {those}")
    if wrong := [text for text in overrides if "=" not in text or text.split("=")[0] in FILLED]:
        raise ConfigError("--set", wrong[0], "constant=value, a constant of the selector: --set gamma=0.1")
    constants = {str(name): value for name, value in OmegaConf.from_dotlist(overrides).items()}
    for constant, value in constants.items():
        if isinstance(method.select.get(constant), int | float) and not isinstance(value, int | float | None):
            raise ConfigError(f"--set {constant}", value, f"a number, such as {method.select[constant]}")
    method.select |= constants
    return method


def sizes(method: MethodConfig, arrays: Arrays) -> tuple[int, np.ndarray]:
    """How many examples (or classes) are chosen from, and a label for each example.

    Without labels all examples are one class; a method about classes cannot do without.
    """
    if method.level == "class":
        if "labels" not in arrays:
            raise ConfigError("--labels", None, f"a file: {method.name} keeps the examples of whole classes")
        labels = class_labels("labels", arrays["labels"], n_classes=_length(arrays.get("scores")))
        return _length(arrays.get("scores")) or int(labels.max()) + 1, labels
    counted = {name: len(arrays[name]) for name in ("scores", "features", "labels", "cut") if name in arrays}
    name, n = next(iter(counted.items()))
    for other, count in counted.items():
        if count != n:
            raise ConfigError(other, Shown(f"{count} rows"), f"{n}, as {name} has")
    if "labels" in arrays:
        return n, class_labels("labels", arrays["labels"], n)
    return n, np.zeros(n, np.int64)


def plan_of(method: MethodConfig, args: argparse.Namespace, arrays: Arrays) -> tuple[Plan, str]:
    """The method's plan at the ratio, and the name of the array that its cut goes by."""
    fraction, by = cut_of(method, args, arrays)
    plan = compiled(replace(method, cut=None, trains_on="subset"), as_typed(args.prune_ratio))
    cut = Call("method.cut", {"_target_": CUT, "fraction": fraction}, {}, ("budget", "scores", "select"), "cut")
    return (replace(plan, chain=(cut, *plan.chain)) if fraction else plan), by


def config_of(plan: Plan, given: list[Arrays], seed: int) -> SelectConfig:
    """The selection; `given`: the arrays of each step, by the name of its parameter."""
    steps = [
        replace(call.step, arrays={name: name for name in those}) for call, those in zip(plan.steps, given, strict=True)
    ]
    return SelectConfig(
        steps=steps,
        method=plan.method.name,
        prune_ratio=plan.prune_ratio,
        level=plan.method.level,
        weighted=plan.method.weighted,
        seed=seed if plan.draws else 0,  # as in a job: a selector that draws nothing does not know the seed
    )


def cut_of(method: MethodConfig, args: argparse.Namespace, arrays: Arrays) -> tuple[float, str]:
    """Fraction that is left out before, and the name of the scores that say which.

    The method's own cut happens where its scores are there: in --cut-scores, or in the scores where it cuts by what it
    ranks by. What is cut, or is not though the method would, is printed.
    """
    if args.cut is None and method.cut is None and "cut" in arrays:
        raise ConfigError("--cut-scores", args.cut_scores, f"--cut FRACTION beside it: {method.name} has no cut")
    by_ranking = _cuts_by_ranking(method, args)
    by = "scores" if by_ranking and "cut" not in arrays else "cut"
    fraction = _fraction(method, args)
    if not fraction:
        return fraction, by
    if method.level == "class":
        raise ConfigError("--cut", fraction, "a method about examples: a cut leaves out examples")
    if by in arrays:
        print(f"cut: the hardest {fraction:.0%}, those of the highest scores, are left out before (--cut 0: none)")
        return fraction, by
    if by_ranking:
        raise ConfigError("--cut", fraction, "scores to cut by: a file of scores, or --cut-scores")
    assert method.cut is not None
    function = method.cut.score["_target_"].rpartition(".")[2]
    print(f"cut: none; in a job {method.name} leaves out the hardest {fraction:.0%} by {function} (--cut-scores)")
    return 0.0, by


def _cuts_by_ranking(method: MethodConfig, args: argparse.Namespace) -> bool:
    """Whether the scores that rank may say what is cut: the cut is --cut, or the method's own by the same scores."""
    return args.cut is not None or method.cut is None or method.cut.score == method.score


def _fraction(method: MethodConfig, args: argparse.Namespace) -> float:
    """What --cut says, or the method at this prune ratio."""
    own = method.cut
    if args.cut is not None or own is None:
        return args.cut or 0.0
    key, instead = "cut.by_prune_ratio", "--cut FRACTION says it for this one"
    return fraction_at(own.fraction, own.by_prune_ratio, args.prune_ratio, key, instead)


def selector_arrays(plan: Plan, arrays: Arrays, labels: np.ndarray) -> list[Arrays]:
    """The arrays that each selector takes, by parameter; one that is missing is named with its option.

    The method can do without an array that a selector has a default for; that it does is printed.
    """
    method, calls = plan.method, plan.steps
    takes = set().union(*(parameters(call.function["_target_"]).names for call in calls))
    ranks = any(SCORES & set(call.filled) and call.function["_target_"] != PER_CLASS for call in calls)
    if ranks and "scores" not in arrays:
        raise ConfigError("scores", None, f"a file with one axis (n,), higher = kept first: {method.name} goes by them")
    for name in arrays.keys() - {"scores", "features", "labels", "cut", *takes}:
        target = calls[-1].function["_target_"]
        raise ConfigError("--array", name, f"a parameter of {target}: {', '.join(parameters(target).names)}")
    if method.level == "example":
        _check_rows({name: arrays[name] for name in sorted(arrays.keys() & takes)}, len(labels))
    return [_given(call, plan, arrays, labels) for call in calls]


def _check_rows(arrays: Arrays, n: int) -> None:
    """Raise a ConfigError for an array that has not one row an example (or is one of several models, then rows)."""
    for name, array in arrays.items():
        if n not in array.shape[:2]:
            raise ConfigError(name, Shown(f"array of shape {array.shape}"), f"{n} rows, one an example")


def _given(call: Call, plan: Plan, arrays: Arrays, labels: np.ndarray) -> Arrays:
    """The user's arrays for one selector."""
    wanted, takes = {}, parameters(call.function["_target_"])
    optional = [name for name in takes.names if name in arrays and name not in (*call.filled, *call.function, "cut")]
    there = arrays | {"labels": labels}
    for name in {**call.arrays, **dict.fromkeys(optional)}:
        about = ARRAYS.get(call.arrays.get(name, name))
        if name in there:
            wanted[name] = there[name]
        elif name in takes.required or name == "features":
            option = "a file with two axes (n, d)" if name == "features" else f"--array {name}=FILE.npy"
            raise ConfigError(name, None, f"{option}: {about.shape}, {about.about}" if about else option)
        else:
            what = f"{about.about}, {about.shape}" if about else call.arrays[name]
            print(f"{name}: none; in a job {plan.method.name} has {what} (--array {name}=FILE.npy)")
    return wanted


def _length(array: np.ndarray | None) -> int | None:
    return None if array is None else len(shaped("scores", array, "classes"))


def _call(function: dict[str, Any]) -> str:
    constants = ", ".join(f"{k}={v}" for k, v in function.items() if k != "_target_")
    return f"{function['_target_']}({constants})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.select",
        usage="%(prog)s FILE.npy [FILE.npy] --method NAME --prune-ratio RATIO [-o subset.npz] [options]",
        description=__doc__,
        epilog=EXAMPLES + "\nmethods: " + ", ".join(options("method")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "files",
        nargs="+",
        metavar="FILE.npy",
        help="scores (n,) and features (n, d), or one of them",
    )
    add("--method", required=True, help="an option of conf/method, or your own YAML file of that form")
    add("--prune-ratio", type=float, required=True, help="fraction of the examples (or classes) REMOVED")
    add("-o", "--output", default="subset.npz", help="default: subset.npz")
    add("--labels", metavar="FILE.npy", help="classes (n,); without it all examples are one class")
    add("--array", action="append", default=[], metavar="NAME=FILE.npy", help="another array that the selector takes")
    add("--set", action="append", default=[], metavar="NAME=VALUE", help="a constant of the selector: gamma=0.1")
    add(
        "--cut",
        type=float,
        metavar="FRACTION",
        help="leave out so many of the hardest before; 0 = none. default: the method's",
    )
    add("--cut-scores", metavar="FILE.npy", help="what the cut goes by, higher = harder, where it is not the scores")
    add("--seed", type=int, default=0, help="of methods that draw (default: 0)")
    add("--fingerprint", metavar="TEXT", help="name of the data set; default: SHA-256 of the arrays given")
    add(
        "--index",
        metavar="FOLDER",
        help="store/index/<key>: labels and fingerprint from a data set that a job has read",
    )
    return parser

"""Questions to an influence store.

estimate       influences with standard errors, the order file, plots, how many models are enough
target-class   source classes that help and hurt one target class
example        source classes that help and hurt one target example; for a mistake, the class to remove
sub-population target examples that one source class helps most
pairs          the strongest single influences (example level: near duplicates, misleading sources)
extrapolate    predicted against measured outcomes of unseen subsets
"""

import argparse
import csv
import sys
import warnings
from pathlib import Path

import numpy as np

from dataprune.cost import COST
from dataprune.errors import ConfigError
from dataprune.influence.analysis import OUTCOMES, Experiment, strongest
from dataprune.influence.estimates import mean_influence
from dataprune.selectors.classes import removal_order
from dataprune.store import write_json

STABLE = 0.5  # split-half correlation below which a counterfactual is not worth its cost (spec of the experiment)


def main(words: list[str] | None = None) -> int:
    """Parse, open the store, answer; exit code 1 with one line for what cannot be."""
    parser = argparse.ArgumentParser(
        prog="python -m dataprune.influence", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, run, extra in (
        ("estimate", _estimate, [("-o", "--out", {"type": Path, "default": Path("influence")})]),
        ("target-class", _target_class, [("name", None, {"help": "name or number of a target class"})]),
        ("example", _example, [("id", None, {"type": int, "help": "row in the target's test split"})]),
        ("sub-population", _sub_population, [("name", None, {"help": "name or number of a source class"})]),
        ("pairs", _pairs, [("-o", "--out", {"type": Path, "default": Path("pairs.csv")})]),
        ("extrapolate", _extrapolate, [("--alpha", None, {"type": float, "default": 1.0, "help": "ridge penalty"})]),
    ):
        command = commands.add_parser(name)
        command.add_argument("store", help="folder of the store (run.influence.store)")
        for short, long, options in extra:
            command.add_argument(*filter(None, (short, long)), **options)
        command.add_argument("--outcome", choices=OUTCOMES, default="p_true")
        command.add_argument("--half", choices=("first", "second", "all"), default="first", help="of the targets")
        command.add_argument("--most", type=int, default=8, help="how many to show from each end")
        command.set_defaults(run=run)
    args = parser.parse_args(words)
    try:
        experiment = Experiment.open(args.store, args.outcome, args.half)
        with warnings.catch_warnings(record=True) as caught:
            code = args.run(experiment, args)
        for text in dict.fromkeys(str(warning.message) for warning in caught):
            print(f"note: {text}", file=sys.stderr)
        return code
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1


def _estimate(experiment: Experiment, args: argparse.Namespace) -> int:
    """Write the arrays, the order and the report."""
    from dataprune.influence.report import draw

    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    mean, error = experiment.mean
    order = removal_order(mean)
    np.save(out / "influence.npy", experiment.influence.astype(np.float32))
    np.save(out / "error.npy", experiment.error.astype(np.float32))
    np.save(out / "mean_influence.npy", mean)
    np.save(out / "order.npy", order)
    write_json(out / COST, experiment.cost)
    counts, stability = experiment.stability()
    units = experiment.store.names["units"]
    with open(out / "classes.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "name", "mean_influence", "standard_error", "t"])
        for i in order[::-1]:
            table.writerow([i, units[i], f"{mean[i]:.6g}", f"{error[i]:.3g}", f"{mean[i] / error[i]:.2f}"])
    path = draw(experiment, out, counts, stability)
    print(f"{len(experiment.models)} models, {len(experiment.targets)} targets ({experiment.half}), {args.outcome}")
    _show([(units[i], value, spread) for i, value, spread in strongest(mean, error, args.most)])
    undefined = int(np.isnan(mean).sum())
    if undefined:
        print(f"{undefined} units were in all models or in none: undefined, ordered as neutral")
    verdict = "enough for a counterfactual" if stability[-1] >= STABLE else f"below {STABLE}: train more models"
    spent = experiment.cost
    took = f"{spent['seconds']:,.0f} s and {spent['images']:,} images" if spent else "what nobody has noted down"
    print(f"the models took {took}; rows that use the scores count it")
    print(f"split-half rank correlation {stability[-1]:.2f}: {verdict}")
    print(f"report: {path}\norder (most harmful first): {out / 'order.npy'}\nscores: {out / 'mean_influence.npy'}")
    return 0


def _target_class(experiment: Experiment, args: argparse.Namespace) -> int:
    names = experiment.store.names
    members = experiment.labels == _number(args.name, names["targets"], "target class")
    mean, error = mean_influence(experiment.masks, experiment.outputs[:, members])
    _show([(names["units"][i], value, spread) for i, value, spread in strongest(mean, error, args.most)])
    return 0


def _example(experiment: Experiment, args: argparse.Namespace) -> int:
    at = np.flatnonzero(experiment.targets == args.id)
    if len(at) == 0:
        last = len(experiment.store.labels) - 1
        raise ConfigError("id", args.id, f"an id of 0 to {last} in this half of the targets (--half all)")
    names, place = experiment.store.names, int(at[0])
    rows = strongest(experiment.influence[place], experiment.error[place], args.most)
    told = np.bincount(experiment.predictions[:, place], minlength=len(names["targets"]))
    truth = int(experiment.labels[place])
    print(f"target {args.id} is {names['targets'][truth]}; models say " + _votes(told, names["targets"]))
    _show([(names["units"][i], value, spread) for i, value, spread in rows])
    worst = rows[-1][0]
    print(f"most harmful: {names['units'][worst]}. To train without it and look again:")
    print(f"  python -m dataprune method=handpicked 'method.select.classes=[{worst}]' method.select.exclude=true ...")
    return 0


def _sub_population(experiment: Experiment, args: argparse.Namespace) -> int:
    names = experiment.store.names
    unit = _number(args.name, names["units"], "source class")
    column = experiment.influence[:, unit]
    for label in np.unique(experiment.labels):
        members = np.flatnonzero(experiment.labels == label)
        best = members[np.argsort(-column[members], kind="stable")][: args.most]
        shown = " ".join(f"{experiment.targets[i]}({column[i]:+.3f})" for i in best)
        print(f"{names['targets'][label]:>16}  mean {column[members].mean():+.4f}  {shown}")
    return 0


def _pairs(experiment: Experiment, args: argparse.Namespace) -> int:
    """The strongest (unit, target) pairs, with t-values; both signs."""
    values, names = experiment.influence, experiment.store.names
    flat = np.nan_to_num(values).ravel()
    order = np.concatenate([np.argsort(-flat)[: args.most], np.argsort(flat)[: args.most]])
    with open(args.out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["unit", "unit_name", "target", "target_class", "influence", "t"])
        for place in order:
            target, unit = np.unravel_index(place, values.shape)
            label = names["targets"][experiment.labels[target]]
            t = values[target, unit] / experiment.error[target, unit]
            row = [
                unit,
                names["units"][unit],
                experiment.targets[target],
                label,
                f"{values[target, unit]:.5g}",
                f"{t:.2f}",
            ]
            table.writerow(row)
    print(
        f"{len(order)} pairs in {args.out}; positive = near duplicates or helpful, negative = misleading or mislabelled"
    )
    return 0


def _extrapolate(experiment: Experiment, args: argparse.Namespace) -> int:
    predicted, measured = experiment.extrapolation(args.alpha)
    error = np.sqrt(np.mean((predicted - measured) ** 2))
    print(
        f"{len(measured)} unseen subsets: correlation {np.corrcoef(predicted, measured)[0, 1]:.2f}, error {error:.4f}"
    )
    print(f"measured {measured.mean():.4f} ±{measured.std():.4f}; guessing the mean errs by {measured.std():.4f}")
    return 0


def _show(rows: list[tuple[str, float, float]]) -> None:
    for name, value, error in rows:
        print(f"{name:>24} {value:+.4f} ±{error:.4f}")


def _votes(told: np.ndarray, names: list[str]) -> str:
    share = told / told.sum()
    return ", ".join(f"{names[c]} {share[c]:.0%}" for c in np.argsort(-share, kind="stable")[:3] if share[c] > 0)


def _number(name: str, names: list[str], what: str) -> int:
    if name in names:
        return names.index(name)
    if name.isdigit() and int(name) < len(names):
        return int(name)
    raise ConfigError(what, name, f"one of {', '.join(names[:8])}{' ...' if len(names) > 8 else ''}, or its number")


if __name__ == "__main__":
    sys.exit(main())

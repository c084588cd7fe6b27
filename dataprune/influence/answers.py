"""Answers of `python -m dataprune.influence` over a finished (or growing) store, each printed, some also written."""

import argparse
import csv
from pathlib import Path

import numpy as np

from dataprune.cost import COST
from dataprune.errors import ConfigError, Shown
from dataprune.formats.class_lists import listed
from dataprune.influence import columns, retrain
from dataprune.influence.analysis import Experiment, strongest
from dataprune.influence.datamodels import lasso_path, ridge
from dataprune.selectors.classes import removal_order
from dataprune.store import write_json

STABLE = 0.5  # split-half correlation below which a counterfactual is not worth its cost (spec of the experiment)


def estimate(experiment: Experiment, args: argparse.Namespace) -> int:
    """Write the arrays, the order and the report."""
    from dataprune.influence.report import draw

    out: Path = args.out
    out.mkdir(parents=True, exist_ok=True)
    mean, error = experiment.mean
    order = removal_order(mean)
    if experiment.wide:
        print(f"influences, some columns a file: {columns.write(experiment, out / 'influence', args.columns)}")
    else:
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


def target_class(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print the units that help and hurt one target class."""
    names = experiment.store.names
    members = experiment.labels == _number(args.name, names["targets"], "target class")
    mean, error = experiment.mean_over(members)
    _show([(names["units"][i], value, spread) for i, value, spread in strongest(mean, error, args.most)])
    return 0


def example(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print what helps and hurts one target example, and write the job that trains without what hurts it most."""
    names, place = experiment.store.names, experiment.place_of(args.id)
    mean, error = experiment.mean_over(np.array([place]))
    rows = strongest(mean, error, args.most)
    told = np.bincount(experiment.predictions[:, place], minlength=len(names["targets"]))
    truth = int(experiment.labels[place])
    print(f"target {args.id} is {names['targets'][truth]}; models say " + _votes(told, names["targets"]))
    _show([(names["units"][i], value, spread) for i, value, spread in rows])
    order = np.argsort(np.nan_to_num(mean), kind="stable")
    worst = [int(unit) for unit in order[: args.without] if mean[unit] < 0]
    if not worst:
        print("nothing harms it")
        return 0
    print(f"most harmful: {', '.join(names['units'][unit] for unit in worst[:5])}. To train without and look again:")
    if not retrain.has_job(experiment):  # imported: nobody here knows how its models were trained
        print(f"  python -m dataprune method=left_out 'method.select.ids={worst}' and the rest as its models had it")
        return 0
    command = retrain.write_job(experiment, worst, args.out)
    print(f"  {command}")
    method = command.rpartition(" ")[2]
    print(f"  python -m dataprune.influence change {experiment.store.root} {args.id} {method} --half {experiment.half}")
    return 0


def change(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print how a target example fares with a model that was trained without something."""
    for model, p_true, said in retrain.change(experiment, args.id, args.method, args.results):
        print(f"{model:>24} p of its class {p_true:.4f}, says {said}")
    return 0


def sub_population(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print the target examples that one unit helps most, class by class."""
    names = experiment.store.names
    column, _ = experiment.of_unit(_number(args.name, names["units"], "source class"))
    for label in np.unique(experiment.labels):
        members = np.flatnonzero(experiment.labels == label)
        best = members[np.argsort(-column[members], kind="stable")][: args.most]
        shown = " ".join(f"{experiment.targets[i]}({column[i]:+.3f})" for i in best)
        print(f"{names['targets'][label]:>16}  mean {column[members].mean():+.4f}  {shown}")
    return 0


def pairs(experiment: Experiment, args: argparse.Namespace) -> int:
    """Write the strongest (unit, target) pairs of both signs with t-values, and show them as pictures if asked to."""
    names, found = experiment.store.names, experiment.pairs(args.most)
    with open(args.out, "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["unit", "unit_name", "target", "target_class", "influence", "t"])
        for unit, at, value, error in found:
            label = names["targets"][experiment.labels[at]]
            name, target = names["units"][unit], experiment.targets[at]
            table.writerow([unit, name, target, label, f"{value:.5g}", f"{value / error:.2f}"])
    print(
        f"{len(found)} pairs in {args.out}; positive = near duplicates or helpful, negative = misleading or mislabelled"
    )
    if args.pictures is not None:
        from dataprune.influence.pictures import draw

        print(f"pictures: {draw(experiment, found, args.pictures, args.results)}")
    return 0


def rank(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print where units that a person listed stand in the order, 1 = most helpful."""
    names = experiment.store.names["units"]
    picked = np.flatnonzero(listed(args.file, names))
    mean, error = experiment.mean
    place = np.empty(len(mean), np.int64)
    place[removal_order(mean)[::-1]] = np.arange(1, len(mean) + 1)
    # the chance that a listed unit stands before one that is not: 0.5 = the list says nothing
    others = max(1, len(mean) - len(picked))
    before = 1 - (place[picked].mean() - (len(picked) + 1) / 2) / others
    for unit in picked[np.argsort(place[picked])]:
        print(f"{place[unit]:>8} of {len(mean)}  {names[unit]:>24} {mean[unit]:+.4f} ±{error[unit]:.4f}")
    print(
        f"{len(picked)} listed: mean rank {place[picked].mean():.1f}, before an unlisted one with chance {before:.2f}"
    )
    return 0


def datamodel(experiment: Experiment, args: argparse.Namespace) -> int:
    """Fit linear datamodels (ridge, or lasso with penalties by held-out models) and write their weights."""
    if experiment.wide:
        raise ConfigError("store", Shown(f"{experiment.n} units"), "classes: the fit holds (units, units) numbers")
    if not 0 < args.held_out < 1:
        raise ConfigError("--held-out", args.held_out, "a share of the models, above 0 and below 1")
    args.out.mkdir(parents=True, exist_ok=True)
    if args.how == "ridge":
        coef, intercept = ridge(experiment.masks, experiment.outputs, args.alpha)
    else:
        held_out = np.arange(len(experiment.models)) >= round((1 - args.held_out) * len(experiment.models))
        path = {"steps": args.steps, "span": args.span}
        coef, intercept, penalties = lasso_path(experiment.masks, experiment.outputs, held_out, **path)
        np.save(args.out / "penalties.npy", penalties)
    np.save(args.out / "coef.npy", coef)
    np.save(args.out / "intercept.npy", intercept)
    flat, same = coef.ravel(), experiment.influence.ravel()
    both = ~np.isnan(same)
    print(f"{args.how}: {np.count_nonzero(coef)} of {coef.size} weights, in {args.out / 'coef.npy'}")
    print(f"correlation with the influences: {np.corrcoef(flat[both], same[both])[0, 1]:.2f}")
    return 0


def extrapolate(experiment: Experiment, args: argparse.Namespace) -> int:
    """Print how well a ridge datamodel predicts models that it has not seen."""
    if experiment.wide:
        raise ConfigError("store", Shown(f"{experiment.n} units"), "classes: the fit holds (units, units) numbers")
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

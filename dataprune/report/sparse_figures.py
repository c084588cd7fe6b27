"""The figures of the sparse transfer study, redrawn from its raw results, and ours beside them.

All take tables of `report.published` (accuracies 0 to 1) and give a matplotlib figure.
"""

from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import pearsonr, spearmanr

from dataprune.report.figures import COLOURS, MARKERS, STYLE, Look, legend, sheet
from dataprune.report.published import DENSE, SPARSE

WAYS = ("linear", "full")
TITLES = {"linear": "linear finetuning (frozen network)", "full": "full finetuning"}
_SMALL: Any = {"textcoords": "offset points", "fontsize": 7.5, "color": "#555555"}
_ABOVE: Any = {"xytext": (0, 3)} | _SMALL
DEPTH = 12.0  # points below dense that a panel shows; what lies deeper stands at its lower edge as a number


# the same colours in all figures
LOOKS: Look = {DENSE: ("black", "o")} | {m: (COLOURS[i], MARKERS[i]) for i, m in enumerate(SPARSE)}


def panels(count: int, width: float, height: float, columns: int = 2) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of so many axes, `columns` beside each other."""
    figure = Figure(figsize=(width, height))
    axes = figure.subplots(-(-count // columns), columns, squeeze=False)
    return figure, list(axes.flat)


@matplotlib.rc_context(STYLE)
def by_sparsity(means: pd.DataFrame) -> Figure:
    """Draw mean accuracy over the targets against sparsity, a line a method, both ways of transfer; dense is level.

    means: of `over_targets`, of one network. A second checkpoint of a cell (replicate 1) is a hollow point of its own.
    """
    figure, both = panels(2, 9.4, 4.4)
    for axes, way in zip(both, WAYS, strict=True):
        part = means[means.transfer == way]
        _lines(axes, part)
        axes.set_title(TITLES[way], fontsize=10, loc="left")
        axes.set_ylabel(f"accuracy, %: mean of {_range(part.targets)} targets")
    _legend_of(figure, both[0])
    return figure


@matplotlib.rc_context(STYLE)
def by_target(seeds: pd.DataFrame, transfer: str) -> Figure:
    """Draw accuracy against sparsity for each target, a line a method, with deviations over seeds.

    seeds: of `over_seeds`, of one network. transfer: linear | full.
    """
    part = seeds[seeds.transfer == transfer]
    targets = sorted(part.target.unique())
    figure, every = panels(len(targets), 10.4, 2.3 * -(-len(targets) // 4) + 0.6, 4)
    for axes, target in zip(every, targets, strict=False):
        _lines(axes, part[part.target == target])
        axes.set_title(target, fontsize=10, loc="left")
    for axes in every[len(targets) :]:
        axes.axis("off")
    every[0].set_ylabel(f"accuracy, %: {transfer}")
    _legend_of(figure, every[0])
    return figure


@matplotlib.rc_context(STYLE)
def linear_against_full(means: pd.DataFrame) -> Figure:
    """Draw a point for each sparse network, full against linear accuracy, mean over the targets; numbers: sparsity.

    means: of `over_targets`, of one network; what is transferred one way only has no point.
    """
    keys = ["method", "sparsity", "replicate"]
    wide = means.pivot_table(index=keys, columns="transfer", values="accuracy").dropna().reset_index()
    figure, axes = sheet(8.4, 5.6)
    dense = 100 * wide[wide.method == DENSE].linear.max()
    floor = max(100 * wide.linear.min() - 1, dense - DEPTH)
    for method, group in wide.groupby("method"):
        _points(axes, 100 * group.full, np.maximum(100 * group.linear, floor), group.sparsity, str(method))
        for full, linear in zip(100 * group.full, 100 * group.linear, strict=True):
            if linear < floor:
                axes.annotate(f"at {linear:.0f}", (full, floor), (0, -12), ha="center", **_SMALL)
    axes.set_xlabel(f"full finetuning, %: mean of {_range(means.targets)} targets")
    axes.set_ylabel("linear finetuning, %")
    axes.set_ylim(bottom=floor - 1)
    _legend_of(figure, axes)
    return figure


@matplotlib.rc_context(STYLE)
def against_imagenet(known: pd.DataFrame) -> Figure:
    """Draw mean accuracy over the targets against the networks' own ImageNet top-1, both ways of transfer.

    known: of `with_imagenet`, of one network. Titles: Pearson's r and Spearman's rank correlation over the points.
    """
    figure, both = panels(2, 9.4, 4.4)
    for axes, way in zip(both, WAYS, strict=True):
        part = known[known.transfer == way]
        for method, group in part.groupby("method"):
            _points(axes, group.top1, 100 * group.accuracy, group.sparsity, str(method))
        r, rank = correlation(part)
        axes.set_title(f"{TITLES[way]}: r {r:.2f}, rank {rank:.2f}, n {len(part)}", fontsize=10, loc="left")
        axes.set_xlabel("ImageNet top-1, %, as published")
    both[0].set_ylabel(f"accuracy, %: mean of {_range(known.targets)} targets")
    _legend_of(figure, both[0])
    return figure


def correlation(known: pd.DataFrame) -> tuple[float, float]:
    """Return Pearson's r and Spearman's rank correlation of `top1` and `accuracy` over the lines of `with_imagenet`;
    NaN of fewer than three."""
    if len(known) < 3:
        return float("nan"), float("nan")
    r, rank = (test(known.top1, known.accuracy).statistic for test in (pearsonr, spearmanr))
    return float(r), float(rank)


@matplotlib.rc_context(STYLE)
def beside_published(ours: pd.DataFrame, theirs: pd.DataFrame) -> Figure:
    """Draw our lines in front of the published ones of one target and one way of transfer; what is dense is level.

    ours: `group`, `sparsity`, `accuracy`, `std`. theirs: of `over_seeds`, of one network and target; may be empty.
    """
    figure, axes = sheet(7.6, 4.4)
    groups = list(dict.fromkeys(ours.group))
    look = {group: (COLOURS[i % len(COLOURS)], MARKERS[i % 10]) for i, group in enumerate(groups)}
    for i, (method, lines) in enumerate(theirs[theirs.sparsity > 0].groupby("method")):
        lines = lines.sort_values("sparsity")
        axes.plot(100 * lines.sparsity, 100 * lines.accuracy, color="#bbbbbb", marker=MARKERS[i % 10], linewidth=1)
        axes.annotate(str(method), (100 * lines.sparsity.iloc[-1], 100 * lines.accuracy.iloc[-1]), (6, -3), **_SMALL)
    for line in theirs[theirs.sparsity == 0].itertuples():
        axes.axhline(100 * line.accuracy, color="#bbbbbb", linewidth=1)
        axes.annotate(line.method, (0.01, 100 * line.accuracy), xycoords=("axes fraction", "data"), **_ABOVE)
    for group, lines in ours.groupby("group", sort=False):
        colour, marker = look[str(group)]
        for level in 100 * lines[lines.sparsity == 0].accuracy:
            axes.axhline(level, color=colour, linestyle="--", label=str(group))
        sparse = lines[lines.sparsity > 0].sort_values("sparsity")
        if len(sparse):
            axes.errorbar(
                100 * sparse.sparsity, 100 * sparse.accuracy, yerr=100 * sparse["std"].fillna(0), color=colour,
                marker=marker, capsize=3, label=str(group),
                # of equal ones nobody says which belong together
                linestyle="-" if sparse.sparsity.is_unique else "none",
            )  # fmt: skip
    there = np.concatenate([theirs.sparsity, ours.sparsity])
    axes.set_xticks(_apart(np.unique(np.round(100 * there[there > 0], 1))))
    axes.set_xlabel("sparsity of the network: zeros among its weights, %")
    axes.set_ylabel("accuracy, %")
    legend(figure, groups)
    return figure


def _lines(axes: Axes, part: pd.DataFrame) -> None:
    """A line a method over sparsity; dense as a level line; what is too deep as an arrow at the lower edge."""
    dense = 100 * part[part.method == DENSE].accuracy
    level = dense.iloc[0] if len(dense) else 100 * part.accuracy.max()
    axes.axhline(level, color="black", linewidth=1.2, label=DENSE)
    sparse = part[part.method != DENSE]
    floor = max(100 * sparse.accuracy.min() - 1, level - DEPTH)
    for method, group in sparse.groupby("method"):
        colour, marker = LOOKS[str(method)]
        plain: Any = {"color": colour, "marker": marker, "markersize": 5}
        once, again = group[group.replicate == 0].sort_values("sparsity"), group[group.replicate > 0]
        x, y = 100 * once.sparsity, 100 * once.accuracy
        spread = 100 * once["std"].fillna(0) if "std" in once else None
        axes.errorbar(x, y.where(y >= floor), yerr=spread, capsize=2, label=str(method), **plain)
        axes.plot(100 * again.sparsity, 100 * again.accuracy, fillstyle="none", linestyle="none", **plain)
        for at, value in zip(x[y < floor], y[y < floor], strict=True):
            axes.annotate(f"\u2193{value:.0f}", (at, floor), (0, 0), ha="center", **(_SMALL | {"color": colour}))
    axes.set_ylim(bottom=floor - 0.5)
    axes.set_xticks(_apart(100 * np.sort(sparse.sparsity.unique())))
    axes.set_xlabel("sparsity, %", fontsize=9)


def _apart(ticks: np.ndarray) -> list[float]:
    """Those ticks whose labels do not hide one another."""
    kept: list[float] = []
    for tick in ticks[::-1]:
        if not kept or kept[-1] - tick >= 0.04 * (ticks[-1] - ticks[0]):
            kept.append(float(tick))
    return kept


def _points(axes: Axes, x: pd.Series, y: pd.Series, sparsity: pd.Series, method: str) -> None:
    """Points of a method, each with its sparsity in percent, joined by a thin line in the order of that."""
    colour, marker = LOOKS[method]
    order = np.argsort(sparsity.to_numpy(), kind="stable")
    axes.plot(x.iloc[order], y.iloc[order], color=colour, marker=marker, linewidth=0.6, markersize=7, label=method)
    for at, height, share in zip(x, y, sparsity, strict=True):
        if share:
            axes.annotate(f"{100 * share:g}", (at, height), (5, 4), **(_SMALL | {"color": colour}))


def _legend_of(figure: Figure, axes: Axes) -> None:
    """One legend, of the lines of one panel, below all."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        loc="outside lower center",
        ncols=min(len(labels), int(figure.get_figwidth() / 1.2)),
        fontsize=9,
    )


def _range(targets: pd.Series) -> str:
    low, high = targets.min(), targets.max()
    return f"{low}" if low == high else f"{low} to {high}"

"""The plots of a report, one function each; all take summary tables or arrays and give a matplotlib figure."""

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from dataprune.report.reading import BASELINES

# Okabe and Ito's colours: distinct for colour-blind readers too
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#8C564B", "#5F9E3F", "#222222")
MARKERS = "osD^vPX*<>"
GREY = "#777777"
MOST_LABELS = 40  # points of a plot that get a number each
Look = dict[str, tuple[str, str]]  # label -> (colour, marker)
DASHED = (GREY, "#aaaaaa", "black")  # colours of selections by chance and of the compute-matched
FIXED = {  # methods with a look of their own
    "random": (GREY, "o"), "random_classes": (GREY, "s"), "random_stratified": ("#aaaaaa", "d"),
    "short_full": ("black", "x"), "rs2": ("black", "+"), "full": ("black", "o"), "scratch": ("black", "d"),
}  # fmt: skip
COST_NAMES = {"flops": "total FLOPs of the networks", "device_s": "total device-seconds"}

STYLE: Any = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "svg.hashsalt": "dataprune",  # the same plot is the same file
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names of classes and methods may hold dollar signs and backslashes
}


def sheet(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure of this size in inches; without pyplot, so that no window or global state comes into play."""
    figure = Figure(figsize=(width, height))
    return figure, figure.subplots()


def styles(lines: pd.DataFrame) -> Look:
    """Return label -> (colour, marker) for the labels of these lines, the same in every plot of a report."""
    methods = dict(zip(lines.label, lines.method, strict=True))
    look: Look = {}
    again: dict[str, int] = {}  # how many lines of this method have come before
    for label, method in methods.items():
        if method in FIXED:
            colour, marker = FIXED[method]
            place = again[method] = again.get(method, -1) + 1
            look[label] = colour, marker if not place else MARKERS[(place - 1) % len(MARKERS)]
    n = len(COLOURS)  # beyond that a colour comes again with another marker
    rest = [label for label in methods if label not in look]
    return look | {label: (COLOURS[i % n], MARKERS[(i + 3 * (i // n)) % len(MARKERS)]) for i, label in enumerate(rest)}


@matplotlib.rc_context(STYLE)
def accuracy_by_ratio(part: pd.DataFrame, look: Look) -> Figure:
    """Draw accuracy against prune ratio, one line a label with its deviation over seeds; baselines as level lines."""
    figure, axes = sheet(7.6, 4.4)
    baseline = part.method.isin(BASELINES)
    _draw_baselines(axes, part[baseline])
    pruned = part[~baseline]
    labels = list(dict.fromkeys(pruned.label))
    ratios = np.unique(pruned.prune_ratio)
    # error bars of equal ratios stand beside each other, within a third of the way to the next ratio
    apart = min(0.006, np.diff(ratios, append=2).min() / 3 / max(1, len(labels))) if len(ratios) else 0.0
    for i, label in enumerate(labels):
        lines = pruned[pruned.label == label].sort_values("prune_ratio")
        shift = (i - (len(labels) - 1) / 2) * apart
        _draw_line(axes, lines, lines.prune_ratio + shift, look[label])
    axes.set_xticks(ratios)
    axes.set_xlabel("prune ratio (fraction of examples or classes removed)")
    axes.set_ylabel("accuracy, %")
    if labels:
        legend(figure, labels)
    return figure


@matplotlib.rc_context(STYLE)
def accuracy_by_cost(part: pd.DataFrame, look: Look, cost: str = "device_s") -> Figure:
    """Draw accuracy against the cost of every stage behind it; cost: `flops` or `device_s`, known for all lines."""
    figure, axes = sheet(7.6, 4.4)
    labels = list(dict.fromkeys(part.label))
    for label in labels:
        lines = part[part.label == label].sort_values(cost)
        _draw_line(axes, lines, lines[cost], look[label], joined=False)
        for line in lines.itertuples():
            if line.method not in BASELINES and len(part) <= MOST_LABELS:
                axes.annotate(
                    f"{line.prune_ratio:g}", (getattr(line, cost), line.accuracy * 100), (6, 4),
                    textcoords="offset points", fontsize=8, color=look[label][0],
                )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("e+", "e")))
    axes.xaxis.set_minor_locator(NullLocator())
    labelled = " (numbers at the points: prune ratio)" if len(part) <= MOST_LABELS else ""
    axes.set_xlabel(f"{COST_NAMES[cost]}, the surrogate's included{labelled}")
    axes.set_ylabel("accuracy, %")
    legend(figure, labels)
    return figure


def _draw_baselines(axes: Axes, part: pd.DataFrame) -> None:
    """Draw a level line for each, named at the right edge."""
    part = part.sort_values("accuracy")
    for i, line in enumerate(part.itertuples()):
        mean, std = line.accuracy * 100, float(np.nan_to_num(line.std)) * 100
        dashes = (0, ()) if line.method == "full" else (0, (2, 2))
        axes.axhline(mean, color="black", linestyle=dashes, linewidth=1.2, zorder=1)
        axes.axhspan(mean - std, mean + std, color="black", alpha=0.06, linewidth=0, zorder=0)
        side = "center" if len(part) < 2 else "top" if i == 0 else "bottom" if i == len(part) - 1 else "center"
        words = line.label.replace("full", "full source", 1).replace("scratch", "no source", 1)
        axes.annotate(words, (1.005, mean), xycoords=("axes fraction", "data"), va=side, fontsize=9)


def _draw_line(axes: Axes, lines: pd.DataFrame, x: pd.Series, look: tuple[str, str], *, joined: bool = True) -> None:
    """Draw mean accuracies at `x` with their deviations as error bars, joined by a line or not."""
    colour, marker = look
    axes.errorbar(
        x,
        lines.accuracy * 100,
        yerr=lines["std"].fillna(0) * 100,
        color=colour,
        marker=marker,
        markersize=6,
        linewidth=1.5 if joined else 0,
        capsize=3,
        elinewidth=1,
        linestyle="--" if colour in DASHED else "-",
        label=lines.label.iloc[0],
    )


def legend(figure: Figure, labels: Sequence[str]) -> None:
    """Put the legend below the plot, in as many columns as the longest label leaves room for."""
    columns = max(1, min(4, len(labels), 110 // (8 + max(map(len, labels)))))
    figure.legend(loc="outside lower center", ncols=columns, fontsize=9)


@matplotlib.rc_context(STYLE)
def histogram(scores: np.ndarray, kept: np.ndarray, title: str) -> Figure:
    """Distribution of the scores, kept and pruned apart; scores (n,), kept bool (n,)."""
    figure, axes = sheet(4.6, 2.5)
    low, high = np.quantile(scores, [0.001, 0.999]) if len(scores) > 1000 else (scores.min(), scores.max())
    edges = np.linspace(low, high if high > low else low + 1, 41)
    clipped = np.clip(scores, edges[0], edges[-1])
    axes.hist(
        [clipped[kept], clipped[~kept]],
        edges.tolist(),
        stacked=True,
        color=["#0072B2", "#c9c9c9"],
        label=["kept", "pruned"],
    )
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlabel("score (higher is kept first)", fontsize=9)
    axes.set_ylabel("examples", fontsize=9)
    axes.legend(fontsize=8)
    axes.tick_params(labelsize=8)
    return figure


@matplotlib.rc_context(STYLE)
def class_ranking(counts: np.ndarray, names: list[str], kept: np.ndarray, title: str, most: int = 30) -> Figure:
    """Scores of the best source classes in rank order; counts (classes,), kept class ids."""
    order = np.argsort(-counts, kind="stable")[: min(most, len(counts))]
    figure, axes = sheet(7.6, 2.4)
    colours = ["#0072B2" if c in set(kept.tolist()) else "#c9c9c9" for c in order]
    axes.bar(range(len(order)), counts[order], color=colours)
    long = max(len(names[c]) for c in order) > 3
    axes.set_xticks(range(len(order)), [names[c][:14] for c in order], rotation=60 if long else 0, fontsize=9)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_ylabel("score", fontsize=9)
    axes.grid(axis="x", visible=False)
    return figure


@matplotlib.rc_context(STYLE)
def concentration(percent: np.ndarray, share: np.ndarray) -> Figure:
    """Share of the target (0 to 1) that falls on the lowest `percent` of the source classes."""
    figure, axes = sheet(3.4, 2.4)
    axes.plot([0, 100], [0, 100], color=GREY, linestyle="--", linewidth=1)
    axes.plot(percent, 100 * share, marker="o", markersize=3, color="#0072B2")
    axes.set_xlabel("classes removed, lowest first, %", fontsize=9)
    axes.set_ylabel("target examples on them, %", fontsize=9)
    return figure


@matplotlib.rc_context(STYLE)
def montage(images: np.ndarray, maximum: int, captions: Sequence[str], columns: int = 16) -> Figure:
    """Images uint8 (n, h, w, c) in a grid, a caption below each."""
    n, height, width, channels = images.shape
    columns = min(columns, n)
    rows = -(-n // columns)
    # one picture of all tiles: an axes object for each image would take seconds to lay out
    gap, below = max(1, width // 8), 0.34  # pixels between tiles; room for a caption, in tile heights
    step_y, step_x = height + round(height * below) + gap, width + gap
    page = np.ones((rows * step_y, columns * step_x, channels))
    figure, axes = sheet(columns * 0.62, rows * 0.62 * step_y / step_x)
    for i, (image, caption) in enumerate(zip(images, captions, strict=True)):
        y, x = i // columns * step_y, i % columns * step_x
        page[y : y + height, x : x + width] = image / maximum
        axes.text(x + width / 2, y + height * 1.02, caption, fontsize=6.5, ha="center", va="top")
    axes.imshow(page[..., 0] if channels == 1 else page, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.axis("off")
    return figure


@matplotlib.rc_context(STYLE)
def matrix(
    cells: np.ndarray, rows: Sequence[str], columns: Sequence[str], title: str, low: float, *, values: bool = True
) -> Figure:
    """A table of numbers from `low` (-1 or 0) to 1 as colours, with the numbers if they are few."""
    width, height = 1.9 + 0.46 * len(columns), 1.2 + 0.34 * len(rows)
    figure, axes = sheet(min(max(width, 5.6), 11), height)
    axes.imshow(cells, vmin=low, vmax=1, cmap="RdBu" if low < 0 else "Blues", aspect="auto")
    axes.set_xticks(range(len(columns)), [name[:20] for name in columns], rotation=60, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.grid(visible=False)
    axes.set_title(title, fontsize=10, loc="left")
    if values:
        for (y, x), value in np.ndenumerate(cells):
            dark = abs(value) > 0.6
            axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color="white" if dark else "black")
    return figure


@matplotlib.rc_context(STYLE)
def data_map(mean: np.ndarray, spread: np.ndarray, right: np.ndarray) -> Figure:
    """Mean against standard deviation of p(true class), coloured by the share of epochs that were right; all (n,)."""
    figure, axes = sheet(7.6, 4.6)
    shown = np.random.default_rng(0).permutation(len(mean))[:20_000]  # more points than that hide one another
    points = axes.scatter(spread[shown], mean[shown], c=right[shown], s=7, cmap="viridis", vmin=0, vmax=1, linewidths=0)
    figure.colorbar(points, label="share of epochs that were right")
    axes.set_xlabel("standard deviation of p(true class) over epochs")
    axes.set_ylabel("mean of p(true class)")
    return figure

"""The report of an influence experiment: ranking, stability, classes against classes."""

from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from dataprune.influence.analysis import Experiment, strongest
from dataprune.influence.estimates import class_view
from dataprune.report import figures
from dataprune.report.page import Page

MOST = 24  # units shown from each end
MOST_CLASSES = 70  # columns of the class-to-class picture


def draw(experiment: Experiment, folder: Path, counts: np.ndarray, stability: np.ndarray) -> Path:
    """Draw report.html into the folder."""
    page = Page(folder)
    mean, error = experiment.mean
    units, targets = experiment.store.names["units"], experiment.store.names["targets"]
    page.heading(1, "Influence of source classes")
    page.note(
        f"{len(experiment.models)} models, each on a random half of {len(units)} units; outcome {experiment.outcome} "
        f"on {len(experiment.targets)} target examples ({experiment.half}). Positive: the unit's presence helps."
    )
    page.figure(ranking(units, strongest(mean, error, MOST)), "mean influence")
    page.heading(2, "How many models are enough?")
    page.figure(stability_curve(counts, stability), "stability")
    page.note("Rank correlation of the influences from two disjoint halves of the first M models; aim at 0.5 or more.")
    if len(units) <= MOST_CLASSES:
        page.heading(2, "Classes against classes")
        view = class_view(experiment.influence, experiment.labels, len(targets))
        scale = np.nanmax(np.abs(view))
        title = f"influence of a source class on a target class, in units of {scale:.3f}"
        page.figure(figures.matrix(view / scale, targets, units, title, -1, values=False), "class to class")
    return page.write("Influence of source classes")


@matplotlib.rc_context(figures.STYLE)
def ranking(units: list[str], rows: list[tuple[int, float, float]]) -> Figure:
    """Bars of the strongest units with two standard errors, best first."""
    figure, axes = figures.sheet(10, 3.2)
    values = np.array([value for _, value, _ in rows])
    errors = np.array([error for _, _, error in rows])
    colours = ["#0072B2" if value > 0 else "#D55E00" for value in values]
    axes.bar(
        range(len(rows)), values, yerr=2 * errors, color=colours, error_kw={"elinewidth": 0.8, "ecolor": "#555555"}
    )
    axes.axhline(0, color="black", linewidth=0.8)
    names = [units[i][:14] for i, _, _ in rows]
    axes.set_xticks(range(len(rows)), names, rotation=60 if max(map(len, names)) > 3 else 0, fontsize=8)
    axes.set_ylabel("mean influence (± 2 errors)")
    axes.grid(axis="x", visible=False)
    return figure


@matplotlib.rc_context(figures.STYLE)
def stability_curve(counts: np.ndarray, stability: np.ndarray) -> Figure:
    """Split-half rank correlation against the number of models."""
    figure, axes = figures.sheet(6.4, 3.2)
    axes.plot(counts, stability, marker="o", color="#0072B2")
    axes.axhline(0.5, color=figures.GREY, linestyle="--", linewidth=1)
    axes.set_xlabel("models")
    axes.set_ylabel("split-half rank correlation")
    axes.set_ylim(min(0, np.nanmin(stability)) - 0.05, 1)
    return figure

"""What came out: a table with costs and published figures, accuracy by ratio and by cost, beside random."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from dataprune.report import figures, tables
from dataprune.report.cautions import cautions
from dataprune.report.page import Page
from dataprune.report.published import Published, published

NAMES = ["line", "pruned", "kept", "accuracy, %", "best, %", "n", "published, %", "worst class, %", "source, %"]
NAMES += ["images seen", "images forward", "images backward", "FLOPs", "device s"]
MOST_LINES = 60  # in a plot
COST = (
    "Mean and standard deviation (n - 1) over n tuples of seeds. Source: over the kept classes alone where "
    "whole classes are kept. Images seen: of the pretraining. Images forward and "
    "backward, FLOPs and device-seconds (seconds times devices) add up every stage behind the number, also those that "
    "other lines share; where a stage's cost is unknown the sum of the others is shown as >=, a lower bound. "
    "short_full is the whole source with as many images seen as the pruned run; rs2 sees a fresh random subset each "
    "epoch. A sampler that decides by itself how much of an epoch it leaves out stands at prune ratio 0."
)
TESTS = (
    "Points: difference of the mean accuracies; its 95 % interval (each by itself) and p by Welch's t-test over the n "
    "and n random seed tuples. Verdicts go by the corrected p (Holm, over all tests of this table) below 0.05. Random "
    "is the line of the same data, recipes, level and prune ratio."
)


def show_results(
    page: Page, part: pd.DataFrame, summed: pd.DataFrame, compared: pd.DataFrame, look: figures.Look
) -> None:
    """Show one section: part is of `lines.frame`, summed of `lines.summary`, compared of `against_random`."""
    section = tuple(page.section)
    page.heading(2, tables.where(section))
    if section[1] != "-":
        by_class = {config.get("evaluate", {}).get("metric") == "per_class" for config in part.config}
        words = {False: "test top-1", True: "test accuracy averaged over its classes"}
        page.note(f"Accuracy is the target's {' or, by line, '.join(words[one] for one in sorted(by_class))}.")
    whole, apart = summed[~summed.classes_only], summed[summed.classes_only]
    if len(whole):
        _show_table(page, whole, published(section[0]) if section[1] == "-" else {})
    if len(apart):
        page.heading(3, "Measured on the kept classes only")
        page.note(tables.CLASSES_ONLY)
        _show_table(page, apart, {})
    page.note(COST)
    for note in (*tables.zeros(summed), *cautions(part, summed)):
        page.note(note)
    if len(whole):
        _show_plots(page, whole, look)
    _show_comparison(page, part, compared)


def _show_table(page: Page, lines: pd.DataFrame, known: dict[tuple[str, float], Published]) -> None:
    dropped = {NAMES.index("published, %")} if not known else set()
    dropped |= {NAMES.index("best, %")} if lines.best.isna().all() else set()
    page.table(_without(NAMES, dropped), ((kinds, _without(cells, dropped)) for kinds, cells in _lines(lines, known)))
    if not lines.best.isna().all():
        page.note(tables.BEST)
    if known:
        networks = sorted({f"{p.network}: {p.reference}" for p in known.values()})
        page.note(
            "Published figures are of the full data set and other recipes, and stand where one line has the method's "
            "name: " + "; ".join(networks) + "."
        )


def _show_plots(page: Page, lines: pd.DataFrame, look: figures.Look) -> None:
    labels = list(dict.fromkeys(lines.label))
    if len(labels) > MOST_LINES:
        page.note(f"Plotted are the first {MOST_LINES} of {len(labels)} lines.")
        lines = lines[lines.label.isin(labels[:MOST_LINES])]
    page.heading(3, "Accuracy against prune ratio")
    page.figure(figures.accuracy_by_ratio(lines, look), "accuracy by ratio")
    page.heading(3, "Accuracy against total cost")
    complete = lines[[not stages for stages in lines.unknown]]
    if len(complete):
        cost = "device_s" if complete.flops.isna().any() else "flops"
        page.figure(figures.accuracy_by_cost(complete, look, cost), "accuracy by cost")
    if len(complete) < len(lines):
        missing = dict.fromkeys(line.label for line in lines.itertuples() if line.unknown)
        page.note(f"Not in this plot, because a part of the cost is unknown: {', '.join(missing)}.")


def _show_comparison(page: Page, part: pd.DataFrame, compared: pd.DataFrame) -> None:
    if compared.empty:
        return
    page.heading(3, "Is it better than random?")
    page.table(
        ("line", "pruned", "against", "points [95 %]", "n", "n random", "p", "p corrected", "verdict"),
        (
            ("", (c.label, f"{c.prune_ratio:g}", c.against, tables.interval(c), c.n, c.n_random, *_tested(c)))
            for c in compared.itertuples()
        ),
    )
    page.note(TESTS)
    for note in tables.no_random(part, compared):
        page.note(note)


def _tested(line: pd.Series) -> tuple[str, str, str]:
    return tables.p_value(line.p), tables.p_value(line.p_holm), line.verdict


def _without(cells: Sequence[object], dropped: set[int]) -> list:
    return [cell for i, cell in enumerate(cells) if i not in dropped]


def _lines(part: pd.DataFrame, known: dict[tuple[str, float], Published]) -> list[tuple[str, tuple]]:
    lines, ratio = [], None
    single = part.groupby("method").label.nunique() == 1  # of several lines nobody says which one a paper ran
    for line in part.itertuples():
        kinds = ["group"] if line.prune_ratio != ratio else []
        kinds += ["baseline"] if _is_baseline(line) else []
        ratio = line.prune_ratio
        figure = known.get((line.method, round(line.prune_ratio, 4))) if single[line.method] else None
        cells = (
            tables.called(line),
            f"{line.prune_ratio:g}",
            f"{line.kept:,.0f}",
            tables.percent(line.accuracy, line.std, line.n),
            tables.best(line),
            line.n,
            f"{figure.top1:g}" if figure else "",
            _share(line.worst_class),
            _share(line.source_top1),
            *(tables.paid(line, name) for name in ("images_seen", "images_forward", "images_backward", "flops")),
            tables.paid(line, "device_s"),
        )
        lines.append((" ".join(kinds), cells))
    return lines


def _is_baseline(line: Any) -> bool:
    """Whether a line only serves to compare with: it looks at nothing that it could choose by."""
    return line.trains_on not in ("subset", "dynamic") or line.method.startswith("random") or line.method == "rs2"


def _share(value: float) -> str:
    return "" if np.isnan(value) else f"{value * 100:.1f}"

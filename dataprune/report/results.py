"""What came out: a table with costs and published figures, accuracy by ratio and by cost, beside random."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from dataprune.report import figures, tables
from dataprune.report.page import Page

NAMES = ["method", "pruned", "kept", "accuracy, %", "seeds", "published, %", "worst class, %", "source, %"]
NAMES += ["images seen", "surrogate images", "train s", "total s"]


def show_results(
    page: Page, setting: dict[str, str], part: pd.DataFrame, lines: pd.DataFrame, look: figures.Look
) -> None:
    """Table, plots and verdicts of one setting (source, target, network, transfer)."""
    where = setting["source"] if setting["target"] == "-" else f"{setting['source']} to {setting['target']}"
    page.heading(2, f"{where}, {setting['model']}")
    if setting["target"] != "-":
        how = {"head": "linear probe", "all": "all weights finetuned"}[setting["transfer"]]
        page.note(f"Accuracy is the target's test top-1; transfer by {how}.")
    published = tables.published(setting["source"]) if setting["target"] == "-" else {}
    dropped = {NAMES.index("published, %")} if not published else set()
    page.table(
        _without(NAMES, dropped), ((kinds, _without(cells, dropped)) for kinds, cells in _lines(part, published))
    )
    page.note(
        "Mean and standard deviation over seeds. Images seen: of the pretraining; the surrogate's come on top and are "
        "shared by all methods and ratios. Total seconds count every stage behind the number, shared or not. "
        "short_full is the whole source with as many images seen as the pruned run; rs2 sees a fresh random subset "
        "each epoch."
    )
    if published:
        networks = sorted({f"{p.network}: {p.reference}" for p in published.values()})
        page.note("Published figures are of the full data set and other recipes: " + "; ".join(networks) + ".")
    name = " ".join(dict.fromkeys([setting["source"], setting["target"], setting["model"]])).replace("- ", "")
    page.heading(3, "Accuracy against prune ratio")
    page.figure(figures.accuracy_by_ratio(part, look), f"accuracy by ratio {name}")
    page.heading(3, "Accuracy against total cost")
    page.figure(figures.accuracy_by_cost(part, look), f"accuracy by cost {name}")
    compared = tables.against_random(lines)
    if len(compared):
        page.heading(3, "Is it better than random?")
        page.table(
            ("method", "pruned", "against", "points", "seeds", "verdict"),
            (
                ("", (c.method, f"{c.prune_ratio:g}", c.against, f"{c.points:+.1f} ±{c.error:.1f}", c.seeds, c.verdict))
                for c in compared.itertuples()
            ),
        )
        page.note(
            "Difference of the means and its standard error; better or worse: Welch's t-test over the seeds, p < 0.05."
        )


def _without(cells: Sequence[object], dropped: set[int]) -> list:
    return [cell for i, cell in enumerate(cells) if i not in dropped]


def _lines(part: pd.DataFrame, published: dict) -> list[tuple[str, tuple]]:
    lines, ratio = [], None
    for line in part.itertuples():
        kinds = ["group"] if line.prune_ratio != ratio else []
        kinds += ["baseline"] if line.trains_on != "subset" or line.method.startswith("random") else []
        ratio = line.prune_ratio
        known = published.get((line.method, round(line.prune_ratio, 4)))
        cells = (
            line.method,
            f"{line.prune_ratio:g}",
            f"{line.kept:,.0f}",
            tables.percent(line.accuracy, line.std, line.seeds),
            line.seeds,
            f"{known.top1:g}" if known else "",
            f"{line.worst_class * 100:.1f}",
            "" if np.isnan(line.source_top1) else f"{line.source_top1 * 100:.1f}",
            f"{line.images_seen:,.0f}",
            f"{line.surrogate_images:,.0f}",
            f"{line.train_s:.1f}",
            f"{line.total_s:.1f}",
        )
        lines.append((" ".join(kinds), cells))
    return lines

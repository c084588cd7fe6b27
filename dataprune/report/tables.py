"""Rows of numbers to tables: mean and deviation over seeds, cost, and whether a difference is more than noise."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

SETTING = ["source", "target", "model", "transfer"]  # one section of the report each
BASELINES = ("full", "scratch")  # of no prune ratio: horizontal lines
LEVEL = 0.05  # of the t-test that says "better" or "worse"
COSTS = ("surrogate_s", "signals_s", "score_s", "select_s", "train_s", "transfer_s", "total_s", "images_seen")


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of all jobs below an output folder, each once."""
    rows = [row for path in sorted(folder.rglob("rows.json")) for row in json.loads(path.read_text())]
    return list({row["row"]: row for row in rows}.values())


def frame(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """One line a row: settings, `accuracy` (of the target, or of the source where there is none), cost."""
    lines = []
    for row in rows:
        line = {k: row[k] for k in ("method", "level", "trains_on", "prune_ratio", "seed", "kept", "of", "row")}
        line |= {"source": row["source"], "target": row["target"] or "-", "model": row["model"]}
        line |= {"transfer": row["transfer"] or "-"}
        metrics = row["metrics"]
        line["accuracy"] = metrics.get("target_top1", metrics.get("source_top1"))
        line["source_top1"] = metrics.get("source_top1", np.nan)
        line["worst_class"] = metrics.get("target_worst_class_top1", metrics.get("source_worst_class_top1"))
        lines.append(line | {k: row["cost"][k] for k in (*COSTS, "surrogate_images")} | {"keys": row["keys"]})
    table = pd.DataFrame(lines)
    return table.sort_values(["source", "target", "model", "prune_ratio", "method", "seed"], ignore_index=True)


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Mean, standard deviation (n - 1) and number of seeds for each setting; costs are means."""
    keys = [*SETTING, "level", "method", "trains_on", "prune_ratio"]
    grouped = table.groupby(keys, sort=False, dropna=False)
    result = grouped.agg(
        seeds=("seed", "nunique"),
        accuracy=("accuracy", "mean"),
        std=("accuracy", "std"),
        source_top1=("source_top1", "mean"),
        worst_class=("worst_class", "mean"),
        kept=("kept", "mean"),
        of=("of", "first"),
        **{name: (name, "mean") for name in (*COSTS, "surrogate_images")},
    )
    return result.reset_index().sort_values(["source", "target", "model", "prune_ratio", "method"], ignore_index=True)


def against_random(table: pd.DataFrame) -> pd.DataFrame:
    """Each method beside random selection at the same level and ratio: the difference of the means in points, its
    standard error, and whether Welch's t-test over the seeds tells them apart (p < 0.05, two-sided).

    Seeds are treated as independent samples, and the comparisons are not corrected for their number.
    """
    lines = []
    for (source, target, model, ratio), cell in table.groupby(["source", "target", "model", "prune_ratio"]):
        for method in sorted(set(cell.method) - {"random", "random_classes"}):
            ours = cell[cell.method == method]
            if ours.trains_on.iloc[0] != "subset":
                continue
            baseline = "random_classes" if ours.level.iloc[0] == "class" else "random"
            theirs = cell[cell.method == baseline]
            if len(ours) < 2 or len(theirs) < 2:
                continue
            gap = (ours.accuracy.mean() - theirs.accuracy.mean()) * 100
            error = np.sqrt(ours.accuracy.var() / len(ours) + theirs.accuracy.var() / len(theirs)) * 100
            # equal results of all seeds have no t statistic: apart if the means are
            p = stats.ttest_ind(ours.accuracy, theirs.accuracy, equal_var=False).pvalue if error else 0.0
            verdict = "within noise" if gap == 0 or p >= LEVEL else "better" if gap > 0 else "worse"
            lines.append((source, target, model, method, ratio, baseline, gap, error, len(ours), verdict))
    names = ["source", "target", "model", "method", "prune_ratio", "against", "points", "error", "seeds", "verdict"]
    return pd.DataFrame(lines, columns=names)


def verdicts(compared: pd.DataFrame) -> list[str]:
    """One line a comparison with random selection, in words."""
    if compared.empty:
        return []
    lines = ["", "beside random selection at the same level and ratio (difference of the means, its standard error):"]
    for c in compared.itertuples():
        numbers = f"{c.points:+5.1f} ±{c.error:.1f} points"
        start = f"{c.method:22}{c.prune_ratio:7.2f}  {numbers} against {c.against:15}"
        lines.append(f"{start} {c.seeds} seeds: {c.verdict}")
    return lines


@dataclass(frozen=True)
class Published:
    """A figure from a paper: top-1 in percent."""

    network: str
    top1: float
    reference: str


def published(source: str) -> dict[tuple[str, float], Published]:
    """(method, prune ratio) -> the published figure for this source data set (report/published.csv)."""
    with open(Path(__file__).with_name("published.csv")) as file:
        return {
            (line["method"], round(float(line["prune_ratio"]), 4)): Published(
                line["network"], float(line["top1"]), line["reference"]
            )
            for line in csv.DictReader(file)
            if line["source"] == source
        }


def percent(mean: float, std: float, seeds: int) -> str:
    """`93.1 ±0.6`, or without a deviation if there is one seed."""
    return f"{mean * 100:5.1f}" + (f" ±{std * 100:.1f}" if seeds > 1 else "     ")


def printed(summed: pd.DataFrame) -> str:
    """The summary for a terminal, one block a setting."""
    blocks = []
    for (source, target, model, transfer), part in summed.groupby(
        ["source", "target", "model", "transfer"], sort=False
    ):
        how = {"head": "linear probe", "all": "all weights finetuned"}.get(transfer)
        where = source if target == "-" else f"{source} -> {target} by {how}"
        lines = [f"{where}; network {model}"]
        lines.append(
            f"{'method':22}{'pruned':>7}{'kept':>9}{'accuracy %':>13}{'seeds':>6}{'images seen':>13}{'+ surrogate':>13}"
            f"{'train s':>9}{'total s':>9}"
        )
        for line in part.itertuples():
            lines.append(
                f"{line.method:22}{line.prune_ratio:7.2f}{line.kept:9.0f}"
                f"{percent(line.accuracy, line.std, line.seeds):>13}{line.seeds:6d}{line.images_seen:13,.0f}"
                f"{line.surrogate_images:13,.0f}{line.train_s:9.1f}{line.total_s:9.1f}"
            )
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)

"""Lines and comparisons as text: for a terminal, for the page, and as table.csv."""

from typing import Any

import numpy as np
import pandas as pd

from dataprune.report.cautions import cautions
from dataprune.report.compare import without_random
from dataprune.report.lines import COSTS, LINE, SECTION, sections

TRANSFER = {"head": "linear probe", "all": "all weights finetuned"}
CLASSES_ONLY = (
    "Accuracy over the kept classes only: another, easier test for each line. Not to be compared with other "
    "lines, with one another, or with the whole source."
)
BEST = (
    "Accuracy: after the last epoch. Best: the highest of the epochs that were measured while training (eval_every). "
    "It is selected on the split that it is measured on, the test split unless another is named: an optimistic figure, "
    "for comparison with papers that report it so."
)
TESTED = ["against", "points", "low", "high", "p", "p_holm", "n_random", "verdict"]
COLUMNS = [*SECTION, "level", "method", "label", "identity", "trains_on", "classes_only", "prune_ratio", "kept", "of"]
COLUMNS += [
    "density",
    "n",
    "accuracy",
    "std",
    "best",
    "best_split",
    "worst_class",
    "source_top1",
    *COSTS,
    "unknown",
    "claimed",
]
BEST_WIDTH = 20  # characters of that column, where there is one
NARROWEST = 22  # characters of the first column


def percent(mean: float, std: float, n: int) -> str:
    """Return `93.1 ±0.6`, or no deviation if there is one seed."""
    return f"{mean * 100:5.1f}" + (f" ±{std * 100:.1f}" if n > 1 else "     ")


def best(line: Any) -> str:
    """Return the best accuracy, with the split where that is not the test split; nothing where none is known."""
    if np.isnan(line.best):
        return ""
    return f"{line.best * 100:.1f}" + ("" if line.best_split == "test" else f" ({line.best_split})")


def p_value(p: float) -> str:
    """Return p with three decimals, or nothing where there was no test."""
    return "" if np.isnan(p) else "<0.001" if p < 0.001 else f"{p:.3f}"


def interval(line: Any) -> str:
    """Return the difference in points with its 95 % interval: `+1.4 [-0.2, +3.0]`."""
    if np.isnan(line.points):
        return ""
    return f"{line.points:+.1f}" + ("" if np.isnan(line.low) else f" [{line.low:+.1f}, {line.high:+.1f}]")


def paid(line: Any, name: str) -> str:
    """Return a cost of a line of `summary`; as a lower bound, or as unknown, where not all of it is known."""
    value = getattr(line, name)
    if np.isnan(value):
        return "unknown"
    text = f"{value:.1e}".replace("e+", "e") if name == "flops" else f"{value:,.{1 if name.endswith('_s') else 0}f}"
    complete = "model" not in line.unknown if name == "images_seen" else not line.unknown
    return text if complete else f">= {text}"


def called(line: Any) -> str:
    """Return the label of a line, marked where it rests on a claim."""
    return f"{line.label} (claimed)" if line.claimed else line.label


def where(section: tuple[str, ...]) -> str:
    """Return what a section is about, in words."""
    source, target, model, transfer = section
    towards = "" if target == "-" else f" -> {target} by {TRANSFER.get(transfer, transfer)}"
    return f"{source}{towards}; network {model}"


def no_random(part: pd.DataFrame, compared: pd.DataFrame) -> list[str]:
    """Return a note on the lines that prune, but have no random line to be compared with."""
    alone = dict.fromkeys(
        f"{line.label} at {line.prune_ratio:g}" for line in without_random(part, compared).itertuples()
    )
    words = "Without a random line of the same data, recipes, level and ratio"
    return [f"{words}: {', '.join(alone)}."] if alone else []


def printed(table: pd.DataFrame, summed: pd.DataFrame, compared: pd.DataFrame) -> str:
    """Return all sections for a terminal: lines, notes, and how they stand beside random selection."""
    parts, tests = dict(sections(table)), dict(sections(compared))
    return "\n\n".join(_section(name, parts[name], part, tests.get(name)) for name, part in sections(summed))


def csv_table(summed: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Return the summary with the comparisons as columns and only plain values; `label` names the line."""
    tested = compared[[*LINE, *TESTED]]
    whole = summed[COLUMNS].merge(tested, on=LINE, how="left", validate="one_to_one")
    return whole.assign(unknown=[" ".join(stages) for stages in whole.unknown])


def _section(name: tuple[str, ...], lines: pd.DataFrame, summed: pd.DataFrame, tests: pd.DataFrame | None) -> str:
    width = max(NARROWEST, *(len(called(line)) + 1 for line in summed.itertuples()))
    whole, apart = summed[~summed.classes_only], summed[summed.classes_only]
    blocks = [where(name)]
    if len(whole):
        blocks += _lines(whole, width)
        blocks += [] if whole.best.isna().all() else [BEST]
    if len(apart):
        blocks += ["", CLASSES_ONLY, *_lines(apart, width)]
    blocks += [f"note: {note}" for note in cautions(lines, summed)]
    if tests is not None:
        blocks += _verdicts(tests, width) + no_random(lines, tests)
    return "\n".join(blocks)


def _lines(part: pd.DataFrame, width: int) -> list[str]:
    curves = not part.best.isna().all()
    head = f"{'line':{width}}{'pruned':>7}{'kept':>9}{'accuracy %':>13}"
    head += (f"{'best %':>{BEST_WIDTH}}" if curves else "") + f"{'n':>4}{'images seen':>13}"
    lines = [head + f"{'forward':>15}{'backward':>15}{'FLOPs':>12}{'device s':>13}"]
    for line in part.itertuples():
        start = f"{called(line):{width}}{line.prune_ratio:7g}{line.kept:9.0f}"
        start += f"{percent(line.accuracy, line.std, line.n):>13}" + (f"{best(line):>{BEST_WIDTH}}" if curves else "")
        start += f"{line.n:4d}{line.images_seen:13,.0f}"
        costs = f"{paid(line, 'images_forward'):>15}{paid(line, 'images_backward'):>15}"
        lines.append(start + costs + f"{paid(line, 'flops'):>12}{paid(line, 'device_s'):>13}")
    return lines


def _verdicts(tests: pd.DataFrame, width: int) -> list[str]:
    lines = ["", "beside random selection in the same setting, at the same level and ratio; points, 95 % interval,"]
    lines += ["p of Welch's t-test, and after Holm's correction over these tests:"]
    for c in tests.itertuples():
        p = f"p {p_value(c.p)}, corrected {p_value(c.p_holm)}: " if not np.isnan(c.p) else ""
        seeds = f"n {c.n} and {c.n_random}"
        lines.append(
            f"{c.label:{width}}{c.prune_ratio:7g}  {interval(c):22} against {c.against}, {seeds}; {p}{c.verdict}"
        )
    return lines

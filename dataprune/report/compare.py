"""Compare lines with random selection: Welch's t-test over the seeds, its interval, and Holm's correction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from dataprune.report.lines import SECTION, sections
from dataprune.report.reading import RANDOM

LEVEL = 0.05  # of the tests; intervals are of 1 - LEVEL
FEW = "no test: fewer than 2 seeds"
EQUAL = "no test: all seeds agree"
SEVERAL = "no test: several random lines"
COLUMNS = [
    *SECTION, "identity", "label", "prune_ratio", "against", "points", "low", "high", "p", "p_holm", "n", "n_random",
    "verdict",
]  # fmt: skip


@dataclass(frozen=True)
class Difference:
    """Mean of one sample minus mean of another, its 95 % interval and two-sided p; NaN where there is no test."""

    mean: float
    low: float = np.nan
    high: float = np.nan
    p: float = np.nan


def welch(ours: Sequence[float], theirs: Sequence[float]) -> Difference:
    """Return the difference of the means with Welch's p and the interval of Welch and Satterthwaite.

    Variances need not be equal. With fewer than two values on a side, or with no spread on both, there is no test.
    """
    a, b = np.asarray(ours, float), np.asarray(theirs, float)
    gap = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2 or np.ptp(a) == np.ptp(b) == 0:
        return Difference(gap)
    parts = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    error = np.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (len(a) - 1) + parts[1] ** 2 / (len(b) - 1))
    reach = float(error * stats.t.ppf(1 - LEVEL / 2, freedom))
    return Difference(gap, gap - reach, gap + reach, float(2 * stats.t.sf(abs(gap) / error, freedom)))


def holm(p: Sequence[float]) -> np.ndarray:
    """Return Holm's corrected p for one family of tests: the k-th smallest of m counts m - k + 1 times, and no
    smaller p comes out above a larger one. NaN (no test) stays NaN and is no member of the family.
    """
    values = np.asarray(p, float)
    corrected = np.full(len(values), np.nan)
    tested = np.flatnonzero(~np.isnan(values))
    order = tested[np.argsort(values[tested], kind="stable")]
    times = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(values[order] * times))
    return corrected


def against_random(table: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each line of `table` (of `lines.frame`) that has a random one in its arena.

    The arena is the same section, setting (data, recipes, evaluation), level and prune ratio. Points are accuracy in
    percent, ours minus random; `n` and `n_random` count seed tuples. One family of Holm's correction is the one
    metric (accuracy) of one section. Accuracy over the kept classes only is compared with nothing.
    """
    found = []
    for section, part in sections(table):
        lines = _compared(part[~part.classes_only])
        for line, corrected in zip(lines, holm([line["p"] for line in lines]), strict=True):
            called = dict(zip(SECTION, section, strict=True))
            found.append(called | line | {"p_holm": corrected, "verdict": line["verdict"] or _verdict(line, corrected)})
    return pd.DataFrame(found, columns=COLUMNS)


def without_random(table: pd.DataFrame, compared: pd.DataFrame) -> pd.DataFrame:
    """Return label and prune_ratio of the lines that prune, but have no random line in their arena to beat."""
    there = set(zip(compared.identity, compared.prune_ratio, strict=True))
    prunes = (table.trains_on == "subset") & ~table.method.isin(RANDOM.values()) & ~table.classes_only
    alone = np.array([pair not in there for pair in zip(table.identity, table.prune_ratio, strict=True)], bool)
    return table[prunes & alone][["label", "prune_ratio"]].drop_duplicates()


def _compared(part: pd.DataFrame) -> list[dict[str, Any]]:
    """All comparisons of one section, not yet corrected; the verdict is empty where there is a test."""
    lines = []
    for _, cell in part[part.trains_on == "subset"].groupby(["arena", "level", "prune_ratio"], sort=False):
        chance = cell[cell.method == RANDOM[cell.level.iloc[0]]]
        rest = cell[~cell.method.isin(RANDOM.values())]
        if len(chance):
            lines += [_line(ours, chance) for _, ours in rest.groupby("identity", sort=False)]
    return lines


def _line(ours: pd.DataFrame, chance: pd.DataFrame) -> dict[str, Any]:
    first, several = ours.iloc[0], chance.identity.nunique() > 1
    line = {name: first[name] for name in ("identity", "label", "prune_ratio")}
    line |= {"against": " or ".join(dict.fromkeys(chance.label)), "n": len(ours), "n_random": len(chance)}
    gap = Difference(np.nan) if several else welch(ours.accuracy, chance.accuracy)
    few = min(len(ours), len(chance)) < 2
    reason = SEVERAL if several else FEW if few else EQUAL if np.isnan(gap.p) else ""
    percent = {"points": gap.mean * 100, "low": gap.low * 100, "high": gap.high * 100}
    return line | percent | {"p": gap.p, "verdict": reason}


def _verdict(line: dict[str, Any], corrected: float) -> str:
    if corrected >= LEVEL:
        return "within noise"
    return "better" if line["points"] > 0 else "worse"

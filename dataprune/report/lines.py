"""From rows to lines: what one experiment found over its seeds, with its spread and its cost."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from dataprune.report.labels import distinguish, label_lines, leaves, natural
from dataprune.report.reading import ROUNDED, Row, seeds_of
from dataprune.store import fingerprint

PER_CLASS = "mean_class_top1"  # the metric of evaluate.metric=per_class
SECTION = ["source", "target", "model", "transfer"]  # what a part of the report is about
LINE = [*SECTION, "identity", "prune_ratio"]  # rows that share these differ in seeds alone
SAME = ["level", "method", "label", "trains_on", "classes_only", "arena"]  # and so share these
GUIDES = ("method", "surrogate", "signals", "others")  # parts of a config that only guide what is kept
SECONDS = (
    "data_s",
    "surrogate_s",
    "signals_s",
    "score_s",
    "select_s",
    "train_s",
    "transfer_s",
    "evaluate_s",
    "total_s",
)
MEANS = ("best", "source_top1", "worst_class", "kept", "density")
COSTS = ("device_s", "images_forward", "images_backward", "flops", "images_seen", "surrogate_images", *SECONDS)


def frame(rows: Iterable[Row]) -> pd.DataFrame:
    """Return a table with a line a row (of `reading.usable`): its section, label, accuracy, cost and keys.

    `accuracy` is the target's test top-1 from 0 to 1 (or the mean over its classes, if evaluate.metric=per_class), or
    the source's where there is no target. `classes_only`: it
    counts only the classes that were kept. `arena` is equal for rows that train and measure the same on what is kept.
    The order of the rows does not matter.
    """
    table = pd.DataFrame([_flat(row) for row in rows])
    labels: dict[tuple, str] = {}
    for section, part in sections(table):
        named, _ = label_lines(zip(part.method, part.identity, part.config, strict=True))
        labels |= {(section, identity): label for identity, label in named.items()}
    places = zip(*(table[name] for name in SECTION), strict=True)
    table["label"] = [labels[place, identity] for place, identity in zip(places, table.identity, strict=True)]
    lines = list(table.itertuples())
    order = sorted(range(len(lines)), key=lambda i: _order(lines[i]))
    return table.iloc[order].reset_index(drop=True)


def per_class(row: Row) -> bool:
    """Return whether the job asked for the mean over the target's classes instead of top-1 (evaluate.metric)."""
    return row["target"] is not None and row["config"].get("evaluate", {}).get("metric") == "per_class"


def sections(table: pd.DataFrame) -> list[tuple[tuple[str, ...], pd.DataFrame]]:
    """Return the parts of a table, one for each (source, target, model, transfer)."""
    return [(tuple(section), part) for section, part in table.groupby(SECTION, sort=False)]


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each section, identity and prune ratio: n seed tuples, their mean and deviation (n - 1).

    Costs are means over the seeds; `unknown` joins the stages of which no cost is known; `flops` is NaN unless all
    seeds know it; `claimed` and `unverified` hold if any row does.
    """
    lines = [_over_seeds(group) for _, group in table.groupby(LINE, sort=False)]
    return pd.DataFrame(lines)


def unnamed(part: pd.DataFrame) -> dict[str, list[str]]:
    """Return method -> the config keys in which its lines of this section differ without a label that says so."""
    return label_lines(zip(part.method, part.identity, part.config, strict=True))[1]


def settings(part: pd.DataFrame) -> dict[str, list[str]]:
    """Return what tells the settings (data, recipes, evaluation) of a section apart -> the labels measured there.

    Lines of different settings are not compared with one another. A single setting has no words. What learns the
    target alone (scratch) has a setting of its own by nature and is left out.
    """
    part = part[part.trains_on != "nothing"]
    configs = {line.arena: _setting(line.config) for line in part.itertuples()}
    known = {key for config in configs.values() for key in leaves(config)}
    words, _ = distinguish(configs, known)
    return {words[arena]: list(dict.fromkeys(group.label)) for arena, group in part.groupby("arena", sort=True)}


def _flat(row: Row) -> dict[str, Any]:
    cost = row["cost"]
    line = {name: row[name] for name in ("method", "level", "trains_on", "kept", "of", "identity", "config", "keys")}
    line |= {name: row[name] or "-" for name in SECTION}
    line |= {name: cost[name] for name in COSTS} | {"flops": np.nan if cost["flops"] is None else cost["flops"]}
    # a stage evaluates only the classes it knows: without a target, a model of half the classes has an easier test
    pruned_classes = row["level"] == "class" and row["trains_on"] == "subset" and row["kept"] < row["of"]
    return (
        line
        | {
            "prune_ratio": round(row["prune_ratio"], ROUNDED),
            "seeds": seeds_of(row),
        }
        | _measures(row)
        | {
            "classes_only": pruned_classes and not row["target"],
            "unknown": tuple(sorted(cost["unknown"])),
            "claimed": row["claimed"],
            "unverified": row.get("unverified", False),  # rows of earlier versions do not say
            "arena": fingerprint(_setting(row["config"]))[:16],
        }
    )


def _measures(row: Row) -> dict[str, Any]:
    """What the row has measured: on the target if there is one, else on the source."""
    side = "target" if row["target"] else "source"
    metrics, best = row["metrics"], row.get("best", {}).get(side, {})
    return {
        "accuracy": metrics[f"{side}_{PER_CLASS if per_class(row) else 'top1'}"],
        "best": best.get("top1", np.nan),
        "best_split": best.get("split", ""),
        "density": _density(row, side),
        "worst_class": metrics.get(f"{side}_worst_class_top1", np.nan),
        "source_top1": metrics.get("source_top1", np.nan),
    }


def _density(row: Row, side: str) -> float:
    """The share of weights that are left of the network that was measured; 1 where the row does not say."""
    said = row.get("density")
    found = said.get(side) if isinstance(said, dict) else said
    return 1.0 if found is None else float(found)


def _setting(config: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in config.items() if name not in GUIDES}


def _order(line: Any) -> tuple:
    return (
        *(getattr(line, name) for name in SECTION),
        line.prune_ratio,
        natural(line.label),
        line.identity,
        line.seeds,
    )


def _over_seeds(group: pd.DataFrame) -> dict[str, Any]:
    first, n = group.iloc[0], group.seeds.nunique()
    assert n == len(group), f"{first.label}: rows of one experiment twice (see reading.usable)"
    line = {name: first[name] for name in (*LINE, *SAME)} | {"n": n}
    line |= {"accuracy": group.accuracy.mean(), "std": group.accuracy.std(ddof=1) if n > 1 else np.nan}
    line |= {name: group[name].mean(skipna=False) for name in (*MEANS, *COSTS)}
    line["best_split"] = " ".join(sorted(set(group.best_split) - {""}))
    unknown = tuple(sorted({stage for stages in group.unknown for stage in stages}))
    line |= {name: bool(group[name].any()) for name in ("claimed", "unverified")}
    return line | {"of": first.of, "unknown": unknown}

"""Say what a reader must know beside the numbers: what error bars leave out, what is unknown, claimed or mixed."""

import json
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from dataprune.report.lines import settings, unnamed

NOT_STAGES = ("work", "locks", "rows")  # folders of a store that hold no results


def cautions(part: pd.DataFrame, summed: pd.DataFrame) -> list[str]:
    """Return the notes that belong under the table of one section; part: of `lines.frame`, summed: of `summary`."""
    return [
        *one_surrogate(part),
        *crossed_seeds(part),
        *incomplete_costs(summed),
        *claims(summed),
        *foreign_ids(summed),
        *several_settings(part),
        *left_unsaid(part),
    ]


def one_surrogate(part: pd.DataFrame) -> list[str]:
    """Name the lines whose seeds all rest on one surrogate."""
    found = []
    for label, group in _lines(part):
        scored = any({"surrogate", "dynamics"} & {role.partition(".")[0] for role in keys} for keys in group["keys"])
        if len(group) > 1 and scored and len(_values(group, "surrogate.seed")) < 2:
            found.append(label)
    if not found:
        return []
    return [
        f"One surrogate serves all seeds of {_listed(found)}: their error bars and tests leave out the "
        "surrogate's variance. Sweep surrogate.seed with seed to have it in."
    ]


def crossed_seeds(part: pd.DataFrame) -> list[str]:
    """Name the lines some of whose seed tuples share a seed, while others do not."""
    found = []
    for label, group in _lines(part):
        names = {name for seeds in group.seeds for name, _ in seeds}
        if any(1 < len(_values(group, name)) < len(group) for name in names):
            found.append(label)
    if not found:
        return []
    return [
        f"Seeds are crossed in {_listed(found)}: n counts tuples of seeds, and tests take tuples that share a seed as "
        "independent; the error bars are too short by that."
    ]


def incomplete_costs(summed: pd.DataFrame) -> list[str]:
    """Name the lines of which some stage's cost is unknown, with the stages."""
    lines: dict[tuple, list[str]] = defaultdict(list)
    for line in summed.itertuples():
        if line.unknown:
            lines[line.unknown].append(line.label)
    return [
        f"Cost of {', '.join(stages)} unknown (it came from outside): {_listed(labels)}. Their costs are lower bounds."
        for stages, labels in lines.items()
    ]


def claims(summed: pd.DataFrame) -> list[str]:
    """Name the lines that rest on something a file merely says."""
    found = summed[summed.claimed].label
    if found.empty:
        return []
    return [f"Claimed: {_listed(found)} rest on what a file says of itself (on what it was trained); nobody checked."]


def foreign_ids(summed: pd.DataFrame) -> list[str]:
    """Name the lines that were trained on bare ids from a file."""
    found = summed[summed.unverified].label
    if found.empty:
        return []
    return [f"Unverified: {_listed(found)} rest on bare ids; nothing tells whether these are meant for this source."]


def several_settings(part: pd.DataFrame) -> list[str]:
    """Say which lines were measured on which data and recipes, where a section holds several."""
    found = settings(part)
    if len(found) < 2:
        return []
    listed = "; ".join(f"{words}: {_listed(labels)}" for words, labels in found.items())
    return [
        f"Data or recipes differ within this section; a line is compared with random lines of its own only. {listed}."
    ]


def left_unsaid(part: pd.DataFrame) -> list[str]:
    """Say in what else the lines of one method differ, beyond what their labels show."""
    return [f"Lines of {method} differ also in {', '.join(keys)}." for method, keys in unnamed(part).items()]


def mixed_versions(store: Path, keys: Iterable[dict[str, str]]) -> list[str]:
    """Return one note if results of one stage were made with different libraries or on different devices.

    keys: {role: key} of every row. Results that are gone from the store tell nothing and are passed over.
    """
    wanted = {key for each in keys for key in each.values()}
    stages = [folder for folder in store.glob("*/") if folder.name not in NOT_STAGES]
    where: dict[tuple[str, ...], list[str]] = defaultdict(list)  # (name, versions ...) -> the stages that mix them
    for stage in sorted(stages):
        for name, versions in _versions(stage, wanted).items():
            if len(versions) > 1:
                where[name, *sorted(versions)].append(stage.name)
    mixes = [f"{name} {' and '.join(versions)} ({', '.join(at)})" for (name, *versions), at in sorted(where.items())]
    return [f"This page mixes results of different making: {'; '.join(mixes)}."] if mixes else []


def _versions(stage: Path, keys: Iterable[str]) -> dict[str, set[str]]:
    """Library (or `device`) -> its versions, over the results of a stage that have these keys."""
    versions: dict[str, set[str]] = defaultdict(set)
    for path in (stage / key / "manifest.json" for key in keys):
        if path.exists():
            manifest = json.loads(path.read_text())
            for name, version in (manifest.get("versions", {}) | {"device": manifest.get("device")}).items():
                versions[name] |= {str(version)} - {"None"}
    return versions


def _lines(part: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """The rows of each line, with its label."""
    return [(str(label), group) for (label, _), group in part.groupby(["label", "prune_ratio"], sort=False)]


def _values(group: pd.DataFrame, name: str) -> set[int]:
    return {value for seeds in group.seeds for seed, value in seeds if seed == name}


def _listed(labels: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(labels))

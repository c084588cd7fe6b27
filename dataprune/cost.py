"""What a number cost: the ledger of every stage behind it, and what cost.json tells of work that was done elsewhere."""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dataprune.errors import ConfigError, Shown
from dataprune.store import Result

COST = "cost.json"
TOLD = ("seconds", "device_s", "images", "images_forward", "images_backward", "flops")  # what such a file may say
COUNTED = ("images_forward", "images_backward", "flops")  # facts of every stage that runs a network
NO_NETWORK = {
    "index",
    "decode",
    "adopt",
    "dynamics",
    "cluster",
    "neighbors",
    "score",
    "select",
    "combine",
}  # these report none of them
FIGURES = {  # the stem of a role -> the figure that it belongs to
    **dict.fromkeys(["source", "target", "others"], "data_s"),
    **dict.fromkeys(["surrogate", "dynamics"], "surrogate_s"),
    **dict.fromkeys(["signals", "gradients", "signal", "target_signals", "val_signals", "heldout"], "signals_s"),
    **dict.fromkeys(["clusters", "neighbors", "scores", "cut", "combined"], "score_s"),
    **dict.fromkeys(["subset", "order"], "select_s"),
    **dict.fromkeys(["model"], "train_s"),
    **dict.fromkeys(["reestimated", "features", "adapted"], "transfer_s"),
    **dict.fromkeys(["source_result", "target_result"], "evaluate_s"),
}


@dataclass(frozen=True)
class Spent:
    """What one result took, here and elsewhere: lower bounds unless `known`."""

    seconds: float  # on the clock
    device_s: float  # summed over devices
    trained: int  # images of training steps
    images_forward: int
    images_backward: int
    flops: float | None  # None = unknown
    known: bool


def cost(results: dict[str, Result], built: set[str]) -> dict[str, Any]:
    """Return the ledger of a row from all results behind it by role, and the roles that this job built.

    Seconds by figure (wall clock), and totals: total_s (wall clock), device_s (summed over devices), images_forward,
    images_backward, flops. unknown: the roles of which something is not known; the totals are lower bounds then, and
    flops is None where FLOPs are missing. shared: the roles that this job found ready. A shared result counts with all
    that it took in every row that rests on it: what the number costs when it is the only one wanted. A result in two
    roles counts once in each figure and once in the totals.
    """
    all_spent = {role: spent(result) for role, result in results.items()}
    by_figure: dict[str, dict[Path, Spent]] = {figure: {} for figure in FIGURES.values()}
    for role, result in results.items():
        by_figure[figure_of(role)][result.path] = all_spent[role]
    everything: dict[Path, Spent] = {}
    for part in by_figure.values():
        everything |= part
    flops = _all_of("flops", everything)
    return {
        **{figure: round(sum(_all_of("seconds", part)), 3) for figure, part in by_figure.items()},
        "total_s": round(sum(_all_of("seconds", everything)), 3),
        "device_s": round(sum(_all_of("device_s", everything)), 3),
        "images_seen": sum(_all_of("trained", by_figure["train_s"])),
        "surrogate_images": sum(_all_of("trained", by_figure["surrogate_s"] | by_figure["score_s"])),
        "images_forward": sum(_all_of("images_forward", everything)),
        "images_backward": sum(_all_of("images_backward", everything)),
        "flops": None if None in flops else sum(flops),
        "unknown": sorted(role for role, one in all_spent.items() if not one.known),
        "shared": sorted(results.keys() - built),
    }


def _all_of(field: str, results: dict[Path, Spent]) -> list[Any]:
    """One field of every result."""
    return [getattr(spent, field) for spent in results.values()]


def figure_of(role: str) -> str:
    """Return the figure of the ledger in which a role counts: that of its stem.

    "scores.pets" is the part of "scores" that another target needs, "source_pixels" is the source decoded. Raises a
    ValueError for a role that is in no figure: nothing is left out in silence.
    """
    stem = role.partition(".")[0].removesuffix("_pixels").removesuffix("_workers")
    if stem not in FIGURES:
        raise ValueError(f"role {role!r} is in no figure of the ledger: add it to dataprune.cost.FIGURES")
    return FIGURES[stem]


def spent(result: Result) -> Spent:
    """Return what a result took: what its stage reported, and its fact `elsewhere` if it rests on foreign work.

    `elsewhere` holds what cost.json told; a figure that is not in it is unknown. Seconds stand for device-seconds and
    the reverse, `images` for one pass forward and one backward each.
    """
    told = _elsewhere(result)
    nothing = 0 if result.recipe.get("stage") in NO_NETWORK else None
    counts = {name: (result.facts.get(name, nothing), told[name]) for name in COUNTED}  # here and elsewhere
    return Spent(
        seconds=_at_least(result.seconds, told["seconds"]),
        device_s=_at_least(result.device_s, told["device_s"]),
        trained=int(_at_least(result.facts.get("images_seen", 0), told["images"])),
        images_forward=int(_at_least(*counts["images_forward"])),
        images_backward=int(_at_least(*counts["images_backward"])),
        flops=None if None in counts["flops"] else _at_least(*counts["flops"]),
        known=told["seconds"] is not None and all(None not in pair for pair in counts.values()),
    )


def _at_least(*figures: float | None) -> float:
    """The sum of those that are known."""
    return sum(figure or 0 for figure in figures)


def _elsewhere(result: Result) -> dict[str, float | None]:
    """Every figure of TOLD for the foreign work that a result rests on: 0 without such work, None = unknown."""
    told = result.facts.get("elsewhere")
    if told is None:
        return dict.fromkeys(TOLD, 0)
    stands_for = {
        "seconds": "device_s",
        "device_s": "seconds",
        "images": "images_backward",
        "images_forward": "images",
        "images_backward": "images",
    }
    return {name: told.get(name, told.get(stands_for.get(name, name))) for name in TOLD}


def cost_file(path: str | Path | None) -> Path | None:
    """Return the cost.json beside a foreign file, or in a foreign folder; None = there is none."""
    if path is None:
        return None
    folder = Path(path) if Path(path).is_dir() else Path(path).parent
    return folder / COST if (folder / COST).is_file() else None


def told_of(path: str | Path, key: str) -> dict[str, float]:
    """Return what cost.json tells of the foreign file or folder at `path`; nothing without one.

    Raises a ConfigError under `key`, which named the path, unless it is one object of figures that are numbers, 0 or
    more.
    """
    file = cost_file(path)
    if file is None:
        return {}
    expected = f"an object of {', '.join(TOLD)}: numbers, 0 or more"
    try:
        told = json.loads(file.read_text())
    except ValueError as error:
        raise ConfigError(key, Shown(f"{str(file)!r}, which is no JSON ({error})"), expected) from None
    if not isinstance(told, dict):
        raise ConfigError(key, Shown(f"{str(file)!r} with {told!r}"), expected)
    for name, value in told.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name not in TOLD or not number or not 0 <= value < math.inf:
            raise ConfigError(key, Shown(f"{str(file)!r} with {name}={value!r}"), expected)
    return told


def as_told(ledger: dict[str, Any]) -> dict[str, float]:
    """Return what a row's ledger tells in the words of cost.json; lower bounds of devices, passes and FLOPs are left
    out: who reads it must see that they are unknown."""
    told = {"seconds": ledger["total_s"], "images": ledger["images_seen"]}
    return told if ledger["unknown"] else told | {name: ledger[name] for name in ("device_s", *COUNTED)}

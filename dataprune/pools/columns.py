"""Methods that go by columns alone: columns on the driver, the same selectors as everywhere, as they are."""

import argparse
from collections.abc import Mapping
from typing import Any

import numpy as np

from dataprune.commands.arrays import config_of, plan_of, selector_arrays
from dataprune.config import MethodConfig
from dataprune.errors import ConfigError, class_labels
from dataprune.plan import PER_CLASS, SCORES, Plan
from dataprune.ratios import as_typed
from dataprune.stages.select import select


def planned(
    method: MethodConfig, budget: int, n: int, columns: Mapping[str, str], cut: float | None
) -> tuple[Plan, str]:
    """Return the method's plan at the budget and what its cut goes by; raises where a column is missing.

    columns: parameter -> column: scores, labels, cut, and other arrays that selectors name.
    """
    if method.level != "example" or method.select is None:
        raise ConfigError("--method", method.name, "a method that picks examples by a selector")
    given: dict[str, Any] = {
        "cut_scores": columns.get("cut"),
        "array": [],
        "prune_ratio": as_typed(1 - budget / n),
        "cut": cut,
    }
    plan, by = plan_of(method, argparse.Namespace(**given), dict.fromkeys(columns))  # type: ignore[arg-type]
    for call in plan.steps:
        if SCORES & set(call.filled) and call.function["_target_"] != PER_CLASS and "scores" not in columns:
            raise ConfigError("--scores", None, f"the column that {method.name} goes by, higher = kept first")
        _check_arrays(method.name, call.arrays, columns)
    return plan, by


def _check_arrays(method: str, arrays: Mapping[str, str], columns: Mapping[str, str]) -> None:
    for name, array in arrays.items():
        if "features" in (name, array):
            raise ConfigError("--method", method, "one that needs no features, or an option of conf/pool")
        if name not in columns and name != "select":
            option = "--labels COLUMN" if name == "labels" else f"--column {name}=COLUMN"
            raise ConfigError(name, None, option)


def select_columns(plan: Plan, by: str, arrays: dict[str, np.ndarray], n: int, seed: int) -> np.ndarray:
    """Return ids int64 in pick order."""
    labels = class_labels("labels", arrays["labels"], n) if "labels" in arrays else np.zeros(n, np.int64)
    given = selector_arrays(plan, arrays, labels)
    wanted = {name: array for those in given for name, array in those.items()}
    scores = {name: arrays[source] for name, source in (("scores", "scores"), ("cut", by)) if source in arrays}
    return select(config_of(plan, given, seed), n, wanted, scores)[0]

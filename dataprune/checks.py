"""Checks of a whole job before anything is trained: functions that exist, arrays that somebody produces.

They read source text (dataprune.targets) and import nothing heavy, so that a mistake answers in about a second.
"""

import math
from typing import Any

from dataprune.config import Config, MethodConfig, TrainConfig
from dataprune.errors import ConfigError
from dataprune.selectors.budget import budget
from dataprune.stages.arrays import ARRAYS, wanted
from dataprune.stages.select import FILLED
from dataprune.store import Result
from dataprune.targets import check_target, parameters


def check_functions(cfg: Config) -> None:
    """Raise a ConfigError unless every function that the config names exists, takes the constants it is given, and asks
    only for arrays that something produces. Nothing is imported for that."""
    for role in ("source", "target"):
        if (data := getattr(cfg, role)) is not None:
            check_target(data.reader, f"{role}.reader", frozenset({"path", "seed"}))
    for role in ("surrogate", "pretrain", "transfer"):
        recipe: TrainConfig | None = getattr(cfg, role)
        if recipe is None:
            continue
        if recipe.model is not None:
            check_target(recipe.model, f"{role}.model", frozenset({"in_channels"}))
        elif role != "transfer":
            raise ConfigError(f"{role}.model", None, "a network: model@surrogate.model=..., model@pretrain.model=...")
        if recipe.checkpoint is None:
            check_target(recipe.optimizer, f"{role}.optimizer", frozenset({"params"}))
        if recipe.schedule:
            check_target(recipe.schedule, f"{role}.schedule", frozenset({"step", "steps", "per_epoch", "lr"}))
    for key, method in [("method", cfg.method), *((f"baselines.{k}", m) for k, m in cfg.baselines.items())]:
        check_method(cfg, method, key)


def check_method(cfg: Config, method: MethodConfig, key: str) -> None:
    """Raise a ConfigError if the method cannot run: no selector, unknown arrays, or arrays that nobody records."""
    if method.trains_on != "subset":
        return
    if method.select is None:
        raise ConfigError(f"{key}.select", None, "a selector, e.g. _target_: dataprune.selectors.ranked.top")
    if method.level == "class" and (method.cut or method.quota != "none"):
        raise ConfigError(f"{key}.level", "class", "example: cut and quota are about examples")
    for function, part, filled in ((method.score, "score", frozenset()), (method.select, "select", FILLED)):
        if function is None:
            continue
        arrays = wanted(function, renamed(method, function), f"{key}.{part}", filled)
        for parameter, array in arrays.items():
            of = ARRAYS[array].of
            where = f"{key}.{part}.{parameter}"
            if of in ("target", "target_signals") and cfg.target is None:
                raise ConfigError(where, array, "a target to take it from: target=..., train@transfer=...")
            if of == "dynamics" and cfg.surrogate.record.forward == "none":
                raise ConfigError("surrogate.record.forward", "none", f"train or eval: {where} is recorded dynamics")
            if of == "dynamics" and cfg.surrogate.checkpoint is not None:
                raise ConfigError(
                    where, array, "a surrogate that is trained here: surrogate.checkpoint has no dynamics"
                )
            if array == "probabilities_by_epoch" and not cfg.surrogate.record.probabilities:
                raise ConfigError("surrogate.record.probabilities", False, f"true: {where} asks for them")
    takes = parameters(method.select["_target_"])
    if method.score is None and {"scores", "frequency"} & takes.required:
        raise ConfigError(f"{key}.score", None, f"a score function: {method.select['_target_']} ranks by it")


def check_prune_ratio(cfg: Config, source: Result) -> None:
    """Raise a ConfigError if pruning would leave fewer examples than classes, before anything is trained."""
    n, n_classes = source.facts["train"], source.facts["classes"]
    if cfg.method.level == "example" and cfg.method.trains_on in ("subset", "fresh_subsets"):
        kept = budget(cfg.prune_ratio, n)
        if kept < n_classes:
            expected = (
                f"{math.floor((1 - n_classes / n) * 1e4) / 1e4} or less: {kept} of {n} examples for {n_classes} classes"
            )
            raise ConfigError("prune_ratio", cfg.prune_ratio, expected)


def renamed(method: MethodConfig, function: dict[str, Any]) -> dict[str, str]:
    """The part of `method.arrays` that is about parameters of this function."""
    takes = parameters(function["_target_"]).names
    return {parameter: array for parameter, array in method.arrays.items() if parameter in takes}


def inputs_asked_for(method: MethodConfig) -> set[str]:
    """Which finished results the method's functions want arrays of."""
    if method.trains_on != "subset":
        return set()
    functions = [(method.score, "score", frozenset()), (method.select, "select", FILLED)]
    functions += [(method.cut.score, "cut.score", frozenset())] if method.cut else []
    return {
        ARRAYS[array].of
        for function, key, filled in functions
        if function is not None
        for array in wanted(function, renamed(method, function), f"method.{key}", filled).values()
    }

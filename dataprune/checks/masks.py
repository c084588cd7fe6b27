"""Checks of the callbacks of a recipe that hold or make zeros, before the first training. Imports torch."""

from dataprune.callables import is_ours, make
from dataprune.config import TrainConfig
from dataprune.errors import ConfigError, Shown
from dataprune.training.keep_masks import KeepMasks
from dataprune.training.pruning import Pruning


def check_callbacks(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for constants that a callback of ours refuses, and for pruning that could do nothing or would
    be undone: of a head alone, of a checkpoint that is only adopted, twice in one training."""
    holders: list[str] = []
    for name, spec in recipe.callbacks.items():
        key = f"{role}.callbacks.{name}"
        if not is_ours(spec["_target_"]):
            continue
        callback = make(spec, key)
        if not isinstance(callback, KeepMasks):
            continue
        holders.append(name)
        if isinstance(callback, Pruning):
            check_pruning(callback, recipe, role, key)
    if len(holders) > 1:
        found = Shown(" and ".join(holders))
        raise ConfigError(f"{role}.callbacks", found, "one of them: what prunes holds its masks, and others would not")


def check_pruning(callback: Pruning, recipe: TrainConfig, role: str, key: str) -> None:
    """Raise a ConfigError for a recipe in which this callback cannot prune."""
    if recipe.checkpoint is not None:
        expected = f"nothing, or no {role}.checkpoint: what is adopted is not trained, and so not pruned"
        raise ConfigError(key, type(callback).__name__, expected)
    if recipe.trainable == "head":
        raise ConfigError(f"{role}.trainable", "head", f"all: {key} prunes the backbone while it learns")
    try:
        callback.check(recipe)
    except ConfigError as error:
        raise error.under(key) from None

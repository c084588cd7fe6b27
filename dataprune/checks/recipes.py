"""Checks of the numbers in a training recipe that need no data: rates, momenta, schedules, crops, shares of a batch."""

import math
from typing import Any

from dataprune.callables import check_target, function_at, make
from dataprune.checks.augmentation import check_augmentation
from dataprune.config import AugmentConfig, TrainConfig
from dataprune.errors import ConfigError, Shown

SAMPLED = frozenset({"n", "epochs", "seed"})  # parameters of a sampler that the training fills
SAMPLERS = "dataprune.dynamic."
SCHEDULES = "dataprune.training.schedules."  # functions of a step and constants: they can be asked beforehand
SOLVERS = "dataprune.training.linear."
SOLVED = frozenset({"task"})  # parameters of a solver that the training fills
UNSOLVED = (  # what the training loop does and a solver does not
    "frozen_bn", "augment", "adversarial", "momentum", "resolution", "record", "sampler", "callbacks", "snapshots",
    "label_smoothing", "clip_norm", "decay_bias_and_norm", "precision", "accumulate", "processes", "buckets", "compile",
    "checkpointing",
)  # fmt: skip
PER_EPOCH, EPOCHS = 10, 50  # of the made-up training that a schedule is asked about


def check_recipe(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for the first value of a recipe that no training can use; `role` is its key."""
    check_unused(recipe, role)
    if recipe.checkpoint is not None:
        if role == "transfer":
            raise ConfigError("transfer.checkpoint", recipe.checkpoint, "null: the model that comes in is transferred")
        return
    check_optimizer(recipe.optimizer, f"{role}.optimizer")
    if recipe.sampler:
        check_sampler_spec(recipe.sampler, f"{role}.sampler")
        if not recipe.epochs:
            key, expected = f"{role}.iterations", f"null, and {role}.epochs instead: a sampler chooses by epoch"
            raise ConfigError(key, recipe.iterations, expected)
    for name, callback in recipe.callbacks.items():
        check_target(callback, f"{role}.callbacks.{name}")
    check_schedules(recipe, role)
    check_sizes(recipe, role)
    check_augmentation(recipe, role)
    if recipe.batch_size % recipe.processes:
        expected = f"a multiple of {role}.processes={recipe.processes}: each takes the same share of a batch"
        raise ConfigError(f"{role}.batch_size", recipe.batch_size, expected)
    if recipe.batch_size % (recipe.processes * recipe.accumulate):
        expected = f"a divisor of {role}.batch_size={recipe.batch_size}, shared out over {recipe.processes} processes"
        raise ConfigError(f"{role}.accumulate", recipe.accumulate, expected)


def check_sizes(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for random crops or a ramp of resolutions whose ends are in the wrong order."""
    if (area := recipe.augment.random_resized_crop) is not None and not 0 < area[0] <= area[1] <= 1:
        key = f"{role}.augment.random_resized_crop"
        raise ConfigError(key, area, "[smallest, largest] share of the area, above 0 to 1")
    if (ramp := recipe.resolution) and not (1 <= ramp["low"] <= ramp["high"] and 0 <= ramp["start"] <= ramp["end"]):
        raise ConfigError(f"{role}.resolution", dict(ramp), "pixels of 1 <= low <= high, epochs of 0 <= start <= end")


def check_unused(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for a value that this training would ignore: nobody must believe that it did something."""
    check_start(recipe, role)
    check_as_it_comes(recipe, role)
    if role != "pretrain" and recipe.subset is not None:
        raise ConfigError(f"{role}.subset", recipe.subset, "null: it says what pretrain.checkpoint was trained on")
    if recipe.checkpoint is None and recipe.density is not None:
        raise ConfigError(f"{role}.density", recipe.density, f"null: it says what is left in {role}.checkpoint")
    if role != "transfer" and recipe.batch_size == 0:
        raise ConfigError(f"{role}.batch_size", 0, "1 or more: only a transfer's follows from its target")
    if recipe.trainable == "head":
        check_head(recipe, role)
    if recipe.solver is not None:
        check_solver(recipe, recipe.solver, role)


def check_as_it_comes(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for no epochs where something is to be learned or recorded, and for new statistics of a
    network that is trained."""
    if role != "transfer" and recipe.bn_passes:
        raise ConfigError(f"{role}.bn_passes", recipe.bn_passes, "0: only a model that comes in has other statistics")
    if role == "transfer" and recipe.epochs == 0 and recipe.head == "fresh":
        raise ConfigError("transfer.epochs", 0, "1 or more, or transfer.head=reuse: a fresh head has learned nothing")
    if recipe.epochs == 0 and recipe.record.forward != "none":
        raise ConfigError(f"{role}.epochs", 0, f"1 or more, or {role}.record.forward=none: there is nothing to record")


def check_start(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for a network where one comes in, and for a head to keep where none does."""
    if role != "transfer" and not recipe.frozen_bn and recipe.trainable != "head":
        raise ConfigError(f"{role}.frozen_bn", False, f"true, or {role}.trainable=head: nothing else is frozen")
    if role == "transfer" and recipe.model is not None:
        raise ConfigError("transfer.model", recipe.model, "null: the network is that of pretrain.model")
    if role != "transfer" and recipe.head != "fresh":
        expected = "fresh: only a model that comes in has a head to keep (transfer)"
        raise ConfigError(f"{role}.head", recipe.head, expected)
    if recipe.head_columns is not None and recipe.head != "reuse":
        expected = f"null, or {role}.head=reuse: no other head has columns to keep"
        raise ConfigError(f"{role}.head_columns", recipe.head_columns, expected)


def check_head(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for a value about images of a training that sees features alone."""
    if recipe.adversarial.epsilon:
        key = f"{role}.adversarial.epsilon"
        raise ConfigError(key, recipe.adversarial.epsilon, "0: a head alone is trained on features, not on images")
    if recipe.resolution and recipe.frozen_bn and recipe.augment == AugmentConfig():
        raise ConfigError(f"{role}.resolution", dict(recipe.resolution), "{}: features are computed once")


def check_solver(recipe: TrainConfig, solver: dict[str, Any], role: str) -> None:
    """Raise a ConfigError for a solver of a head that does not exist or takes other constants, and for what it would
    ignore: it sees features and one optimiser, and nothing of the training loop."""
    check_target(solver, f"{role}.solver", SOLVED)
    plain, what = TrainConfig(), "as by default: a solver fits a head on features, in one process"
    for name in UNSOLVED:
        if getattr(recipe, name) != getattr(plain, name):
            raise ConfigError(f"{role}.{name}", getattr(recipe, name), f"{getattr(plain, name)!r}, {what}")
    target, optimizer = solver["_target_"], recipe.optimizer.get("_target_")
    if recipe.trainable != "head":
        raise ConfigError(f"{role}.solver", target, f"null, or {role}.trainable=head")
    if target == f"{SOLVERS}sgd":
        others = recipe.optimizer.keys() - {"_target_", "lr", "momentum", "weight_decay"}
        if optimizer != "torch.optim.SGD" or others:
            expected = f"torch.optim.SGD with lr, momentum and weight_decay alone, or {role}.solver=null"
            raise ConfigError(f"{role}.optimizer", Shown(optimizer), expected)
    elif target.startswith(SOLVERS) and optimizer != "torch.optim.LBFGS":
        raise ConfigError(f"{role}.optimizer", Shown(optimizer), "torch.optim.LBFGS, which takes all examples at once")


def check_sampler_spec(sampler: dict[str, Any], key: str) -> None:
    """Raise a ConfigError for a sampler that does not exist, for constants that it does not take, and for those that
    the training fills."""
    check_target(sampler, key, SAMPLED)
    for name in sorted(SAMPLED & sampler.keys()):
        raise ConfigError(f"{key}.{name}", sampler[name], "nothing: the training fills it")


def check_sampler(recipe: TrainConfig, key: str, n: int) -> None:
    """Raise a ConfigError for constants that a sampler of ours refuses, of n examples. Imports torch."""
    if recipe.sampler and recipe.sampler["_target_"].startswith(SAMPLERS):
        role = key.partition(".")[0].replace("method", "pretrain")  # a method brings a sampler of the pretraining
        sampler = make(recipe.sampler, key, n=n, epochs=recipe.epochs, seed=recipe.seed)
        check_parts(sampler, recipe.accumulate, f"{role}.accumulate")


def check_parts(sampler: Any, accumulate: int, key: str) -> None:
    """Raise a ConfigError for a sampler that chooses inside a batch where batches come in parts."""
    if accumulate > 1 and hasattr(sampler, "choose"):
        raise ConfigError(key, accumulate, f"1: {type(sampler).__name__} chooses among the losses of a whole batch")


def check_optimizer(optimizer: dict[str, Any], key: str) -> None:
    """Raise a ConfigError for a learning rate, momentum or weight decay that is no number or out of range."""
    if "lr" in optimizer:
        _number(f"{key}.lr", optimizer["lr"], "a number above 0", lambda x: x > 0)
    if "momentum" in optimizer:
        _number(f"{key}.momentum", optimizer["momentum"], "a number from 0 to below 1", lambda x: 0 <= x < 1)
    if optimizer.get("nesterov") and not optimizer.get("momentum"):
        raise ConfigError(f"{key}.nesterov", True, f"false, or a momentum above 0 ({key}.momentum)")
    if "weight_decay" in optimizer:
        _number(f"{key}.weight_decay", optimizer["weight_decay"], "a number, 0 or more", lambda x: x >= 0)


def check_schedules(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError if one of our schedules leaves its range in some step, or takes its constants for no numbers.

    Asked about a training of recipe.epochs epochs (EPOCHS where that is not known) of PER_EPOCH steps.
    """
    steps = PER_EPOCH * (recipe.epochs or EPOCHS)
    rate = {"lr": recipe.optimizer.get("lr", 1.0)}
    _check_schedule(recipe.schedule, f"{role}.schedule", steps, rate, math.inf)
    _check_schedule(recipe.momentum, f"{role}.momentum", steps, {}, 1.0)


def _check_schedule(spec: dict[str, Any], key: str, steps: int, more: dict[str, Any], high: float) -> None:
    """Ask a schedule of ours for its value at each step: 0 to `high`. `more`: what it gets beside its constants."""
    if not spec.get("_target_", "").startswith(SCHEDULES):
        return
    constants = {k: v for k, v in spec.items() if k != "_target_"}
    for name, value in constants.items():
        if isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
            raise ConfigError(f"{key}.{name}", value, "a number")
    schedule = function_at(spec["_target_"])
    for step in range(steps):
        value = schedule(step, steps, PER_EPOCH, **more, **constants)
        if not 0 <= value <= high:
            span = "0 to 1" if high == 1 else "0 or more"
            expected = f"{span} at every step; it gives {value:g} in epoch {step // PER_EPOCH}"
            raise ConfigError(key, constants, expected)


def _number(key: str, value: Any, expected: str, fits: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not (is_number and math.isfinite(value) and fits(value)):
        raise ConfigError(key, value, expected)

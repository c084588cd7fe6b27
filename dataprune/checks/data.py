"""Checks of a job against its data, once these are indexed and before anything is trained."""

import math
from typing import Any

from dataprune.arrays import computed
from dataprune.checks.augmentation import check_changes
from dataprune.checks.evaluation import check_evaluated, outputs_of
from dataprune.config import Config, TrainConfig
from dataprune.data.codecs import codec_of, disagreement
from dataprune.data.images import Images
from dataprune.data.order import batch_for
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.experiments import asks_for_ratio
from dataprune.formats.class_lists import rows_of
from dataprune.plan import Plan, plan_of
from dataprune.selectors.budget import budget


def check_data(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """What is known once the data are indexed and before anything is trained: enough classes and examples, inputs that
    agree, recipes that can use them.

    targets: by the key of their config.
    """
    for key, data in {"source": source, **targets}.items():
        if data is not None and data.facts["classes"] < 2:
            raise ConfigError(
                key, Shown("data of one class"), "two classes or more: with one there is nothing to learn"
            )
    check_recipes(cfg, source, targets)
    check_inputs(source, targets)
    plan = plan_of(cfg)
    check_drops(plan, source)
    check_splits(cfg, source, targets)
    check_evaluated(cfg, source, targets)
    if "clusters" in plan.roles and cfg.method.clusters.path is None:
        check_clustered(cfg, source.facts["train"])
    counts = cfg.method.trains_on == "dynamic" or plan.has_budget
    if cfg.method.level == "example" and counts:
        check_budget_of_classes(cfg.prune_ratio, source.facts["train"], source.facts["classes"])


def check_drops(plan: Plan, source: Data) -> None:
    """Raise a ConfigError for quotas by the errors in each class of a source without a split to see them on."""
    drops = [call.key for call in plan.chain if "class_errors" in call.arrays.values()]
    if drops and "validation" not in source.facts:
        key = drops[0] if drops[0].endswith("quota") else f"{drops[0]}.quota"
        raise ConfigError(key, "drop", "proportional or equal: the source has no validation split to look at")


def check_clustered(cfg: Config, n: int) -> None:
    """Raise a ConfigError for more clusters than there are examples, or none of the features that they are made of."""
    if (number := cfg.method.clusters.number) > n:
        raise ConfigError("method.clusters.number", number, f"1 to {n}, the number of the source's examples")
    if "features" not in cfg.signals.arrays:
        expected = f"features among them: the clusters of {cfg.method.name} are made of these"
        raise ConfigError("signals.arrays", list(cfg.signals.arrays), expected)


def check_inputs(source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError for a target whose inputs the source's network does not take."""
    wanted = source.facts["input"]
    for key, target in targets.items():
        if target is not None and (fact := disagreement(wanted, there := target.facts["input"])) is not None:
            more = {"channels": " (3 makes grey RGB)", "tokenizer": ": the same one, by its content"}.get(fact, "")
            where = f"{key}.{fact}" if there["kind"] == "image" or fact == "kind" else f"{key}.codec.{fact}"
            raise ConfigError(where, there.get(fact), f"{wanted.get(fact)}, as the source has{more}")


def check_budget_of_classes(prune_ratio: float, n: int, classes: int) -> None:
    """Raise a ConfigError if fewer examples are kept than there are classes."""
    if (kept := budget(prune_ratio, n)) < classes:
        most = math.floor((1 - classes / n) * 1e4) / 1e4
        raise ConfigError("prune_ratio", prune_ratio, f"{most} or less: {kept} of {n} examples for {classes} classes")


def check_splits(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError where models are to be measured, or looked at, on a split that the data have not."""
    measured: list[Data | None] = [source, *targets.values()]
    asked = {"evaluate.split": (cfg.evaluate.split, measured)}
    if looks := plan_of(cfg).looks:
        if set(cfg.signals.arrays) - set(computed("signals")):
            raise ConfigError("signals.arrays", list(cfg.signals.arrays), f"some of {', '.join(computed('signals'))}")
        seen: list[Data | None] = [source] if set(looks) - {"target_signals"} else []
        seen += targets.values() if "target_signals" in looks else []
        asked["signals.split"] = (cfg.signals.split, seen)
    for key, (split, several) in asked.items():
        for data in several:
            if data is not None and split not in data.facts:
                there = ", ".join(name for name in ("train", "validation", "test") if name in data.facts)
                raise ConfigError(key, split, f"a split that all data of the job have; there are {there}")


def check_recipes(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError if a training cannot use the inputs or the classes that it will be given."""
    trained = [("pretrain", cfg.pretrain, source)] if cfg.method.trains_on != "nothing" else []
    if plan_of(cfg).needs_surrogate:
        trained.append(("surrogate", cfg.surrogate, source))
    trained += [("transfer", cfg.transfer, data) for data in targets.values() if cfg.transfer and data]
    for role, recipe, data in trained:
        if recipe.checkpoint is None:
            check_images(recipe, role, data.header)
            check_batches(recipe, role, kept_of(cfg, data) if role == "pretrain" else data.facts["train"])
    check_reused_head(cfg, source, targets)


def kept_of(cfg: Config, source: Data) -> int:
    """The source's examples of which an epoch of the pretraining has some, as far as the prune ratio tells."""
    n, plan = source.facts["train"], plan_of(cfg)
    counts = asks_for_ratio(cfg.method) or (plan.prunes and plan.has_budget and cfg.method.level == "example")
    return budget(cfg.prune_ratio, n) if counts else n


def check_batches(recipe: TrainConfig, role: str, n: int) -> None:
    """Raise a ConfigError for batches that n examples do not fill, and for those of a transfer that follow from n and
    cannot be shared out."""
    size = recipe.batch_size or batch_for(n)
    if recipe.drop_last and n < size:
        expected = f"at most {n}, the examples that are trained on, or {role}.drop_last=false"
        raise ConfigError(f"{role}.batch_size", size, expected)
    if size % (recipe.processes * recipe.accumulate):
        shared = f"{recipe.processes} processes and accumulate={recipe.accumulate}"
        expected = f"a multiple of {recipe.processes * recipe.accumulate} ({shared}): {n} examples make it {size}"
        raise ConfigError(f"{role}.batch_size", recipe.batch_size, expected)


def check_reused_head(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError if the head that a transfer keeps lacks classes of a target."""
    if cfg.transfer is None or cfg.method.trains_on == "nothing":  # a scratch model has a head of its own
        return
    for key, target in targets.items():
        if target is None:
            continue
        if cfg.transfer.head == "matched":
            rows_of(target.classes, source.classes)
        outputs, wanted = outputs_of(cfg, source, target), target.facts["classes"]
        if cfg.transfer.head == "reuse" and wanted > outputs:
            raise ConfigError("transfer.head", "reuse", f"fresh: {outputs} outputs for the {wanted} classes of {key}")


def check_images(recipe: TrainConfig, role: str, header: dict[str, Any]) -> None:
    """Raise a ConfigError if the recipe changes images in a way that those of this header.json do not allow."""
    augment, input = recipe.augment, header["input"]
    if not isinstance(codec_of(header["codec"]), Images):
        changed = {"augment": augment, "resolution": recipe.resolution, "adversarial": recipe.adversarial}
        for name, value in changed.items():
            if value != getattr(TrainConfig(), name):
                expected = f"nothing there: it is about images, and these are {input['kind']}"
                raise ConfigError(f"{role}.{name}", value, expected)
        return
    if recipe.buckets:
        raise ConfigError(f"{role}.buckets", recipe.buckets, "0: it is about texts, and images are of one size")
    check_changes(recipe, role, input["channels"], min(input["height"], input["width"]))

"""The single experiments that a job asks for: its method and its baselines, each for every target, said in one way."""

import math
from dataclasses import replace
from typing import Any

from dataprune.config import Config, DataConfig, MethodConfig, SignalsConfig, TrainConfig
from dataprune.data.examples import heldout_of
from dataprune.data.order import batch_for, steps_of
from dataprune.dataset import Data
from dataprune.errors import ConfigError
from dataprune.plan import Plan, plan_of
from dataprune.selectors.budget import budget


def experiments(cfg: Config) -> list[tuple[str, Config]]:
    """The single experiments of a job by name: its method and its baselines, each for every target."""
    targets: list[tuple[DataConfig | None, dict[str, DataConfig]]] = [(cfg.target, cfg.others)]
    for name, data in cfg.others.items():
        assert cfg.target is not None
        rest = {other: what for other, what in cfg.others.items() if other != name}
        targets.append((data, {cfg.target.name: cfg.target} | rest))
    named = {"method": cfg.method} | cfg.baselines
    return [
        (name if target is None or target is cfg.target else f"{name}.{target.name}", single)
        for target, others in targets
        for name, method in named.items()
        if target is not None or method.trains_on != "nothing"  # without a target there is nothing to learn
        for single in [effective(replace(cfg, method=method, baselines={}, target=target, others=others))]
    ]


def effective(cfg: Config) -> Config:
    """The same job said in one way: what the method does not look at (a prune ratio, other targets) is left out.

    A method that keeps everything at this prune ratio is no method: it is `full`.
    """
    plan = plan_of(cfg)
    if plan.chain and not plan.prunes:
        cfg = replace(cfg, method=MethodConfig(name="full", trains_on="full"))
    ratio = {"full": 0.0, "nothing": 1.0}.get(cfg.method.trains_on, cfg.prune_ratio)
    if cfg.method.trains_on == "dynamic" and not asks_for_ratio(cfg.method):
        ratio = 0.0  # it decides by itself how much it leaves out, whatever ratio was asked for: beside `full`
    looks = plan.prunes and plan.looks_at_targets
    surrogate, pretrain, transfer = (
        plainly(cfg.surrogate),
        plainly(cfg.pretrain),
        cfg.transfer and plainly(cfg.transfer),
    )
    cfg = replace(cfg, surrogate=surrogate, pretrain=pretrain, transfer=transfer)
    return replace(cfg, prune_ratio=ratio, others=cfg.others if looks else {})


def plainly(recipe: TrainConfig) -> TrainConfig:
    """The same recipe said in one way: `auto` is Pillow, and who names it trains nothing again."""
    return replace(recipe, decoder="auto") if recipe.decoder == "pillow" else recipe


def asks_for_ratio(method: MethodConfig) -> bool:
    """Whether the method's sampler leaves out what the job's prune ratio says: a constant of it is `prune_ratio`."""
    return "prune_ratio" in method.sampler.values()


def sampler_at(method: MethodConfig, prune_ratio: float) -> dict[str, Any]:
    """The method's sampler, the prune ratio in the place of that word."""
    return {name: prune_ratio if value == "prune_ratio" else value for name, value in method.sampler.items()}


def pretraining(cfg: Config, source: Data) -> TrainConfig:
    """The recipe of the source model.

    `short_full` and samplers that choose anew each epoch cost less than the whole source does, in the same way whether
    the recipe counts epochs or iterations: short_full takes the kept fraction of the steps, a sampler's epochs are as
    many as those of the whole source, each of fewer examples.
    """
    recipe, ratio, n = cfg.pretrain, cfg.prune_ratio, source.facts["train"]
    if cfg.method.trains_on == "dynamic":
        per_epoch = steps_of(n, recipe.batch_size, recipe.drop_last)
        epochs = recipe.epochs or max(1, round(recipe.iterations / per_epoch))  # type: ignore[operator]
        return replace(recipe, epochs=epochs, iterations=None, sampler=sampler_at(cfg.method, ratio))
    if cfg.method.trains_on == "short_full" and recipe.epochs is not None:
        images = budget(ratio, n) * recipe.epochs
        return replace(recipe, epochs=None, iterations=math.ceil(images / recipe.batch_size))
    if cfg.method.trains_on == "short_full":
        assert recipe.iterations is not None
        return replace(recipe, iterations=budget(ratio, recipe.iterations))
    return recipe


def transferring(cfg: Config, target: Data) -> TrainConfig:
    """The recipe of the target model; without a source model a fresh network learns all its weights."""
    assert cfg.transfer is not None
    recipe = cfg.transfer
    if recipe.batch_size == 0:
        recipe = replace(recipe, batch_size=batch_for(target.facts["train"]))
    if cfg.method.trains_on == "nothing":
        recipe = replace(recipe, model=cfg.pretrain.model, trainable="all", head="fresh", head_columns=None)
        recipe = replace(recipe, solver=None, bn_passes=0)
    return recipe if recipe.trainable == "head" else replace(recipe, frozen_bn=True)


def adapting(transfer: TrainConfig) -> TrainConfig | None:
    """The recipe that only takes the statistics of batch norm on the target, before a transfer that wants it; the same
    for all seeds."""
    if not transfer.bn_passes:
        return None
    told = ("bn_passes", "batch_size", "loader", "decoder", "channels_last")
    return TrainConfig(epochs=0, head="reuse", trainable="head", **{name: getattr(transfer, name) for name in told})


def probed(cfg: Config, transfer: TrainConfig, target: Data) -> dict[str, SignalsConfig]:
    """What is asked of the model that is transferred, by split of the target: the features that a solver and an
    evaluation of its head look at; nothing without a solver."""
    if transfer.solver is None:
        return {}
    splits = {"train", cfg.evaluate.split} | ({heldout_of(target.splits)} if transfer.eval_every else set())
    asked = replace(cfg.signals, arrays=["features"], functions={}, epoch=None)  # its batches and its runtime
    return {split: replace(asked, split=split) for split in sorted(splits)}


def loaders(cfg: Config, plan: Plan) -> tuple[dict[str, str], dict[str, str]]:
    """Which loaders read the source, and which the targets, each with a recipe that names it."""
    # without a surrogate and a training the source is indexed all the same: its facts stand in the row
    of_source = {cfg.pretrain.reads: "pretrain"}
    if cfg.source.absent and cfg.transfer and cfg.pretrain.checkpoint is not None:
        of_source = {cfg.transfer.reads: "transfer"}
    if plan.needs_surrogate:
        of_source.setdefault(cfg.surrogate.reads, "surrogate")
    of_target = {cfg.transfer.reads: "transfer"} if cfg.transfer else {}
    if "target_signals" in plan.looks:
        of_target.setdefault(cfg.surrogate.reads, "surrogate")
    return of_source, of_target


def normalised(data: DataConfig, source: Data) -> DataConfig:
    """The config of a target with the source's mean and std, if it asks for them."""
    if data.normalise == "own":
        return data
    codec = source.header["codec"]
    if codec.get("mean") is None:
        raise ConfigError("target.normalise", "source", "own: the source's codec has no mean and std")
    return replace(data, mean=list(codec["mean"]), std=list(codec["std"]))

"""The experiment from top to bottom. Read this first.

`experiment` is the whole story of one method at one prune ratio: index the data, train a surrogate, score, select,
train on what is left, transfer, measure. Every step is a stage: a function of a config and of earlier results, looked
up in the store before anything is computed (executors.graph), so a sweep computes nothing twice.
"""

import contextlib
import logging
import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from dataprune.checks.data import check_data
from dataprune.checks.job import check_functions
from dataprune.checks.networks import check_head
from dataprune.checks.training import check_claim, check_training
from dataprune.config import Config, EvaluateConfig, SignalsConfig, TrainConfig
from dataprune.data.examples import heldout_of
from dataprune.dataset import Data
from dataprune.executors.following import Follow
from dataprune.executors.graph import Graph
from dataprune.experiments import adapting, experiments, loaders, normalised, pretraining, probed, transferring
from dataprune.formats.dynamics import digest
from dataprune.influence.collect import check_influence, collect
from dataprune.models.weights import weights_of
from dataprune.plan import PREFIX, Call, Plan, plan_of
from dataprune.rows import row_name, row_of
from dataprune.stage_calls import Stages, Stamps
from dataprune.stage_configs import (
    CombineConfig,
    ScoreConfig,
    SelectConfig,
    StepConfig,
)
from dataprune.store import Result, Store
from dataprune.store.jobs import RunningJob
from dataprune.streams import number
from dataprune.taken_over import adopt, content_of, dynamics, taken_over

BATCHES_EACH = 8  # that a process which looks at data has at least, where there are several
log = logging.getLogger(__name__)


def job(
    cfg: Config,
    follow: Follow | None = None,
    stamps: Stamps | None = None,
    graph: Graph | None = None,
    running: RunningJob | None = None,
) -> list[dict[str, Any]]:
    """The method's row and those of the baselines, each filed in the store. `follow` hears of every epoch trained.

    stamps: of a driver with many jobs, which looks at the files of a data set once. graph: in which its stages meet
    those of other jobs. running: says what they use of the store together; None = this job for itself.
    """
    check_functions(cfg)
    if cfg.run.influence.store is not None:
        check_influence(cfg)
    stamps, graph = {} if stamps is None else stamps, graph or Graph()
    store = Store(cfg.run.store, cfg.run.verify)
    with contextlib.nullcontext(running) if running else RunningJob(store.root) as noted:
        started = []
        for name, single in experiments(cfg):
            prefix = "" if name == "method" else f"{name}."
            started.append((name, single, Stages(store, single, follow, prefix, stamps, noted, graph)))
            indexed(single, started[-1][2])  # what the data show to be wrong is told before anything is trained
        several = bool(cfg.others)  # targets, each with an influence store of its own
        return graph.each([partial(filed, name, single, stage, several) for name, single, stage in started])


def filed(name: str, cfg: Config, stage: Stages, several: bool) -> dict[str, Any]:
    """The row of one of a job's experiments, filed in the store. several: whether the job has more targets than one."""
    towards = f" -> {cfg.target.name}" if cfg.target else ""
    log.info("%s: %s at prune_ratio=%g%s, seed %d", name, cfg.method.name, cfg.prune_ratio, towards, cfg.seed)
    row = experiment(cfg, stage)
    stage.store.write_row(row_name(row), row)
    if cfg.run.influence.store is not None and name.partition(".")[0] == "method":
        collect(cfg, row, several=several)
    return row | {"row": row_name(row), "experiment": name}


def experiment(cfg: Config, stage: Stages) -> dict[str, Any]:
    """One method at one prune ratio, from data to numbers."""
    plan = plan_of(cfg)
    source, target, others = indexed(cfg, stage)
    stage.before_training = lambda: check_training(cfg, plan, source, target)
    subset = prune(stage, cfg, plan, source, target, others) if plan.prunes else None
    model = None if cfg.method.trains_on == "nothing" else pretrain(stage, cfg, source, subset)
    if target is not None:
        transfer(stage, cfg, source, target, model)
    return row_of(cfg, stage.results, stage.built)


def prune(stage: Stages, cfg: Config, plan: Plan, source: Data, target: Data | None, others: dict[str, Data]) -> Result:
    """Look at the data, score, select: the subset that the method keeps."""
    path = plan.method.path
    for note in plan.notes:
        log.info("%s", note)
    known: dict[str, Result | None] = {"examples": source.table, "target": target.table if target else None}
    seen = {"examples": source, "target": target} | {f"others.{name}": data for name, data in others.items()}
    known |= look_at_data(stage, cfg, plan, seen) | taken_over(stage, plan, source)
    if plan.score:
        known["scores"] = score(stage, plan.score, path, known, "scores")
    if plan.method.runs > 1:
        known["scores"] = averaged(stage, cfg, plan, known, seen)
    if others:
        known["scores"] = combined(stage, plan, known, others)
    for role, call in plan.cuts.items():
        known[role] = score(stage, call, path, known, role)
    return select(stage, cfg, plan, known)


def pretrain(stage: Stages, cfg: Config, source: Data, subset: Result | None) -> Result:
    """Train on what is left of the source and measure there, or adopt a model; the model."""
    if cfg.pretrain.subset is not None:
        check_claim(cfg, source.table, subset)
    recipe = pretraining(cfg, source)
    if recipe.checkpoint is not None and cfg.source.absent:
        return adopt(stage, recipe, "model", source, known=False)
    model = train(stage, recipe, "model", source, subset=subset)
    if not cfg.source.absent:
        part = subset if cfg.method.level == "class" or cfg.method.val_path is not None else None  # it is measured on
        whole = replace(cfg.evaluate, half="all", metric="top1")  # these are of the target
        evaluate(stage, whole, "source", source, cfg.pretrain, model=model, subset=part)
    return model


def transfer(stage: Stages, cfg: Config, source: Data, target: Data, model: Result | None) -> None:
    """Fit the head, or all of it, on the target, from the source's model if there is one, and measure there."""
    config = transferring(cfg, target)
    named = source.table if config.head == "matched" else None  # its class names say which rows of the head stay
    if (statistics := adapting(config)) is not None:
        model = train(stage, statistics, "reestimated", target, init=model)
    seen = {  # once for all seeds and solvers
        f"features.{split}": look(stage, "signals", asked, f"features.{split}", target, config, model=model)
        for split, asked in probed(cfg, config, target).items()
    }
    of_train, of_heldout = (seen.get(f"features.{split}") for split in ("train", heldout_of(target.splits)))
    inputs = {"init": model, "init_examples": named, "features": of_train, "heldout_features": of_heldout}
    adapted = train(stage, replace(config, bn_passes=0), "adapted", target, **inputs)  # statistics are there
    features = seen.get(f"features.{cfg.evaluate.split}")
    evaluate(stage, cfg.evaluate, "target", target, config, model=adapted, features=features)


def evaluate(
    stage: Stages, config: EvaluateConfig, side: str, data: Data, recipe: TrainConfig, **inputs: Result | None
) -> None:
    """Measure a model on the source or the target; with the labels and the columns of others that are about it."""
    real, columns = (config.real, config.classes_file) if config.about == side else (None, None)
    paths = {"real": real, "classes_file": columns}
    files = {name: digest([Path(path)]) for name, path in paths.items() if path is not None}
    own = replace(config, about="source", real=real, classes_file=columns)
    look(stage, "evaluate", own, f"{side}_result", data, recipe, **files, **inputs)


def indexed(cfg: Config, stage: Stages) -> tuple[Data, Data | None, dict[str, Data]]:
    """The source, the target and the other targets by name, indexed and found fit for the experiment."""
    of_source, of_target = loaders(cfg, plan_of(cfg))
    # without source data those of the target say what the ready model's images are like
    given = cfg.target if cfg.source.absent and cfg.target else cfg.source
    source = stage.data(given, "source", of_source)
    target = stage.data(normalised(cfg.target, source), "target", of_target) if cfg.target else None
    others = {n: stage.data(normalised(d, source), f"others.{n}", of_target) for n, d in cfg.others.items()}
    check_data(cfg, source, {"target": target} | {f"others.{name}": data for name, data in others.items()})
    return source, target, others


def look_at_data(
    stage: Stages, cfg: Config, plan: Plan, known: dict[str, Data | None], again: str = ""
) -> dict[str, Result]:
    """What the surrogate tells of the data, as far as the method asks for it: dynamics and signals, by role.

    again: what the roles end in where there are several surrogates.
    """
    source = known["examples"]
    assert source is not None
    seen: dict[str, Result] = {}
    foreign = cfg.surrogate.dynamics is not None
    if "dynamics" in plan.roles and foreign:
        seen["dynamics"] = dynamics(stage, cfg.surrogate, examples=source.table)
    if not plan.looks and "heldout" not in plan.roles and (foreign or "dynamics" not in plan.roles):
        return seen
    surrogate = train(stage, replace(cfg.surrogate, dynamics=None), f"surrogate{again}", source)
    check_head(plan, surrogate)
    seen.setdefault("dynamics", surrogate)
    if "heldout" in plan.roles:
        heldout = EvaluateConfig(split="validation")
        seen["heldout"] = look(stage, "evaluate", heldout, f"heldout{again}", source, cfg.surrogate, model=surrogate)
    seen |= passes(stage, cfg, plan, known, surrogate, again)
    if "clusters" in plan.roles and cfg.method.clusters.path is None:
        seen["clusters"] = clustered(stage, cfg, source, surrogate, seen["signals"], again)
    return seen


def passes(
    stage: Stages, cfg: Config, plan: Plan, known: dict[str, Data | None], surrogate: Result, again: str
) -> dict[str, Result]:
    """What passes of the surrogate over the source and over the targets give, by role."""
    seen: dict[str, Result] = {}
    for role in plan.looks:
        places = {role: known["examples"]}
        if role == "target_signals":
            places = {role: known["target"]} | {f"{role}.{name}": known[f"others.{name}"] for name in cfg.others}
        for name, data in places.items():
            if data is not None:
                config = plan.config_of(role, cfg.signals)
                seen[name] = look(stage, "signals", config, f"{name}{again}", data, cfg.surrogate, model=surrogate)
    return seen


def look(
    stage: Stages,
    name: str,
    config: EvaluateConfig | SignalsConfig,
    role: str,
    data: Data,
    recipe: TrainConfig,
    **inputs: Result | str | None,
) -> Result:
    """What stage signals or evaluate sees with a model of this recipe: with its loader, in its processes.

    In fewer where there is little to see, which changes nothing of it: a process takes seconds to start.
    """
    batches = math.ceil(data.facts.get(config.split, 1) / config.batch_size)
    processes = max(1, min(recipe.processes, batches // BATCHES_EACH))
    processes -= processes % stage.run.nodes if processes > stage.run.nodes else 0  # as many on each machine
    return stage(name, config, role, processes, **data.inputs(recipe.reads), **inputs)


def clustered(stage: Stages, cfg: Config, source: Data, surrogate: Result, signals: Result, again: str) -> Result:
    """Pseudo classes of the source, also of the images that stand for its validation."""
    split = "validation" if "validation" in source.facts else "test"
    asked = replace(cfg.signals, arrays=["features"], functions={}, split=split)
    val = look(stage, "signals", asked, f"val_signals{again}", source, cfg.surrogate, model=surrogate)
    return stage("cluster", cfg.method.clusters, f"clusters{again}", signals=signals, val_signals=val)


def train(stage: Stages, config: TrainConfig, role: str, data: Data, **inputs: Result | None) -> Result:
    """A trained model, or the adopted one if the config names a checkpoint."""
    if config.checkpoint is None:
        weights = weights_of(config.model)
        columns = None if config.head_columns is None else digest([Path(config.head_columns)])
        foreign = {"weights": weights, "columns": columns}
        return stage("train", config, role, **foreign, **data.inputs(config.reads), **inputs)
    return adopt(stage, config, role, data)


def score(stage: Stages, call: Call, path: str | None, known: dict[str, Result | None], role: str) -> Result:
    """The scores that a function gives, from those results that hold its arrays. path: the file of one that reads."""
    inputs: dict[str, Result | str | None] = {name: known.get(name) for name in call.roles}
    path = path if "path" in call.filled else None
    if path is not None:
        inputs["files"] = content_of(path, Path(path))
    return stage("score", ScoreConfig(call.function, call.arrays, path), role, **inputs)


def averaged(
    stage: Stages, cfg: Config, plan: Plan, known: dict[str, Result | None], data: dict[str, Data | None]
) -> Result:
    """The mean of the method's scores over several surrogates: the one whose scores are known, and others beside it.

    Their seeds are drawn from the first one's, so that no two experiments share a surrogate by counting up.
    """
    assert plan.score is not None
    each = [known["scores"]]
    for i in range(1, plan.method.runs):
        again = replace(cfg, surrogate=replace(cfg.surrogate, seed=number(cfg.surrogate.seed, "runs", i)))
        seen = known | look_at_data(stage, again, plan, data, again=f".run{i}")
        each.append(score(stage, plan.score, plan.method.path, seen, f"scores.run{i}"))
    inputs = {f"scores_{i}": scores for i, scores in enumerate(each)}
    return stage("combine", CombineConfig("runs"), "combined", **inputs)


def combined(stage: Stages, plan: Plan, known: dict[str, Result | None], others: dict[str, Data]) -> Result:
    """One ranking of the source's classes for the target and the others."""
    assert plan.score is not None
    seen = [(known["scores"], known.get("target_signals"))]
    for name, data in others.items():
        signals = known.get(f"target_signals.{name}")
        instead = known | {"target": data.table, "target_signals": signals}
        seen.append((score(stage, plan.score, plan.method.path, instead, f"scores.{name}"), signals))
    # in an order that does not depend on which of the targets the job is about: all share one result
    seen.sort(key=lambda pair: [result.digest for result in pair if result is not None])
    inputs = {f"scores_{i}": scores for i, (scores, _) in enumerate(seen)}
    inputs |= {f"signals_{i}": signals for i, (_, signals) in enumerate(seen)}
    return stage("combine", CombineConfig(plan.method.combine), "combined", **inputs)


def select(stage: Stages, cfg: Config, plan: Plan, known: dict[str, Result | None]) -> Result:
    """The subset that the method keeps."""
    method = plan.method
    config = SelectConfig(
        steps=[call.step for call in plan.steps],
        method=method.name,
        prune_ratio=cfg.prune_ratio,
        level=method.level,
        weighted=method.weighted,
        seed=cfg.seed if plan.draws else 0,  # a selector that draws nothing gives the same ids for every seed
    )
    roles = {"examples", "scores", *plan.cuts}.union(*(call.array_roles for call in plan.steps))
    inputs: dict[str, Result | str | None] = {name: known.get(name) for name in roles}
    if plan.order_ratio is not None:
        # one run of the selector serves every larger ratio: their subsets are the first of its picks
        largest = replace(config, prune_ratio=plan.order_ratio, ordered=True)
        inputs = {"examples": known["examples"], "order": stage("select", largest, "order", **inputs)}
        prefix = StepConfig({"_target_": PREFIX}, {"order": "order"}, ["budget"])
        config = replace(config, steps=[prefix], seed=0)
    if method.val_path is not None:
        config = replace(config, heldout=method.val_path)
        inputs["files"] = content_of(method.val_path, Path(method.val_path))
    return stage("select", config, "subset", **inputs)

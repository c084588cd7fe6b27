"""The experiment from top to bottom. Read this first.

`experiment` is the whole story of one method at one prune ratio: index the data, train a surrogate, score, select,
train on what is left, transfer, measure. Every step is a stage: a function of a config and of earlier results, looked
up in the store before anything is computed (launch.obtain), so a sweep computes nothing twice.
"""

import logging
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import parameters
from dataprune.checks import check_data, check_functions, inputs_asked_for, renamed
from dataprune.config import (
    AdoptConfig,
    CombineConfig,
    Config,
    DataConfig,
    DynamicsConfig,
    EvaluateConfig,
    MethodConfig,
    ScoreConfig,
    SelectConfig,
    TrainConfig,
)
from dataprune.cost import cost_file
from dataprune.data.examples import Examples
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.formats.dynamics import digest, look
from dataprune.influence.collect import check_influence, collect
from dataprune.launch import Follow
from dataprune.models.weights import weights_of
from dataprune.network_checks import check_networks
from dataprune.ratios import around, fraction_at
from dataprune.rows import row_name, row_of
from dataprune.selectors.budget import budget
from dataprune.stage_calls import Stages, Stamps
from dataprune.stages.arrays import ARRAYS, wanted
from dataprune.stages.score import FILLED as FROM_FILE
from dataprune.stages.select import FILLED
from dataprune.store import Result, Store
from dataprune.store.jobs import RunningJob
from dataprune.streams import number
from dataprune.subset import Subset

log = logging.getLogger(__name__)
BY_RATIO = "method.cut.by_prune_ratio"
PREFIX = {"_target_": "dataprune.selectors.ranked.prefix"}


def job(cfg: Config, follow: Follow | None = None, stamps: Stamps | None = None) -> list[dict[str, Any]]:
    """The method's row and those of the baselines, each filed in the store. `follow` hears of every epoch trained.

    stamps: of a driver with many jobs, which looks at the files of a data set once.
    """
    check_functions(cfg)
    if cfg.run.influence.store is not None:
        check_influence(cfg)
    stamps = {} if stamps is None else stamps
    store = Store(cfg.run.store, cfg.run.verify)
    rows = []
    with RunningJob(store.root) as running:
        started = []
        for name, single in experiments(cfg):
            prefix = "" if name == "method" else f"{name}."
            started.append((name, single, Stages(store, single, follow, prefix, stamps, running)))
            indexed(single, started[-1][2])  # what the data show to be wrong is told before anything is trained
        for name, single, stage in started:
            towards = f" -> {single.target.name}" if single.target else ""
            ratio, seed = single.prune_ratio, cfg.seed
            log.info("%s: %s at prune_ratio=%g%s, seed %d", name, single.method.name, ratio, towards, seed)
            row = experiment(single, stage)
            store.write_row(row_name(row), row)
            rows.append(row | {"row": row_name(row)})
        if cfg.run.influence.store is not None:
            collect(effective(cfg), rows[0])
    return rows


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


def experiment(cfg: Config, stage: Stages) -> dict[str, Any]:
    """One method at one prune ratio, from data to numbers."""
    method = cfg.method
    source, target, others = indexed(cfg, stage)
    asked = inputs_asked_for(method) if prunes(cfg) else set()
    stage.before_training = lambda: check_networks(cfg, asked, source, target)

    known: dict[str, Result | None] = {"examples": source.table, "target": target.table if target else None}
    subset = None
    if prunes(cfg):
        seen = {"examples": source, "target": target} | {f"others.{name}": data for name, data in others.items()}
        known |= look_at_data(stage, cfg, seen)
        if method.score:
            known["scores"] = score(stage, method.score, method, known, "scores")
        if method.runs > 1:
            known["scores"] = averaged(stage, cfg, known, seen)
        if others:
            known["scores"] = combined(stage, method, known, others)
        if fraction := cut_fraction(cfg):
            assert method.cut is not None
            ends = around(method.cut.by_prune_ratio, cfg.prune_ratio, BY_RATIO) or (0, 0)
            if ends[0] < ends[1]:
                log.info("%s: %g of the examples, between its entries for %g and %g", BY_RATIO, fraction, *ends)
            known["cut"] = score(stage, method.cut.score, method, known, "cut")
        subset = select(stage, cfg, known)

    if method.trains_on == "nothing":
        model = None
    else:
        if cfg.pretrain.subset is not None:
            check_claim(cfg, source.table, subset)
        model = train(stage, pretraining(cfg, source), "model", source, subset=subset)
        classes_only = subset if method.level == "class" else None
        whole = replace(cfg.evaluate, half="all")  # `half` is of the target
        stage("evaluate", whole, "source_result", model=model, subset=classes_only, **source.inputs)

    if target is not None:
        adapted = train(stage, transferring(cfg), "adapted", target, init=model)
        stage("evaluate", cfg.evaluate, "target_result", model=adapted, **target.inputs)
    return row_of(cfg, stage.results, stage.built)


def indexed(cfg: Config, stage: Stages) -> tuple[Data, Data | None, dict[str, Data]]:
    """The source, the target and the other targets by name, indexed and found fit for the experiment."""
    source = stage.data(cfg.source, "source")
    target = stage.data(cfg.target, "target") if cfg.target else None
    others = {name: stage.data(data, f"others.{name}") for name, data in cfg.others.items()}
    check_data(cfg, source, {"target": target} | {f"others.{name}": data for name, data in others.items()})
    return source, target, others


def look_at_data(stage: Stages, cfg: Config, known: dict[str, Data | None], run: str = "") -> dict[str, Result]:
    """What the surrogate tells of the data, as far as the method asks for it: dynamics and signals, by role.

    run: what the roles end in where there are several surrogates.
    """
    asked, source = inputs_asked_for(cfg.method), known["examples"]
    assert source is not None
    seen: dict[str, Result] = {}
    foreign = cfg.surrogate.dynamics is not None
    if "dynamics" in asked and foreign:
        seen["dynamics"] = dynamics(stage, cfg.surrogate, examples=source.table)
    if not asked & {"signals", "gradients", "target_signals", "heldout"} and (foreign or "dynamics" not in asked):
        return seen
    surrogate = train(stage, replace(cfg.surrogate, dynamics=None), f"surrogate{run}", source)
    seen.setdefault("dynamics", surrogate)
    if "heldout" in asked:
        heldout = EvaluateConfig(split="validation")
        seen["heldout"] = stage("evaluate", heldout, f"heldout{run}", model=surrogate, **source.inputs)
    split = {"signals": "examples", "gradients": "examples", "target_signals": "target"}
    split |= {f"target_signals.{name}": f"others.{name}" for name in cfg.others}
    for role, data in split.items():
        if role.partition(".")[0] in asked and (looked_at := known[data]) is not None:
            config = replace(cfg.signals, arrays=["grad_norm"]) if role == "gradients" else cfg.signals
            seen[role] = stage("signals", config, f"{role}{run}", model=surrogate, **looked_at.inputs)
    return seen


def train(stage: Stages, config: TrainConfig, role: str, data: Data, **inputs: Result | None) -> Result:
    """A trained model, or the adopted one if the config names a checkpoint."""
    if config.checkpoint is None:
        return stage("train", config, role, weights=weights_of(config.model), **data.inputs, **inputs)
    assert config.model is not None
    adopted = AdoptConfig(config.checkpoint, config.model)
    files = _content(config.checkpoint, Path(config.checkpoint))
    return stage("adopt", adopted, role, files=files, **data.inputs)


def dynamics(stage: Stages, config: TrainConfig, *, examples: Result) -> Result:
    """The dynamics that the config says another program has recorded."""
    assert config.dynamics is not None
    files = _content(config.dynamics, *look(config.dynamics).read)
    taken_over = DynamicsConfig(config.dynamics, config.record.probabilities)
    return stage("dynamics", taken_over, "dynamics", files=files, examples=examples)


def _content(path: str, *files: Path) -> str:
    """Digest of the files that are read at a foreign path, and of what tells their cost."""
    return digest([*files, *filter(None, [cost_file(path)])])


def score(
    stage: Stages, function: dict[str, Any], method: MethodConfig, known: dict[str, Result | None], role: str
) -> Result:
    """The scores of `function`, from those results that hold its arrays."""
    arrays = renamed(method, function)
    roles = {ARRAYS[array].of for array in wanted(function, arrays, "method.score", FROM_FILE).values()}
    inputs: dict[str, Result | str | None] = {name: known.get(name) for name in roles}
    path = method.path if "path" in parameters(function["_target_"]).names else None
    if path is not None:
        inputs["files"] = _content(path, Path(path))
    return stage("score", ScoreConfig(function, arrays, path), role, **inputs)


def averaged(stage: Stages, cfg: Config, known: dict[str, Result | None], data: dict[str, Data | None]) -> Result:
    """The mean of the method's scores over several surrogates: the one whose scores are known, and others beside it.

    Their seeds are drawn from the first one's, so that no two experiments share a surrogate by counting up.
    """
    method = cfg.method
    assert method.score is not None
    each = [known["scores"]]
    for run in range(1, method.runs):
        again = replace(cfg, surrogate=replace(cfg.surrogate, seed=number(cfg.surrogate.seed, "runs", run)))
        seen = known | look_at_data(stage, again, data, run=f".run{run}")
        each.append(score(stage, method.score, method, seen, f"scores.run{run}"))
    inputs = {f"scores_{i}": scores for i, scores in enumerate(each)}
    return stage("combine", CombineConfig("runs"), "combined", **inputs)


def combined(stage: Stages, method: MethodConfig, known: dict[str, Result | None], others: dict[str, Data]) -> Result:
    """One ranking of the source's classes for the target and the others."""
    assert method.score is not None
    seen = [(known["scores"], known.get("target_signals"))]
    for name, data in others.items():
        signals = known.get(f"target_signals.{name}")
        instead = known | {"target": data.table, "target_signals": signals}
        seen.append((score(stage, method.score, method, instead, f"scores.{name}"), signals))
    # in an order that does not depend on which of the targets the job is about: all share one result
    seen.sort(key=lambda pair: [result.digest for result in pair if result is not None])
    inputs = {f"scores_{i}": scores for i, (scores, _) in enumerate(seen)}
    inputs |= {f"signals_{i}": signals for i, (_, signals) in enumerate(seen)}
    return stage("combine", CombineConfig(method.combine), "combined", **inputs)


def select(stage: Stages, cfg: Config, known: dict[str, Result | None]) -> Result:
    """The subset that the method keeps."""
    method = cfg.method
    assert method.select is not None
    arrays = renamed(method, method.select)
    if cfg.others:  # the combined ranking has no ties, and no single target could break them
        arrays = {parameter: array for parameter, array in arrays.items() if ARRAYS[array].of != "target_signals"}
    roles = {ARRAYS[array].of for array in wanted(method.select, arrays, "method.select", FILLED).values()}
    config = SelectConfig(
        function=method.select,
        arrays=arrays,
        method=method.name,
        prune_ratio=cfg.prune_ratio,
        level=method.level,
        cut_fraction=cut_fraction(cfg),
        quota=method.quota,
        weighted=method.weighted,
        # a selector that draws nothing gives the same ids for every seed
        seed=cfg.seed if "rng" in parameters(method.select["_target_"]).required else 0,
    )
    inputs = {name: known.get(name) for name in roles | {"examples", "scores", "cut", "heldout"}}
    if method.nested_from is not None and cfg.prune_ratio >= method.nested_from:
        # one run of the selector serves every larger ratio: their subsets are the first of its picks
        largest = replace(config, prune_ratio=max(method.nested_from, config.cut_fraction))
        inputs = {"examples": known["examples"], "order": stage("select", largest, "order", **inputs)}
        config = replace(config, function=PREFIX, arrays={"order": "order"}, cut_fraction=0.0, seed=0)
    return stage("select", config, "subset", **inputs)


def prunes(cfg: Config) -> bool:
    """Whether anything is selected: not at ratio 0, unless the selector does not look at it (a list of classes)."""
    method = cfg.method
    if method.trains_on != "subset" or method.select is None:
        return False
    return cfg.prune_ratio > 0 or {"budget", "k"}.isdisjoint(parameters(method.select["_target_"]).names)


def cut_fraction(cfg: Config) -> float:
    """Fraction of the examples that leaves before the selection, at this prune ratio."""
    cut = cfg.method.cut
    return 0.0 if cut is None else fraction_at(cut.fraction, cut.by_prune_ratio, cfg.prune_ratio, BY_RATIO)


def effective(cfg: Config) -> Config:
    """The same job said in one way: what the method does not look at (a prune ratio, other targets) is left out.

    A method that keeps everything at this prune ratio is no method: it is `full`.
    """
    if cfg.method.trains_on == "subset" and cfg.method.select is not None and not prunes(cfg):
        cfg = replace(cfg, method=MethodConfig(name="full", trains_on="full"))
    ratio = {"full": 0.0, "nothing": 1.0}.get(cfg.method.trains_on, cfg.prune_ratio)
    looks_at_targets = inputs_asked_for(cfg.method) & {"target", "target_signals"}
    return replace(cfg, prune_ratio=ratio, others=cfg.others if looks_at_targets else {})


def check_claim(cfg: Config, source: Result, subset: Result | None) -> None:
    """Raise a ConfigError unless the subset that a checkpoint is said to be trained on is the one that is kept here."""
    assert cfg.pretrain.subset is not None
    if subset is None:
        expected = f"null at prune_ratio={cfg.prune_ratio}, where nothing is selected: the row would say full"
        raise ConfigError("pretrain.subset", cfg.pretrain.subset, expected)
    if not subset.path.exists():  # only planned, for run.estimate
        return
    claimed = Subset.load(cfg.pretrain.subset, Examples(source.path, "train").fingerprint)
    kept = np.load(subset / "ids.npy")
    if not np.array_equal(claimed.ids, kept):
        both = len(np.intersect1d(claimed.ids, kept))
        found = Shown(f"{cfg.pretrain.subset!r} with {len(claimed.ids)} examples, {both} of them kept here")
        expected = f"the {len(kept)} examples that {cfg.method.name} keeps at prune_ratio={cfg.prune_ratio}"
        raise ConfigError("pretrain.subset", found, expected)


def pretraining(cfg: Config, source: Data) -> TrainConfig:
    """The recipe of the source model; a compute-matched baseline sees as many images as the pruned run."""
    recipe, ratio = cfg.pretrain, cfg.prune_ratio
    if cfg.method.trains_on == "fresh_subsets":
        return replace(recipe, fresh_prune_ratio=ratio)
    if cfg.method.trains_on == "short_full" and recipe.epochs is not None:
        images = budget(ratio, source.facts["train"]) * recipe.epochs
        return replace(recipe, epochs=None, iterations=math.ceil(images / recipe.batch_size))
    return recipe


def transferring(cfg: Config) -> TrainConfig:
    """The recipe of the target model; without a source model a fresh network learns all its weights."""
    assert cfg.transfer is not None
    if cfg.method.trains_on == "nothing":
        return replace(cfg.transfer, model=cfg.pretrain.model, trainable="all", head="fresh")
    return cfg.transfer

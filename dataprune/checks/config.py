"""From a composed config to a typed one: every value checked that can be checked without data, before heavy imports."""

import contextlib
import dataclasses
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dataprune.config import Config, ConstantsConfig, DataConfig, MethodConfig, TrainConfig
from dataprune.errors import ConfigError
from dataprune.fields import Inexact, exactly
from dataprune.ratios import as_typed, fraction_at


def typed(composed: DictConfig) -> Config:
    """The composed config as dataclasses, every value checked that can be checked without data.

    Raises omegaconf's errors for unknown keys and wrong types (also those added with `+`), ConfigError for ranges.
    """
    cfg = _converted(composed)
    check_plain(dataclasses.asdict(cfg), "")
    check_ranges(cfg)
    cfg = with_constants(cfg)
    cfg.prune_ratio = as_typed(cfg.prune_ratio)  # range(0.05,1,0.05) of a sweep gives 0.15000000000000002
    check_cuts(cfg)
    for role in ("surrogate", "pretrain", "transfer"):
        if (train := getattr(cfg, role)) is not None:
            check_train(train, role)
    for role in ("source", "target"):
        if (data := getattr(cfg, role)) is not None and not (role == "source" and data.absent):
            check_data_set(data, role)
    for name, data in cfg.others.items():
        check_data_set(data, f"others.{name}")
    check_targets(cfg)
    check_unused(cfg)
    return cfg


def _converted(composed: DictConfig) -> Config:
    names = [str(name) for name in composed if name != "hydra"]
    with contextlib.suppress(Inexact, OmegaConfBaseException):  # the way below converts, or says what is wrong
        nodes = {name: composed[name] for name in names}
        there = {n: OmegaConf.to_container(v, resolve=True) if OmegaConf.is_config(v) else v for n, v in nodes.items()}
        return exactly(Config, there)
    # the container, not the DictConfig: merging the latter lets keys through that `+key=value` has added
    plain = OmegaConf.to_container(OmegaConf.masked_copy(composed, names))
    cfg = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), plain))
    assert isinstance(cfg, Config)
    return cfg


def with_constants(cfg: Config) -> Config:
    """The same job, its `constants` in the places where its methods state them."""
    given = {name: value for name, value in dataclasses.asdict(cfg.constants).items() if value is not None}

    def adapted(method: MethodConfig) -> MethodConfig:
        score = method.score or {}
        stated = {name: given[name] for name in given.keys() & score.keys()}
        return replace(method, score=score | stated) if stated else method

    baselines = {name: adapted(method) for name, method in cfg.baselines.items()}
    return replace(cfg, method=adapted(cfg.method), baselines=baselines, constants=ConstantsConfig())


def check_plain(tree: Any, key: str) -> None:
    """Raise a ConfigError for what would reach a worker process as something else than is written in a recipe: text
    that a second composition would resolve (from the environment, say), and numbers as names in a dictionary."""
    if isinstance(tree, dict):
        for name, inner in tree.items():
            if not isinstance(name, str):
                raise ConfigError(key, tree, f"text for names, '{name}' say: JSON knows no others")
            check_plain(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(tree, list | tuple):
        for inner in tree:
            check_plain(inner, key)
    elif isinstance(tree, str) and "${" in tree:
        raise ConfigError(key, tree, "a value without ${...}, which would be resolved again where the stage runs")


def check_cuts(cfg: Config) -> None:
    """Raise a ConfigError if a method's table of cuts says nothing for the job's prune ratio, or is no table."""
    for key, method in {"method": cfg.method, **{f"baselines.{k}": m for k, m in cfg.baselines.items()}}.items():
        if method.cut is not None and method.trains_on == "subset":
            fraction_at(method.cut.fraction, method.cut.by_prune_ratio, cfg.prune_ratio, f"{key}.cut.by_prune_ratio")


def check_targets(cfg: Config) -> None:
    """Raise a ConfigError for what contradicts the target: other targets, their names, a transfer, a half of it."""
    if cfg.others and cfg.target is None:
        raise ConfigError("others", list(cfg.others), "no other targets without a target")
    check_names(cfg)
    if (cfg.target is None) != (cfg.transfer is None):
        expected = "a target and a transfer recipe, or neither (target=none)"
        raise ConfigError("target", cfg.target and cfg.target.name, expected)
    if cfg.evaluate.half != "all" and (cfg.target is None or cfg.run.influence.store is not None):
        why = "without a target there are no halves" if cfg.target is None else "an influence store holds every target"
        raise ConfigError("evaluate.half", cfg.evaluate.half, f"all: {why}")


def check_names(cfg: Config) -> None:
    """Raise a ConfigError if two targets have one name: one of them would stand for both, and their rows be mixed."""
    names = {} if cfg.target is None else {cfg.target.name: "target.name"}
    for key, data in cfg.others.items():
        if cfg.target is not None and key == cfg.target.name:
            raise ConfigError("others", key, f"another key: the target is called so (+target@others.{key}_2=...)")
        if data.name in names:
            expected = f"a name of its own: {names[data.name]} is {data.name} too"
            raise ConfigError(f"others.{key}.name", data.name, expected)
        names[data.name] = f"others.{key}.name"


def check_unused(cfg: Config) -> None:
    """Raise a ConfigError for a value that the job would ignore: nobody must believe that it did something."""
    if cfg.method.combine != "mean" and not cfg.others:
        raise ConfigError("method.combine", cfg.method.combine, "mean: without `others` there is one target")
    if cfg.run.rendezvous is not None and cfg.run.nodes == 1:
        raise ConfigError(
            "run.rendezvous", cfg.run.rendezvous, "null, or run.nodes=2 or more: one machine meets nobody"
        )
    check_evaluation(cfg)
    if cfg.run.influence.store is None and cfg.run.influence.models is not None:
        raise ConfigError("run.influence.models", cfg.run.influence.models, "null, or a run.influence.store for them")


def check_evaluation(cfg: Config) -> None:
    """Raise a ConfigError for foreign labels or columns that are not there, or are about a target that is not there."""
    evaluate = cfg.evaluate
    for name, path in (("real", evaluate.real), ("classes_file", evaluate.classes_file)):
        if path is not None and not Path(path).is_file():
            raise ConfigError(f"evaluate.{name}", path, f"an existing file (looked in {Path.cwd()})")
    if evaluate.about == "target" and cfg.target is None:
        raise ConfigError("evaluate.about", "target", "source: without a target there is no other")


def check_ranges(config: Any, key: str = "") -> None:
    """Raise a ConfigError for the first value below `config` that its field does not admit."""
    values = [(f, getattr(config, f.name)) for f in dataclasses.fields(config)]
    # plain values first: `seed` is interpolated into others, and the key that was given is the one to name
    for f, value in sorted(values, key=lambda pair: dataclasses.is_dataclass(pair[1])):
        name = f"{key}{f.name}"
        if dataclasses.is_dataclass(value):
            check_ranges(value, f"{name}.")
        elif isinstance(value, dict):
            for inner, branch in value.items():
                if dataclasses.is_dataclass(branch):
                    check_ranges(branch, f"{name}.{inner}.")
        elif value is not None:
            _check_value(name, value, f.metadata)


def _check_value(name: str, value: Any, admitted: Any) -> None:
    if choices := admitted.get("choices"):
        if value not in choices:
            raise ConfigError(name, value, "one of " + ", ".join(choices))
    elif admitted.get("open"):
        if not admitted["low"] <= value < admitted["high"]:
            raise ConfigError(name, value, "a fraction from 0 to below 1 (0.9 keeps every tenth example)")
    elif "low" in admitted and not admitted["low"] <= value <= admitted["high"]:
        span = (
            f"{admitted['low']} or more" if admitted["high"] == float("inf") else "{low} to {high}".format(**admitted)
        )
        raise ConfigError(name, value, f"{span} {admitted['unit']}".strip())


def check_train(train: TrainConfig, key: str) -> None:
    """Raise a ConfigError where two values of a training contradict each other."""
    if train.head_columns is not None and not Path(train.head_columns).is_file():
        raise ConfigError(f"{key}.head_columns", train.head_columns, f"an existing file (looked in {Path.cwd()})")
    if train.dynamics is not None:
        check_dynamics(train.dynamics, key)
    if train.checkpoint is not None:
        if not Path(train.checkpoint).is_file():
            raise ConfigError(f"{key}.checkpoint", train.checkpoint, "the path of a file with a state_dict")
        return
    check_fit(train, key)


def check_fit(train: TrainConfig, key: str) -> None:
    """Raise a ConfigError where what is trained, not read from a checkpoint, cannot be: length, optimiser, records."""
    if (train.epochs is None) == (train.iterations is None):
        raise ConfigError(f"{key}.epochs", train.epochs, f"either epochs or {key}.iterations, and not both")
    if "_target_" not in train.optimizer:
        raise ConfigError(f"{key}.optimizer", train.optimizer, "a _target_ such as torch.optim.SGD with its constants")
    if train.record.view == "clean" and train.record.forward != "train":
        expected = f"train, or {key}.record.forward=train: a pass after each epoch is clean as it is"
        raise ConfigError(f"{key}.record.view", "clean", expected)
    check_epochs(train, key)
    area = train.augment.random_resized_crop
    if area is not None and len(area) != 2:
        raise ConfigError(f"{key}.augment.random_resized_crop", area, "two shares of the area: [0.08, 1]")


def check_dynamics(path: str, key: str) -> None:
    """Raise a ConfigError for recorded dynamics that are missing, or not the surrogate's."""
    if key != "surrogate":
        raise ConfigError(f"{key}.dynamics", path, "null: dynamics are the surrogate's")
    if not Path(path).exists():
        raise ConfigError(f"{key}.dynamics", path, f"an existing folder or file (looked in {Path.cwd()})")


def check_epochs(train: TrainConfig, key: str) -> None:
    """Raise a ConfigError for epochs of a training that it has not."""
    if train.snapshots and (train.epochs is None or not all(1 <= epoch <= train.epochs for epoch in train.snapshots)):
        there = "epochs of the training" + (f", 1 to {train.epochs}" if train.epochs else "")
        raise ConfigError(f"{key}.snapshots", list(train.snapshots), there)
    if train.resolution and set(train.resolution) != {"low", "high", "start", "end"}:
        raise ConfigError(f"{key}.resolution", dict(train.resolution), "low, high (pixels), start and end (epochs)")


def check_expected(data: DataConfig, key: str) -> None:
    """Raise a ConfigError for published sizes of what a data set has not."""
    known = ("train", "validation", "test", "classes")
    if not isinstance(data.expect or {}, dict) or not all(isinstance(n, int) for n in (data.expect or {}).values()):
        raise ConfigError(f"{key}.expect", data.expect, "{train: 50000, classes: 10}, say, or null: any")
    if unknown := sorted((data.expect or {}).keys() - set(known)):
        raise ConfigError(f"{key}.expect", unknown[0], " | ".join(known))


def check_data_set(data: DataConfig, key: str) -> None:
    """Raise a ConfigError when the data set names no reader, or a path that is missing or empty."""
    if "_target_" not in data.reader:
        raise ConfigError(f"{key}.reader", data.reader, "a _target_ such as dataprune.data.folder.read")
    if key == "source" and data.normalise == "source":
        raise ConfigError("source.normalise", "source", "own: the source has no other mean and std than its own")
    if data.storage is not None:
        instead = {"files": "workers", "memory": "memory"}.get(data.storage, "memory, or workers")
        recipes = "surrogate.loader=, pretrain.loader=" if key == "source" else "transfer.loader="
        expected = f"nothing: how examples are loaded is said in each recipe, {recipes} ({instead})"
        raise ConfigError(f"{key}.storage", data.storage, expected)
    if data.validation is not None and not 0 < data.validation < 1:
        raise ConfigError(f"{key}.validation", data.validation, "a share of train, above 0 and below 1")
    check_expected(data, key)
    if data.path is not None:
        check_place(data.path, f"{key}.path")


def check_place(path: str, key: str) -> None:
    """Raise a ConfigError when the path of a data set is missing or an empty folder."""
    place = Path(path)
    if not place.exists():
        raise ConfigError(key, path, f"an existing folder or file (looked in {Path.cwd()})")
    if place.is_dir() and not any(place.iterdir()):
        raise ConfigError(key, path, "a folder with data in it; this one is empty")

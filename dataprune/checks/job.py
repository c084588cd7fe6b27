"""Checks of a whole job before anything is trained: functions that exist, arrays that somebody produces.

They read source text (dataprune.callables) and import nothing heavy, so that a mistake answers in about a second.
"""

from dataclasses import replace
from pathlib import Path

from dataprune.arrays import ARRAYS, entry
from dataprune.callables import check_target
from dataprune.checks.augmentation import check_augmentation
from dataprune.checks.recipes import check_recipe, check_sampler_spec
from dataprune.checks.rehearsal import rehearse
from dataprune.checks.runtimes import check_asked, check_runtime
from dataprune.config import Config, MethodConfig, TrainConfig
from dataprune.cost import told_of
from dataprune.data.codecs import decoding
from dataprune.dataset import FACTS
from dataprune.errors import ConfigError, Shown
from dataprune.formats.dynamics import look
from dataprune.plan import PER_CLASS, SCORES, Call, Plan, plan_of
from dataprune.stage_configs import ClusterConfig, NeighborsConfig


def check_functions(cfg: Config) -> None:
    """Raise a ConfigError unless every function that the config names exists, takes the constants it is given, and asks
    only for arrays that something produces. Nothing is imported for that."""
    others = {f"others.{name}": data for name, data in cfg.others.items()}
    for role, data in ({"source": cfg.source, "target": cfg.target} | others).items():
        if data is not None:
            takes = check_target(data.reader, f"{role}.reader", frozenset({"path", "columns", "seed"}))
            decoding(data, role)
            if "path" in takes.names and data.path is None:
                raise ConfigError(f"{role}.path", None, f"the folder or file that {data.reader['_target_']} reads")
    for role in ("surrogate", "pretrain", "transfer"):
        recipe: TrainConfig | None = getattr(cfg, role)
        if recipe is not None:
            check_recipe_functions(recipe, role)
    for key, method in [("method", cfg.method), *((f"baselines.{k}", m) for k, m in cfg.baselines.items())]:
        check_method(cfg, method, key)
        check_checkpoint(cfg, method, key)
    check_runtime(cfg.signals)
    check_devices(cfg)


def check_recipe_functions(recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for a training whose network, optimiser or schedules do not exist or take other constants."""
    if recipe.model is not None:
        check_target(recipe.model, f"{role}.model", frozenset(FACTS))
    elif role != "transfer":
        raise ConfigError(f"{role}.model", None, "a network: model@surrogate.model=..., model@pretrain.model=...")
    if recipe.checkpoint is None:
        check_target(recipe.optimizer, f"{role}.optimizer", frozenset({"params"}))
    else:
        told_of(recipe.checkpoint, f"{role}.checkpoint")
    if recipe.dynamics is not None:
        told_of(recipe.dynamics, f"{role}.dynamics")
    for part in ("schedule", "momentum"):
        if spec := getattr(recipe, part):
            check_target(spec, f"{role}.{part}", frozenset({"step", "steps", "per_epoch", "lr"}))
    check_recipe(recipe, role)


def check_devices(cfg: Config) -> None:
    """Raise a ConfigError for recipes that this machine's devices cannot serve, and for a disk that it has not.

    torch is imported only if a device might be missing.

    (A driver on a login node has no GPU where its workers have: they look again.)
    """
    if (to := cfg.run.stage_to) is not None and not Path(to).is_dir():
        raise ConfigError("run.stage_to", to, "an existing folder on each machine that computes, such as /dev/shm")
    if cfg.run.accelerator == "gpu" and not on_gpu(cfg):
        raise ConfigError("run.accelerator", "gpu", "cpu or auto: torch finds no GPU here")
    for role in ("surrogate", "pretrain", "transfer"):
        recipe: TrainConfig | None = getattr(cfg, role)
        if recipe is not None:
            check_recipe_devices(cfg, recipe, role)


def check_recipe_devices(cfg: Config, recipe: TrainConfig, role: str) -> None:
    """Raise a ConfigError for a recipe that this machine's devices cannot serve."""
    nodes, devices = cfg.run.nodes, cfg.run.devices
    if devices is not None and recipe.processes > devices * nodes:
        most = f"run.devices={devices}" + (f" on each of run.nodes={nodes}" if nodes > 1 else "")
        raise ConfigError(f"{role}.processes", recipe.processes, f"at most {most}")
    if recipe.processes > 1 and recipe.processes % nodes:
        raise ConfigError(f"{role}.processes", recipe.processes, f"1, or a multiple of run.nodes={nodes}")
    if recipe.checkpoint is not None:  # nothing is trained; what looks at its outputs has as many processes
        return
    for name, value in (("precision", "float16"), ("sync_batchnorm", True)):
        if getattr(recipe, name) == value and not on_gpu(cfg):
            raise ConfigError(f"{role}.{name}", value, "a GPU for it, or another value: on a CPU torch has none")


def on_gpu(cfg: Config) -> bool:
    """Whether stages run on a GPU here."""
    if cfg.run.accelerator == "cpu":
        return False
    import torch  # seconds of imports that few recipes need so early

    return torch.cuda.is_available()


def check_checkpoint(cfg: Config, method: MethodConfig, key: str) -> None:
    """Raise a ConfigError where a ready model stands for one that the method would have trained on a subset."""
    if cfg.pretrain.checkpoint is None:
        if cfg.pretrain.subset is not None:
            raise ConfigError("pretrain.subset", cfg.pretrain.subset, "null: it belongs to pretrain.checkpoint")
        return
    if cfg.pretrain.subset is not None and method.trains_on != "subset":
        what = f"null, or a method that selects: {key}={method.name} would show a pruned model as one of all examples"
        raise ConfigError("pretrain.subset", cfg.pretrain.subset, what)
    if method.trains_on in ("full", "nothing") or (method.trains_on == "subset" and cfg.pretrain.subset is not None):
        return
    what = f"null: {key}={method.name} trains on a part of the source, and a ready model does not know which"
    remedy = "state its subset file as pretrain.subset" if method.trains_on == "subset" else "leave the method out"
    remedy += "" if key == "method" else "; or baselines=none"
    raise ConfigError("pretrain.checkpoint", cfg.pretrain.checkpoint, f"{what} ({remedy})")


def check_method(cfg: Config, method: MethodConfig, key: str) -> None:
    """Raise a ConfigError if the method cannot run: no selector, unknown arrays, or arrays that nobody records."""
    if method.trains_on == "nothing" and cfg.target is None and key == "method":
        raise ConfigError("target", None, f"a target: {method.name} learns from it alone")
    if method.trains_on == "dynamic":
        check_dynamic(cfg, method, key)
    elif method.sampler:
        raise ConfigError(f"{key}.sampler", method.sampler.get("_target_"), "none, or trains_on: dynamic")
    if method.trains_on != "subset":
        if method.val_path is not None:
            raise ConfigError(f"{key}.val_path", method.val_path, "null: it belongs to a subset of the source")
        return
    check_selection(cfg, method, key)


def check_selection(cfg: Config, method: MethodConfig, key: str) -> None:
    """Raise a ConfigError for a method that selects without a selector, or from arrays and files that are not there."""
    if method.select is None:
        raise ConfigError(f"{key}.select", None, "a selector, e.g. _target_: dataprune.selectors.ranked.top")
    plan = plan_of(cfg, method, key)
    check_combined(cfg, plan, key)
    if cfg.signals.split != "train" and set(plan.looks) - {"target_signals"}:
        raise ConfigError("signals.split", cfg.signals.split, f"train: {key}={method.name} selects from that split")
    check_snapshot(cfg, plan, key)
    check_asked(cfg.signals, plan, key)
    for call in plan.calls:
        epochs = check_arrays(cfg, call)
        rehearse(call, level=method.level, epochs=epochs, prune_ratio=cfg.prune_ratio)
    check_path(plan, key)
    check_clusters(plan, key)
    check_neighbors(plan, key)
    for call in plan.chain:
        check_selector(call, method)


def check_combined(cfg: Config, plan: Plan, key: str) -> None:
    """Raise a ConfigError where the scores of several targets, or of several surrogates, cannot be made one."""
    method = plan.method
    if cfg.others and method.level == "example" and plan.looks_at_targets:
        raise ConfigError("others", list(cfg.others), "class-level methods: only class scores are combined")
    fixed = cfg.surrogate.checkpoint or cfg.surrogate.dynamics
    if method.runs > 1 and (fixed is not None or cfg.others or method.score is None):
        what = "1: several surrogates are trained here, scored, and their scores averaged, for one target"
        raise ConfigError(f"{key}.runs", method.runs, what)


def check_dynamic(cfg: Config, method: MethodConfig, key: str) -> None:
    """Raise a ConfigError for a method without a sampler that exists, or beside another sampler."""
    check_sampler_spec(method.sampler, f"{key}.sampler")
    if cfg.pretrain.sampler:
        what = f"{{}}: {key}={method.name} brings the sampler of this training"
        raise ConfigError("pretrain.sampler", cfg.pretrain.sampler["_target_"], what)
    if cfg.pretrain.checkpoint is None:
        check_augmentation(replace(cfg.pretrain, sampler=method.sampler), "pretrain")


def check_selector(call: Call, method: MethodConfig) -> None:
    """Raise a ConfigError for a selector without the scores that it ranks by, and for quotas where whole classes are
    kept."""
    target = call.function["_target_"]
    if target == PER_CLASS and method.level == "class":
        raise ConfigError(call.key, Shown(target), "a method of level=example: quotas share examples out over classes")
    needs = SCORES & set(call.filled) and not (target == PER_CLASS and "select" in call.filled)
    if method.score is None and call.scores == "scores" and needs:
        raise ConfigError(f"{call.key.partition('.select')[0]}.score", None, f"a score function: {target} ranks by it")


def check_snapshot(cfg: Config, plan: Plan, key: str) -> None:
    """Raise a ConfigError if signals are asked of an epoch whose weights the surrogate does not keep."""
    if plan.epoch is None or not plan.looks:
        return
    where = "signals.epoch" if plan.method.epoch is None else f"{key}.epoch"
    if cfg.surrogate.checkpoint is not None:
        raise ConfigError(where, plan.epoch, "null: surrogate.checkpoint has the weights of one moment")
    if plan.epoch not in cfg.surrogate.snapshots:
        kept = list(cfg.surrogate.snapshots)
        expected = f"one of surrogate.snapshots, which is {kept}: surrogate.snapshots=[{plan.epoch}]"
        raise ConfigError(where, plan.epoch, expected)


def check_arrays(cfg: Config, call: Call) -> int | None:
    """How many epochs the recorded dynamics have, if that is known, or a ConfigError if a function asks for arrays
    that nobody makes."""
    surrogate, epochs = cfg.surrogate, cfg.surrogate.epochs
    for parameter, array in call.arrays.items():
        of, where = entry(array).role, f"{call.key}.{parameter}"
        if of in ("target", "target_signals") and cfg.target is None:
            raise ConfigError(where, array, "a target to take it from: target=..., train@transfer=...")
        if of == "dynamics":
            epochs = check_recorded(surrogate, array, where)
        if array == "probabilities_by_epoch" and not surrogate.record.probabilities:
            raise ConfigError("surrogate.record.probabilities", False, f"true: {where} asks for them")
    return epochs


def check_recorded(surrogate: TrainConfig, array: str, where: str) -> int | None:
    """How many epochs the surrogate's dynamics have, if that is known, or a ConfigError if nobody records the array."""
    if surrogate.dynamics is not None:
        return check_foreign(surrogate.dynamics, array, where)
    if surrogate.record.forward == "none":
        raise ConfigError("surrogate.record.forward", "none", f"train or eval: {where} is recorded dynamics")
    if surrogate.checkpoint is not None:
        raise ConfigError(where, array, "a surrogate that is trained here: surrogate.checkpoint has no dynamics")
    return surrogate.epochs


def check_foreign(path: str, array: str, where: str) -> int | None:
    """How many epochs the dynamics at `path` have, if that can be told, or a ConfigError if they lack the array."""
    try:
        found = look(path)
    except ConfigError as error:
        raise error.under("surrogate") from None
    if (quantity := ARRAYS[array].made_of or array) not in found.quantities:
        has = ", ".join(found.quantities)
        raise ConfigError(where, array, f"an array of {has}: surrogate.dynamics={path!r} has no {quantity}")
    return found.epochs


def check_path(plan: Plan, key: str) -> None:
    """Raise a ConfigError unless `method.path` is a file exactly if a score function of the method reads one."""
    method = plan.method
    reads = [call for call in [plan.score, *plan.own_scores.values()] if call and "path" in call.filled]
    for call in reads:
        check_read(call, method.path, key)
    if method.val_path is not None and not Path(method.val_path).is_file():
        expected = f"a subset file of the split that history follows (looked in {Path.cwd()})"
        raise ConfigError(f"{key}.val_path", method.val_path, expected)
    if method.path is not None and not reads:
        raise ConfigError(f"{key}.path", method.path, f"null: no score function of {method.name} reads a file")


def check_read(call: Call, path: str | None, key: str) -> None:
    """Raise a ConfigError unless a function that reads a file is given one, as the method's path."""
    if "path" in call.function:
        raise ConfigError(f"{call.key}.path", call.function["path"], f"it as {key}.path: its content counts then")
    if path is None or not Path(path).is_file():
        expected = f"the file that {call.function['_target_']} reads (looked in {Path.cwd()})"
        raise ConfigError(f"{key}.path", path, expected)
    told_of(path, f"{key}.path")


def check_neighbors(plan: Plan, key: str) -> None:
    """Raise a ConfigError for lists of neighbours that nobody asks for, and for files that are not there."""
    given = plan.method.neighbors
    if "neighbors" not in plan.roles:
        if given != NeighborsConfig():
            raise ConfigError(f"{key}.neighbors", Shown("..."), f"nothing: {plan.method.name} asks for no such lists")
        return
    for name in ("neighbors", "distances", "ids"):
        path = getattr(given, name)
        if (path is None and name != "ids") or (path is not None and not Path(path).is_file()):
            raise ConfigError(f"{key}.neighbors.{name}", path, f"a .npy file (looked in {Path.cwd()})")
    assert given.neighbors is not None
    told_of(given.neighbors, f"{key}.neighbors.neighbors")


def check_clusters(plan: Plan, key: str) -> None:
    """Raise a ConfigError for clusters that nobody asks for, and for files of assignments that are not there."""
    clusters = plan.method.clusters
    if "clusters" not in plan.roles and clusters != ClusterConfig():
        raise ConfigError(f"{key}.clusters", Shown("..."), f"nothing: {plan.method.name} asks for no clusters")
    if clusters.path is None and clusters.val_path is not None:
        raise ConfigError(f"{key}.clusters.path", None, "the train images' assignment beside that of the val images")
    for name in ("path", "val_path"):
        path = getattr(clusters, name)
        if path is not None and not Path(path).is_file():
            expected = f"a file of {{cluster: list of sample ids}} (looked in {Path.cwd()})"
            raise ConfigError(f"{key}.clusters.{name}", path, expected)
    if clusters.path is not None:
        told_of(clusters.path, f"{key}.clusters.path")

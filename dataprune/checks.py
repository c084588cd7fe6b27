"""Checks of a whole job before anything is trained: functions that exist, arrays that somebody produces.

They read source text (dataprune.callables) and import nothing heavy, so that a mistake answers in about a second.
"""

import math
from pathlib import Path
from typing import Any

from dataprune.callables import check_exists, check_target, parameters
from dataprune.config import Config, MethodConfig, TrainConfig
from dataprune.cost import told_of
from dataprune.data.codecs import decoding, disagreement
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.formats.dynamics import look
from dataprune.recipe_checks import check_recipe
from dataprune.rehearsal import rehearse
from dataprune.selectors.budget import budget
from dataprune.stages.arrays import ARRAYS, wanted
from dataprune.stages.score import FILLED as FROM_FILE
from dataprune.stages.select import FILLED

# what a network's function may ask of the data; that they have it is known when they are decoded
FACTS = frozenset({"in_channels", "vocabulary", "length", "padding", "types"})
MADE_OF = {"p_mean": "p_true", "doubt": "p_true", "probabilities_by_epoch": "probabilities"}  # of recorded quantities


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
        if recipe is None:
            continue
        if recipe.model is not None:
            check_target(recipe.model, f"{role}.model", FACTS)
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
    for key, method in [("method", cfg.method), *((f"baselines.{k}", m) for k, m in cfg.baselines.items())]:
        check_method(cfg, method, key)
        check_checkpoint(cfg, method, key)
    check_devices(cfg)


def check_devices(cfg: Config) -> None:
    """Raise a ConfigError for recipes that this machine's devices cannot serve. torch is imported only if one might be.

    (A driver on a login node has no GPU where its workers have: they look again.)
    """
    if cfg.run.accelerator == "gpu" and not on_gpu(cfg):
        raise ConfigError("run.accelerator", "gpu", "cpu or auto: torch finds no GPU here")
    for role in ("surrogate", "pretrain", "transfer"):
        recipe: TrainConfig | None = getattr(cfg, role)
        if recipe is None or recipe.checkpoint is not None:
            continue
        if cfg.run.devices is not None and recipe.processes > cfg.run.devices:
            raise ConfigError(f"{role}.processes", recipe.processes, f"at most run.devices={cfg.run.devices}")
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
    if method.trains_on != "subset":
        return
    if method.select is None:
        raise ConfigError(f"{key}.select", None, "a selector, e.g. _target_: dataprune.selectors.ranked.top")
    if method.nested_from is not None and (method.quota != "none" or method.weighted):
        raise ConfigError(f"{key}.nested_from", method.nested_from, "null: quotas and weights belong to one budget")
    if method.level == "class" and (method.cut or method.quota != "none"):
        raise ConfigError(f"{key}.level", "class", "example: cut and quota are about examples")
    if cfg.others and method.level == "example" and inputs_asked_for(method) & {"target", "target_signals"}:
        raise ConfigError("others", list(cfg.others), "class-level methods: only class scores are combined")
    if method.runs > 1:
        fixed = cfg.surrogate.checkpoint or cfg.surrogate.dynamics
        if fixed is not None or cfg.others or method.score is None:
            what = "1: several surrogates are trained here, scored, and their scores averaged, for one target"
            raise ConfigError(f"{key}.runs", method.runs, what)
    if cfg.signals.split != "train" and inputs_asked_for(method) & {"signals", "gradients"}:
        raise ConfigError("signals.split", cfg.signals.split, f"train: {key}={method.name} selects from that split")
    for function, part, filled in functions_of(method):
        check_arrays(cfg, method, function, f"{key}.{part}", filled)
    check_path(method, key)
    takes = parameters(method.select["_target_"])
    if method.score is None and {"scores", "frequency"} & takes.required:
        raise ConfigError(f"{key}.score", None, f"a score function: {method.select['_target_']} ranks by it")


def functions_of(method: MethodConfig) -> list[tuple[dict[str, Any], str, frozenset[str]]]:
    """The method's functions, each with its key below the method and the parameters that its stage fills itself."""
    cut = method.cut.score if method.cut else None
    functions = [(method.score, "score", FROM_FILE), (method.select, "select", FILLED), (cut, "cut.score", FROM_FILE)]
    return [(function, part, filled) for function, part, filled in functions if function is not None]


def check_arrays(cfg: Config, method: MethodConfig, function: dict[str, Any], key: str, filled: frozenset[str]) -> None:
    """Raise a ConfigError if a function asks for arrays that nobody makes."""
    check_exists(function, key)
    arrays, surrogate = wanted(function, renamed(method, function), key, filled), cfg.surrogate
    epochs = surrogate.epochs
    for parameter, array in arrays.items():
        of = ARRAYS[array].of
        where = f"{key}.{parameter}"
        if of in ("target", "target_signals") and cfg.target is None:
            raise ConfigError(where, array, "a target to take it from: target=..., train@transfer=...")
        if of == "dynamics" and surrogate.dynamics is not None:
            epochs = check_foreign(surrogate.dynamics, array, where)
        elif of == "dynamics" and surrogate.record.forward == "none":
            raise ConfigError("surrogate.record.forward", "none", f"train or eval: {where} is recorded dynamics")
        elif of == "dynamics" and surrogate.checkpoint is not None:
            raise ConfigError(where, array, "a surrogate that is trained here: surrogate.checkpoint has no dynamics")
        if array == "probabilities_by_epoch" and not surrogate.record.probabilities:
            raise ConfigError("surrogate.record.probabilities", False, f"true: {where} asks for them")
    rehearse(function, arrays, key, level=method.level, epochs=epochs, prune_ratio=cfg.prune_ratio)


def check_foreign(path: str, array: str, where: str) -> int | None:
    """How many epochs the dynamics at `path` have, if that can be told, or a ConfigError if they lack the array."""
    try:
        found = look(path)
    except ConfigError as error:
        raise error.under("surrogate") from None
    if (quantity := MADE_OF.get(array, array)) not in found.quantities:
        has = ", ".join(found.quantities)
        raise ConfigError(where, array, f"an array of {has}: surrogate.dynamics={path!r} has no {quantity}")
    return found.epochs


def check_path(method: MethodConfig, key: str) -> None:
    """Raise a ConfigError unless `method.path` is a file exactly if a score function of the method reads one."""
    scores = [(function, part) for function, part, filled in functions_of(method) if filled == FROM_FILE]
    reads = [(function, part) for function, part in scores if "path" in parameters(function["_target_"]).names]
    for function, part in reads:
        if "path" in function:
            raise ConfigError(f"{key}.{part}.path", function["path"], f"it as {key}.path: its content counts then")
        if method.path is None or not Path(method.path).is_file():
            expected = f"the file that {function['_target_']} reads (looked in {Path.cwd()})"
            raise ConfigError(f"{key}.path", method.path, expected)
        told_of(method.path, f"{key}.path")
    if method.path is not None and not reads:
        raise ConfigError(f"{key}.path", method.path, f"null: no score function of {method.name} reads a file")


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
    wanted = source.facts["input"]
    for key, target in targets.items():
        if target is not None and (fact := disagreement(wanted, there := target.facts["input"])) is not None:
            more = {"channels": " (3 makes grey RGB)", "tokenizer": ": the same one, by its content"}.get(fact, "")
            where = f"{key}.{fact}" if there["kind"] == "image" or fact == "kind" else f"{key}.codec.{fact}"
            raise ConfigError(where, there.get(fact), f"{wanted.get(fact)}, as the source has{more}")
    if cfg.method.quota == "drop" and "validation" not in source.facts:
        raise ConfigError(
            "method.quota", "drop", "proportional or equal: the source has no validation split to look at"
        )
    check_splits(cfg, source, targets)
    n, n_classes = source.facts["train"], source.facts["classes"]
    if cfg.method.level == "example" and cfg.method.trains_on in ("subset", "fresh_subsets"):
        kept = budget(cfg.prune_ratio, n)
        if kept < n_classes:
            expected = (
                f"{math.floor((1 - n_classes / n) * 1e4) / 1e4} or less: {kept} of {n} examples for {n_classes} classes"
            )
            raise ConfigError("prune_ratio", cfg.prune_ratio, expected)


def check_splits(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError where models are to be measured, or looked at, on a split that the data have not."""
    measured: list[Data | None] = [source, *targets.values()]
    asked = {"evaluate.split": (cfg.evaluate.split, measured)}
    if wanted := inputs_asked_for(cfg.method) & {"signals", "gradients", "target_signals"}:
        unknown = sorted(set(cfg.signals.arrays) - {"logits", "features"})
        if unknown:
            raise ConfigError("signals.arrays", list(cfg.signals.arrays), "some of logits, features")
        seen: list[Data | None] = [source] if wanted - {"target_signals"} else []
        seen += targets.values() if "target_signals" in wanted else []
        asked["signals.split"] = (cfg.signals.split, seen)
    for key, (split, several) in asked.items():
        for data in several:
            if data is not None and split not in data.facts:
                there = ", ".join(name for name in ("train", "validation", "test") if name in data.facts)
                raise ConfigError(key, split, f"a split that all data of the job have; there are {there}")


def check_recipes(cfg: Config, source: Data, targets: dict[str, Data | None]) -> None:
    """Raise a ConfigError if a training cannot use the inputs or the classes that it will be given."""
    trained = [("pretrain", cfg.pretrain, source)] if cfg.method.trains_on != "nothing" else []
    if inputs_asked_for(cfg.method) & {"dynamics", "signals", "gradients", "target_signals", "heldout"}:
        trained.append(("surrogate", cfg.surrogate, source))
    trained += [("transfer", cfg.transfer, data) for data in targets.values() if cfg.transfer and data]
    for role, recipe, data in trained:
        if recipe.checkpoint is None:
            check_images(recipe, role, data.header)
    # a scratch model has a head of its own
    reuses = cfg.transfer is not None and cfg.transfer.head == "reuse" and cfg.method.trains_on != "nothing"
    for key, target in targets.items() if reuses else ():
        if target is not None and target.facts["classes"] > source.facts["classes"]:
            outputs, wanted = source.facts["classes"], target.facts["classes"]
            raise ConfigError("transfer.head", "reuse", f"fresh: {outputs} outputs for the {wanted} classes of {key}")


def check_images(recipe: TrainConfig, role: str, header: dict[str, Any]) -> None:
    """Raise a ConfigError if the recipe changes images in a way that those of this header.json do not allow."""
    augment, in_memory, input = recipe.augment, header["storage"] == "memory", header["input"]
    if input["kind"] != "image":
        changed = {"augment": augment, "resolution": recipe.resolution, "adversarial": recipe.adversarial}
        for name, value in changed.items():
            if value != getattr(TrainConfig(), name):
                expected = f"nothing there: it is about images, and these are {input['kind']}"
                raise ConfigError(f"{role}.{name}", value, expected)
        return
    if recipe.buckets:
        raise ConfigError(f"{role}.buckets", recipe.buckets, "0: it is about texts, and images are of one size")
    side = min(input["height"], input["width"])
    if in_memory and augment.random_resized_crop is not None:
        key = f"{role}.augment.random_resized_crop"
        raise ConfigError(key, augment.random_resized_crop, "null, or storage=files for these data")
    if in_memory and recipe.resolution:
        raise ConfigError(f"{role}.resolution", dict(recipe.resolution), "{}, or storage=files for these data")
    if augment.crop_padding and not in_memory:
        raise ConfigError(f"{role}.augment.crop_padding", augment.crop_padding, "0, or storage=memory for these data")
    if augment.crop_padding >= side:
        expected = f"0 to {side - 1}: below the side of the images"
        raise ConfigError(f"{role}.augment.crop_padding", augment.crop_padding, expected)


def renamed(method: MethodConfig, function: dict[str, Any]) -> dict[str, str]:
    """The part of `method.arrays` that is about parameters of this function."""
    takes = parameters(function["_target_"]).names
    return {parameter: array for parameter, array in method.arrays.items() if parameter in takes}


def inputs_asked_for(method: MethodConfig) -> set[str]:
    """Which finished results the method's functions want arrays of."""
    if method.trains_on != "subset":
        return set()
    asked = {
        ARRAYS[array].of
        for function, key, filled in functions_of(method)
        for array in wanted(function, renamed(method, function), f"method.{key}", filled).values()
    }
    return asked | {"heldout"} if method.quota == "drop" else asked

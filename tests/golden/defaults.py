"""The table of all defaults that are left out of a key: of config fields, and of our functions that dear stages call.

A value at its default is not in a recipe, so that a new option keeps the old keys. A default that changes would
therefore find results of the old one. Functions that only score, select or combine call need no entry: their code is in
the key, signatures included.
"""

import dataclasses
import importlib
import inspect
import json
import pkgutil
from collections.abc import Callable
from typing import Any

import dataprune.data
from dataprune import dynamic
from dataprune.data.examples import Dataset
from dataprune.data.images import Images
from dataprune.data.text import Tokens
from dataprune.dynamic import BatchPolicy, Policy
from dataprune.models import networks, text
from dataprune.runtimes import deepsparse, onnxruntime, openvino
from dataprune.scores.gradients import grand
from dataprune.training import schedules
from dataprune.training.adversarial import pgd
from tests.golden import pinned

STAGES = (
    "index", "decode", "adopt", "dynamics", "train", "signals", "evaluate", "cluster", "neighbors", "score", "select",
    "combine",
)  # fmt: skip
Table = dict[str, dict[str, Any]]  # stage -> {VERSION, defaults: {dotted name: value}}


def config_of(stage: str) -> Any:
    """The config class of a stage."""
    return importlib.import_module(f"dataprune.stages.{stage}").CONFIG


def functions_of(stage: str) -> list[Callable[..., Any]]:
    """Our functions that a dear stage calls with what a config says of them, or with nothing said."""
    called = {
        "index": readers(),
        "decode": [Images, Tokens],
        "adopt": [*public(networks), *public(text)],  # builds the network
        "train": [*public(networks), *public(text), *public(schedules), *samplers(), pgd],
        "signals": [grand, *(engine.Engine for engine in (onnxruntime, openvino, deepsparse))],
    }
    return called.get(stage, [])


def samplers() -> list[type]:
    """The samplers of dataprune.dynamic."""
    named = [getattr(dynamic, name) for name in dynamic.__all__]
    return [kind for kind in named if issubclass(kind, Policy) and kind not in (Policy, BatchPolicy)]


def readers() -> list[Callable[..., Any]]:
    """All functions of dataprune.data that return a data set."""
    modules = [
        importlib.import_module(f"dataprune.data.{m.name}") for m in pkgutil.iter_modules(dataprune.data.__path__)
    ]
    found = [function for module in modules for function in public(module)]
    return [function for function in found if inspect.signature(function).return_annotation is Dataset]


def public(module: Any) -> list[Callable[..., Any]]:
    """Functions that a module defines, without those whose name begins with an underscore."""
    functions = [f for name, f in vars(module).items() if inspect.isfunction(f) and not name.startswith("_")]
    return [f for f in functions if f.__module__ == module.__name__]


def fields_of(config: Any, above: str = "") -> dict[str, Any]:
    """Default by field, of a config class and of those inside it: `TrainConfig.augment.flip`."""
    found: dict[str, Any] = {}
    above = above or config.__name__
    for f in dataclasses.fields(config):
        default = f.default_factory() if f.default_factory is not dataclasses.MISSING else f.default
        if dataclasses.is_dataclass(default):
            found |= fields_of(type(default), f"{above}.{f.name}")
        elif default is not dataclasses.MISSING:
            found[f"{above}.{f.name}"] = default
    return found


def arguments_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Default by parameter: `dataprune.models.networks.cnn.width`."""
    path = f"{function.__module__}.{function.__qualname__}"
    given = inspect.signature(function).parameters.values()
    return {f"{path}.{p.name}": p.default for p in given if p.default is not inspect.Parameter.empty}


def table() -> Table:
    """All defaults as they are now."""
    found: Table = {}
    for stage in STAGES:
        config = config_of(stage)
        defaults = fields_of(config)
        for function in functions_of(stage):
            defaults |= arguments_of(function)
        found[stage] = {"VERSION": config.VERSION, "defaults": json.loads(json.dumps(defaults))}
    return found


def moved(now: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Defaults of a stage that are no longer what was pinned.

    One that is gone is none of them, and stays in the file: it must not come back as another.
    """
    new = now["defaults"]
    return [
        f"the default of {name} is {new[name]!r}, was {value!r}"
        for name, value in there["defaults"].items()
        if name in new and new[name] != value
    ]


def added(now: dict[str, Any], there: dict[str, Any]) -> list[str]:
    """Defaults of a stage that are not pinned yet."""
    return sorted({*now["defaults"]} - {*there["defaults"]})


def complaint(config: Any, now: dict[str, Any], there: dict[str, Any] | None) -> str | None:
    """Why the pinned defaults do not do for this stage, in a line; None = they do."""
    return pinned.complaint(config, there, lambda t: moved(now, t), lambda t: added(now, t))


def pin() -> list[str]:
    """Pin what may be pinned; returns the reasons of what may not."""
    there, now, refused = pinned.load("defaults") or {}, table(), []
    for stage, entry in now.items():
        config, old = config_of(stage), there.get(stage)
        if why := pinned.refuse(config, old, lambda t, entry=entry: moved(entry, t)):
            refused.append(f"{stage}: {why}")
        elif old is None or old["VERSION"] != config.VERSION:
            there[stage] = entry
            print(f"{stage}: pinned the defaults of VERSION {config.VERSION}")
        elif names := added(entry, old):
            old["defaults"] |= {name: entry["defaults"][name] for name in names}
            print(f"{stage}: pinned {', '.join(names)}")
    pinned.dump("defaults", there)
    return refused

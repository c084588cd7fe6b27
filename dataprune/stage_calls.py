"""Call stages for one experiment: each looked up before it is built, its result remembered by its role."""

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

from dataprune.callables import dotted_paths, is_ours
from dataprune.config import Config, DataConfig, RunConfig
from dataprune.data.codecs import decoding, placed
from dataprune.data.content import stamp
from dataprune.dataset import Data
from dataprune.errors import ConfigError, Shown
from dataprune.executors.following import Follow
from dataprune.executors.graph import Graph
from dataprune.launch import recipe_of
from dataprune.store import Result, Store, fingerprint
from dataprune.store.jobs import RunningJob

Stamps = dict[str, str]  # states of data sets, by a hash of their configs
# those that this process has looked at: once, however many jobs it runs (in __main__ each job would get a copy)
STAMPS: Stamps = {}
STAMPING = threading.Lock()  # the jobs of a sweep are threads, and ask for the same


class Stages:
    """Calls stages and remembers their results by role: what the row tells of keys, metrics and cost.

    `follow` is told roles with `prefix` before them: those of a baseline must not mix with the method's own.
    """

    def __init__(
        self,
        store: Store,
        cfg: Config,
        follow: Follow | None,
        prefix: str = "",
        stamps: Stamps | None = None,
        running: RunningJob | None = None,
        graph: Graph | None = None,
    ) -> None:
        self.store, self.run, self.running, self.stamps = store, cfg.run, running, {} if stamps is None else stamps
        self.graph = graph or Graph()
        self.named = set(dotted_paths(asdict(cfg)))
        self.follow = None if follow is None else lambda role, line: follow(prefix + role, line)
        self.results: dict[str, Result] = {}
        self.built: set[str] = set()
        self.before_training: Callable[[], None] | None = None  # called once, if anything is to be trained or adopted

    def __call__(
        self, name: str, config: Any, role: str, processes: int = 1, /, **inputs: Result | str | None
    ) -> Result:
        """The result of stage `name` with this config and those of the inputs that are not None.

        A string among the inputs is the digest of something outside the store. processes: as `Graph.obtain` takes it.
        """
        there = {key: value for key, value in inputs.items() if value is not None}
        recipe = recipe_of(name, config, there)
        results = {key: value for key, value in there.items() if isinstance(value, Result)}
        check_named(results.values(), self.named)
        if (asked_before := self.results.get(role)) is not None and asked_before.key == recipe.key:
            return asked_before
        if self.running is not None:
            self.running.note(name, recipe.key)  # before it is looked up: from here on no house-keeping takes it away
        if name in ("train", "adopt") and self.before_training is not None and self.store.find(recipe) is None:
            check, self.before_training = self.before_training, None
            check()
        result, built = self.graph.obtain(
            self.store, recipe, config, results, self.run, role=role, follow=self.follow, processes=processes
        )
        self.results[role] = result
        if built:
            self.built.add(role)
        return result

    def data(self, config: DataConfig, role: str, readings: Mapping[str, str]) -> Data:
        """An indexed data set, decoded in each of these ways (TrainConfig.reads), given with a recipe that wants it.
        Its files are looked at once a driver."""
        seen = fingerprint([asdict(config.table), config.path and os.path.abspath(config.path)])
        with STAMPING:
            if seen not in self.stamps:
                self.stamps[seen] = stamp(config.table, role)
        table = self("index", config.table, role, files=self.stamps[seen])
        check_sizes(config, table.facts, role)
        kind, _, name = role.partition(".")
        decoded: dict[str, Result] = {}
        for reads, recipe in sorted(readings.items(), key=lambda pair: (pair[0] != "memory", pair[0])):
            part = "workers" if decoded else "pixels"  # of two, memory comes first
            try:
                how = placed(decoding(config, role, kept=reads == "memory", decoder=decoder_of(reads, self.run)), role)
                decoded[reads] = self("decode", how, f"{kind}_{part}" + (f".{name}" if name else ""), examples=table)
            except ConfigError as error:
                raise (error.under(recipe) if error.key in ("loader", "decoder") else error) from None
        return Data(table, decoded)


def decoder_of(reads: str, run: RunConfig) -> str:
    """What opens encoded examples that are read so: pillow | torchvision | dali-cpu | dali-gpu, as the device is."""
    if reads != "dali":
        return reads if reads == "torchvision" else "pillow"
    from dataprune.passes import device_of  # torch: seconds of imports

    return "dali-cpu" if device_of(run).type == "cpu" else "dali-gpu"


def check_sizes(config: DataConfig, facts: Mapping[str, Any], role: str) -> None:
    """Raise a ConfigError where a data set is not as large as published (`expect`): a copy that broke off, or another
    set of that name. Where a limit is set, a split may be smaller."""
    if not config.expect:
        return
    limits = asdict(config.limit)
    there = dict(facts)
    if config.validation is not None and "validation" not in config.expect:  # a part of train
        there["train"] += there["validation"]
        limits["train"] = limits["train"] or limits["validation"]
    wrong = {
        name: there.get(name, 0)
        for name, size in config.expect.items()
        if there.get(name, 0) != size and limits.get(name) is None
    }
    if wrong:
        found = Shown(f"{config.name} with " + ", ".join(f"{size} {_of(name)}" for name, size in wrong.items()))
        published = ", ".join(f"{config.expect[name]} {_of(name)}" for name in wrong)
        raise ConfigError(f"{role}.path", found, f"{published}, as published ({role}.expect=null takes any)")


def _of(name: str) -> str:
    return name if name == "classes" else f"{name} examples"


def check_named(inputs: Iterable[Result], named: set[str]) -> None:
    """Raise a ConfigError where a result that comes in holds a network or a codec that this job does not name itself.

    A stage builds what network.json and header.json say. Who can write into a shared store must not run code as
    everybody who reads from it: a job builds what is in this package, and what its own config names.
    """
    for result in inputs:
        for file, key in (("network.json", "model"), ("header.json", "codec")):
            if not result.has(file):
                continue
            strange = {p for p in dotted_paths(json.loads((result / file).read_text())) if not is_ours(p)}
            for path in sorted(strange - named):
                expected = f"a {key} that this job's config names too; it stands in {result.path}"
                raise ConfigError(f"{key}._target_", path, expected)

"""`run.estimate=true`: what a job would build, and the time, memory and disk it would take; nothing is trained.

The pipeline itself is asked: `experiment` runs with a `Planner` in place of `Stages`, which looks each stage up in the
store and stands in for those that are missing. Times come from small timed samples on this machine: a few training
steps of each network, each selector on one and two thousand made-up examples.
"""

import logging
import math
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.config import Config, SelectConfig, SignalsConfig, TrainConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.launch import recipe_of
from dataprune.pipeline import experiment, experiments
from dataprune.rehearsal import made_up_arrays
from dataprune.selectors.budget import budget
from dataprune.stage_calls import Stages
from dataprune.store import Result, Store, fingerprint

log = logging.getLogger(__name__)
UNKNOWN = "?"  # digest of a result that is not there yet
PROBE_STEPS = 6
planned: dict[str, "Need"] = {}  # stages that an earlier job of this sweep would build: they count once


@dataclass(frozen=True)
class Need:
    """What one stage takes."""

    role: str
    stage: str
    seconds: float
    ram_mb: float
    disk_mb: float


def estimate(cfg: Config) -> None:
    """Print the plan of a job with its baselines; raise a ConfigError if memory or disk will not do."""
    store = Store(cfg.run.store, verify=False)
    found, needs, shared = 0, [], 0
    for name, single in experiments(cfg):
        planner = Planner(store, single)
        experiment(single, planner)
        found += planner.found
        for key, need in planner.needs.items():
            if key in planned:
                shared += 1
                continue
            planned[key] = need
            needs.append((name, need))
    print(f"\n{'':18}{'stage':14}{'':10}{'seconds':>9}{'RAM MB':>9}{'disk MB':>9}")
    for name, n in needs:
        print(f"{name:18}{n.role:14}{n.stage:10}{n.seconds:9.1f}{n.ram_mb:9.0f}{n.disk_mb:9.1f}")
    seconds, disk = sum(n.seconds for _, n in needs), sum(n.disk_mb for _, n in needs)
    ram = max((n.ram_mb for _, n in needs), default=0.0)
    print(
        f"to build: {len(needs)} stages, about {_duration(seconds)}, {ram:.0f} MB of memory, {disk:.0f} MB of disk; "
        f"found: {found}; shared with what stands above or in earlier jobs: {shared}"
    )
    _check_room(cfg, ram, disk)


class Planner(Stages):
    """Looks stages up; a missing one becomes a Need and a stand-in result. Only data sets are really indexed."""

    def __init__(self, store: Store, cfg: Config) -> None:
        super().__init__(store, cfg, None)
        self.cfg, self.found = cfg, 0
        self.needs: dict[str, Need] = {}

    def __call__(self, name: str, config: Any, role: str, **inputs: Result | str | None) -> Result:
        """The result if it is there or is an index, else a stand-in."""
        if name in ("index", "decode"):
            return super().__call__(name, config, role, **inputs)
        there = {key: value for key, value in inputs.items() if value is not None}
        recipe = recipe_of(name, config, there)
        known = UNKNOWN not in recipe.inputs.values()
        if known and (result := self.store.find(recipe)) is not None:
            self.found += 1
            self.results[role] = result
            return result
        results = {key: value for key, value in there.items() if isinstance(value, Result)}
        # what is behind a stand-in tells apart two stages of equal configs
        behind = sorted(str(r.path) for r in results.values())
        key = fingerprint([recipe.stage, recipe.config, behind])
        self.needs[key] = self._need(name, config, role, results)
        facts = {"examples": self._examples(config, results), "images_seen": 0, "kept": 0, "train": 0}
        known_later = {"digest": UNKNOWN, "seconds": self.needs[key].seconds, "facts": facts}
        stand_in = Result(Path(key), asdict(recipe), known_later)
        self.results[role] = stand_in
        return stand_in

    def _examples(self, config: Any, results: dict[str, Result]) -> int:
        """Training examples of a stage: of the subset if there is one, else all."""
        n = results["examples"].facts["train"] if "examples" in results else 0
        if not isinstance(config, TrainConfig):
            return n
        if config.fresh_prune_ratio is not None:
            return budget(config.fresh_prune_ratio, n)
        return budget(self.cfg.prune_ratio, n) if "subset" in results else n

    def _need(self, name: str, config: Any, role: str, results: dict[str, Result]) -> Need:
        examples = results.get("examples", self.results["source"])
        pixels = results.get("pixels", self.results["source_pixels"])
        n, model = examples.facts["train"], config if isinstance(config, TrainConfig) and config.model else None
        probe = _probe(str(examples.path), str(pixels.path), _frozen(model or self.cfg.pretrain))
        if name == "train":
            count = self._examples(config, results)
            batch = min(config.batch_size, count)
            steps = config.iterations or config.epochs * math.ceil(count / batch)
            per_step = probe.step_s * batch / probe.batch
            seconds = (n / batch * per_step / 3 + 1e-3 * steps) if config.trainable == "head" else steps * per_step
            recorded = 13 * (config.epochs or 0) * n if config.record.forward != "none" else 0
            return Need(role, name, seconds, (probe.images_mb + 4 * probe.model_mb), probe.model_mb + recorded / 1e6)
        if name in ("signals", "evaluate"):
            rows = examples.facts["test"] if name == "evaluate" else n
            width = sum({"features": probe.width, "logits": probe.classes, "grad_norm": 1}[a] for a in _arrays(config))
            # a batch of per-example gradients was seen to take three times a training step
            forward = rows / probe.batch * probe.step_s * (3 if "grad_norm" in _arrays(config) else 1 / 3)
            return Need(role, name, forward, probe.images_mb + probe.model_mb, rows * 4 * max(width, 4) / 1e6)
        if name == "select" and "order" not in results:  # else it is cut from a selection that stands above
            ram = 2 * n * 4 * probe.width / 1e6 if "features" in str(config) else n * 16 / 1e6
            return Need(
                role, name, _selection_seconds(_frozen(config), n, probe.width, probe.classes), ram, n * 16 / 1e6
            )
        return Need(role, name, n * 1e-6, 100.0, n * 4 / 1e6)


@dataclass(frozen=True)
class Probe:
    """What a few training steps of a network on a data set showed."""

    step_s: float
    batch: int
    width: int
    classes: int
    model_mb: float
    images_mb: float


@cache
def _probe(folder: str, pixels: str, frozen: tuple) -> Probe:
    """Time a few training steps (a batch of at most 64) of the recipe's network on the indexed data."""
    import torch

    from dataprune.config import RunConfig, from_plain
    from dataprune.stages.train import Training

    config: TrainConfig = from_plain(TrainConfig, _thawed(frozen))
    inputs = {"examples": Path(folder), "pixels": Path(pixels)}
    examples = Examples.of(inputs, "train")
    small = min(64, config.batch_size, len(examples))
    config = replace(config, batch_size=small, epochs=None, iterations=PROBE_STEPS, fresh_prune_ratio=None)
    config = replace(config, processes=1, sync_batchnorm=False)  # this process alone
    with tempfile.TemporaryDirectory() as work:
        training = Training(config, inputs, Path(work), RunConfig(), "probe")
        network = training.network()
        optimizer = torch.optim.SGD(network.parameters(), lr=0.0)
        took = []
        for _, batch in zip(range(PROBE_STEPS), training._loader(network), strict=False):
            start = time.perf_counter()
            torch.nn.functional.cross_entropy(network(**batch["inputs"]), batch["y"]).backward()
            optimizer.step()
            took.append(time.perf_counter() - start)
    parameters = sum(p.numel() for p in network.parameters())
    each = sum(math.prod(form["shape"]) for form in examples.header["columns"].values() if form["shape"])
    images = each * len(examples) if examples.header["storage"] == "memory" else 0
    step = float(np.median(took[1:] or took))
    return Probe(step, small, network.head.in_features, network.head.out_features, parameters * 4e-6, images / 1e6)


@cache
def _selection_seconds(frozen: tuple, n: int, width: int, classes: int) -> float:
    """Time the selector on 1,000 and 2,000 made-up examples and go on to n by the power law between them."""
    from dataprune.config import from_plain
    from dataprune.stages.select import select

    config: SelectConfig = from_plain(SelectConfig, _thawed(frozen))
    if config.level == "class":
        return 0.0
    rng, took = np.random.default_rng(0), []
    for m in (500, 1000, 2000):  # the first one only compiles
        made_up = made_up_arrays(m, classes, 3, width) | {"scores": rng.random(m).astype(np.float32)}
        arrays = {name: made_up[array] for name, array in _wanted(config).items()}
        start = time.perf_counter()
        select(config, m, made_up["labels"], arrays, made_up["scores"], made_up["scores"])
        took.append(time.perf_counter() - start)
    power = min(3.0, max(1.0, math.log2(max(took[2], 1e-5) / max(took[1], 1e-5))))
    return took[2] * (max(n, 2000) / 2000) ** power


def _wanted(config: SelectConfig) -> dict[str, str]:
    from dataprune.stages.arrays import wanted
    from dataprune.stages.select import FILLED, KEY

    return wanted(config.function, config.arrays, KEY, FILLED)


def _arrays(config: Any) -> list[str]:
    return config.arrays if isinstance(config, SignalsConfig) else []


def _frozen(config: Any) -> tuple:
    """A config as something hashable."""
    from dataclasses import asdict
    from json import dumps

    return (dumps(asdict(config)),)


def _thawed(frozen: tuple) -> dict[str, Any]:
    from json import loads

    return loads(frozen[0])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _check_room(cfg: Config, ram_mb: float, disk_mb: float) -> None:
    """Raise a ConfigError if the largest stage does not fit in memory, or all results not on the store's disk."""
    there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6
    if ram_mb > 0.9 * there:
        raise ConfigError(
            "run.estimate", Shown(f"{ram_mb:.0f} MB of memory"), f"less than the {there:.0f} MB there are"
        )
    root = Path(cfg.run.store).absolute()
    root = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(root).free / 1e6
    if disk_mb > 0.9 * free:
        raise ConfigError("run.store", str(root), f"a disk with {disk_mb:.0f} MB free; there are {free:.0f} MB")

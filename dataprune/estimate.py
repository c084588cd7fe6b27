"""`run.estimate=true`: what a job would build, and the time, memory and disk it would take; nothing is trained.

The pipeline itself is asked: `experiment` runs with a `Planner` in place of `Stages`, which looks each stage up in the
store and stands in for those that are missing. Times come from small timed samples on this machine (dataprune.speed);
of a user's own code nothing runs but what builds a network, without values.
"""

import json
import logging
import math
import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dataprune.arrays import ARRAYS, RECORDED, Array, entry, own_signal
from dataprune.config import Config, SignalsConfig, TrainConfig
from dataprune.data.order import steps_of
from dataprune.errors import ConfigError, Shown
from dataprune.experiments import asks_for_ratio, experiments
from dataprune.launch import recipe_of
from dataprune.passes import device_of
from dataprune.pipeline import experiment
from dataprune.selectors.budget import budget
from dataprune.speed import Speed, row_bytes, selection_seconds, speed_of
from dataprune.stage_calls import Stages, Stamps
from dataprune.store import Result, Store, fingerprint

log = logging.getLogger(__name__)
UNKNOWN = "?"  # digest of a result that is not there yet
planned: dict[str, "Need"] = {}  # stages that an earlier job of this sweep would build: they count once


@dataclass(frozen=True)
class Need:
    """What one stage takes."""

    role: str
    stage: str
    seconds: float | None  # None = nobody knows: a user's own function
    ram_mb: float
    disk_mb: float


def estimate(cfg: Config, stamps: Stamps | None = None) -> None:
    """Print the plan of a job with its baselines; raise a ConfigError if memory or disk will not do.

    stamps: of a driver with many jobs, which looks at the files of a data set once.
    """
    needs, found, shared = _new_needs(cfg, {} if stamps is None else stamps)
    print(f"\n{'':18}{'stage':16}{'':10}{'seconds':>9}{'RAM MB':>9}{'disk MB':>9}")
    for name, n in needs:
        shown = "unknown" if n.seconds is None else f"{n.seconds:.1f}"
        print(f"{name:18}{n.role:16}{n.stage:10}{shown:>9}{n.ram_mb:9.0f}{n.disk_mb:9.1f}")
    seconds, disk = sum(n.seconds or 0.0 for _, n in needs), sum(n.disk_mb for _, n in needs)
    unknown = sum(n.seconds is None for _, n in needs)
    ram = max((n.ram_mb for _, n in needs), default=0.0)
    beside = f" and {unknown} of unknown time" if unknown else ""
    print(
        f"to build: {len(needs)} stages, about {_duration(seconds)}{beside}, {ram:.0f} MB of memory, "
        f"{disk:.0f} MB of disk; "
        f"found: {found}; shared with what stands above or in earlier jobs: {shared}"
    )
    _check_room(cfg, ram, disk)


def _new_needs(cfg: Config, stamps: Stamps) -> tuple[list[tuple[str, Need]], int, int]:
    """What no job before would build, by experiment; how many results are found, and how many stages are shared."""
    store = Store(cfg.run.store, verify=False)
    needs, found, shared = [], 0, 0
    for name, single in experiments(cfg):
        planner = Planner(store, single, stamps)
        experiment(single, planner)
        found += planner.found
        new = {key: need for key, need in planner.needs.items() if key not in planned}
        shared += len(planner.needs) - len(new)
        planned.update(new)
        needs += [(name, need) for need in new.values()]
    return needs, found, shared


class Planner(Stages):
    """Looks stages up; a missing one becomes a Need and a stand-in result. Only data sets are really indexed."""

    def __init__(self, store: Store, cfg: Config, stamps: Stamps) -> None:
        super().__init__(store, cfg, None, stamps=stamps)
        self.cfg, self.found = cfg, 0
        self.needs: dict[str, Need] = {}

    def __call__(
        self, name: str, config: Any, role: str, processes: int = 1, /, **inputs: Result | str | None
    ) -> Result:
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
        # what is behind a stand-in tells apart two stages of equal configs, and so do files
        behind = {key: str(value.path) if isinstance(value, Result) else value for key, value in there.items()}
        key = fingerprint([recipe.stage, recipe.config, behind])
        self.needs[key] = self._need(name, config, role, results)
        facts = {"examples": self._examples(config, results), "images_seen": 0, "kept": 0, "train": 0}
        known_later = {"digest": UNKNOWN, "seconds": self.needs[key].seconds or 0.0, "facts": facts}
        stand_in = Result(Path(key), asdict(recipe), known_later)
        self.results[role] = stand_in
        return stand_in

    def _examples(self, config: Any, results: dict[str, Result]) -> int:
        """Training examples of a stage: of the subset if there is one, else all."""
        n = results["examples"].facts["train"] if "examples" in results else 0
        if not isinstance(config, TrainConfig):
            return n
        if config.sampler:  # the most that an epoch has, where the sampler decides by itself
            return budget(self.cfg.prune_ratio, n) if asks_for_ratio(self.cfg.method) else n
        return budget(self.cfg.prune_ratio, n) if "subset" in results else n

    def _need(self, name: str, config: Any, role: str, results: dict[str, Result]) -> Need:
        examples = results.get("examples", self.results["source"])
        n, disk = examples.facts["train"], examples.facts["train"] * 4 / 1e6
        if name == "train":
            return self._training(config, role, results)
        if name in ("signals", "evaluate"):
            return self._look(name, config, role, results)
        if name == "select":
            speed = self._speed(self.cfg.surrogate, results)
            asked = {array for step in config.steps for array in step.arrays.values()}
            rows = sum(row_bytes(entry(array).axes, entry(array).dtype or "float32", speed) for array in asked)
            nested = "order" in results  # cut from a selection that stands above
            seconds = 0.0 if nested else selection_seconds(config, n, speed)
            return Need(role, name, seconds, n * (16 + 2 * rows) / 1e6, n * 16 / 1e6)
        return Need(role, name, n * 1e-6, 100.0, disk)

    def _devices(self, processes: int) -> int:
        """How many of them work at once: processes on a CPU share its cores, which one process was timed on."""
        return processes if device_of(self.run).type == "cuda" else 1

    def _speed(self, recipe: TrainConfig, results: dict[str, Result]) -> Speed:
        examples = results.get("examples", self.results["source"])
        pixels = results.get("pixels", self.results["source_pixels"])
        assert recipe.model is not None
        header = json.loads((pixels / "header.json").read_text())
        each = sum(math.prod(form["shape"]) for form in header["columns"].values() if form["shape"])
        rows = sum(examples.facts.get(split, 0) for split in ("train", "validation", "test"))
        images = each * rows if header["kept"] else 0
        about = json.dumps(recipe.model), json.dumps(header["codec"]), json.dumps(header["input"])
        return speed_of(*about, examples.facts["classes"], str(device_of(self.run))).holding(images / 1e6)

    def _training(self, config: TrainConfig, role: str, results: dict[str, Result]) -> Need:
        speed = self._speed(config if config.model else self.cfg.pretrain, results)
        count = self._examples(config, results)
        steps = config.iterations or config.epochs * steps_of(count, config.batch_size, config.drop_last)  # type: ignore[operator]
        seen = steps * min(config.batch_size, count)
        image_s = speed.image_s
        once = config.trainable == "head" and config.frozen_bn
        if image_s is not None and once:  # the features once, and steps of a linear layer
            seconds: float | None = count * image_s / 3 + 1e-3 * steps
        else:
            seconds = None if image_s is None else seen * image_s / self._devices(config.processes)
        n = results["examples"].facts["train"]
        recorded = sum(row_bytes(array.axes, array.dtype, speed, config.epochs or 1) for array in RECORDED.values())
        disk = speed.model_mb * (1 + len(config.snapshots))
        disk += n * recorded / 1e6 if config.record.forward != "none" else 0
        return Need(role, "train", seconds, speed.images_mb + 4 * speed.model_mb, disk)

    def _look(self, name: str, config: Any, role: str, results: dict[str, Result]) -> Need:
        of_target = role.startswith("features.")  # of the model that is transferred
        of_surrogate = (isinstance(config, SignalsConfig) and not of_target) or role.startswith("heldout")
        speed = self._speed(self.cfg.surrogate if of_surrogate else self.cfg.pretrain, results)
        arrays = _looked_at(config)
        rows, passes = results["examples"].facts[config.split], {array.passes for array in arrays}
        seconds: float | None = None
        if speed.image_s is not None and all(passes):
            # a batch of per-example gradients was seen to take three times a training step
            seconds = rows * speed.image_s * (3 if "gradient" in passes else 1 / 3)
        disk = rows * sum(row_bytes(array.axes, array.dtype, speed) for array in arrays) / 1e6
        return Need(role, name, seconds, speed.images_mb + speed.model_mb, disk)


def _looked_at(config: Any) -> list[Array]:
    """The arrays that a look at a split leaves: the signals that are asked for, or an evaluation's predictions."""
    if not isinstance(config, SignalsConfig):
        return [Array("", ("n", 2), "int64", "predictions", passes="forward")]
    own = {signal: own_signal(signal, spec) for signal, spec in config.functions.items()}
    return [own.get(array) or ARRAYS[array] for array in config.arrays]


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

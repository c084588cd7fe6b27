"""How fast an epoch goes, and what holds it up: images a second, waiting for input, memory, the share of the peak.

Measured in each process around its own loader and told by process 0; in no key and in no digest: `log/` holds it.
"""

import contextlib
import json
import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from dataprune import ranks
from dataprune.config import RunConfig
from dataprune.data.loaders import Loader
from dataprune.models.networks import Network
from dataprune.models.tally import Form, Tally
from dataprune.peaks import peak_flops
from dataprune.training.classifier import Classifier
from dataprune.training.parts import Parts

log = logging.getLogger(__name__)
LINE_EVERY_S = 10.0  # in the log: epochs of milliseconds need no line each


class Waited:
    """A loader that notes for how long its batches were waited for, in seconds: in all, and when an epoch began."""

    def __init__(self, loader: Loader | Parts) -> None:
        self.loader = loader
        self.waited = self.before = 0.0
        self.began = time.perf_counter()

    @property
    def sampler(self) -> Loader:
        """What has `set_epoch`."""
        return self.loader.sampler

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self.began, self.before = time.perf_counter(), self.waited
        batches = iter(self.loader)
        while True:
            asked = time.perf_counter()
            batch = next(batches, None)
            self.waited += time.perf_counter() - asked
            if batch is None:
                return
            yield batch


class Pace(pl.Callback):
    """Append a line an epoch to `path`: its steps alone, not what other callbacks do when it has ended.

    images_s: examples trained on a second, of all processes. input_wait: the share of the time in which a process
    waited for its loader. memory_gb: the most that a GPU held. mfu: FLOPs of the network (dataprune.models.flops; what
    checkpointing computes again does not count) a second and device, as a share of `peak`. What is not known is left
    out. First among the callbacks: the tally still holds the epoch's own passes.
    """

    def __init__(self, path: Path, label: str, epochs: int, loader: Waited, peak: float | None) -> None:
        self.path, self.label, self.epochs, self.loader, self.peak = path, label, epochs, loader, peak
        self.known: dict[tuple[str, Form], float | None] = {}
        self.said = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to look for the most memory."""
        if pl_module.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(pl_module.device)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line."""
        assert isinstance(pl_module, Classifier)
        line = summary(ranks.told(self.measured(pl_module)), self.peak)
        if trainer.is_global_zero:
            self.path.parent.mkdir(exist_ok=True)
            with open(self.path, "a") as file:
                file.write(json.dumps({"epoch": pl_module.epoch} | line) + "\n")
            done, now = pl_module.epoch + 1, time.monotonic()
            if done == self.epochs or now - self.said > LINE_EVERY_S:
                self.said = now
                log.info("%-14s epoch %d of %d: %s", self.label, done, self.epochs, in_words(line))

    def measured(self, module: Classifier) -> dict[str, float]:
        """What this process has done since the loader began, in which seconds."""
        found: dict[str, float] = {"images": module.sums[2].item()}  # waits for the device
        found["seconds"] = time.perf_counter() - self.loader.began
        found["waited"] = self.loader.waited - self.loader.before
        if module.device.type == "cuda":
            found["memory"] = torch.cuda.max_memory_allocated(module.device) / 1e9
        flops = None if self.peak is None else self._flops(module)
        return found if flops is None else found | {"flops": flops}

    def _flops(self, module: Classifier) -> float | None:
        """FLOPs of the epoch's steps here; None = not known."""
        passes = Tally()
        passes.counts = {key: int(n) for key, n in module.tally.here.items()}
        if not passes.counts.keys() <= self.known.keys():
            with without_checkpointing(module.network):
                self.known |= passes.each_flops(module.network, module.attack)
        return passes.flops(self.known)


class Throughput(pl.Callback):
    """Write one line of the same figures into `path`: of all steps after the first `warm_up` ones. Of no result.

    In those the GPU's kernels are chosen, networks compiled and worker processes started.
    """

    def __init__(self, path: Path, loader: Waited, peak: float | None, warm_up: int) -> None:
        self.path, self.loader, self.peak, self.warm_up = path, loader, peak, warm_up
        self.began: float | None = None
        self.waited, self.images = 0.0, torch.zeros((), dtype=torch.int64)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count, or begin to."""
        assert isinstance(pl_module, Classifier)
        if self.began is not None:
            self.images += len(batch["y"]) if batch["real"] is None else batch["real"].sum().to(self.images.device)
        elif pl_module.step >= self.warm_up:
            self.images = self.images.to(pl_module.device)
            self.began, self.waited = _now(pl_module), self.loader.waited

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write the line."""
        assert isinstance(pl_module, Classifier)
        assert self.began is not None
        images, tally = self.images.item(), pl_module.tally
        found = {"images": float(images), "seconds": _now(pl_module) - self.began}
        found["waited"] = self.loader.waited - self.waited
        if pl_module.device.type == "cuda":
            found["memory"] = torch.cuda.max_memory_allocated(pl_module.device) / 1e9
        if self.peak is not None:
            with without_checkpointing(pl_module.network):
                flops = tally.flops(tally.each_flops(pl_module.network, pl_module.attack))
            found |= {} if flops is None else {"flops": flops / tally.seen * images}
        line = summary(ranks.told(found), self.peak)
        if trainer.is_global_zero:
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(json.dumps({"steps": pl_module.step - self.warm_up} | line))


def _now(module: Classifier) -> float:
    """Seconds, when the device has done what it was asked for."""
    if module.device.type == "cuda":
        torch.cuda.synchronize(module.device)
    return time.perf_counter()


@contextlib.contextmanager
def without_checkpointing(network: Network) -> Iterator[None]:
    """Let nothing be computed again inside."""
    was = network.checkpointing
    if was:
        network.checkpoint(False)
    try:
        yield
    finally:
        if was:
            network.checkpoint(True)


def summary(parts: list[dict[str, float]], peak: float | None) -> dict[str, float]:
    """Return a line's figures from what each process has measured."""
    each = {name: [part[name] for part in parts] for name in parts[0] if all(name in part for part in parts)}
    seconds = max(each["seconds"])
    line = {"images_s": round(sum(each["images"]) / seconds, 1)}
    line["input_wait"] = round(sum(each["waited"]) / sum(each["seconds"]), 4)
    if "memory" in each:
        line["memory_gb"] = round(max(each["memory"]), 3)
    if peak is not None and "flops" in each:
        line["mfu"] = round(sum(each["flops"]) / seconds / peak / len(parts), 4)
    return line


def in_words(line: dict[str, float]) -> str:
    """Return the figures as a person reads them."""
    words = [f"{line['images_s']:,.0f} images/s", f"waits for input {line['input_wait']:.0%}"]
    words += [f"{line['memory_gb']:.1f} GB of GPU memory"] if "memory_gb" in line else []
    return ", ".join(words + ([f"MFU {line['mfu']:.1%}"] if "mfu" in line else []))


def peak_of(run: RunConfig, device: torch.device, precision: str) -> float | None:
    """Return what the device can compute at most, in FLOP/s: `run.peak_flops`, or by its name; None if unknown."""
    if run.peak_flops is not None or device.type != "cuda":
        return run.peak_flops
    return peak_flops(torch.cuda.get_device_name(device), precision)

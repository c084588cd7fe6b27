"""Stage signals: what functions tell of every example of a split by a frozen model, in one pass, not augmented.

Inputs: `model` (train or adopt), `examples` (index), `pixels` (decode). Files: one <name>.npy (n, ...) a signal, of the
shape and dtype that the table of arrays, or the method, says; labels.npy int64 (n,). Features come from the network
itself, or from an engine (`runtime`).
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune import ranks
from dataprune.arrays import GIVEN, SIGNALS, Array, own_signal
from dataprune.callables import function_at, parameters
from dataprune.config import RunConfig, SignalsConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network, laid_out
from dataprune.models.tally import FORWARD, GRADIENT, UNKNOWN, Tally
from dataprune.passes import batches_in, batches_of, check_input, feed_of, layout, load_network
from dataprune.plan import ABOUT_A_SIGNAL
from dataprune.runtimes.features import BATCH, Features, served
from dataprune.runtimes.runtime import KEY, spec_of
from dataprune.signals import Batch
from dataprune.stages.adopt import image_of
from dataprune.store import create_array

CONFIG = SignalsConfig
PASSES = {"forward": FORWARD, "gradient": GRADIENT, None: UNKNOWN}


def run(config: SignalsConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Write the arrays row by row; returns the shape of each, and the images and FLOPs of the pass."""
    examples, tally = Examples.of(inputs, config.split), Tally()
    network = load_network(inputs["model"], config.epoch)
    check_input(network, examples)
    with feed_of(machine) as feed, _engine(config, network, examples, work) as features:
        memory_format = layout(network, feed.device)
        network = network.to(feed.device, memory_format=memory_format).eval()  # type: ignore[call-overload]
        signals = [_Signal(name, config.functions.get(name), network, len(examples)) for name in config.arrays]
        passes = sorted({PASSES[signal.array.passes] for signal in signals})

        def rows() -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
            for batch in batches_of(examples, every, config.batch_size, feed, label):
                given = Batch(network=network, inputs=laid_out(batch["inputs"], memory_format), labels=batch["y"])
                if features is not None:
                    (images,) = given["inputs"].values()
                    given["features"] = features(images)
                with torch.no_grad():
                    found = [signal.rows(given) for signal in signals]
                for kind in passes:
                    tally.add(kind, batch["inputs"], batch["real"])
                yield batch["id"].numpy(force=True), found

        every = np.arange(len(examples))
        _write(ranks.in_order(rows(), batches_in(every, config.batch_size)), signals, work)
    tally.settle(ranks.summed, ranks.united)
    if ranks.place()[0] > 0:  # process 0 writes
        return {}
    np.save(work / "labels.npy", examples.labels)
    facts: dict[str, Any] = {signal.name: list(signal.shape) for signal in signals}
    if features is not None:
        facts["runtime"] = features.facts()
    return facts | {"images_seen": len(examples)} | tally.facts(network)


def _engine(
    config: SignalsConfig, network: Network, examples: Examples, work: Path
) -> AbstractContextManager[Features | None]:
    """The engine that serves the features, while the pass lasts; None for torch. Raises ConfigError for other inputs
    than images."""
    if (spec := spec_of(config.runtime)) is None:
        return nullcontext()
    if (image := image_of(examples.input)) is None:
        raise ConfigError(KEY, config.runtime, f"torch: engines get images, and these are {examples.input['kind']}")
    shape = (min(BATCH, config.batch_size, max(1, len(examples))), *image)
    folder = work / "scratch" / f"engine{ranks.place()[0]}"
    return served(spec, network.backbone, shape, folder, config.runtime_python)


def _write(rows: Iterator[tuple[np.ndarray, list[np.ndarray]]], signals: list["_Signal"], work: Path) -> None:
    """In process 0 write the rows of every batch, (ids, a part a signal); in the others only hand over their own."""
    first = ranks.place()[0] == 0
    files = [create_array(work / f"{s.name}.npy", s.dtype, s.shape) for s in signals] if first else []
    for ids, parts in rows:
        for file, part in zip(files, parts, strict=True):
            file[ids] = part
    for file in files:
        file.flush()


class _Signal:
    """A signal: its function, and the shape of what it gives."""

    def __init__(self, name: str, spec: dict[str, Any] | None, network: Network, n: int) -> None:
        self.name, self.array = name, _array(name, spec)
        target = self.array.function
        assert target is not None
        self.function = function_at(target)
        self.asks = [parameter for parameter in GIVEN if parameter in parameters(target).names]
        about = (*ABOUT_A_SIGNAL, "_target_")
        self.constants = {k: v for k, v in (spec or {}).items() if k not in about}
        sizes = {"n": n, "d": network.head.in_features, "classes": network.head.out_features}
        self.shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.array.axes or ())
        self.dtype = np.dtype(self.array.dtype)

    def rows(self, given: Batch) -> np.ndarray:
        """Compute those of one batch."""
        rows = self.function(**{name: given[name] for name in self.asks}, **self.constants)
        wanted = (len(given["labels"]), *self.shape[1:])
        if not isinstance(rows, torch.Tensor) or tuple(rows.shape) != wanted:
            found = f"tensor of shape {tuple(rows.shape)}" if isinstance(rows, torch.Tensor) else type(rows).__name__
            what = f"a tensor of shape {wanted}: `shape` says what it gives of one example"
            raise ConfigError(f"method.signals.{self.name}", Shown(found), what)
        return rows.detach().cpu().numpy().astype(self.dtype, copy=False)


def _array(name: str, spec: dict[str, Any] | None) -> Array:
    """What the table, or the method that brings it along, says of a signal."""
    if spec is not None:
        return own_signal(name, spec)
    if name not in SIGNALS:
        raise ConfigError("signals.arrays", name, f"some of {', '.join(SIGNALS)}")
    return SIGNALS[name]

"""Stage signals: what functions tell of every example of a split by a frozen model, in one pass, not augmented.

Inputs: `model` (train or adopt), `examples` (index), `pixels` (decode). Files: one <name>.npy (n, ...) a signal, of the
shape and dtype that the table of arrays, or the method, says; labels.npy int64 (n,).
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from hydra.utils import get_method

from dataprune.arrays import GIVEN, SIGNALS, Array, own_signal
from dataprune.callables import parameters
from dataprune.config import RunConfig, SignalsConfig
from dataprune.data.examples import Examples
from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network, laid_out
from dataprune.models.tally import FORWARD, GRADIENT, UNKNOWN, Tally
from dataprune.passes import check_input, feed_of, layout, load_network
from dataprune.plan import ABOUT_A_SIGNAL
from dataprune.progress import track
from dataprune.signals import Batch
from dataprune.store import create_array

CONFIG = SignalsConfig
PASSES = {"forward": FORWARD, "gradient": GRADIENT, None: UNKNOWN}


def run(config: SignalsConfig, inputs: dict[str, Path], work: Path, machine: RunConfig, label: str) -> dict[str, Any]:
    """Write the arrays row by row; returns the shape of each, and the images and FLOPs of the pass."""
    examples, tally = Examples.of(inputs, config.split), Tally()
    network = load_network(inputs["model"], config.epoch)
    check_input(network, examples)
    with feed_of(machine) as feed:
        memory_format = layout(network, feed.device)
        network = network.to(feed.device, memory_format=memory_format).eval()  # type: ignore[call-overload]
        signals = [_Signal(name, config.functions.get(name), network, len(examples), work) for name in config.arrays]
        passes = [] if not signals else sorted({PASSES[signal.array.passes] for signal in signals})
        loader = feed.clean(examples, np.arange(len(examples)), config.batch_size)
        for batch in track(loader, label, loader.order.steps):
            given = Batch(network=network, inputs=laid_out(batch["inputs"], memory_format), labels=batch["y"])
            ids = batch["id"].numpy(force=True)
            with torch.no_grad():
                for signal in signals:
                    signal.take(given, ids)
            for kind in passes:
                tally.add(kind, batch["inputs"], batch["real"])
    tally.settle()
    for signal in signals:
        signal.values.flush()
    np.save(work / "labels.npy", examples.labels)
    shapes = {signal.name: list(signal.values.shape) for signal in signals}
    return shapes | {"images_seen": len(examples)} | tally.facts(network)


class _Signal:
    """A signal and the file that it fills."""

    def __init__(self, name: str, spec: dict[str, Any] | None, network: Network, n: int, work: Path) -> None:
        self.name, self.array = name, _array(name, spec)
        target = self.array.function
        assert target is not None
        self.function = get_method(target)
        self.asks = [parameter for parameter in GIVEN if parameter in parameters(target).names]
        about = (*ABOUT_A_SIGNAL, "_target_")
        self.constants = {k: v for k, v in (spec or {}).items() if k not in about}
        sizes = {"n": n, "d": network.head.in_features, "classes": network.head.out_features}
        shape = tuple(axis if isinstance(axis, int) else sizes[axis] for axis in self.array.axes or ())
        self.values = create_array(work / f"{name}.npy", np.dtype(self.array.dtype), shape)

    def take(self, given: Batch, ids: np.ndarray) -> None:
        """Compute and write the rows of one batch."""
        rows = self.function(**{name: given[name] for name in self.asks}, **self.constants)
        wanted = (len(ids), *self.values.shape[1:])
        if not isinstance(rows, torch.Tensor) or tuple(rows.shape) != wanted:
            found = f"tensor of shape {tuple(rows.shape)}" if isinstance(rows, torch.Tensor) else type(rows).__name__
            what = f"a tensor of shape {wanted}: `shape` says what it gives of one example"
            raise ConfigError(f"method.signals.{self.name}", Shown(found), what)
        self.values[ids] = rows.detach().cpu().numpy()


def _array(name: str, spec: dict[str, Any] | None) -> Array:
    """What the table, or the method that brings it along, says of a signal."""
    if spec is not None:
        return own_signal(name, spec)
    if name not in SIGNALS:
        raise ConfigError("signals.arrays", name, f"some of {', '.join(SIGNALS)}")
    return SIGNALS[name]

"""A finished model and one clean pass over a split: what train, signals and evaluate share."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.callables import codes_of
from dataprune.config import RunConfig
from dataprune.data.codecs import disagreement
from dataprune.data.examples import Examples
from dataprune.data.loaders import FileLoader, KeptLoader, Loader, MemoryLoader
from dataprune.data.order import Order
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build, laid_out
from dataprune.models.tally import FORWARD, Tally
from dataprune.progress import track


def device_of(run: RunConfig) -> torch.device:
    """Where this process computes: the GPU that torchrun gave it (the first one without torchrun), or the CPU."""
    if run.accelerator != "cpu" and torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    if run.accelerator == "gpu":
        raise ConfigError("run.accelerator", "gpu", "cpu or auto: torch finds no GPU here")
    return torch.device("cpu")


def layout(network: Network, device: torch.device) -> torch.memory_format:
    """The memory layout of images and weights: as the network's recipe says; if it does not, channels last on GPUs.

    (On the CPU some convolutions of torch 2.15 crash with it.)
    """
    wanted = device.type != "cpu" if network.channels_last is None else network.channels_last
    return torch.channels_last if wanted else torch.contiguous_format


def load_network(folder: Path) -> Network:
    """The network of a train or adopt result, with its weights, on the CPU."""
    description = json.loads((folder / "network.json").read_text())
    if codes_of(description["model"]) != description["code"]:  # the same weights in another network: another model
        what = "the code that the weights were trained in; it has changed since: start the job again"
        raise ConfigError("model._target_", description["model"]["_target_"], what)
    # the weights follow at once: nothing is downloaded for them
    model = description["model"] | ({"pretrained": False} if description["model"].get("pretrained") else {})
    network = build(model, description["input"], description["n_classes"])
    network.channels_last = description["channels_last"]
    network.load_state_dict(torch.load(folder / "model.pt", map_location="cpu", weights_only=True))
    return network


def clean_loader(
    examples: Examples, ids: np.ndarray, batch_size: int, run: RunConfig, rank: int = 0, world: int = 1
) -> Loader:
    """Batches of `ids` in order, not augmented."""
    order = Order(ids, batch_size, shuffle=False, rank=rank, world=world)
    return loader_of(examples, order, run)


def loader_of(examples: Examples, order: Order, run: RunConfig, **augment: Any) -> Loader:
    """The loader that fits how the data set is stored; `augment` and `weights` as the loaders take them."""
    device = device_of(run)
    if examples.codec.once:
        return KeptLoader(examples, order, device=device, weights=augment.get("weights"))
    if examples.header["storage"] == "memory":
        return MemoryLoader(examples, order, device=device, **augment)
    return FileLoader(examples, order, workers=run.workers, device=device, **augment)


def outputs(
    network: Network, examples: Examples, ids: np.ndarray, batch_size: int, run: RunConfig, label: str, tally: Tally
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Features float32 (b, d) and logits float32 (b, classes) of `ids` in order, in eval mode; `tally` counts them."""
    check_input(network, examples)
    device = device_of(run)
    network = network.to(device, memory_format=layout(network, device)).eval()  # type: ignore[call-overload]
    loader = clean_loader(examples, ids, batch_size, run)
    for batch in track(loader, label, len(loader)):
        with torch.inference_mode():  # not around the yield: it would stay on in the caller
            features = network.features(**laid_out(batch["inputs"], layout(network, device)))
            logits = network.head(features).float()
        tally.add(FORWARD, batch["inputs"], batch["real"])
        yield features.float(), logits
    tally.settle()


def check_input(network: Network, examples: Examples) -> None:
    """Raise a ConfigError if the network was built for another kind of input than the examples are (channels, ...)."""
    there = examples.input
    if network.input is not None and (fact := disagreement(network.input, there)) is not None:
        wanted = network.input.get(fact)
        expected = f"{wanted}, as the network takes: source.{fact}=, target.{fact}="
        raise ConfigError(fact, there.get(fact), expected)

"""A finished model and one clean pass over a split: what train, signals and evaluate share."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune.config import RunConfig
from dataprune.data.examples import Examples
from dataprune.data.loaders import FileLoader, Loader, MemoryLoader
from dataprune.data.order import Order
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build, code_of_network
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
    if (
        code_of_network(description["model"]) != description["code"]
    ):  # the same weights in another network are another model
        what = "the code that the weights were trained in; it has changed since: start the job again"
        raise ConfigError("model._target_", description["model"]["_target_"], what)
    # the weights follow at once: nothing is downloaded for them
    model = description["model"] | ({"pretrained": False} if description["model"].get("pretrained") else {})
    network = build(model, description["in_channels"], description["n_classes"])
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
    if examples.header["storage"] == "memory":
        return MemoryLoader(examples, order, device=device, **augment)
    augment.setdefault("size", examples.header["size"])
    return FileLoader(examples, order, workers=run.workers, device=device, **augment)


def outputs(
    network: Network, examples: Examples, ids: np.ndarray, batch_size: int, run: RunConfig, label: str, tally: Tally
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Features float32 (b, d) and logits float32 (b, classes) of `ids` in order, in eval mode; `tally` counts them."""
    check_channels(network, examples)
    device = device_of(run)
    network = network.to(device, memory_format=layout(network, device)).eval()  # type: ignore[call-overload]
    loader = clean_loader(examples, ids, batch_size, run)
    for batch in track(loader, label, len(loader)):
        with torch.inference_mode():  # not around the yield: it would stay on in the caller
            features = network.features(batch["x"].contiguous(memory_format=layout(network, device)))
            logits = network.head(features).float()
        tally.add(FORWARD, batch["x"], batch["real"])
        yield features.float(), logits
    tally.settle()


def check_channels(network: Network, examples: Examples) -> None:
    """Raise a ConfigError if the network's first layer takes another number of channels than the images have."""
    first = next((p for p in network.parameters() if p.ndim == 4), None)
    wanted, there = first.shape[1] if first is not None else None, examples.header["channels"]
    if wanted not in (None, there):
        raise ConfigError("channels", there, f"{wanted}, as the network takes: source.channels=, target.channels=")

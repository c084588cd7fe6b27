"""A finished model and one clean pass over a split: what train, signals and evaluate share."""

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from dataprune import ranks
from dataprune.callables import codes_of
from dataprune.checkpoints.masks import FILE as MASKS
from dataprune.checkpoints.masks import read_masks
from dataprune.config import RunConfig
from dataprune.data.codecs import disagreement
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.errors import ConfigError
from dataprune.models.networks import Network, build, laid_out
from dataprune.models.tally import FORWARD, Tally
from dataprune.progress import track
from dataprune.selectors.classes import examples_of


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


def snapshot_file(epoch: int) -> str:
    """Return where, in the result of a training, the weights after `epoch` epochs lie."""
    return f"snapshots/{epoch}.pt"


def save_weights(network: Network, path: Path) -> None:
    """Write the network's state_dict beside `path` and rename it: a kill leaves no half one, and what is written again
    has the same name."""
    part = path.with_suffix(".part")
    torch.save({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, part)
    os.replace(part, path)


def load_network(folder: Path, epoch: int | None = None) -> Network:
    """The network of a train or adopt result, with its weights, on the CPU.

    epoch: with the weights that it had after so many epochs, which the training kept as a snapshot; None = at the end.
    """
    description = json.loads((folder / "network.json").read_text())
    if codes_of(description["model"]) != description["code"]:  # the same weights in another network: another model
        what = "the code that the weights were trained in; it has changed since: start the job again"
        raise ConfigError("model._target_", description["model"]["_target_"], what)
    # the weights follow at once: nothing is downloaded for them
    model = description["model"] | ({"pretrained": False} if description["model"].get("pretrained") else {})
    network = build(model, description["input"], description["n_classes"])
    network.channels_last = description["channels_last"]
    weights = folder / ("model.pt" if epoch is None else snapshot_file(epoch))
    network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    if (masks := folder / MASKS).exists():
        network.masks = read_masks(masks)
    return network


def feed_of(run: RunConfig) -> Feed:
    """Where this process's batches come from: a context, in which a stage makes its loaders."""
    return Feed(device_of(run), run.workers)


def outputs(
    network: Network, examples: Examples, ids: np.ndarray, batch_size: int, feed: Feed, label: str, tally: Tally
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Features float32 (b, d) and logits float32 (b, classes) of this process's part of `ids` (all of them, where the
    stage has no other process), in eval mode; added to `tally`, which the caller settles: processes
    may have one batch more than others."""
    check_input(network, examples)
    device = feed.device
    network = network.to(device, memory_format=layout(network, device)).eval()  # type: ignore[call-overload]
    for batch in batches_of(examples, ids, batch_size, feed, label):
        with torch.inference_mode():  # not around the yield: it would stay on in the caller
            features = network.features(**laid_out(batch["inputs"], layout(network, device)))
            logits = network.head(features).float()
        tally.add(FORWARD, batch["inputs"], batch["real"])
        yield features.float(), logits


def batches_of(
    examples: Examples, ids: np.ndarray, batch_size: int, feed: Feed, label: str
) -> Iterator[dict[str, Any]]:
    """Batches of this process's part of `ids`, not augmented, with a bar in process 0."""
    loader = feed.clean(examples, ranks.part(ids, batch_size), batch_size)
    return track(loader, label, loader.order.steps, show=ranks.place()[0] == 0)


def batches_in(ids: np.ndarray, batch_size: int) -> int:
    """How many batches all processes have of `ids` together."""
    return math.ceil(len(ids) / batch_size)


def measured(subset: Path | None, examples: Examples) -> np.ndarray:
    """Return the ids of a split on which a model trained on `subset` (a select result; None = on all) is measured.

    All of them; those that a subset file of this split keeps; those of the kept classes where whole classes went.
    """
    if subset is not None and (listed := subset / f"{examples.split}.npy").exists():
        return np.load(listed)
    if subset is not None and (subset / "classes.npy").exists():
        return examples_of(np.load(subset / "classes.npy"), examples.labels)
    return np.arange(len(examples))


def check_input(network: Network, examples: Examples) -> None:
    """Raise a ConfigError if the network was built for another kind of input than the examples are (channels, ...)."""
    there = examples.input
    if network.input is not None and (fact := disagreement(network.input, there)) is not None:
        wanted = network.input.get(fact)
        expected = f"{wanted}, as the network takes: source.{fact}=, target.{fact}="
        raise ConfigError(fact, there.get(fact), expected)

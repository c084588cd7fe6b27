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
from dataprune.checkpoints.masks import prunable, read_masks
from dataprune.config import RunConfig
from dataprune.data.codecs import disagreement
from dataprune.data.examples import Examples
from dataprune.data.feed import Feed
from dataprune.errors import ConfigError, Shown
from dataprune.models.flops import Inputs, sparse_flops
from dataprune.models.networks import FEATURES, Network, build, laid_out
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


def trained_on(subset: Path | None, n: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the ids of a select result, int64 sorted (None = all n), and their weights, float32 (n,) of mean 1 over
    the ids, or None."""
    if subset is None:
        return np.arange(n), None
    ids, weights = np.load(subset / "ids.npy"), None
    if (subset / "weights.npy").exists():
        kept = np.load(subset / "weights.npy")
        weights = np.zeros(n, np.float32)
        weights[ids] = kept / kept.mean()
    return ids, weights


def measured(subset: Path | None, examples: Examples) -> np.ndarray:
    """Return the ids of a split on which a model trained on `subset` (a select result; None = on all) is measured.

    All of them; those that a subset file of this split keeps; those of the kept classes where whole classes went.
    """
    if subset is not None and (listed := subset / f"{examples.split}.npy").exists():
        return np.load(listed)
    if subset is not None and (subset / "classes.npy").exists():
        return examples_of(np.load(subset / "classes.npy"), examples.labels)
    return np.arange(len(examples))


def of_features(
    network: Network, features: Path, ids: np.ndarray, batch_size: int, device: torch.device, tally: Tally
) -> Iterator[torch.Tensor]:
    """Logits float32 (b, classes) of `ids`, from features that a result of stage signals holds; added to `tally`."""
    head, vectors = network.head.to(device), np.load(features / "features.npy", mmap_mode="r")
    mine = ranks.part(ids, batch_size)
    for start in range(0, len(mine), batch_size):
        rows = torch.from_numpy(vectors[mine[start : start + batch_size]]).to(device)
        tally.add(FORWARD, {FEATURES: rows})
        with torch.inference_mode():
            yield head(rows).float()


def sizes(network: Network, example: Inputs | None) -> dict[str, float | None]:
    """Return density, flops_dense and flops_sparse of a network.

    density: the share of the backbone's prunable weights that is not zero, to four digits. FLOPs are those of one
    example's forward pass, head included; flops_sparse: each layer's times its density. None = they cannot be counted.
    example: its inputs without the batch; None = not known.
    """
    left = {name: w.detach().count_nonzero().item() / max(1, w.numel()) for name, w in prunable(network).items()}
    numbers = {name: w.numel() for name, w in prunable(network).items() if not name.startswith("head.")}
    zeros = sum(round((1 - left[name]) * n) for name, n in numbers.items())
    density = round(1 - zeros / max(1, sum(numbers.values())), 4)
    layers = {name.removesuffix(".weight"): of for name, of in left.items()}
    dense, sparse = (None, None) if example is None else sparse_flops(network, example, layers)
    return {"density": density, "flops_dense": dense, "flops_sparse": sparse}


def blank_of(examples: Examples) -> dict[str, torch.Tensor] | None:
    """Return the inputs of one made-up example, without the batch; None = a user's codec makes up none."""
    try:
        return {name: x[0] for name, x in examples.codec.blank(examples.input, 1).items()}
    except NotImplementedError:
        return None


def check_outputs(outputs: int, classes: int, exactly: bool) -> None:
    """Raise a ConfigError where a head that is kept has too few outputs for the classes of a target, or (exactly: it is
    measured as it comes) another number."""
    if exactly and outputs != classes:
        found = Shown(f"a head of {outputs} outputs")
        raise ConfigError("transfer.head", found, f"{classes}, the classes of the target, as nothing is learned")
    if outputs < classes:
        raise ConfigError("transfer.head", "reuse", f"fresh: the old head has fewer than {classes} outputs")


def check_input(network: Network, examples: Examples) -> None:
    """Raise a ConfigError if the network was built for another kind of input than the examples are (channels, ...)."""
    there = examples.input
    if network.input is not None and (fact := disagreement(network.input, there)) is not None:
        wanted = network.input.get(fact)
        expected = f"{wanted}, as the network takes: source.{fact}=, target.{fact}="
        raise ConfigError(fact, there.get(fact), expected)

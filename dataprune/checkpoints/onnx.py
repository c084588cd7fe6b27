"""A backbone out of a foreign checkpoint, or out of a result of ours, as an ONNX file that is compared with it."""

import importlib.util
from pathlib import Path
from typing import Any

import torch

from dataprune.callables import make
from dataprune.checkpoints.conversion import Converted
from dataprune.checkpoints.loading import placed
from dataprune.errors import ConfigError, Shown
from dataprune.models.networks import Network, build
from dataprune.passes import load_network
from dataprune.runtimes.exporting import write_onnx
from dataprune.runtimes.features import COMPARED, Features
from dataprune.runtimes.runtime import spec_of

TIMM = "dataprune.models.networks.timm"
COMPARING = ("onnxruntime", "openvino")  # what runs the file here, the first that is installed
STEMS, HEADS = ("conv1.weight", "conv_stem.weight"), ("fc.weight", "classifier.weight", "head.weight")


def of_result(folder: Path) -> Network:
    """Return the network of a train or adopt result. Raises ConfigError for another folder."""
    if not (folder / "network.json").is_file():
        raise ConfigError("file", str(folder), "a checkpoint, or a result of stage train or adopt (network.json)")
    return load_network(folder)


def of_checkpoint(found: Converted, name: str | None, constants: dict[str, Any]) -> Network:
    """Return timm's network with a foreign checkpoint's backbone; its head is the checkpoint's where it has one.

    name: of timm's network; None = what the tensors' names tell. constants: of that network, beside what the checkpoint
    needs. Raises ConfigError as `placed`, and where the names do not tell the network.
    """
    name = name or {"mobilenetv1": "mobilenetv1_100"}.get(str(found.arch), found.arch)
    if name is None:
        raise ConfigError("model", None, "the name of timm's network: --model")
    tensors = found.ledger.tensors
    stem = next((tensors[name] for name in STEMS if name in tensors), None)
    head = next((tensors[name] for name in HEADS if name in tensors), None)
    input = {"kind": "image", "channels": 3 if stem is None else stem.shape[1]}
    spec = {"_target_": TIMM, "name": name} | found.needs | constants
    network = build(spec, input, 1 if head is None else len(head))
    state, _ = placed(found, network)
    network.load_state_dict(network.state_dict() | state)
    return network


def export(network: Network, out: Path, batch: int, size: int | None = None) -> dict[str, Any]:
    """Write a network's backbone as ONNX for `batch` images of `size` pixels a side; return what to tell of it.

    size: None = as the images that it was built for, or 224. `zeros`, `weights`: of the backbone's convolutions and
    linear layers. `compared`: what the engine that is installed makes of 64 random images (see `Features.facts`), None
    where there is none. The file is removed again where the lowest cosine with torch's features is below 0.9999: a
    ConfigError.
    """
    backbone = network.backbone.eval()
    built_for: dict[str, Any] = {"channels": 3, "height": 224, "width": 224} | dict(network.input or {})
    image = built_for["channels"], size or built_for["height"], size or built_for["width"]
    write_onnx(backbone, out, (batch, *image))
    weights = [p for p in backbone.parameters() if p.ndim > 1]
    zeros, total = sum(int((p == 0).sum()) for p in weights), sum(map(torch.numel, weights))
    engine = next((name for name in COMPARING if importlib.util.find_spec(name) is not None), None)
    said: dict[str, Any] = {
        "out": str(out),
        "images": [batch, *image],
        "zeros": zeros,
        "weights": total,
        "compared": None,
    }
    if (spec := spec_of(engine or "torch")) is None:
        return said
    try:
        features = Features(make(spec, "engine", path=out, threads=torch.get_num_threads()), backbone, batch)
        features(torch.randn(COMPARED, *image, generator=torch.Generator().manual_seed(0)))
    except ConfigError as error:
        out.unlink()
        raise ConfigError("file", Shown(f"{error.value} on {out.name}"), error.expected) from None
    return said | {"compared": features.facts()}


def lines(said: dict[str, Any]) -> list[str]:
    """Return what `export` tells, for people."""
    share = 1 - said["zeros"] / max(1, said["weights"])
    found = [f"written: {said['out']}, images {said['images']}, density {share:.4f} of {said['weights']} weights"]
    if (facts := said["compared"]) is None:
        return [*found, "not compared with torch: no engine here (pip install 'dataprune[onnxruntime]')"]
    alike = f"lowest cosine {facts['cosine']:.6f}, largest difference {facts['largest_difference']:.2g}"
    return [*found, f"compared with torch on {facts['compared']} random images, {facts['engine']}: {alike}"]

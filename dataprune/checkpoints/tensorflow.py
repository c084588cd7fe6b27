"""RigL's ResNet-50 as TensorFlow's variables (Evci et al. 2020), dumped to a file .npz."""

import re

import torch

from dataprune.checkpoints.ledger import Ledger
from dataprune.checkpoints.reading import Foreign

NORM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
ROOT = "resnet_model/"


def tensorflow(file: Foreign, into: Ledger) -> None:
    """RigL's ResNet-50 in TensorFlow: variables `resnet_model/LAYER/{weights,mask,threshold}`.

    Convolutions are (height, width, in, out) and the classifier (in, out). Batch norms are numbered in the order in
    which the network made them: stem, then per block that of the projection, and those of its three convolutions.
    """
    for k, (layer, ours) in enumerate(_layers(file)):
        here = f"{ROOT}{layer}/"
        _turned(file, into, here, ours)
        norm = re.sub(r"conv(\d)$", r"bn\1", ours.replace("downsample.0", "downsample.1"))
        _norm(file, into, f"{ROOT}batch_normalization{f'_{k}' if k else ''}/", norm)
    _turned(file, into, f"{ROOT}final_dense/", "fc")
    if f"{ROOT}final_dense/biases" in file.tensors:
        into.put("fc.bias", file.tensors[f"{ROOT}final_dense/biases"], f"{ROOT}final_dense/biases")
    for name in file.tensors:
        if name.endswith("/threshold"):
            into.dropped[name] = "threshold, which is in the mask"
        elif name == "global_step" or name.endswith("/Momentum"):
            into.dropped[name] = "state of the optimiser"


def _norm(file: Foreign, into: Ledger, here: str, ours: str) -> None:
    """File a batch norm."""
    for name, called in NORM.items():
        if (tensor := file.tensors.get(f"{here}{name}")) is not None:
            into.put(f"{ours}.{called}", tensor, f"{here}{name}")
    if f"{ours}.weight" in into.tensors:
        into.make(f"{ours}.num_batches_tracked", torch.tensor(0), "0: TensorFlow does not count them")


def _turned(file: Foreign, into: Ledger, here: str, ours: str) -> None:
    """File the weight and the mask of a layer with the axes as torch has them."""
    if (weight := file.tensors.get(f"{here}weights")) is not None:
        into.put(f"{ours}.weight", _turn(weight), f"{here}weights")
    if (mask := file.tensors.get(f"{here}mask")) is not None:
        into.mask(f"{ours}.weight", _turn(mask), f"{here}mask")


def _turn(tensor: torch.Tensor) -> torch.Tensor:
    axes = (3, 2, 0, 1) if tensor.ndim == 4 else tuple(reversed(range(tensor.ndim)))
    return tensor.permute(*axes).contiguous()


def _layers(file: Foreign) -> list[tuple[str, str]]:
    """(their name, ours) of the convolutions, in the order in which the network makes them."""
    layers = [("initial_conv", "conv1")]
    for group in range(1, 5):
        first = f"block_group_projection_block_group{group}"
        layers.append((f"bottleneck_projection_{first}", f"layer{group}.0.downsample.0"))
        layers += [(f"bottleneck_{i}_{first}", f"layer{group}.0.conv{i}") for i in (1, 2, 3)]
        block = 1
        while any(name.startswith(f"{ROOT}bottleneck_1_block_group{group}_{block}_1/") for name in file.tensors):
            layers += [
                (f"bottleneck_{i}_block_group{group}_{block}_1", f"layer{group}.{block}.conv{i}") for i in (1, 2, 3)
            ]
            block += 1
    return layers

"""A foreign file becomes weights and masks under timm's names, and says of each tensor where it went.

A format is told by the names of the tensors; the first that fits is taken. How weights are stored and how layers are
named are told apart: a MobileNet may come from AC/DC or from STR.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from dataprune.checkpoints import names, storage
from dataprune.checkpoints.ledger import Ledger
from dataprune.checkpoints.reading import Foreign, read
from dataprune.checkpoints.tensorflow import ROOT, tensorflow
from dataprune.errors import ConfigError, Shown, one_of

HEADS = ("fc", "classifier")


@dataclass(frozen=True)
class Format:
    """A layout of files: what tells it by the names of its tensors, how it stores weights and how it names layers."""

    name: str
    fits: Callable[[list[str]], bool]
    stored: Callable[[Foreign, Ledger], None]
    named: Callable[[Iterable[str]], dict[str, str | None]]


@dataclass(frozen=True)
class Converted:
    """What `convert` gives: weights, effective (0 where a mask says so), and the masks that the file stores."""

    file: Foreign
    format: str
    ledger: Ledger

    @property
    def is_rigl(self) -> bool:
        """Whether it was trained in TensorFlow: other max-pooling, bicubic images."""
        said = str(self.says.get("arch")).endswith("_rigl") or self._needed.get("maxpool") == "tf_same"
        return self.format.startswith("rigl") or said

    @property
    def arch(self) -> str | None:
        """The kind of network, as its names tell it: resnet50 (bottlenecks) | resnet18 | mobilenetv1 | None."""
        kinds = {"blocks.0.0.conv_dw.weight": "mobilenetv1", "layer1.0.conv3.weight": "resnet50"}
        kinds["layer1.0.conv2.weight"] = "resnet18"
        return next((kind for name, kind in kinds.items() if name in self.ledger.tensors), None)

    @property
    def needs(self) -> dict[str, str]:
        """What a timm network of these weights must be built with, beside its name."""
        needs = {"maxpool": "tf_same"} if self.is_rigl else {}
        named = self.ledger.sources.get("conv_stem.weight", "conv_stem.weight")
        # timm's own has ReLU6
        foreign = self.arch == "mobilenetv1" and (named != "conv_stem.weight" or "act_layer" in self._needed)
        return needs | ({"act_layer": "relu"} if foreign else {})

    @property
    def _needed(self) -> dict[str, Any]:
        """What a file that this program wrote says that its network needs."""
        said = self.file.beside.get("needs")
        return said if isinstance(said, dict) else {}

    @property
    def says(self) -> dict[str, Any]:
        """What the file says of itself in words and numbers, beside the tensors."""
        config = self.file.beside.get("model_config")
        found = self.file.beside | (config if isinstance(config, dict) else {})
        return {str(k): v for k, v in found.items() if isinstance(v, str | int | float)}


def convert(
    path: Path, key: str, *, format: str | None = None, weights: str = "ticket", trust: bool = False
) -> Converted:
    """Return the weights and masks of a foreign file under timm's names, where the format has names of its own.

    key: of errors. format: the only one that will do; None = as the names of the tensors tell. weights: of a lottery
    ticket, "ticket" = those before the training, "trained" = those after it. trust: see `reading.read`.
    Raises ConfigError for what cannot be read, is there twice, is not finite, or is no mask.
    """
    file, ledger = read(path, key, trust), Ledger(key)
    found = _recognised(file, one_of(f"{key}.weights", weights, "ticket", "trained"))
    if format is not None and format != found.name:
        raise ConfigError(f"{key}.format", format, f"{found.name}, which is what {path.name} is")
    found.stored(file, ledger)
    if not ledger.tensors:
        raise ConfigError(key, str(path), f"weights; of the format {found.name} there are none in it")
    ours = found.named([*ledger.tensors, *ledger.masks])
    ledger.rename({name: new for name, new in ours.items() if new is not None})
    ledger.unknown += sorted({name for name, new in ours.items() if new is None})
    if found.stored is tensorflow:
        masks = {name for name in file.tensors if name.endswith("/mask")}
        ledger.unknown += sorted(file.tensors.keys() - set(ledger.sources.values()) - ledger.dropped.keys() - masks)
    for head in HEADS:
        _flatten(ledger, head)
    ledger.multiply()
    return Converted(file, found.name, ledger)


def _recognised(file: Foreign, weights: str) -> Format:
    """The first format that the names fit; the order matters: an STR file may have been wrapped, not the reverse."""
    usual, wrapped = names.usual, storage.wrapped
    known = (
        Format("rigl_tf", _any(lambda n: n.startswith(ROOT)), tensorflow, names.as_they_are),
        Format("rigl_torch", _any(lambda n: n.startswith("initial_conv.conv.")), wrapped, names.rigl),
        Format("sparseml", _any(lambda n: n.startswith("input.conv.")), wrapped, names.sparseml),
        Format("torch_prune", _any(_is_pruned), partial(storage.pruned, weights=weights), usual),
        Format("str", _any(lambda n: n.endswith(storage.THRESHOLD)), storage.thresholded, usual),
        Format("wrapped", _any(lambda n: storage.WRAPPER in n), wrapped, usual),
        Format("amc", lambda n: {"conv1.0.weight", "features.0.0.weight"} <= {*n}, wrapped, names.amc),
    )
    flat = isinstance(vector := file.beside.get("mask"), torch.Tensor) and vector.ndim == 1
    otherwise = Format("mfac", any, storage.flat, usual) if flat else Format("plain", any, storage.plain, usual)
    return next((each for each in known if each.fits(list(file.tensors))), otherwise)


def _any(sign: Callable[[str], bool]) -> Callable[[list[str]], bool]:
    return lambda names: any(map(sign, names))


def _is_pruned(name: str) -> bool:
    return name.endswith(storage.ORIGINAL)


def _flatten(ledger: Ledger, head: str) -> None:
    """A classifier that is a 1x1 convolution without a bias becomes a linear layer with one."""
    weight, name, bias = ledger.tensors.get(f"{head}.weight"), f"{head}.weight", f"{head}.bias"
    if weight is None or weight.ndim not in (2, 4):
        return
    if weight.ndim == 4:
        if weight.shape[2:] != (1, 1):
            raise ConfigError(ledger.key, Shown(f"{name} of shape {list(weight.shape)}"), "[classes, features, 1, 1]")
        ledger.make(name, weight.flatten(1), "a 1x1 convolution")
        if (mask := ledger.masks.get(name)) is not None and mask.ndim == 4:
            ledger.masks[name] = mask.flatten(1)
    if bias not in ledger.tensors:
        ledger.make(bias, torch.zeros(len(weight), dtype=weight.dtype), "zeros: there was none")

"""Networks: a backbone that turns inputs into feature vectors, and a linear head.

A backbone is any module with `num_features` that maps the inputs of a batch to (b, num_features). Where they are one
column (images: (b, c, h, w)) it gets it as its only argument, else by name. Any function of facts of the input
(`in_channels` of images) and of constants that returns one can be a config's `model._target_`.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from dataprune.callables import codes_of, instance, parameters
from dataprune.dataset import FACTS
from dataprune.errors import ConfigError

FEATURES = "features"  # the input that the head takes as it is: vectors that the backbone has computed before


class Network(nn.Module):
    """Backbone and head. `forward` gives logits (b, classes), `features` the vectors that the head sees (b, d).

    input: what the codec said of the data that it was built for; None = not known.
    """

    def __init__(self, backbone: nn.Module, n_classes: int, input: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.input = input
        self.backbone = backbone
        self.head = nn.Linear(backbone.num_features, n_classes)  # type: ignore[arg-type]
        self.frozen = self.checkpointing = False
        self.frozen_bn = True
        self.masks: dict[str, torch.Tensor] | None = None  # of an adopted sparse model: bool, True = kept; no state
        self.channels_last: bool | None = None  # memory layout that its recipe asks for; None = on GPUs only

    def features(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Float (b, d), from the inputs of a batch: image=(b, c, h, w)."""
        if len(inputs) == 1:
            return self.backbone(*inputs.values())
        return self.backbone(**inputs)

    def forward(self, **inputs: torch.Tensor) -> torch.Tensor:
        """Float logits (b, classes), from the inputs of a batch, or from features=(b, d) computed before."""
        return self.head(inputs[FEATURES] if FEATURES in inputs else self.features(**inputs))

    @property
    def undecayed(self) -> set[str]:
        """Names of the parameters that weight decay skips where a recipe says so: those of one dimension, and what the
        backbone itself names (`no_weight_decay` of timm's models: tables of positions, logit scales)."""
        says = getattr(self.backbone, "no_weight_decay", set)
        own = {name for name, p in self.named_parameters() if p.ndim <= 1}
        return own | {f"backbone.{name}" for name in says()}

    def freeze_backbone(self, bn: bool = True) -> None:
        """Only the head learns; the backbone stays in eval mode, its batch norm too unless `bn` is False: then its
        statistics follow the batches (as in data-transfer), though its weights stand still."""
        self.frozen, self.frozen_bn = True, bn
        self.backbone.requires_grad_(False)
        self.train(self.training)

    def checkpoint(self, on: bool = True) -> None:
        """Compute activations again in the backward pass instead of keeping them, or keep them again.

        Raises ConfigError for a backbone that cannot: only timm's can (`set_grad_checkpointing`).
        """
        try:
            self.backbone.set_grad_checkpointing(on)  # type: ignore[operator]
        except (AttributeError, AssertionError):
            name = type(self.backbone).__name__
            raise ConfigError("checkpointing", on, f"false: {name} cannot do that, timm's networks can") from None
        self.checkpointing = on

    def train(self, mode: bool = True) -> "Network":
        """As usual, but a frozen backbone stays in eval mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
            for module in self.backbone.modules() if mode and not self.frozen_bn else ():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.train()
        return self


def laid_out(inputs: Mapping[str, torch.Tensor], layout: torch.memory_format) -> dict[str, torch.Tensor]:
    """The inputs of a batch with those that have four axes (images) in this memory layout."""
    return {name: x.contiguous(memory_format=layout) if x.ndim == 4 else x for name, x in inputs.items()}


def build(model: dict[str, Any], input: Mapping[str, Any], n_classes: int) -> Network:
    """The network of a `model` config with fresh weights (drawn from torch's global generator).

    input: what a codec says of the data; the model's function gets those facts that it has parameters for.
    Raises ConfigError if it wants one that these data have not, or gives a module of unknown width.
    """
    takes = parameters(model["_target_"])
    facts = {parameter: input[fact] for parameter, fact in FACTS.items() if fact in input}
    if missing := sorted(takes.required - model.keys() - facts.keys()):
        expected = f"a network of {input['kind']}: this one wants {', '.join(missing)}, which they do not tell"
        raise ConfigError("model._target_", model["_target_"], expected)
    given = {name: facts[name] for name in takes.names if name in facts and name not in model}
    backbone = instance(model, **given, _convert_="all")  # lists as lists: timm counts on them
    if not hasattr(backbone, "num_features"):
        raise ConfigError("model._target_", model["_target_"], "a function whose module has the attribute num_features")
    return Network(backbone, n_classes, input)


def describe(model: dict[str, Any], input: Mapping[str, Any], n_classes: int) -> dict[str, Any]:
    """What `network.json` says: how to build the network, for which input, and (a user's own) of which code."""
    return {
        "model": model,
        "input": dict(input),
        "n_classes": n_classes,
        "code": codes_of(model),
        "channels_last": None,
    }


def of_columns(head: nn.Linear, columns: np.ndarray) -> nn.Linear:
    """Return a head with these outputs of another one, in their order; columns: int64 (outputs,)."""
    kept = nn.Linear(head.in_features, len(columns), bias=head.bias is not None)
    for name, values in head.named_parameters():
        kept.get_parameter(name).data.copy_(values.data[torch.from_numpy(columns)])
    return kept


class Convolutional(nn.Module):
    """See `cnn`."""

    def __init__(self, in_channels: int, widths: list[int], norm: str) -> None:
        super().__init__()
        stages = [self._stage(a, b, norm) for a, b in zip([in_channels, *widths], widths, strict=False)]
        self.stages = nn.ModuleList(stages)
        self.num_features = widths[-1]

    @staticmethod
    def _stage(before: int, width: int, norm: str) -> nn.Module:
        norms: dict[str, Callable[[int], nn.Module]] = {
            "batch": nn.BatchNorm2d,
            "group": lambda c: nn.GroupNorm(min(8, c), c),
        }
        norms["none"] = lambda c: nn.Identity()
        if norm not in norms:
            raise ConfigError("model.norm", norm, "one of " + ", ".join(norms))
        return nn.Sequential(nn.Conv2d(before, width, 3, padding=1, bias=norm == "none"), norms[norm](width), nn.ReLU())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (b, num_features)."""
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i < len(self.stages) - 1:
                x = F.max_pool2d(x, 2)
        return x.mean((2, 3))


def cnn(in_channels: int, width: int = 32, depth: int = 3, norm: str = "batch") -> nn.Module:
    """A small plain network: `depth` 3x3 convolutions, width doubling, max-pool between, mean at the end.

    Images must be at least 2 ** (depth - 1) pixels a side. norm: batch | group | none.
    """
    return Convolutional(in_channels, [width * 2**i for i in range(depth)], norm)


class _Block(nn.Module):
    """Two 3x3 convolutions around a shortcut (He et al. 2016, basic block)."""

    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or before != width:
            self.shortcut = nn.Sequential(nn.Conv2d(before, width, 1, stride, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class SmallImageResNet(nn.Module):
    """See `resnet`."""

    def __init__(self, in_channels: int, width: int, blocks: list[int]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        layers: list[nn.Module] = []
        before = width
        for stage, count in enumerate(blocks):
            for i in range(count):
                layers.append(_Block(before, width * 2**stage, 2 if stage and i == 0 else 1))
                before = width * 2**stage
        self.layers = nn.Sequential(*layers)
        self.num_features = before

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float (b, num_features)."""
        return self.layers(F.relu(self.bn1(self.conv1(x)))).mean((2, 3))


def resnet(in_channels: int, width: int = 64, blocks: tuple[int, ...] = (2, 2, 2, 2)) -> nn.Module:
    """The ResNet of the CIFAR papers: 3x3 stem, no max-pool, stages width-2w-4w-8w. Default: ResNet-18, 11.2 M."""
    return SmallImageResNet(in_channels, width, list(blocks))


def timm(in_channels: int, name: str, pretrained: bool = False, maxpool: str = "own", **constants: Any) -> nn.Module:
    """Any timm model as a backbone (pooled features). `pretrained` downloads weights.

    maxpool: own | tf_same, which is TensorFlow's of ResNets: padded at the right and at the bottom alone.
    """
    from timm import create_model, is_model  # seconds of imports that only these networks need

    if not is_model(name):
        raise ConfigError("model.name", name, "a timm model (timm.list_models() lists them)")
    network = create_model(name, pretrained=pretrained, in_chans=in_channels, num_classes=0, **constants)
    if maxpool == "tf_same" and isinstance(getattr(network, "maxpool", None), nn.MaxPool2d):
        network.maxpool = nn.MaxPool2d(3, 2, padding=0, ceil_mode=True)
    elif maxpool != "own":
        raise ConfigError("model.maxpool", maxpool, "own | tf_same, the latter of a ResNet with max-pooling")
    # where a layer follows the pooling (MobileNetV3, VGG), timm's num_features is the width before it
    network.num_features = getattr(network, "head_hidden_size", network.num_features)
    return network


def torchvision(in_channels: int, name: str, **constants: Any) -> nn.Module:
    """A torchvision classification model (random weights) as a backbone: its last linear layer is taken off."""
    from torchvision import models

    if name not in models.list_models(models):
        expected = "a torchvision classification model (torchvision.models.list_models(torchvision.models) lists them)"
        raise ConfigError("model.name", name, expected)
    if in_channels != 3:
        raise ConfigError("source.channels", in_channels, "3: torchvision's models take RGB images")
    network = models.get_model(name, weights=None, **constants)
    linear = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)]
    if not linear:
        raise ConfigError("model.name", name, "a model that ends in a linear layer")
    where, layer = linear[-1]
    parent, _, last = where.rpartition(".")
    setattr(network.get_submodule(parent), last, nn.Identity())
    network.num_features = layer.in_features
    return network


def resnet18_widths(in_channels: int, widths: tuple[int, ...] = (16, 64, 256, 1024)) -> nn.Module:
    """ResNet-18 for photographs (7x7 stem, max-pool) with stages of other widths than 64 to 512.

    The default is that of data-transfer's ready models (example level); their checkpoints have torchvision's names.
    """
    from torchvision.models.resnet import BasicBlock, ResNet

    if in_channels != 3 or len(widths) != 4:
        raise ConfigError("model.widths", list(widths), "four widths, and source.channels=3")
    network = ResNet(BasicBlock, [2, 2, 2, 2])
    network.conv1 = nn.Conv2d(3, widths[0], 7, 2, 3, bias=False)
    network.bn1 = nn.BatchNorm2d(widths[0])
    network.inplanes = widths[0]
    for i, width in enumerate(widths):
        setattr(network, f"layer{i + 1}", network._make_layer(BasicBlock, width, 2, stride=2 if i else 1))
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    network.fc = nn.Identity()
    network.num_features = widths[-1]
    return network

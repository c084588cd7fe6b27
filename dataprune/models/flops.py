"""Floating-point operations of a network, counted on tensors without values: nothing is computed, nothing disturbed.

A multiplication and an addition count as two. Matrix products and convolutions count, element-wise work does not, as in
torch's counter, whose formulas these are. None = unknown: what cannot be counted is never 0.
"""

import copy
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch._dynamo  # the counter wants it and would import it, a second, at its first use: in the middle of a stage
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count, flop_registry

log = logging.getLogger(__name__)
BATCH = 2  # batch norm in train mode wants more than one value a channel
HEAVY = {"attention", "bilinear", "cdist", "conv", "conv1d", "conv2d", "conv3d", "convolution", "dot", "einsum", "fft"}
HEAVY |= {"addbmm", "addmv", "addr", "ger", "gru", "linear", "lstm", "matmul", "mm", "mv", "rnn", "transformer"}
HEAVY |= {"trilinear", "vdot"}  # words in names of operations that multiply more than element by element

Inputs = Mapping[str, torch.Tensor]  # what a network is called with, by name
Attack = Callable[[Callable[..., torch.Tensor], Inputs, torch.Tensor], Inputs]  # (network, inputs, y) -> inputs


def forward_flops(network: nn.Module, example: Inputs) -> float | None:
    """Return the FLOPs of one example's forward pass in eval mode, or None where they cannot be counted.

    example: its inputs without the batch, of which shapes and dtypes count: image (c, h, w), features (d,). The network
    is left as it is.
    """

    def clean(network: nn.Module, inputs: Inputs) -> None:
        with torch.no_grad():
            network.eval()(**inputs)

    return _counted(network, example, clean)


def sparse_flops(
    network: nn.Module, example: Inputs, left: Mapping[str, float]
) -> tuple[float, float] | tuple[None, None]:
    """Return the FLOPs of one example's forward pass in eval mode, and those of a program that skips zeros: each
    layer's times its density. (None, None) where they cannot be counted.

    left: the density of layers by their names, from 0 to 1; others count whole. example: as for `forward_flops`.
    """
    zeros: list[float] = []

    def note(layer: nn.Module, density: float, output: torch.Tensor) -> None:
        # each output of a convolution is a kernel's worth of products, of a linear layer a row's
        zeros.append(2.0 * output.numel() * layer.weight[0].numel() * (1 - density))  # type: ignore[index]

    def clean(network: nn.Module, inputs: Inputs) -> None:  # of a copy, which goes with its hooks
        for name, layer in network.named_modules():
            if name in left:
                layer.register_forward_hook(lambda layer, _, output, name=name: note(layer, left[name], output))
        with torch.no_grad():
            network.eval()(**inputs)

    whole = _counted(network, example, clean)
    return (None, None) if whole is None else (whole, whole - sum(zeros) / BATCH)


def step_flops(network: nn.Module, example: Inputs, attack: Attack | None = None) -> float | None:
    """Return one example's share of the FLOPs of a training step, or None where they cannot be counted.

    The step is the real one: in train mode, backward through what learns and no further, after
    attack(network, inputs, y) if there is one. example: as for `forward_flops`. The network is left as it is.
    """

    def step(network: nn.Module, inputs: Inputs) -> None:
        network.train()
        y = torch.zeros(BATCH, dtype=torch.int64, device="meta")
        if attack is not None:
            inputs = attack(lambda **moved: network(**_no_leaves(moved)), inputs, y)
        F.cross_entropy(network(**inputs), y).backward()

    return _counted(network, example, step)


def _no_leaves(inputs: Inputs) -> Inputs:
    """The same tensors as results of an operation: torch's counter wants no leaf as its input."""
    return {name: value.view_as(value) for name, value in inputs.items()}


def _counted(network: nn.Module, example: Inputs, run: Callable[[nn.Module, Inputs], None]) -> float | None:
    """FLOPs of run(network, inputs) by example, on a copy without values."""
    watch = _Uncounted()
    try:
        # the caller may be in the middle of a clean pass; a network may draw from torch's global generator
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            network = _without_values(network)
            inputs = {n: torch.empty(BATCH, *x.shape, dtype=x.dtype, device="meta") for n, x in example.items()}
            counter = FlopCounterMode(display=False, custom_mapping={CONVOLUTION_BACKWARD: _convolution_backward})
            with watch, counter:
                run(network, inputs)
    except Exception as error:  # whatever a user's network does that needs values; all mean that we cannot tell
        log.info("FLOPs of %s are unknown: %s", type(network).__name__, str(error).partition("\n")[0])
        return None
    total = counter.get_total_flops()
    if watch.seen or not total:
        log.info("FLOPs of %s are unknown: %s", type(network).__name__, ", ".join(sorted(watch.seen)) or "none found")
        return None
    return total / BATCH


def _without_values(network: nn.Module) -> nn.Module:
    """A copy whose parameters and buffers have shapes alone: no memory is moved, whatever device they are on."""
    known: dict[int, Any] = {id(b): torch.empty_like(b, device="meta") for b in network.buffers()}
    for p in network.parameters():
        known[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=p.requires_grad)
    return copy.deepcopy(network, known)


class _Uncounted(TorchDispatchMode):
    """Notes the operations that must have cost something and have no formula: fused attention, recurrent cells, an
    extension's own kernels. Without it they would count as nothing beside the layers that are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func._overloadpacket not in flop_registry:
            name = func._schema.name  # "aten::_thnn_fused_lstm_cell"
            space, _, operation = name.partition("::")
            if space not in ("aten", "prim", "prims") or HEAVY & set(operation.split("_")):
                self.seen.add(name)
        return func(*args, **(kwargs or {}))


def _convolution_backward(
    grad_shape: Any, x_shape: Any, weight_shape: Any, *rest: Any, out_shape: Any = None, **words: Any
) -> int:
    """Of each gradient as many as of the forward pass.

    torch's own formula counts the gradient of the weights of a grouped convolution once a group too often: 32 times for
    a depthwise one of 32 channels.
    """
    transposed, wanted = rest[4], rest[7]  # after bias sizes, stride, padding, dilation; then padding, groups
    return sum(wanted[:2]) * conv_flop_count(x_shape, weight_shape, grad_shape, transposed=transposed)


CONVOLUTION_BACKWARD = torch.ops.aten.convolution_backward

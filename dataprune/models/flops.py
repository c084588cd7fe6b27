"""Floating-point operations of a network, counted on tensors without values: nothing is computed, nothing disturbed.

A multiplication and an addition count as two. Matrix products and convolutions count, element-wise work does not, as in
torch's counter, whose formulas these are. None = unknown: what cannot be counted is never 0.
"""

import copy
import logging
from collections.abc import Callable, Sequence
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

Attack = Callable[[Callable[[torch.Tensor], torch.Tensor], torch.Tensor, torch.Tensor], torch.Tensor]


def forward_flops(network: nn.Module, x_shape: Sequence[int]) -> float | None:
    """Return the FLOPs of one example's forward pass in eval mode, or None where they cannot be counted.

    x_shape: of one example, without the batch: (c, h, w) of an image, (d,) of features. The network is left as it is.
    """

    def clean(network: nn.Module, x: torch.Tensor) -> None:
        with torch.no_grad():
            network.eval()(x)

    return _counted(network, x_shape, clean)


def step_flops(network: nn.Module, x_shape: Sequence[int], attack: Attack | None = None) -> float | None:
    """Return one example's share of the FLOPs of a training step, or None where they cannot be counted.

    The step is the real one: in train mode, backward through what learns and no further, after attack(network, x, y)
    if there is one. x_shape: as for `forward_flops`. The network is left as it is.
    """

    def step(network: nn.Module, x: torch.Tensor) -> None:
        network.train()
        y = torch.zeros(len(x), dtype=torch.int64, device=x.device)
        if attack is not None:
            x = attack(lambda moved: network(moved.view_as(moved)), x, y)  # torch's counter wants no leaf as its input
        F.cross_entropy(network(x), y).backward()

    return _counted(network, x_shape, step)


def _counted(
    network: nn.Module, x_shape: Sequence[int], run: Callable[[nn.Module, torch.Tensor], None]
) -> float | None:
    """FLOPs of run(network, x) by example, on a copy without values."""
    watch = _Uncounted()
    try:
        # the caller may be in the middle of a clean pass; a network may draw from torch's global generator
        with torch.inference_mode(False), torch.enable_grad(), torch.random.fork_rng(devices=[]):
            network, x = _without_values(network), torch.empty(BATCH, *x_shape, device="meta")
            counter = FlopCounterMode(display=False, custom_mapping={CONVOLUTION_BACKWARD: _convolution_backward})
            with watch, counter:
                run(network, x)
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

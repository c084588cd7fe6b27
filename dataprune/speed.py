"""How fast this machine is: seconds an image of a network, seconds of a selector, from small timed samples.

A network of ours is timed on empty images, a few steps of a growing batch and a limit of seconds. A user's own is built
without values, its FLOPs are counted, and the rate at which a network of ours computes them is what it is taken to run
at. A selector of ours is timed on made-up examples; a user's own function is not called.
"""

import json
import math
import time
import warnings
from dataclasses import asdict, dataclass, replace
from functools import cache
from typing import Any

import numpy as np

from dataprune.arrays import Axes
from dataprune.checks.rehearsal import OURS, made_up_arrays
from dataprune.config import SelectConfig, from_plain
from dataprune.data.codecs import codec_of
from dataprune.stages.select import select

LIMIT_S = 1.5  # of timing one network; the step that is running is ended
LARGEST = 64  # images of a timed step
OURS_ARE = "dataprune.models."
REFERENCE = {"_target_": "dataprune.models.networks.resnet", "width": 32, "blocks": [1, 1, 1, 1]}


@dataclass(frozen=True)
class Speed:
    """What is known of a network on the images of a data set."""

    image_s: float | None  # seconds of a training step, an image; None = unknown
    width: int  # features
    classes: int
    model_mb: float
    images_mb: float = 0.0  # of the data set, in memory

    def holding(self, images_mb: float) -> "Speed":
        """Return the same beside so many MB of images."""
        return replace(self, images_mb=images_mb)


@cache
def speed_of(model: str, codec: str, input: str, classes: int, device: str) -> Speed:
    """Return the speed of a `model` config on inputs of these sizes, which the codec makes, and its size; all JSON."""
    import torch

    from dataprune.models.flops import step_flops
    from dataprune.models.networks import build

    spec, sizes = json.loads(model), json.loads(input)
    spec |= {"pretrained": False} if spec.get("pretrained") else {}
    with torch.random.fork_rng(devices=[]), torch.device("meta"):
        network = build(spec, sizes, classes)
    size = sum(p.numel() for p in network.parameters()) * 4e-6
    image_s: float | None = None
    if spec["_target_"].startswith(OURS_ARE):
        image_s = _step_seconds(model, codec, input, classes, device)
    elif sizes["kind"] == "image":
        example = {name: values[0] for name, values in codec_of(json.loads(codec)).blank(sizes, 1).items()}
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            flops, known = step_flops(network, example), step_flops(build(REFERENCE, sizes, classes), example)
        if flops is not None and known is not None:
            image_s = flops / known * _step_seconds(json.dumps(REFERENCE), codec, input, classes, device)
    return Speed(image_s, network.head.in_features, network.head.out_features, size)


@cache
def _step_seconds(model: str, codec: str, input: str, classes: int, device: str) -> float:
    """Seconds an example of a training step of a network of ours, of the largest batch that is timed in the limit."""
    import torch

    from dataprune.models.networks import build

    spec, sizes = json.loads(model), json.loads(input)
    spec |= {"pretrained": False} if spec.get("pretrained") else {}
    with torch.random.fork_rng(devices=[]):
        network = build(spec, sizes, classes).to(device)
    parameters = [p for p in network.parameters() if p.requires_grad]
    began, each = time.perf_counter(), math.inf
    for batch in (2, 2, 4, 8, 16, 32, LARGEST):  # the first one warms up
        x = {name: values.to(device) for name, values in codec_of(json.loads(codec)).blank(sizes, batch).items()}
        y = torch.zeros(batch, dtype=torch.int64, device=device)
        start = time.perf_counter()
        torch.autograd.grad(torch.nn.functional.cross_entropy(network(**x), y), parameters)
        if y.is_cuda:
            torch.cuda.synchronize()
        took, so_far = time.perf_counter() - start, time.perf_counter() - began
        each = took / batch
        if so_far + 2 * took > LIMIT_S:  # the next one would take about so long
            break
    return each


def row_bytes(axes: Axes, dtype: str, speed: Speed, epochs: int = 1) -> float:
    """Return the bytes of an array that belong to one example; 0 for an array without an axis of examples."""
    if not axes or "n" not in axes:
        return 0.0
    sizes = {"n": 1, "epochs": epochs, "classes": speed.classes, "d": speed.width}
    return float(np.dtype(dtype).itemsize * math.prod(axis if isinstance(axis, int) else sizes[axis] for axis in axes))


def selection_seconds(config: SelectConfig, n: int, speed: Speed) -> float | None:
    """Return the seconds of a selection from n examples: what it takes of 1,000 and 2,000 made-up ones, and on to n by
    the power law between them. None = unknown: it calls a user's function."""
    if not all(step.function["_target_"].startswith(OURS) for step in config.steps):
        return None
    return 0.0 if config.level == "class" else _selection(json.dumps(asdict(config)), n, speed.width, speed.classes)


@cache
def _selection(plain: str, n: int, width: int, classes: int) -> float:
    config: SelectConfig = from_plain(SelectConfig, json.loads(plain))
    rng, took = np.random.default_rng(0), []
    for m in (500, 1000, 2000):  # the first one only compiles
        made_up: dict[str, Any] = made_up_arrays(m, classes, 3, width)
        scores = {step.scores: rng.random(m).astype(np.float32) for step in config.steps}
        start = time.perf_counter()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what a selector remarks is about made-up examples
            select(config, m, made_up, scores)
        took.append(time.perf_counter() - start)
    power = min(3.0, max(1.0, math.log2(max(took[2], 1e-5) / max(took[1], 1e-5))))
    return took[2] * (max(n, 2000) / 2000) ** power

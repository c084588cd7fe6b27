"""The train stage beside a plain PyTorch loop: the same network, loader, optimiser and schedule.

    python benchmarks/train_loop.py [--small]

Each figure is the CPU time of one more step, (time of 2k steps - time of k steps) / k: set-up and the final save do not
count. The variants take turns (A B C A B C ...); medians over the rounds. On a busy machine the 20 ms steps vary by a
tenth, more than what is measured; the steps of next to nothing show what the loop itself adds.
Also: microseconds an image of the memory loader, and float32 against bfloat16.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from timing import machine

from dataprune.config import AugmentConfig, DataConfig, RecordConfig, RunConfig, TrainConfig
from dataprune.data.codecs import decoding
from dataprune.data.examples import Dataset, Examples, Split
from dataprune.data.loaders import MemoryLoader
from dataprune.data.order import Order
from dataprune.models.networks import laid_out
from dataprune.passes import feed_of
from dataprune.passes import layout as layout_of
from dataprune.stages import decode, index, train

N, BATCH = 4096, 32  # a step of about 20 ms on one core
CONFIG = TrainConfig(
    model={"_target_": "dataprune.models.networks.resnet", "width": 8, "blocks": [1, 1, 1, 1]},
    optimizer={"_target_": "torch.optim.SGD", "lr": 0.05, "momentum": 0.9},
    schedule={"_target_": "dataprune.training.schedules.cosine"},
    batch_size=BATCH,
    augment=AugmentConfig(crop_padding=4, flip=True),
)
TINY = replace(CONFIG, model={"_target_": "dataprune.models.networks.cnn", "width": 2, "depth": 2}, batch_size=8)
RUN = RunConfig(accelerator="cpu", progress=False)


def noise(n: int = N) -> Dataset:
    """Random 32-pixel images of ten classes."""
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 10, n))
    return Dataset([str(c) for c in range(10)], {"train": split, "test": split})


def inputs_of(folder: Path) -> dict[str, Path]:
    """The results of index and decode, as a stage gets them."""
    return {"examples": folder / "index", "pixels": folder / "decode"}


def stage(examples: Path, config: TrainConfig, steps: int) -> float:
    """CPU seconds of the train stage."""
    with tempfile.TemporaryDirectory() as work:
        (Path(work) / "scratch").mkdir()
        start = time.process_time()
        train.run(replace(config, iterations=steps), inputs_of(examples), Path(work), RUN, "benchmark")
        return time.process_time() - start


def plain(examples: Path, config: TrainConfig, steps: int) -> float:
    """CPU seconds of a loop without Lightning, callbacks or checkpoints."""
    start = time.process_time()
    config = replace(config, iterations=steps)
    training = train.Training(config, inputs_of(examples), examples, RUN, "plain", feed_of(RUN))
    network, done, epoch = training.network(), 0, 0
    loader = training._loader(network, training.order)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    layout = layout_of(network, training.device)
    while done < steps:
        loader.set_epoch(epoch)
        for batch in loader:
            for group in optimizer.param_groups:
                group["lr"] = 0.025 * (1 + np.cos(np.pi * done / steps))
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=config.precision == "bfloat16"):
                logits = network(**laid_out(batch["inputs"], layout))  # the same memory as in the stage
            torch.nn.functional.cross_entropy(logits.float(), batch["y"]).backward()
            optimizer.step()
            done += 1
            if done == steps:
                break
        epoch += 1
    return time.process_time() - start


def loader_cost(examples: Path) -> float:
    """Microseconds an image: gather, reflect-pad crop, flip, normalise."""
    order = Order(np.arange(N), BATCH)
    loader = MemoryLoader(Examples.of(inputs_of(examples), "train"), order, padding=4, flip=True)
    for _ in loader:
        pass
    start = time.process_time()
    for _ in range(5):
        for _ in loader:
            pass
    return (time.process_time() - start) / 5 / N * 1e6


Variant = tuple[Callable[[Path, TrainConfig, int], float], TrainConfig]


def measured(variants: dict[str, Variant], examples: Path, steps: int, rounds: int) -> dict[str, float]:
    """Milliseconds of CPU that one more step takes, by variant: the median over the rounds."""
    for run, config in variants.values():
        run(examples, config, 4)  # warm up
    a_step: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds):
        for name, (run, config) in variants.items():
            short, long = run(examples, config, steps), run(examples, config, 2 * steps)
            a_step[name].append((long - short) / steps * 1e3)
    return {name: statistics.median(values) for name, values in a_step.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a minute instead of several")
    args = parser.parse_args()
    torch.set_num_threads(1)
    steps, rounds = (32, 3) if args.small else (96, 7)
    with tempfile.TemporaryDirectory() as folder:
        examples = Path(folder)
        config = DataConfig(name="noise", reader={"_target_": f"{__name__}.noise"})
        inputs = inputs_of(examples)
        for path in inputs.values():
            path.mkdir()
        index.run(config, {}, inputs["examples"], RUN, "source")
        decode.run(decoding(config, "source"), inputs, inputs["pixels"], RUN, "source_pixels")
        print(machine())
        for title, base in (
            ("a step of about 20 ms", CONFIG),
            ("a step of next to nothing: what the loop itself costs", TINY),
        ):
            record, half = replace(base, record=RecordConfig(forward="train")), replace(base, precision="bfloat16")
            variants: dict[str, Variant] = {
                "plain loop": (plain, base),
                "train stage": (stage, base),
                "train stage, dynamics recorded": (stage, record),
                "plain loop, bfloat16": (plain, half),
                "train stage, bfloat16": (stage, half),
            }
            costs = measured(variants, examples, steps * (8 if base is TINY else 1), rounds)
            print(f"{title:44}{'ms a step':>10}{'over plain':>12}{'':>4}ms")
            for name, cost in costs.items():
                plainly = costs["plain loop, bfloat16" if "bfloat16" in name else "plain loop"]
                print(f"{name:44}{cost:10.2f}{cost / plainly - 1:12.1%}{cost - plainly:+8.2f}")
        print(f"memory loader: {loader_cost(examples):.1f} us an image (crop, flip, normalise; 32 px)")


if __name__ == "__main__":
    main()

"""Images a CPU second through a dense and a sparse ResNet-50 on one core, by each engine that is installed.

    python benchmarks/sparse_runtime.py [--sparsity 0.9] [--batches 1 64] [--repeats 3] [--python DIR/bin/python]

224 pixels, random weights; of the sparse network the share of zeros that --sparsity says lies anywhere in each
convolution but the first. Features, no classifier. --python: the interpreter of DeepSparse's own environment. Engines
take turns, the best of the repeats counts; a CPU second is user and system time of the process that computes. Each
engine's features are compared with torch's. What is not installed has no line.

What is compared with is eager torch on the dense network, at the same batch.
"""

import argparse
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from timing import machine
from torch import nn

from dataprune.runtimes import deepsparse, onnxruntime, openvino
from dataprune.runtimes.exporting import cosines, write_onnx

IMAGES = 16  # at least, of one timing
WORTH = 1.1  # a sparse network is called faster from here on


@dataclass
class Timed:
    """An engine with a network, and what was found."""

    name: str
    network: str
    batch: int
    call: Callable[[np.ndarray], np.ndarray]
    cpu_seconds: Callable[[], float]
    best: float = 0.0  # images a CPU second
    cosine: float = 1.0
    difference: float = 0.0

    def run(self, images: np.ndarray) -> None:
        """Time it once on a few batches."""
        rounds = max(1, IMAGES // self.batch)
        began = self.cpu_seconds()
        for _ in range(rounds):
            self.call(images)
        self.best = max(self.best, rounds * self.batch / (self.cpu_seconds() - began))


def cpu_seconds(process: int | str = "self") -> float:
    """User and system time of a process so far, all its threads."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def resnet50(sparsity: float) -> nn.Module:
    """The backbone, with this share of zeros in each convolution but the first."""
    torch.manual_seed(0)
    # timm starts the last batch norm of each block at 0: folded into its convolution, that would be an empty layer
    network = timm.create_model("resnet50", num_classes=0, zero_init_last=False).eval()
    for name, weight in network.named_parameters():
        if sparsity and weight.ndim == 4 and name != "conv1.weight":
            least = weight.detach().abs().flatten().kthvalue(int(sparsity * weight.numel())).values
            weight.data.mul_(weight.abs() > least)
    return network


def eager(network: nn.Module) -> Callable[[np.ndarray], np.ndarray]:
    """The network itself."""

    def call(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(images)).numpy()

    return call


def engines(name: str, network: nn.Module, batch: int, folder: Path, python: str | None) -> list[Timed]:
    """Torch, and each engine that is there, with this network."""
    path = write_onnx(network, folder / f"{name}{batch}.onnx", (batch, 3, 224, 224))
    found = [Timed(f"torch {torch.__version__.partition('+')[0]}", name, batch, eager(network), cpu_seconds)]
    for module, kind in (("onnxruntime", onnxruntime), ("openvino", openvino)):
        if importlib.util.find_spec(module) is not None:
            engine = kind.Engine(path, 1)
            found.append(Timed(engine.name, name, batch, engine, cpu_seconds))
    if python is not None:
        served = deepsparse.Engine(path, 1, python)
        found.append(Timed(served.name, name, batch, served, lambda: cpu_seconds(served.process.pid)))
    return found


def compare(group: list[Timed], images: np.ndarray) -> None:
    """Note how far the features of each are from torch's, the first of the group."""
    wanted = group[0].call(images)
    for timed in group[1:]:
        found = timed.call(images)
        timed.cosine = float(cosines(found, wanted).min())
        timed.difference = float(np.abs(found - wanted).max() / np.abs(wanted).max())


def show(found: list[Timed], batch: int) -> None:
    """Print the table of a batch size, and whether zeros buy time."""
    at = {(t.name, t.network): t for t in found if t.batch == batch}
    names = list(dict.fromkeys(name for name, _ in at))
    torchs = at[names[0], "dense"].best
    print(f"\nbatch {batch}: images a CPU second (times torch's dense)")
    print(f"{'engine':<22}{'dense':>16}{'sparse':>16}{'sparse / dense':>16}{'lowest cosine':>15}{'difference':>12}")
    for name in names:
        dense, sparse = at[name, "dense"], at[name, "sparse"]
        cells = [f"{t.best:.1f} ({t.best / torchs:.1f})" for t in (dense, sparse)]
        cosine, difference = min(dense.cosine, sparse.cosine), max(dense.difference, sparse.difference)
        faster = sparse.best / dense.best
        says = "" if faster >= WORTH else "   zeros buy no time"
        print(f"{name:<22}{cells[0]:>16}{cells[1]:>16}{faster:>16.2f}{cosine:>15.6f}{difference:>12.1e}{says}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--python", help="an interpreter that imports deepsparse")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(machine())
    networks = {"dense": resnet50(0), "sparse": resnet50(args.sparsity)}
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for batch in args.batches:
            images = rng.standard_normal((batch, 3, 224, 224), np.float32)
            groups = [engines(name, network, batch, Path(folder), args.python) for name, network in networks.items()]
            for group in groups:
                compare(group, images)  # warms up, too
            found = [timed for group in groups for timed in group]
            for _ in range(args.repeats):
                for timed in found:
                    timed.run(images)
            show(found, batch)
    if args.python is None:
        print("\nDeepSparse: not measured (--python)")


if __name__ == "__main__":
    main()

"""Published figures to stand beside ours: of data pruning, and of how well sparse ImageNet networks transfer."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

STUDY = "How Well Do Sparse ImageNet Models Transfer? (Iofinova, Peste, Kurtz, Alistarh, CVPR 2022)"
PER_CLASS = {"aircraft", "caltech101", "caltech256", "flowers", "pets"}  # its metric there; elsewhere top-1
CELL = ["network", "transfer", "method", "sparsity", "replicate"]  # a checkpoint of the study, transferred one way
DENSE = "Dense"
SPARSE = ("AC/DC", "LTH-T", "M-FAC", "RigL ERK 1x", "RigL ERK 5x", "STR", "WoodFisher")  # its methods, beside dense


@dataclass(frozen=True)
class Published:
    """A figure from a paper: top-1 in percent."""

    network: str
    top1: float
    reference: str


def published(source: str) -> dict[tuple[str, float], Published]:
    """Return (method, prune ratio) -> the published figure for this source data set (report/published.csv)."""
    return {
        (line["method"], round(float(line["prune_ratio"]), 4)): Published(
            line["network"], float(line["top1"]), line["reference"]
        )
        for line in _lines("published.csv")
        if line["source"] == source
    }


def sparse_transfers() -> pd.DataFrame:
    """Return the 2,655 raw results of the sparse transfer study (`STUDY`), a line a training.

    Columns: network (resnet50 | mobilenetv1), transfer (linear | full), method (how the network was made sparse; Dense
    = not), sparsity (share of zeros, 0 to 1), replicate, target (as our configs call it), metric (top1 | per_class),
    seed, accuracy (0 to 1, four digits). Whether of the last or the best epoch is not published. Two different networks
    stand under STR, 0.75 of MobileNetV1, full: they are replicates 0 and 1, never to be averaged.
    """
    found = []
    for line in _lines("sparse_transfer.csv"):
        cell: dict[str, Any] = {"network": line["network"], "transfer": line["transfer"], "method": line["method"]}
        cell |= {"sparsity": float(line["sparsity"]), "replicate": int(line["replicate"]), "target": line["target"]}
        cell |= {"metric": "per_class" if line["target"] in PER_CLASS else "top1"}
        for seed, accuracy in zip(line["seeds"].split(), line["accuracies"].split(), strict=True):
            found.append(cell | {"seed": int(seed), "accuracy": int(accuracy) / 10_000})
    return pd.DataFrame(found)


def over_seeds(results: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each cell and target: n seeds, their mean `accuracy` and `std` (n - 1; NaN of one).

    results: of `sparse_transfers`, or a part of it.
    """
    grouped = results.groupby([*CELL, "target"], sort=False).accuracy
    return grouped.agg(n="count", accuracy="mean", std="std").reset_index()


def over_targets(results: pd.DataFrame) -> pd.DataFrame:
    """Return a line for each cell: the plain mean `accuracy` of its targets' means over seeds, and how many `targets`.

    results: of `sparse_transfers`, or a part of it. Means of other targets are not comparable, so `targets` is to be
    looked at: 12 in all of the study.
    """
    grouped = over_seeds(results).groupby(CELL, sort=False).accuracy
    return grouped.agg(accuracy="mean", targets="count").reset_index()


def sparse_imagenet(label_smoothing: bool | None = None) -> pd.DataFrame:
    """Return published ImageNet top-1 (percent) of networks of the study, as far as their makers say them.

    Columns: network, method, sparsity (as the study calls it), reached (the makers' own), label_smoothing, top1. The
    study's networks are of trainings without label smoothing. label_smoothing: False = one line a network, of a
    training without it where there is one (RigL), else with (STR: the study's own ones, without, have no published
    top-1); None = all.
    """
    numbers = ("sparsity", "reached", "label_smoothing", "top1")
    lines = [line | {name: float(line[name]) for name in numbers} for line in _lines("sparse_imagenet.csv")]
    table = pd.DataFrame(lines)
    if label_smoothing is None:
        return table
    order = table.sort_values("label_smoothing", kind="stable", ascending=not label_smoothing)
    return order.drop_duplicates(["network", "method", "sparsity"]).sort_index().reset_index(drop=True)


def with_imagenet(means: pd.DataFrame) -> pd.DataFrame:
    """Return those lines of `over_targets` whose network has a published ImageNet top-1, with it as `top1`."""
    known = sparse_imagenet(label_smoothing=False)
    return means.merge(known, on=["network", "method", "sparsity"], how="inner")


def _lines(name: str) -> Iterator[dict[str, str]]:
    with open(Path(__file__).with_name(name), newline="") as file:
        yield from csv.DictReader(file)

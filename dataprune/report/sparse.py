"""Rows of sparse networks: accuracy against sparsity, beside what the sparse transfer study published."""

from typing import Any

import numpy as np
import pandas as pd

from dataprune.report import sparse_figures as figures
from dataprune.report import tables
from dataprune.report.page import Page
from dataprune.report.published import (
    DENSE,
    STUDY,
    over_seeds,
    over_targets,
    sparse_transfers,
    with_imagenet,
)

WAYS = {"head": "linear", "all": "full"}  # how we say that a model is transferred -> how the study does
CLOSE = 0.015  # published sparsities so far from a line's stand beside it
NAMES = ["line", "data pruned", "sparsity, %", "accuracy, %", "n", "published, %"]
KEEPS = "KeepMasks"  # makes nothing sparse


def has_sparse(summed: pd.DataFrame) -> bool:
    """Return whether any line is of a network with zeros."""
    return bool((summed.density < 1).any())


def show_sparse(page: Page, part: pd.DataFrame, summed: pd.DataFrame) -> None:
    """Show one section with sparse networks: a table with published figures of the same target, and a plot.

    part is of `lines.frame`, summed of `lines.summary`.
    """
    section = tuple(page.section)
    ours, theirs = grouped(part, summed[~summed.classes_only]), published_beside(section)
    page.heading(3, "Sparse networks")
    page.table(NAMES, (("", _cells(line, theirs)) for line in ours.sort_values(["group", "sparsity"]).itertuples()))
    page.figure(figures.beside_published(ours, theirs), "accuracy by sparsity")
    page.note("Sparsity: the share of zeros among the backbone's weights. Lines go by what made the networks sparse.")
    if len(theirs):
        said = f"Grey and in the last column: {STUDY}, raw results of ResNet-50 on this target, mean over seeds."
        page.note(said if _network(section[2]) == "resnet50" else said.replace("ResNet-50", "MobileNetV1"))


def show_study(page: Page, network: str = "resnet50") -> None:
    """Show the study's own figures, redrawn from its raw results: all targets."""
    results = sparse_transfers()
    means = over_targets(results[results.network == network])
    page.section = ()
    page.heading(2, "Published: transfer of sparse ImageNet networks")
    page.note(f"Redrawn from the raw results of {STUDY}: means over seeds, then over 12 targets.")
    page.figure(figures.by_sparsity(means), "published accuracy by sparsity")
    page.figure(figures.linear_against_full(means), "published linear against full")
    page.figure(figures.against_imagenet(with_imagenet(means)), "published accuracy against imagenet")
    page.note(
        "ImageNet top-1 as the networks' makers published it (AC/DC, STR, RigL, dense). That of STR is of trainings "
        "with label smoothing; the study trained its own without."
    )


def grouped(part: pd.DataFrame, summed: pd.DataFrame) -> pd.DataFrame:
    """Return the lines of `summed` with `sparsity` (0 to 1) and `group`: what made the network sparse, and the method
    that pruned the data, if any. part: of `lines.frame`, the same rows."""
    configs = dict(zip(part.identity, part.config, strict=True))
    groups = []
    for line in summed.itertuples():
        data = f"{line.method} {line.prune_ratio:g}" if line.prune_ratio else ""
        made = made_by(configs[line.identity])
        groups.append(", ".join(filter(None, [made if line.density < 1 else f"dense ({made})", data])))
    return summed.assign(sparsity=1 - summed.density, group=groups)


def made_by(config: dict[str, Any]) -> str:
    """Return what made a row's network sparse: the callbacks of its pretraining by class, or that it was adopted."""
    recipe = config.get("pretrain", {})
    names = [spec["_target_"].rpartition(".")[2] for spec in recipe.get("callbacks", {}).values()]
    makers = [name for name in names if name != KEEPS]
    return " ".join(makers) or ("checkpoint" if "files" in recipe else "trained")


def published_beside(section: tuple[str, ...]) -> pd.DataFrame:
    """Return the study's lines (`over_seeds`) of a section's (source, target, model, transfer); none of other targets.

    Of MobileNetV1 where our network is one, else of ResNet-50.
    """
    _, target, model, transfer = section
    results = sparse_transfers()
    here = (results.target == target) & (results.transfer == WAYS.get(transfer, ""))
    return over_seeds(results[here & (results.network == _network(model))])


def _network(model: str) -> str:
    return "mobilenetv1" if model.startswith("mobilenetv1") else "resnet50"


def _cells(line: Any, theirs: pd.DataFrame) -> tuple[object, ...]:
    """A row of the table: ours, and the published figures of about its sparsity, best first."""
    near = theirs[(theirs.sparsity - line.sparsity).abs() <= CLOSE].sort_values("accuracy", ascending=False)
    dense = line.density == 1
    near = near[(near.method == DENSE) == dense]
    said = "; ".join(
        f"{p.method} {tables.percent(p.accuracy, np.nan_to_num(p.std), p.n).strip()}" for p in near.itertuples()
    )
    accuracy = tables.percent(line.accuracy, line.std, line.n)
    return line.label, f"{line.prune_ratio:g}", f"{100 * line.sparsity:.1f}", accuracy, line.n, said

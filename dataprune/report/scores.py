"""How the scores of different methods relate, and the data map of the surrogate's dynamics."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dataprune.data.examples import Examples
from dataprune.report import figures
from dataprune.report.page import Page
from dataprune.report.selections import SHOWN, Selection, by_data, selections, show_examples
from dataprune.scores.dynamics import p_mean, variability
from dataprune.store import Store


def show_scores(page: Page, store: Store, lines: pd.DataFrame) -> None:
    """Rank correlations between the methods' scores; mean against variability of p(true class)."""
    chosen = [s for s in selections(store, lines) if s.scores is not None and s.classes is None]
    for group in by_data(chosen):
        if len(group) > 1:
            _show_correlations(page, group)
    # of the data set whose pictures stand below
    sources = {chosen[0].examples.folder.name} if chosen else {keys["source"] for keys in lines["keys"]}
    folder = _with_dynamics(store, [keys for keys in lines["keys"] if keys["source"] in sources])
    if folder is not None:
        _show_data_map(page, folder, chosen[0].examples if chosen else None)


def _show_correlations(page: Page, group: list[Selection]) -> None:
    """Rank correlations between the scores of methods on the same examples."""
    page.heading(2, "How the scores relate")
    ranks = np.stack([rankdata(s.scores) for s in group])
    names = [s.label for s in group]
    title = "Spearman rank correlation of the scores"
    page.figure(figures.matrix(np.corrcoef(ranks), names, names, title, -1), "rank correlation")


def _with_dynamics(store: Store, keys_of_rows: list[dict[str, str]]) -> Path | None:
    """The first surrogate of these rows whose training has recorded p(true class); None = there is none."""
    folders = [store.root / "train" / keys["surrogate"] for keys in keys_of_rows if "surrogate" in keys]
    return next((folder for folder in folders if (folder / "p_true.npy").exists()), None)


def _show_data_map(page: Page, folder: Path, examples: Examples | None) -> None:
    """Mean and variability of the dynamics in a folder, and the examples at its three ends if they can be shown."""
    p_true, correct = (np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("p_true", "correct"))
    mean, spread, right = p_mean(p_true), variability(p_true), np.asarray(correct).mean(0)
    page.heading(2, "Data map of the surrogate")
    page.figure(figures.data_map(mean, spread, right), "data map")
    page.note(
        "Every example by the mean and the standard deviation of its true class's probability over the epochs "
        "(Swayamdipta et al. 2020): easy at the top, ambiguous in the arc, hard or mislabelled at the bottom left."
    )
    if examples is None:
        return
    ends = (
        ("hardest", mean, mean, "the mean"),
        ("easiest", -mean, mean, "the mean"),
        ("most uncertain", -spread, spread, "the deviation"),
    )
    for title, order, shown, what in ends:
        page.note(f"The {title}, with {what} of p(true class):")
        show_examples(page, examples, np.argsort(order, kind="stable")[:SHOWN], shown, title)

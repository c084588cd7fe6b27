"""How the scores of different methods relate, and the data map of the surrogate's dynamics."""

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from dataprune.report import figures
from dataprune.report.page import Page
from dataprune.report.selections import SHOWN, by_data, selections, show_examples
from dataprune.scores.dynamics import p_mean, variability
from dataprune.store import Store


def show_scores(page: Page, store: Store, lines: pd.DataFrame) -> None:
    """Rank correlations between the methods' scores; mean against variability of p(true class)."""
    chosen = [s for s in selections(store, lines) if s.scores is not None and s.classes is None]
    for group in by_data(chosen):
        if len(group) > 1:
            page.heading(2, "How the scores relate")
            ranks = np.stack([rankdata(s.scores) for s in group])
            names = [s.label for s in group]
            title = "Spearman rank correlation of the scores"
            page.figure(figures.matrix(np.corrcoef(ranks), names, names, title, -1), "rank correlation")
    # of the data set whose pictures stand below
    sources = {chosen[0].examples.folder.name} if chosen else {keys["source"] for keys in lines["keys"]}
    recorded = [keys["surrogate"] for keys in lines["keys"] if "surrogate" in keys and keys["source"] in sources]
    folders = [store.root / "train" / key for key in dict.fromkeys(recorded)]
    folders = [folder for folder in folders if (folder / "p_true.npy").exists()]
    if not folders:
        return
    p_true, correct = (np.load(folders[0] / f"{name}.npy", mmap_mode="r") for name in ("p_true", "correct"))
    mean, spread, right = p_mean(p_true), variability(p_true), np.asarray(correct).mean(0)
    page.heading(2, "Data map of the surrogate")
    page.figure(figures.data_map(mean, spread, right), "data map")
    page.note(
        "Every example by the mean and the standard deviation of its true class's probability over the epochs "
        "(Swayamdipta et al. 2020): easy at the top, ambiguous in the arc, hard or mislabelled at the bottom left."
    )
    if chosen:
        for title, order in (("hardest", mean), ("easiest", -mean), ("most uncertain", -spread)):
            ids = np.argsort(order, kind="stable")[:SHOWN]
            shown = spread if title == "most uncertain" else mean
            page.note(f"The {title}, with {'the deviation' if shown is spread else 'the mean'} of p(true class):")
            show_examples(page, chosen[0].examples, ids, shown, title)

"""What each method kept and what went: class rankings, pictures, balance of classes, overlap between methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from dataprune.data.examples import Examples
from dataprune.report import figures
from dataprune.report.page import Page
from dataprune.scores.classes import frequency_analysis
from dataprune.store import Store

SHOWN = 32  # pictures in a montage, or lines of text
MOST_LETTERS = 300  # of such a line
MOST_COUNTS = 8  # of the numbers of target examples that classes have, from each end
MOST_LINES = 40  # beyond this a page takes minutes: the models of an influence experiment are a line each
MOST_CLASSES = 64  # beyond this a class balance is a histogram nobody reads


@dataclass(frozen=True)
class Selection:
    """One row's subset, with what is needed to show it."""

    label: str
    prune_ratio: float
    examples: Examples
    kept: np.ndarray  # bool (n,)
    classes: np.ndarray | None  # kept classes in pick order, if whole classes were kept
    scores: np.ndarray | None  # float32 (n,) or (classes,)
    combined: bool  # of several targets (places in one ranking) or surrogates (means)

    @classmethod
    def of_row(cls, store: Store, line: pd.Series) -> "Selection":
        """Read it from the store by the row's keys."""
        keys = line["keys"]
        examples = Examples(
            store.root / "index" / keys["source"], "train", store.root / "decode" / keys["source_pixels"]
        )
        subset = np.load(store.root / "select" / keys["subset"] / "export" / "subset.npz")
        kept = np.zeros(len(examples), bool)
        kept[subset["ids"]] = True
        held = [("combine", "combined"), ("score", "scores")]  # the last one made them from those before
        folders = [store.root / stage / keys[role] for stage, role in held if role in keys]
        scores = np.load(folders[0] / "scores.npy") if folders else None
        classes = subset.get("classes")
        return cls(line["label"], line["prune_ratio"], examples, kept, classes, scores, "combined" in keys)


def selections(store: Store, lines: pd.DataFrame) -> list[Selection]:
    """Return of every line that selects the first seed at its largest prune ratio, if the store still has it."""
    return [Selection.of_row(store, row) for row in _chosen(lines)[:MOST_LINES] if _is_there(store, row["keys"])]


def _chosen(lines: pd.DataFrame) -> list[pd.Series]:
    """The row of each line that is shown."""
    pruned = lines[(lines.trains_on == "subset") & np.array(["subset" in keys for keys in lines["keys"]], bool)]
    pruned = pruned.sort_values(["prune_ratio", "seeds"], ascending=[False, True])
    first = {row["label"]: row for _, row in pruned.drop_duplicates("label").iterrows()}
    return [first[label] for label in dict.fromkeys(lines.label) if label in first]


def by_data(chosen: list[Selection]) -> list[list[Selection]]:
    """Return the selections in groups that are about the same examples: only those can lie beside one another."""
    groups: dict[str, list[Selection]] = {}
    for selection in chosen:
        groups.setdefault(selection.examples.fingerprint, []).append(selection)
    return list(groups.values())


def _is_there(store: Store, keys: dict[str, str]) -> bool:
    """Whether all results that a selection shows are in the store: rows outlive a removal."""
    shown = {"source": "index", "source_pixels": "decode", "subset": "select", "scores": "score", "combined": "combine"}
    return all((store.root / stage / keys[role]).exists() for role, stage in shown.items() if role in keys)


def show_selections(page: Page, store: Store, lines: pd.DataFrame) -> None:
    """A part of the page for every line, then all beside one another."""
    chosen, wanted = selections(store, lines), _chosen(lines)
    if len(wanted) > MOST_LINES:
        page.note(f"What is kept is shown of the first {MOST_LINES} of {len(wanted)} lines.")
    gone = [row["label"] for row in wanted[:MOST_LINES] if not _is_there(store, row["keys"])]
    if gone:
        page.note(f"What is kept is not shown of {', '.join(gone)}: the store no longer holds it.")
    if chosen:
        page.heading(2, "What is kept, what goes")
    for selection in chosen:
        _show(page, selection)
    _show_side_by_side(page, [s for s in chosen if s.classes is None])


def _show_side_by_side(page: Page, chosen: list[Selection]) -> None:
    """Of each data set, the selections of examples at its largest prune ratio beside one another."""
    for group in by_data(chosen):
        ratio = max(s.prune_ratio for s in group)
        alike = [s for s in group if s.prune_ratio == ratio]
        if len(alike) > 1:
            _compare(page, alike, ratio)


def _show(page: Page, selection: Selection) -> None:
    """One line: its scores or class ranking, and examples of what it keeps and of what it prunes."""
    label, examples, scores = selection.label, selection.examples, selection.scores
    count = f"{selection.kept.sum():,} of {len(examples):,} examples"
    page.heading(3, f"{label} at prune ratio {selection.prune_ratio:g}: {count}")
    if selection.classes is not None:
        _show_classes(page, label, examples.classes, selection.classes, scores, selection.combined)
    elif scores is not None:
        page.figure(figures.histogram(scores, selection.kept, f"{label}: scores"), f"scores {label}")
    per_example = scores if selection.classes is None else None
    for verb, ids in (("kept", np.flatnonzero(selection.kept)), ("pruned", np.flatnonzero(~selection.kept))):
        if len(ids):
            shown, how = _extremes(ids, per_example, verb)
            page.note(f"{verb}, {how}:")
            show_examples(page, examples, shown, per_example, f"{verb} {label}")


def _show_classes(
    page: Page, label: str, names: list[str], kept: np.ndarray, scores: np.ndarray | None, combined: bool
) -> None:
    """The ranking of classes, how the target falls on them where the scores count its examples, and which are kept."""
    kept_names = " ".join(names[c] for c in kept)
    if scores is None:
        page.note(f"Kept, in random order: {kept_names}")
        return
    title = f"{label}: source classes in rank order (blue: kept)"
    page.figure(figures.class_ranking(scores, names, kept, title), f"classes {label}")
    if not combined and _are_counts(scores):
        _show_concentration(page, label, scores)
    page.note(f"Kept, in pick order: {kept_names}")


def _are_counts(scores: np.ndarray) -> bool:
    """Whether scores of classes are numbers of examples: whole, none below 0, and not all 0."""
    return bool(scores.min() >= 0 < scores.sum() and (scores == np.rint(scores)).all())


def _show_concentration(page: Page, label: str, counts: np.ndarray) -> None:
    """How many of the target's examples go when the classes with the lowest counts go."""
    found = frequency_analysis(counts)
    page.figure(figures.concentration(found["percent"], found["removed_share"]), f"concentration {label}")
    zero = f"{found['zero_classes']} of {len(counts)} classes have count 0."
    page.note(f"{zero} Share of all target examples that falls on the lowest so many of the classes:")
    shares = [f"{share:.0%}" for share in found["removed_share"]]
    page.table([f"{percent:.0f} %" for percent in found["percent"]], [("", shares)])
    ends = list(zip(found["count"].tolist(), found["classes"].tolist(), strict=True))
    shown = ends if len(ends) <= 2 * MOST_COUNTS else [*ends[:MOST_COUNTS], *ends[-MOST_COUNTS:]]
    page.note(f"How many classes have how many target examples{' (both ends)' if shown != ends else ''}:")
    page.table(["target examples", *(str(count) for count, _ in shown)], [("", ["classes", *(n for _, n in shown)])])


def _shortened(text: str) -> str:
    return text if len(text) <= MOST_LETTERS else f"{text[: MOST_LETTERS - 1]}…"


def show_examples(page: Page, examples: Examples, ids: np.ndarray, scores: np.ndarray | None, name: str) -> None:
    """Show these examples as their codec does, with class and score (if there is one an example): pictures in one
    montage, texts a line each. Files that are gone or elsewhere now are said."""
    try:
        seen = [examples.codec.show(examples.items[i]) for i in ids]
    except OSError as error:
        page.note(f"They are not shown: {error}")
        return
    classes = [examples.classes[examples.labels[i]] for i in ids]
    numbers = [""] * len(ids) if scores is None else [f"{scores[i]:.3g}" for i in ids]
    if isinstance(seen[0], str):
        _show_texts(page, seen, classes, numbers, "" if scores is None else "score")
        return
    captions = [f"{class_name[:10]} {number}".strip() for class_name, number in zip(classes, numbers, strict=True)]
    page.figure(figures.montage(np.stack(seen), examples.header["maximum"], captions), name, bitmap=True)


def _show_texts(page: Page, texts: Sequence[Any], classes: list[str], numbers: list[str], measure: str) -> None:
    """A line for each text; measure: what the numbers are, nothing if there are none."""
    lines = [_shortened(str(text)) for text in texts]
    rows = [("", cells) for cells in zip(lines, classes, numbers, strict=True)]
    page.table(["text", "class", measure], rows)


def _extremes(ids: np.ndarray, scores: np.ndarray | None, verb: str) -> tuple[np.ndarray, str]:
    """Up to SHOWN of the ids: the highest scores of what is kept, the lowest of what goes, else a random sample."""
    if scores is None:
        return np.sort(np.random.default_rng(0).permutation(ids)[:SHOWN]), "a random sample"
    order = ids[np.argsort(-scores[ids], kind="stable")]
    if verb == "kept":
        return order[:SHOWN], "highest scores first (hardest, most uncertain)"
    return order[::-1][:SHOWN], "lowest scores first"


def _compare(page: Page, alike: list[Selection], ratio: float) -> None:
    """Overlap of the kept sets and their balance of classes."""
    page.heading(3, f"Side by side at prune ratio {ratio:g}")
    names = [s.label for s in alike]
    overlap = np.array([[(a.kept & b.kept).sum() / a.kept.sum() for b in alike] for a in alike])
    page.figure(
        figures.matrix(overlap, names, names, "share of the kept set of the row that the column keeps too", 0),
        "overlap",
    )
    page.note(f"Two independent random subsets share {1 - ratio:.2f}.")
    examples = alike[0].examples
    if len(examples.classes) <= MOST_CLASSES:
        sizes = np.bincount(examples.labels, minlength=len(examples.classes))
        balance = np.array([np.bincount(examples.labels[s.kept], minlength=len(sizes)) / sizes for s in alike])
        title = "share of each class that is kept"
        page.figure(
            figures.matrix(balance, names, examples.classes, title, 0, values=len(sizes) <= 12), "class balance"
        )

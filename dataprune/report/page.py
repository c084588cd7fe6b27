"""One self-contained HTML page, its pictures and its table, in the output folder of a run or sweep."""

import html
import io
import logging
import re
from base64 import b64encode
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from dataprune import __version__
from dataprune.data.examples import Examples
from dataprune.report import figures, tables
from dataprune.store import Store, load

log = logging.getLogger(__name__)
SHOWN = 32  # pictures in a montage

CSS = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1060px; margin: 2em auto; padding: 0 1.2em }
h1 { font-size: 1.6em; margin-bottom: 0 } h2 { font-size: 1.25em; margin-top: 2em; border-bottom: 1px solid #ddd }
h3 { font-size: 1.05em; margin: 1.4em 0 .3em } p.note { color: #555; font-size: .92em; max-width: 75ch }
table { border-collapse: collapse; font-size: .9em; font-variant-numeric: tabular-nums; margin: .8em 0 }
th, td { text-align: right; padding: .22em .8em; border-bottom: 1px solid #eee } th { border-bottom: 2px solid #bbb }
th:first-child, td:first-child { text-align: left } tr.group td { border-top: 2px solid #ccc }
tr.baseline td { color: #666; font-style: italic } .figures { display: flex; flex-wrap: wrap; gap: 1em }
svg, img { max-width: 100%; height: auto } code { background: #f4f4f4; padding: .1em .3em }
"""


@dataclass
class Page:
    """Collects the parts of a page; pictures are also written as PNG files."""

    folder: Path
    parts: list[str] = field(default_factory=list)
    pictures: list[Path] = field(default_factory=list)

    def add(self, text: str) -> None:
        """Append HTML."""
        self.parts.append(text)

    def heading(self, level: int, text: str) -> None:
        """Append a heading."""
        self.add(f"<h{level}>{html.escape(text)}</h{level}>")

    def note(self, text: str) -> None:
        """Append a paragraph of explanation."""
        self.add(f"<p class=note>{html.escape(text)}</p>")

    def figure(self, drawn: Figure, name: str, *, bitmap: bool = False) -> None:
        """Append a figure: as SVG, or as PNG where it holds pictures."""
        path = self.folder / f"{re.sub('[^a-z0-9.]+', '_', name.lower())}.png"
        with matplotlib.rc_context(figures.STYLE):
            drawn.savefig(path, dpi=130)
        self.pictures.append(path)
        if bitmap:
            data = b64encode(path.read_bytes()).decode()
            self.add(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
        else:
            buffer = io.StringIO()
            with matplotlib.rc_context(figures.STYLE):
                drawn.savefig(buffer, format="svg", metadata={"Date": None})
            self.add(buffer.getvalue()[buffer.getvalue().index("<svg") :])

    def write(self, title: str) -> Path:
        """The page as report.html."""
        body = "\n".join(self.parts)
        path = self.folder / "report.html"
        path.write_text(
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
            f"<style>{CSS}</style><body>{body}</body></html>"
        )
        return path


def draw(folder: Path, store: Path, title: str, run: Any = None) -> Path:
    """Draw the report of all rows below `folder` into it, print the table, return the page's path.

    With run.logger=wandb the pictures and the table also become a W&B run of the same group.
    """
    rows = tables.read_rows(folder)
    table = tables.frame(rows)
    summed = tables.summary(table)
    summed.to_csv(folder / "table.csv", index=False)
    page = Page(folder)
    page.heading(1, title)
    page.note(f"dataprune {__version__}; {len(rows)} rows of {folder}; store {store.absolute()}")
    settings = ["source", "target", "model", "transfer"]
    look = figures.styles(list(dict.fromkeys(table.method)))
    for setting, part in summed.groupby(settings, sort=False):
        lines = table[(table[settings] == list(setting)).all(axis=1)]
        _results(page, dict(zip(settings, setting, strict=True)), part, lines, look)
        _selections(page, Store(store, verify=False), lines)
    path = page.write(title)
    print("\n" + tables.printed(summed))
    for line in verdicts(tables.against_random(table)):
        print(line)
    print(f"\nreport: {path}\ntable:  {folder / 'table.csv'}")
    if run is not None and run.logger == "wandb":
        _to_wandb(run, folder, title, page.pictures, summed)
    return path


def verdicts(compared: pd.DataFrame) -> list[str]:
    """One line a comparison with random selection, in words."""
    if compared.empty:
        return []
    lines = ["", "beside random selection at the same level and ratio (difference of the means, its standard error):"]
    for c in compared.itertuples():
        numbers = f"{c.points:+5.1f} ±{c.error:.1f} points"
        lines.append(
            f"{c.method:22}{c.prune_ratio:7.2f}  {numbers} against {c.against:15} {c.seeds} seeds: {c.verdict}"
        )
    return lines


def _results(
    page: Page, setting: dict[str, str], part: pd.DataFrame, lines: pd.DataFrame, look: dict[str, tuple[str, str]]
) -> None:
    """Table, plots and verdicts of one setting."""
    where = setting["source"] if setting["target"] == "-" else f"{setting['source']} to {setting['target']}"
    page.heading(2, f"{where}, {setting['model']}")
    if setting["target"] != "-":
        page.note(f"Accuracy is the target's test top-1; transfer trains: {setting['transfer']}.")
    _table(page, part)
    page.note(
        "Mean and standard deviation over seeds. Images seen: of the pretraining; the surrogate's come on top and are "
        "shared by all methods and ratios. Total seconds count every stage behind the number, shared or not. "
        "short_full is the whole source with the steps of the pruned run."
    )
    name = f"{setting['source']} {setting['target']} {setting['model']}"
    page.heading(3, "Accuracy against prune ratio")
    page.figure(figures.accuracy_by_ratio(part, look), f"accuracy by ratio {name}")
    page.heading(3, "Accuracy against total cost")
    page.figure(figures.accuracy_by_cost(part, look), f"accuracy by cost {name}")
    compared = tables.against_random(lines)
    if len(compared):
        page.heading(3, "Is it better than random?")
        page.add("<table><tr><th>method<th>pruned<th>against<th>points<th>seeds<th>verdict</tr>")
        for c in compared.itertuples():
            page.add(
                f"<tr><td>{c.method}<td>{c.prune_ratio:g}<td>{c.against}<td>{c.points:+.1f} ±{c.error:.1f}"
                f"<td>{c.seeds}<td>{c.verdict}</tr>"
            )
        page.add("</table>")
        page.note("Difference of the means and its standard error; better or worse means more than two of them.")


def _table(page: Page, part: pd.DataFrame) -> None:
    page.add(
        "<table><tr><th>method<th>pruned<th>kept<th>accuracy, %<th>seeds<th>worst class, %<th>source, %"
        "<th>images seen<th>surrogate images<th>train s<th>total s</tr>"
    )
    ratio = None
    for line in part.itertuples():
        kinds = ["group"] if line.prune_ratio != ratio else []
        kinds += ["baseline"] if line.trains_on != "subset" or line.method.startswith("random") else []
        ratio = line.prune_ratio
        source = "" if np.isnan(line.source_top1) else f"{line.source_top1 * 100:.1f}"
        page.add(
            f'<tr class="{" ".join(kinds)}"><td>{line.method}<td>{line.prune_ratio:g}<td>{line.kept:,.0f}'
            f"<td>{tables.percent(line.accuracy, line.std, line.seeds)}<td>{line.seeds}"
            f"<td>{line.worst_class * 100:.1f}<td>{source}<td>{line.images_seen:,.0f}"
            f"<td>{line.surrogate_images:,.0f}<td>{line.train_s:.1f}<td>{line.total_s:.1f}</tr>"
        )
    page.add("</table>")


def _selections(page: Page, store: Store, lines: pd.DataFrame) -> None:
    """What each method kept and pruned: of the first seed, at its largest prune ratio."""
    page.heading(2, "What is kept, what goes")
    chosen = lines[lines.trains_on == "subset"].sort_values(["prune_ratio", "seed"], ascending=[False, True])
    for method in dict.fromkeys(lines.method):
        first = chosen[chosen.method == method].head(1)
        if len(first):
            line = first.iloc[0]
            _selection(page, store, method, line)


def _selection(page: Page, store: Store, method: str, line: pd.Series) -> None:
    keys = line["keys"]
    if "subset" not in keys:
        return
    source, subset = load(store.root / "index" / keys["source"]), load(store.root / "select" / keys["subset"])
    examples = Examples(source.path, "train")
    ids = np.load(subset / "ids.npy")
    kept = np.zeros(len(examples), bool)
    kept[ids] = True
    scores = np.load(store.root / "score" / keys["scores"] / "scores.npy") if "scores" in keys else None
    page.heading(3, f"{method} at prune ratio {line.prune_ratio:g}: {len(ids):,} of {len(examples):,} examples")
    if subset.has("classes.npy"):
        classes = np.load(subset / "classes.npy")
        if scores is None:
            page.note("Kept classes: " + ", ".join(examples.classes[c] for c in classes))
        else:
            title = f"{method}: source classes in rank order (blue: kept)"
            page.figure(figures.class_ranking(scores, examples.classes, classes, title), f"classes {method}")
            best = np.argsort(-scores, kind="stable")[: len(classes)]
            page.note("Kept, best first: " + " ".join(examples.classes[c] for c in best if scores[c] > 0))
    if scores is not None and len(scores) == len(examples):
        page.figure(figures.histogram(scores, kept, f"{method}: scores"), f"scores {method}")
    if examples.header["storage"] != "memory":
        return
    for verb, which in (("kept", np.flatnonzero(kept)), ("pruned", np.flatnonzero(~kept))):
        shown, how = _sample(which, scores, verb)
        if len(shown):
            page.note(f"{verb}, {how}:")
            captions = [examples.classes[examples.labels[i]][:10] for i in shown]
            drawn = figures.montage(examples.images[shown], examples.header["maximum"], captions)
            page.figure(drawn, f"{verb} {method}", bitmap=True)


def _sample(ids: np.ndarray, scores: np.ndarray | None, verb: str) -> tuple[np.ndarray, str]:
    """Up to SHOWN of the ids: the extremes of the score if there is one an example, else evenly spread."""
    if scores is not None and len(ids) and len(scores) > ids[-1]:
        order = ids[np.argsort(-scores[ids], kind="stable")]
        return (
            (order[:SHOWN], "highest scores first") if verb == "kept" else (order[::-1][:SHOWN], "lowest scores first")
        )
    return np.sort(np.random.default_rng(0).permutation(ids)[:SHOWN]), "a random sample"


def _to_wandb(run: Any, folder: Path, title: str, pictures: list[Path], summed: pd.DataFrame) -> None:
    import wandb

    from dataprune.tracking import start_wandb

    shown = {"rows": str(folder)}
    started = start_wandb(run.wandb, folder, folder.name, f"{title} report", ["report"], shown, kind="report")
    started.log({f"report/{p.stem}": wandb.Image(str(p)) for p in pictures})
    started.log({"report/table": wandb.Table(dataframe=summed)})
    started.finish()

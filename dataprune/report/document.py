"""The report of a run, a sweep or a store: what stands on the page, in order."""

from pathlib import Path
from typing import Any

import pandas as pd

from dataprune import __version__
from dataprune.report import figures, tables
from dataprune.report.page import Page
from dataprune.report.results import show_results
from dataprune.report.scores import show_scores
from dataprune.report.selections import show_selections
from dataprune.store import Store


def draw(folder: Path, store: Path, run: Any = None) -> Path:
    """Draw the report of all rows below `folder` into it, print the table, return the page's path.

    With run.logger=wandb the pictures and the table also become a W&B run of the same group.
    """
    rows = tables.read_rows(folder)
    title = rows[0]["name"]
    table = tables.frame(rows)
    summed = tables.summary(table)
    summed.to_csv(folder / "table.csv", index=False)
    page = Page(folder)
    page.heading(1, title)
    page.note(f"dataprune {__version__}; {len(rows)} rows of {folder}; store {store.absolute()}")
    look = figures.styles(list(dict.fromkeys(table.method)))
    results = Store(store, verify=False)
    for setting, part in summed.groupby(tables.SETTING, sort=False):
        lines = table[(table[tables.SETTING] == list(setting)).all(axis=1)]
        show_results(page, dict(zip(tables.SETTING, setting, strict=True)), part, lines, look)
        show_selections(page, results, lines)
        show_scores(page, results, lines)
    path = page.write(title)
    print("\n" + tables.printed(summed))
    for line in tables.verdicts(tables.against_random(table)):
        print(line)
    print(f"\nreport: {path}\ntable:  {folder / 'table.csv'}")
    if run is not None and run.logger == "wandb":
        _to_wandb(run, folder, title, page.pictures, summed)
    return path


def _to_wandb(run: Any, folder: Path, title: str, pictures: list[Path], summed: pd.DataFrame) -> None:
    import wandb

    from dataprune.tracking import start_wandb

    shown = {"rows": str(folder)}
    started = start_wandb(run.wandb, folder, folder.name, f"{title} report", ["report"], shown, kind="report")
    started.log({f"report/{p.stem}": wandb.Image(str(p)) for p in pictures})
    started.log({"report/table": wandb.Table(dataframe=summed)})
    started.finish()

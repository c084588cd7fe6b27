"""The report of a run, a sweep or a store: what stands on the page, in order."""

from pathlib import Path
from typing import Any

import pandas as pd

from dataprune import __version__
from dataprune.report import figures, tables
from dataprune.report.cautions import mixed_versions
from dataprune.report.compare import against_random
from dataprune.report.lines import frame, sections, summary
from dataprune.report.page import Page
from dataprune.report.reading import Row, read_rows
from dataprune.report.results import show_results
from dataprune.report.scores import show_scores
from dataprune.report.selections import show_selections
from dataprune.report.sparse import has_sparse, show_sparse, show_study
from dataprune.store import Store

MOST_NAMES = 3  # of experiments in a title


def draw(folder: Path, store: Path, run: Any = None) -> Path | None:
    """Draw the report of all rows below `folder` into it, print the table, return the page's path.

    None if no row can be shown; what was left out is printed. With run.logger=wandb the pictures and the table also
    become a W&B run of the same group.
    """
    rows, left_out = read_rows(folder)
    for note in left_out:
        print(f"note: {note}")
    if not rows:
        return None
    table = frame(rows)
    summed, compared = summary(table), against_random(table)
    notes = left_out + mixed_versions(store, table["keys"])
    page = Page(folder)
    _show(page, store, table, summed, compared, [_title(rows), f"{len(rows)} rows of {folder}", *notes])
    path = page.write(_title(rows))
    filed = tables.csv_table(summed, compared)
    filed.to_csv(folder / "table.csv", index=False)
    print("\n" + tables.printed(table, summed, compared))
    print("".join(f"\nnote: {note}" for note in notes if note not in left_out))
    print(f"report: {path}\ntable:  {folder / 'table.csv'}")
    if run is not None and run.logger == "wandb":
        _to_wandb(run, folder, _title(rows), page.pictures, filed)
    return path


def _show(
    page: Page, store: Path, table: pd.DataFrame, summed: pd.DataFrame, compared: pd.DataFrame, words: list[str]
) -> None:
    """Fill the page: title, where it comes from, notes, then all of every section."""
    title, origin, *notes = words
    page.heading(1, title)
    page.note(f"dataprune {__version__}; {origin}; store {store.absolute()}")
    for note in notes:
        page.note(note)
    look = figures.styles(table)
    results, lines, tests = Store(store, verify=False), dict(sections(table)), dict(sections(compared))
    for section, part in sections(summed):
        page.section = section
        show_results(page, lines[section], part, tests.get(section, compared.head(0)), look)
        if has_sparse(part):
            show_sparse(page, lines[section], part)
        show_selections(page, results, lines[section])
        show_scores(page, results, lines[section])
    if has_sparse(summed[summed.target != "-"]):
        show_study(page)


def _title(rows: list[Row]) -> str:
    names = sorted({row["name"] for row in rows})
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _to_wandb(run: Any, folder: Path, title: str, pictures: list[Path], filed: pd.DataFrame) -> None:
    import wandb

    from dataprune.tracking import start_wandb

    shown = {"rows": str(folder)}
    started = start_wandb(run.wandb, folder, folder.name, f"{title} report", ["report"], shown, kind="report")
    started.log({f"report/{p.stem}": wandb.Image(str(p)) for p in pictures})
    started.log({"report/table": wandb.Table(dataframe=filed)})
    started.finish()

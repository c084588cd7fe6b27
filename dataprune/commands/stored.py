"""Rows and results of a store, as commands ask for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataprune.errors import ConfigError
from dataprune.store import Store

Row = dict[str, Any]


def rows_where(store: Path, where: Sequence[str]) -> list[Row]:
    """Return the rows of a store that have all these values, `key=value` each. Raises ConfigError without a store."""
    if not store.is_dir():
        raise ConfigError("--store", str(store), "a folder; a run makes one where it is started (run.store)")
    rows = Store(store, verify=False).rows()
    for text in where:
        key, equals, value = text.partition("=")
        if not equals:
            raise ConfigError("--where", text, "key=value, such as source=glyphs")
        rows = [row for row in rows if str(row.get(key)) == value]
    return rows


def result_of(store: Path, stage: str, key: str) -> Path:
    """Return the folder of a result on which a row rests, or raise ConfigError if it was removed."""
    folder = store / stage / key
    if not (folder / "manifest.json").exists():
        raise ConfigError("--store", str(store), f"one that holds {stage}/{key}, on which a row rests; run it again")
    return folder

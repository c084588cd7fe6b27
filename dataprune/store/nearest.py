"""What sets a recipe apart from the results that are there: one line in the log for each that has to be built.

    <root>/recipes/<stage>.jsonl   the recipes of the stage's results, one a line, the newest last

Only the last lines are read: a store of 15,000 trainings answers as fast as one of 50. The file is no more than a help:
lines that are damaged or whose result is gone do not count, and without any good line some recipes are read themselves.
"""

import json
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

TAIL = 64 * 1024  # bytes of the file that are read
MOST = 50  # recipes that are compared


def remember(root: Path, key: str, recipe: dict[str, Any]) -> None:
    """Add the recipe of a result that is about to be there."""
    path = _file(root, recipe["stage"])
    path.parent.mkdir(parents=True, exist_ok=True)
    # one write in append mode: lines of parallel jobs do not mix. The line break comes first, and so ends a line that
    # a kill has cut short
    line = "\n" + json.dumps({"key": key, "recipe": recipe}, separators=(",", ":"))
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


def difference(root: Path, recipe: dict[str, Any]) -> str:
    """Return what sets the recipe apart from the nearest of its stage's newest results; the newest wins a tie."""
    wanted = flatten(recipe)
    nearest: dict[str, tuple] | None = None
    for other in _newest(root, recipe["stage"]):
        there = flatten(other)
        differs = {k: (wanted.get(k), there.get(k)) for k in wanted.keys() | there if wanted.get(k) != there.get(k)}
        if nearest is None or len(differs) < len(nearest):
            nearest = differs
    if nearest is None:
        return "first of its kind"
    told = [f"{key}={_short(new)} (was {_short(old)})" for key, (new, old) in sorted(nearest.items())]
    return "differs in " + ", ".join(told[:4]) + (f" and {len(told) - 4} more" if len(told) > 4 else "")


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dicts as one dict with dotted keys."""
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree}
    return {
        k: v
        for name, branch in tree.items()
        for k, v in flatten(branch, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def _newest(root: Path, stage: str) -> list[dict[str, Any]]:
    """Recipes of up to MOST results that are there, the newest first if the file tells."""
    listed = list(islice(_listed(root, stage), MOST))
    return listed or list(islice(_found(root / stage), MOST))


def _listed(root: Path, stage: str) -> Iterator[dict[str, Any]]:
    """Recipes in the last lines of the file whose results are there, the newest first."""
    try:
        with open(_file(root, stage), "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL))
            lines = file.read().splitlines()
    except FileNotFoundError:
        return
    for line in reversed(lines):
        try:
            entry = json.loads(line)
            recipe, there = entry["recipe"], (root / stage / entry["key"] / "manifest.json").exists()
        except (ValueError, KeyError, TypeError):  # cut short by a kill, by the start of the tail, or damaged
            continue
        if there and isinstance(recipe, dict):
            yield recipe


def _found(folder: Path) -> Iterator[dict[str, Any]]:
    """Recipes of results in the folder, in no order: for a stage whose file is gone."""
    if folder.is_dir():
        with os.scandir(folder) as entries:
            for entry in entries:
                path = Path(entry.path) / "recipe.json"
                if path.exists():
                    yield json.loads(path.read_text())


def _file(root: Path, stage: str) -> Path:
    return root / "recipes" / f"{stage}.jsonl"


def _short(value: Any) -> str:
    text = str(value)
    is_digest = len(text) == 64 and set(text) <= set("0123456789abcdef")
    return text[:8] if is_digest else text

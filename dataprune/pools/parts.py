"""Parts of a selection: folders that appear when they are complete, found by everything that made them what they are.

A key is a hash of the stage, of what it was told, of the content that it read and of its code. A re-run takes what is
there, so a killed run goes on shard by shard, and one with other arguments or other content finds nothing.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from dataprune.callables import code_of


def key(stage: str, code: str, **facts: Any) -> str:
    """Return the key of a part, `stage`-20 hexadecimal digits. code: dotted path of the function that makes it."""
    stated = {"stage": stage, "code": code_of(code, ours=True), **facts}
    return f"{stage}-{digest(stated)[:20]}"


def digest(facts: Any) -> str:
    """Return the SHA-256 of a value as JSON."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@contextmanager
def part(path: str | Path) -> Iterator[Path]:
    """Make a folder under a temporary name; at the end flush its files and rename it. Of two writers the first wins."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield work
        for file in work.iterdir():
            with open(file, "rb") as opened:
                os.fsync(opened.fileno())
        work.chmod(0o755)
        try:
            work.rename(path)
        except OSError:
            if not path.is_dir():
                raise
            shutil.rmtree(work)  # another worker was faster: the same key, the same content
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def sweep(folder: Path) -> None:
    """Remove what killed runs have left half written; nobody else may be at work in `folder`."""
    for path in folder.glob(".*-*"):
        shutil.rmtree(path, ignore_errors=True)


def hash_of(array: np.ndarray) -> str:
    """Return a SHA-256 over type, shape and bytes of an array."""
    hashed = hashlib.sha256(f"{array.dtype.str} {array.shape};".encode())
    hashed.update(np.ascontiguousarray(array).view(np.uint8).data)
    return hashed.hexdigest()


def write_facts(folder: Path, facts: dict[str, Any]) -> None:
    """Write what a task has found out into its part."""
    (folder / "facts.json").write_text(json.dumps(facts, sort_keys=True))


def facts_of(folder: str | Path) -> dict[str, Any]:
    """Return what a task has written of its part."""
    return json.loads((Path(folder) / "facts.json").read_text())

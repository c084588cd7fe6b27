"""Files that take their names when they are complete, and lines that may still be written."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

UMASK = os.umask(0o077)
os.umask(UMASK)  # there is no way to ask for it but to set it


@contextmanager
def whole_file(path: Path | str) -> Iterator[BinaryIO]:
    """Open a file for writing under a temporary name of its own; at the end flush it to disk and rename it to `path`.

    A reader sees the old file or the new one, never half of one, whatever other threads, containers and machines write
    at the same time. After an error the old file stands; a kill leaves at most `.<name>.<random>` beside it.
    """
    path = Path(path)
    handle, part = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o666 & ~UMASK)  # mkstemp's files are for their owner alone; a store is shared
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise


def write_json(path: Path, value: Any) -> None:
    """Write a value as JSON, whole or not at all."""
    content = json.dumps(value, indent=1).encode()  # before the file is made: what is no JSON leaves nothing
    with whole_file(path) as file:
        file.write(content)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a JSON-lines file that is written while we read: none without a file, no half line at its
    end."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    return [json.loads(line) for line in lines if line.endswith("\n")]

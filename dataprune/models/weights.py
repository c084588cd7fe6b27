"""The files that a network's weights come from before it is trained: their content is part of the trained model."""

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

ENCODER = "dataprune.models.text.transformer"
SUFFIXES = {".json", ".safetensors", ".bin"}


def weights_of(model: dict[str, Any] | None) -> str | None:
    """Return a hash of the files that a `model` config of a pretrained encoder names, wherever they lie.

    None for other networks, and where the files are not there (building the network says so).
    """
    if model is None or model["_target_"] != ENCODER or not model.get("pretrained"):
        return None
    if (folder := _folder(str(model["name"]))) is None:
        return None
    files = sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


def _folder(name: str) -> Path | None:
    if Path(name).is_dir():
        return Path(name)
    try:
        from transformers.utils import cached_file  # seconds of imports that only these networks need

        found = cached_file(name, "config.json", local_files_only=True)
    except (ImportError, OSError):
        return None
    return None if found is None else Path(found).parent


@cache  # half a gigabyte is read in a second: once a driver, not once a job
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    state = hashlib.sha256()
    for path, _, _ in files:
        with open(path, "rb") as file:
            state.update(f"{path.name} {hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return state.hexdigest()
